"""Sparse matrices of derivatives, compressed: a product with the matrix for each colour, and every element read off.

Of a Jacobian, rows that have no column in common share a cotangent (or columns that have no row in common, a
tangent: whichever takes fewer). Of a Hessian, which is symmetric, a star colouring takes fewer still.

A pattern that is too small would give wrong numbers in silence. So the result by one that the user gave is multiplied
with a random vector, and compared with the derivative in that direction.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.errors import ArgumentError, DTypeError, NotDifferentiableError, ShapeError
from tapegrad.recording import aside, tracer
from tapegrad.transforms.arguments import Argnums, Chosen, require_callable
from tapegrad.transforms.runs import Run, Transposed
from tapegrad.transforms.sparse.colouring import alone_in_row, row_colours, star_colours
from tapegrad.transforms.sparse.matrices import sparse_module
from tapegrad.transforms.sparse.patterns import coarsest, pattern_of, recorded
from tapegrad.transforms.sparse.traced import Tracer


def sparse_matrix(
    name: str,
    f: Callable[..., Any],
    function: Callable[..., Any],
    argnums: Argnums,
    has_aux: bool,
    sparsity: Any,
    symmetric: bool,
) -> Callable[..., Any]:
    """The function that gives the Jacobian of ``function``, for a transform of this name of ``f``, as a sparse matrix.

    sparsity : a pattern, or True to find it
    symmetric : whether the Jacobian is
    """
    require_callable(name, f)
    sparse = sparse_module(name)
    choose = Chosen(name, argnums)
    if not choose.single:
        raise ArgumentError(
            f"{name}: with a sparsity pattern, one array is differentiated by; got argnums={argnums!r}: "
            f"tapegrad.flatten makes one vector of several arrays, and back"
        )
    if isinstance(sparsity, (bool, np.bool_)) and not sparsity:
        raise ArgumentError(f"{name}: sparsity is a pattern, True to find it, or None for a dense result; got False")

    found: list[Plan] = []  # for a pattern that was given: the colours are those of the first call

    @functools.wraps(f)
    def matrix(*args: Any, **kwargs: Any) -> Any:
        if (outer := tracer()) is not None:  # Plain numbers will come out.
            outer.left(None, f"{name} with a sparsity pattern")
            return aside()(matrix)(*args, **kwargs)
        (number,) = choose(args)
        traced = Tracer() if isinstance(sparsity, (bool, np.bool_)) else None
        run = recorded(name, function, args, kwargs, number, has_aux, traced)
        if run.lifting:
            raise NotDifferentiableError(
                f"{name}: a sparse matrix holds plain numbers, and what is to be differentiated here depends on "
                f"a tensor that records; leave out sparsity= to differentiate it once more, or .detach() the tensor"
            )
        shape = run.specs[0].size, run.inputs.leaves[0].spec.size
        if traced is not None:
            plan = Plan(pattern_of(run, traced), symmetric)
        elif found and found[0].pattern.shape == shape:
            plan = found[0]
        else:
            plan = Plan(_given(sparse, name, sparsity, shape), symmetric)
            found[:] = [plan]
        result = _compressed(sparse, run, plan, tried=traced is None)
        return (result, run.aux()) if has_aux else result

    return matrix


def _given(sparse: Any, name: str, given: Any, shape: tuple[int, int]) -> Any:
    """A pattern that the user gave, as a matrix of bools in compressed rows."""
    if sparse.issparse(given):
        pattern = sparse.csr_array(given, copy=True)
        pattern.data = np.ones(pattern.data.shape, bool)  # What is stored counts, also where it is 0 at one point.
    else:
        dense = np.asarray(given)
        if dense.dtype.kind not in "biufc":
            raise DTypeError(
                f"{name}: sparsity is a scipy.sparse array, a dense array of bools, True or None; "
                f"got a {type(given).__name__}"
            )
        pattern = sparse.csr_array(np.atleast_2d(dense != 0))
    if pattern.shape != shape:
        raise ShapeError(
            f"{name}: the sparsity pattern has shape {pattern.shape}; a row for each element of the output and a "
            f"column for each of the input would make {shape}"
        )
    pattern.sum_duplicates()
    return pattern


class Plan:
    """A pattern, and how to find a matrix that has it: what shares a product with what, and where to read it off."""

    def __init__(self, pattern: Any, symmetric: bool) -> None:
        if symmetric:
            pattern = (pattern + pattern.T).tocsr()
        pattern.sort_indices()
        self.pattern, self.symmetric = pattern, symmetric
        indptr, indices = pattern.indptr, pattern.indices
        rows = np.repeat(np.arange(pattern.shape[0]), np.diff(indptr))
        self.upper = rows <= indices
        self.by_columns = symmetric
        if symmetric:
            self.colours = star_colours(indptr, indices)
            self.alone = alone_in_row(indptr, indices, self.colours)
            numbered = sparse_module("hessian").csr_array((np.arange(indices.size), indices, indptr), pattern.shape)
            mirrored = numbered.T.tocsr()
            mirrored.sort_indices()
            self.twins = mirrored.data  # of each element, its place on the other side of the diagonal
        else:
            self.colours = row_colours(indptr, indices, pattern.shape[1])
            by_column = _much_fewer(pattern, self.colours)
            if by_column is not None:
                self.by_columns, self.colours = True, by_column
        # Of each element, the product that it is read from, and the place in there; by product.
        products = self.colours[indices if self.by_columns else rows]
        self.places: Any = rows if self.by_columns else indices
        self.order = np.argsort(products, kind="stable")
        self.ends = np.searchsorted(products[self.order], np.arange(self.colours.max(initial=-1) + 2))

    def read_off(self, product: Callable[[Any], Any], dtype: Any) -> Any:
        """The elements of the pattern, given a function of the rows or columns chosen to their sum."""
        data = np.zeros(self.pattern.nnz, dtype)
        for colour, (start, stop) in enumerate(itertools.pairwise(self.ends)):
            read = self.order[start:stop]
            if read.size:
                data[read] = product(self.colours == colour)[self.places[read]]
        if not self.symmetric:
            return data
        data = np.where(self.alone, data, data[self.twins])
        return np.where(self.upper, data, data[self.twins])


def _much_fewer(pattern: Any, by_row: Any) -> Any:
    """Colours for the columns, where they are so few that it pays to multiply from the right; else None.

    A sweep through the record of a sweep meets more operations than a sweep back: half the colours have to be saved.
    """
    count = int(by_row.max(initial=-1)) + 1
    if 2 * np.diff(pattern.indptr).max(initial=0) >= count:  # So many, at least, do the columns take.
        return None
    columns = pattern.T.tocsr()
    colours = row_colours(columns.indptr, columns.indices, pattern.shape[0])
    return colours if 2 * (int(colours.max(initial=-1)) + 1) < count else None


def _compressed(sparse: Any, run: Run, plan: Plan, tried: bool) -> Any:
    """The matrix of a run, found as planned; and tried, if the pattern isn't our own."""
    pattern, dtype = plan.pattern, run.inputs.leaves[0].spec.dtype
    transposed = Transposed(run) if plan.by_columns and not plan.symmetric and pattern.nnz else None
    data = plan.read_off(lambda chosen: _product(run, chosen, transposed), dtype)
    if data.dtype == np.float16:  # SciPy has no sparse matrices of these.
        data = data.astype(np.float32)
    result = sparse.csr_array((data, pattern.indices.copy(), pattern.indptr.copy()), shape=pattern.shape)
    if tried:
        _require_whole(run, result, plan.symmetric, transposed)
    return result


