"""Whole matrices of derivatives: ``jacobian`` and ``hessian``, many rows in one sweep where that can be."""

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tapegrad.containers import rebuilt
from tapegrad.dispatch import make
from tapegrad.entries import Lift
from tapegrad.gradients import owned_arrays
from tapegrad.transforms.arguments import Argnums, Chosen, require_callable
from tapegrad.transforms.batches import Unbatched, largest, replay_batch
from tapegrad.transforms.leaves import remade
from tapegrad.transforms.reverse import gradient_of, require_real
from tapegrad.transforms.runs import Run

BATCH = 1 << 22  # elements of the largest batch of cotangents: 32 MB of float64
FEW = 4  # rows: so few at a time are no quicker than one by one


def jacobian(
    f: Callable[..., Any], argnums: Argnums = 0, sparsity: Any = None, has_aux: bool = False
) -> Callable[..., Any]:
    """The function that gives the Jacobian of ``f``: every derivative of every output by every input.

    f : of containers of real floating arrays, and whatever else, to a container of real arrays
    argnums, has_aux : as of ``grad``
    sparsity : where the Jacobian may be other than 0: a ``scipy.sparse`` array (what it stores counts) or a dense one,
        shape (size of the output, size of the input), both counted in C order; or True, to have it found at each
        call as ``sparsity`` finds it. Then ``f`` takes one array to one array, and the result is a
        ``scipy.sparse.csr_array``
    Returns a function with the arguments of ``f``. Its result has the containers of what ``f`` returns, and
    in the place of each array those of the argument (a tuple of them, where ``argnums`` is one); each array
    in there has the shape of the output followed by that of the input, and the input's dtype.
    Raises DTypeError for complex arguments and results; see ``vjp`` and ``jvp``. With ``sparsity``, ArgumentError for
    containers (see ``flatten``) and for a pattern that is too small, ShapeError for one of another shape,
    NotDifferentiableError under an outer derivative, and ModuleNotFoundError where SciPy isn't installed.

    With ``sparsity`` it takes a sweep for each colour: rows that have no column in common share one (or columns with no
    row in common, where they are many fewer). A pattern that is given is coloured once, and its result is proved: times
    a random vector it has to be what ``jvp`` gives, to half of the digits, which costs about two sweeps more.

    >>> import numpy as np, tapegrad as tg
    >>> tg.jacobian(lambda x: np.array([x[0] * x[1], x[1] ** 2], like=x))(np.array([2.0, 3.0]))
    array([[3., 2.],
           [0., 6.]])
    >>> tg.jacobian(lambda x: np.diff(x**2), sparsity=True)(np.array([1.0, 2.0, 3.0])).toarray()
    array([[-2.,  4.,  0.],
           [ 0., -4.,  6.]])

    Curtis, Powell & Reid 1974; Coleman & Moré 1983.
    """
    if sparsity is not None:
        return _sparse("jacobian", f, f, argnums, has_aux, sparsity, symmetric=False)
    return _matrix("jacobian", f, f, argnums, has_aux)


