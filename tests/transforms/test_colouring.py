"""Colourings: valid on any pattern, and of few colours on those that are met most."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tapegrad.transforms.sparse.colouring import alone_in_row, row_colours, star_colours

PATTERNS = hnp.arrays(bool, st.tuples(st.integers(0, 9), st.integers(0, 9)))
GRAPHS = hnp.arrays(bool, st.integers(0, 9).map(lambda n: (n, n))).map(lambda a: a | a.T)


def compressed(pattern: Any) -> tuple[Any, Any]:
    matrix = sp.csr_array(pattern)
    matrix.sort_indices()
    return matrix.indptr, matrix.indices


def rows(pattern: Any) -> Any:
    return row_colours(*compressed(pattern), pattern.shape[1])


def band(n: int, reach: int = 1) -> Any:
    apart = np.arange(-reach, reach + 1)
    i = np.repeat(np.arange(n), apart.size)
    j = i + np.tile(apart, n)
    inside = (j >= 0) & (j < n)
    return sp.csr_array((np.ones(inside.sum(), bool), (i[inside], j[inside])), shape=(n, n))


def five_points(m: int) -> Any:
    return sp.csr_array(sp.kron(band(m), band(m, 0)) + sp.kron(band(m, 0), band(m)))


def arrow(n: int) -> Any:
    k, zero = np.arange(n), np.zeros(n, int)
    i, j = np.concatenate([k, k, zero]), np.concatenate([k, zero, k])
    return sp.csr_array((np.ones(3 * n, bool), (i, j)), shape=(n, n))


@given(PATTERNS)
def test_rows_of_one_colour_have_no_column_in_common(pattern: Any) -> None:
    colours = rows(pattern)
    assert colours.shape == (len(pattern),)
    for colour in range(colours.max(initial=-1) + 1):
        assert (pattern[colours == colour].sum(axis=0) <= 1).all()


@given(PATTERNS)
def test_colours_are_counted_from_0_without_gaps(pattern: Any) -> None:
    colours = rows(pattern)
    assert set(colours) == set(range(colours.max(initial=-1) + 1))


@given(GRAPHS)
def test_neighbours_differ_in_a_star_colouring_and_no_path_of_four_has_two_colours(graph: Any) -> None:
    colours = star_colours(*compressed(graph))
    edges = graph & ~np.eye(len(graph), dtype=bool)
    for b, c in zip(*np.nonzero(edges), strict=True):
        assert colours[b] != colours[c]
        for a in np.flatnonzero(edges[b]):
            for d in np.flatnonzero(edges[c]):
                if len({a, b, c, d}) == 4:
                    assert len({colours[a], colours[b], colours[c], colours[d]}) > 2


@given(GRAPHS)
def test_of_every_two_mirrored_elements_one_stands_alone(graph: Any) -> None:
    indptr, indices = compressed(graph)
    alone = np.zeros(graph.shape, bool)
    of_rows = np.repeat(np.arange(len(graph)), np.diff(indptr))
    alone[of_rows, indices] = alone_in_row(indptr, indices, star_colours(indptr, indices))
    # With the diagonal in the pattern: without it, an element of the colour of its own row may be told by either.
    assert (alone | alone.T)[graph].all()


@pytest.mark.parametrize(
    ("pattern", "most"),
    [
        (band(1000), 3),
        (band(1000, 3), 7),
        (five_points(30), 7),
        (np.kron(np.eye(50), np.ones((4, 4))), 4),
        (np.eye(100), 1),
        (np.ones((5, 7)), 5),
    ],
    ids=["tridiagonal", "band", "five points", "blocks", "diagonal", "dense"],
)
def test_few_colours_for_rows(pattern: Any, most: int) -> None:
    assert len(set(rows(pattern))) <= most


@pytest.mark.parametrize(
    ("pattern", "most"),
    [
        (arrow(500), 2),
        (band(1000), 3),
        (five_points(30), 7),
        (np.kron(np.eye(50), np.ones((4, 4))), 4),
        (np.ones((6, 6)), 6),
    ],
    ids=["arrow", "tridiagonal", "five points", "blocks", "dense"],
)
def test_few_colours_for_a_symmetric_matrix(pattern: Any, most: int) -> None:
    assert len(set(star_colours(*compressed(pattern)))) <= most


def test_a_full_column_takes_a_colour_for_each_row_and_no_more_than_linear_work() -> None:
    assert len(set(rows(arrow(20_000)))) == 20_000