def _product(run: Run, vector: Any, transposed: Transposed | None) -> Any:
    """The matrix times a vector, from the left; from the right, where ``transposed`` is given."""
    return _back(run, vector) if transposed is None else _along(run, transposed, vector)


def _back(run: Run, cotangent: Any) -> Any:
    """The cotangent of the input, as vectors."""
    spec, leaf = run.specs[0], run.inputs.leaves[0].spec
    seed = np.asarray(cotangent, spec.dtype).reshape(spec.shape)
    (total,) = run.pulled([seed if spec.shape else seed[()]], None, keep=True)
    return np.zeros(leaf.size, leaf.dtype) if total is None else np.asarray(total).reshape(-1)


def _along(run: Run, transposed: Transposed, direction: Any) -> Any:
    """The derivative of the output in a direction, as vectors."""
    spec = run.inputs.leaves[0].spec
    tangent = np.asarray(direction, spec.dtype).reshape(spec.shape)
    return np.asarray(transposed([tangent if spec.shape else tangent[()]], keep=True)).reshape(-1)


def _require_whole(run: Run, result: Any, symmetric: bool, transposed: Transposed | None) -> None:
    """Raise ArgumentError where the matrix, times a random vector, isn't the derivative in that direction."""
    m, n = result.shape
    if not m or not n:
        return
    random = np.random.default_rng(n)
    direction = random.uniform(0.5, 1.5, n) * random.choice([-1, 1], n)
    direction = direction.astype(result.dtype)
    # Of a symmetric matrix, a sweep back does as well.
    expected = _product(run, direction, None if symmetric else transposed or Transposed(run))
    with np.errstate(all="ignore"):
        found = result @ direction
        size = abs(result) @ abs(direction) + abs(expected)
        finite = np.isfinite(found) & np.isfinite(expected)
        away = np.where(finite, abs(found - expected), 0)
        wrong = away > np.sqrt(np.finfo(result.dtype).eps) * size
        if wrong.any():  # Somewhere in between there may be fewer digits.
            wrong = away > np.sqrt(coarsest(run)) * size
    wrong |= np.isfinite(found) != np.isfinite(expected)
    if wrong.any():
        row = int(np.argmax(wrong))
        columns = result.indices[result.indptr[row] : result.indptr[row + 1]]
        shown = f"{columns[:8].tolist()}"[:-1] + (", ...]" if columns.size > 8 else "]")
        raise ArgumentError(
            f"{run.name}: the sparsity pattern is too small: row {row} (and {int(wrong.sum()) - 1} others) times a "
            f"vector isn't the derivative in its direction. The pattern has the columns {shown} there, but that row, "
            f"or one found together with it, has derivatives elsewhere; tapegrad.sparsity(f, x) finds a whole pattern"
        )