def hessian(
    f: Callable[..., Any], argnums: Argnums = 0, sparsity: Any = None, has_aux: bool = False
) -> Callable[..., Any]:
    """The function that gives the Hessian of ``f``, a function to one real number: the Jacobian of its gradient.

    f, argnums, has_aux : as of ``grad``, with real arguments
    sparsity : as of ``jacobian``: the pattern of the gradient's Jacobian, one half of which is enough
    Returns a function with the arguments of ``f``. Its result has the containers of the argument, and in the place of
    each array, of shape s, the containers again, of arrays of shape s + t for each shape t.
    Raises DTypeError for complex arguments and results; see ``vjp`` and ``jvp`` of ``grad``, and ``hvp``. With
    ``sparsity``, what ``jacobian`` raises.

    With ``sparsity`` it takes a sweep through the gradient for each colour, and one more to prove what comes of a
    pattern that is given. Since the matrix is symmetric, a star colouring will do, which takes fewer: two for an arrow,
    three for a tridiagonal matrix.

    >>> import numpy as np, tapegrad as tg
    >>> tg.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    >>> tg.hessian(lambda x: np.sum(np.diff(x) ** 2), sparsity=True)(np.ones(3)).toarray()
    array([[ 2., -2.,  0.],
           [-2.,  4., -2.],
           [ 0., -2.,  2.]])

    Coleman & Moré 1984; Gebremedhin, Manne & Pothen 2005.
    """
    derivative = gradient_of("hessian", f, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        run, result = derivative(args, kwargs)
        return (result, run.aux()) if has_aux else result

    if sparsity is not None:
        return _sparse("hessian", f, gradient, argnums, has_aux, sparsity, symmetric=True)
    return _matrix("hessian", f, gradient, argnums, has_aux)


def _sparse(*given: Any, symmetric: bool) -> Callable[..., Any]:
    """The same as a sparse matrix; with all that it takes to find patterns, imported when it is asked for."""
    derivatives = importlib.import_module("tapegrad.transforms.sparse.derivatives")
    matrix: Callable[..., Any] = derivatives.sparse_matrix(*given, symmetric)
    return matrix


def _matrix(
    name: str, f: Callable[..., Any], function: Callable[..., Any], argnums: Argnums, has_aux: bool
) -> Callable[..., Any]:
    """The function that gives the Jacobian of ``function``, for a transform of this name of ``f``."""
    require_callable(name, f)
    choose = Chosen(name, argnums)

    @functools.wraps(f)
    def matrix(*args: Any, **kwargs: Any) -> Any:
        run = Run(name, function, args, kwargs, choose(args), has_aux)
        require_real(run)
        blocks = []
        for i in range(len(run.outs)):
            block = _block(run, i)
            blocks.append(block[0] if choose.single else block)
        result = rebuilt(run.structure, blocks)
        return (result, run.aux()) if has_aux else result

    return matrix


def _block(run: Run, i: int) -> tuple[Any, ...]:
    """The derivatives of one output by every input, as the arguments are."""
    spec, lift, leaves = run.specs[i], run.lift(()), run.inputs.leaves
    shapes = [spec.shape + leaf.spec.shape for leaf in leaves]
    blocks: list[Any] = [np.zeros((spec.size, *leaf.spec.shape), leaf.spec.dtype) for leaf in leaves]
    if lift is None:
        if not _fill_in_batches(run, i, blocks):
            for element, row in enumerate(_rows(run, i, lift)):
                for block, c in zip(blocks, row, strict=True):
                    if c is not None:
                        block[element] = c
        blocks = [block.reshape(shape) for block, shape in zip(blocks, shapes, strict=True)]
        return run.inputs.built([remade(block, made) for block, made in zip(blocks, run.inputs.made, strict=True)])
    columns = list(zip(*_rows(run, i, lift), strict=True)) or [()] * len(leaves)
    for k, column in enumerate(columns):
        zeros = blocks[k]
        if any(c is not None for c in column):
            blocks[k] = np.stack([zero if c is None else c for c, zero in zip(column, zeros, strict=True)])
        else:
            blocks[k] = make(zeros, None)
    return run.inputs.built([block.reshape(shape) for block, shape in zip(blocks, shapes, strict=True)])


def _fill_in_batches(run: Run, i: int, blocks: list[Any]) -> bool:
    """Fill in the derivatives of an output, many rows in a sweep. False: the rows are to be swept one by one.

    blocks : arrays of zeros, to be filled or replaced
    """
    entry, spec, targets = run.entries[i], run.specs[i], run.inputs.targets
    if entry is None or not targets:
        return True
    places = {id(leaf): k for k, leaf in enumerate(run.inputs.leaves)}
    try:
        count = BATCH // largest([entry], max(targets))
        if count < FEW:
            return False
        for start in range(0, spec.size, count):
            rows = slice(start, min(start + count, spec.size))
            seeds = np.eye(rows.stop - start, spec.size, start, spec.dtype)
            totals = replay_batch([(entry, seeds.reshape(-1, *spec.shape))], targets)
            if count >= spec.size:  # All rows at once.
                for leaf, c in owned_arrays(totals):
                    blocks[places[id(leaf)]] = c
            else:
                for leaf, c in totals:
                    blocks[places[id(leaf)]][rows] = c
    except Unbatched:
        return False
    return True


def _rows(run: Run, i: int, lift: Lift | None) -> Iterator[list[Any]]:
    """For each element of an output, in order, the cotangents of the inputs; None where it depends on none."""
    spec = run.specs[i]
    for element in range(spec.size):
        seed = np.zeros(spec.shape, spec.dtype)
        seed.flat[element] = 1
        seeds: list[Any] = [None] * len(run.outs)
        seeds[i] = seed
        yield run.pulled(seeds, lift, keep=True)
