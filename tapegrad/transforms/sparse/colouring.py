"""Colouring: which rows of a sparse matrix, or which rows and columns of a symmetric one, can be found at once.

Rows that have no column in common are structurally orthogonal: one product from the left, with 1 in each of these
rows, gives them all (Curtis, Powell & Reid 1974). To have few products is to colour few colours: of the graph in
which rows that meet are neighbours (Coleman & Moré 1983). Of a symmetric matrix each element stands in two places,
and one of them is enough; the colouring that this asks for is a star colouring (Coleman & Moré 1984).

Everything here is greedy, and works on the index arrays of a matrix in compressed rows. Sets of colours are
Python integers, a bit for each colour, so that no graph is built and no colour is looked for twice: the time is
that of reading the matrix twice, in Python, times the number of colours over 64.
"""

import itertools
from typing import Any

import numpy as np


def row_colours(indptr: Any, indices: Any, columns: int) -> Any:
    """Colours for the rows of a matrix, so that no two rows of one colour have a column in common.

    indptr, indices : int arrays, the matrix in compressed rows: those of row i are indices[indptr[i] : indptr[i + 1]]
    columns : how many columns there are
    Returns an int array with a colour for each row, counted from 0 without gaps.

    A matrix with d elements in its fullest column needs at least d colours. Where d of them in turn will do, as in a
    band, that is the answer. Otherwise each row takes the first that is free, those with the most neighbours first
    (Welsh & Powell 1967).

    >>> row_colours(np.array([0, 2, 4, 6, 7]), np.array([0, 1, 1, 2, 2, 3, 3]), 4)
    array([0, 1, 0, 1])

    Curtis, Powell & Reid 1974; Coleman & Moré 1983; Gebremedhin, Manne & Pothen 2005, section 3.
    """
    if not indices.size:
        return np.zeros(len(indptr) - 1, np.intp)
    least = int(np.bincount(indices).max())
    in_turn = np.arange(len(indptr) - 1) % least
    places = indices.astype(np.intp) * least + np.repeat(in_turn, np.diff(indptr))
    if columns * least <= 16 * places.size and np.bincount(places).max() == 1:
        return in_turn
    rows = _lists(indptr, indices)
    used = [0] * columns  # the colours of the rows that have an element in this column
    colours = [0] * len(rows)
    for i in _largest_first(indptr, indices, columns):
        taken = 0
        for j in rows[i]:
            taken |= used[j]
        bit = ~taken & (taken + 1)  # the lowest that isn't taken
        colours[i] = bit.bit_length() - 1
        for j in rows[i]:
            used[j] |= bit
    return np.array(colours, np.intp)


def star_colours(indptr: Any, indices: Any) -> Any:
    """Colours for the columns of a symmetric matrix, so that products with one vector for each colour tell it all.

    indptr, indices : int arrays, the matrix in compressed rows, symmetric; its diagonal may be there or not
    Returns an int array with a colour for each row and column, counted from 0 without gaps.

    Neighbours differ in colour, and any four vertices in a row have three colours at least. The vertices of two
    colours then make stars, each a hub with its leaves, and for every element one of its two places
    is the only one of its colour in its row: that of the hub's column in the row of a leaf.

    >>> star_colours(np.array([0, 4, 6, 8, 10]), np.array([0, 1, 2, 3, 0, 1, 0, 2, 0, 3]))
    array([0, 1, 1, 1])

    Coleman & Moré 1984; Gebremedhin, Manne & Pothen 2005, section 4; the stars are kept as in Gebremedhin,
    Tarafdar, Manne & Pothen 2007.
    """
    rows = [[j for j in row if j != i] for i, row in enumerate(_lists(indptr, indices))]
    n = len(rows)
    colours = [-1] * n
    near = [0] * n  # the colours of a vertex' neighbours
    hubs = [0] * n  # the colours of hubs with two leaves or more, one of which the vertex is
    single: dict[tuple[int, int], int] = {}  # of a vertex and a colour: its only neighbour of this colour
    for i in _largest_first(indptr, indices, n):
        taken = 0
        for j in rows[i]:
            # A neighbour that has no colour yet may become a leaf of one star alone: its neighbours must all differ.
            taken |= near[j] if colours[j] < 0 else 1 << colours[j] | hubs[j]
        bit = ~taken & (taken + 1)
        colour = colours[i] = bit.bit_length() - 1
        for j in rows[i]:
            if not near[j] & bit:
                near[j] |= bit
                single[j, colour] = i
                continue
            hub = 1 << colours[j]  # j has a second leaf of this colour: it is a hub from now on.
            hubs[i] |= hub
            first = single.pop((j, colour), None)
            if first is not None:
                hubs[first] |= hub
    return np.array(colours, np.intp)


def alone_in_row(indptr: Any, indices: Any, colours: Any) -> Any:
    """For each element of a matrix in compressed rows, whether no other of its row has a column of its colour.

    >>> alone_in_row(np.array([0, 3, 4]), np.array([0, 1, 2, 1]), np.array([0, 1, 1]))
    array([ True, False, False,  True])
    """
    count = int(colours.max(initial=0)) + 1
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    _keys, which, times = np.unique(rows * count + colours[indices], return_inverse=True, return_counts=True)
    return times[which.reshape(-1)] == 1


def _lists(indptr: Any, indices: Any) -> list[list[int]]:
    """The columns of each row, as lists: a loop over them takes a third of the time."""
    ends = indptr.tolist()
    flat = indices.tolist()
    return [flat[start:stop] for start, stop in itertools.pairwise(ends)]


def _largest_first(indptr: Any, indices: Any, columns: int) -> Any:
    """The rows by how many rows they meet, counted with repetitions: the most first, equals in their own order."""
    met = np.concatenate(([0], np.cumsum(np.bincount(indices, minlength=columns)[indices])))
    return np.argsort(-(met[indptr[1:]] - met[indptr[:-1]]), kind="stable").tolist()
