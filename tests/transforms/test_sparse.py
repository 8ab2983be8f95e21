"""Sparse Jacobians and Hessians against dense ones, and patterns against what is numerically not 0."""

import copy
import math
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad import recording
from tapegrad.kinds import Primitive
from tapegrad.primitive import complete
from tapegrad.testing.check import parts_of
from tapegrad.testing.draw import Trial, checked, trials_of
from tapegrad.transforms import runs
from tapegrad.transforms.sparse.links import HANDLERS, LAST_RESORTS

N = 24
RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal(N)
POINTS = [X, -X, *(scale * RANDOM.standard_normal(N) for scale in (0.5, 1.0, 1.0, 2.0, 3.0))]
M = RANDOM.standard_normal((5, N)) * (RANDOM.random((5, N)) < 0.2)
W = RANDOM.standard_normal((4, 2, 2, 2))

Function = Callable[[Any], Any]


def met(f: Function, points: Any = POINTS) -> Any:
    """Where the dense Jacobian is other than 0 at any of the points."""
    rows = [np.reshape(tg.jacobian(f)(x), (-1, x.size)) for x in points]
    return np.any([row != 0 for row in rows], axis=0)


def grid(x: Any) -> Any:
    return np.reshape(x, (4, 6))


def written(x: Any) -> Any:
    y = np.zeros(N, like=x)
    y[1:5] = x[:4]
    y[[7, 7, 9]] = x[10:13]
    y[5:] += 2 * x[:-5]
    grid(y)[::2, 1] = x[3]
    return y * y


def cut_off(x: Any) -> Any:
    y = x * x
    y[x < 0] = 0
    return y


def of_a_view(x: Any) -> Any:
    y = x * 1
    column = grid(y)[:, 2]
    column *= x[0]
    return y


def through_real_parts(x: Any) -> Any:
    z = x[:6] * (1 + 2j)
    z.real[1:3] = x[7:9]
    return z.real + z.imag


EXACT: dict[str, Function] = {
    "slice": lambda x: x[1:] * x[:-1],
    "slices of a grid": lambda x: grid(x)[1:, ::-2],
    "integers": lambda x: x[[3, 3, 0]],
    "integers and slices": lambda x: np.reshape(x, (2, 3, 4))[[0, 1], :, [1, 1]],
    "mask": lambda x: grid(x)[:, np.array([True, False, True, False, False, True])],
    "take": lambda x: np.take(grid(x), [0, 5, 5], axis=1),
    "take_along_axis": lambda x: np.take_along_axis(grid(x), np.array([[0], [5], [1], [1]]), axis=1),
    "transpose": lambda x: grid(x).T * 2,
    "fortran order": lambda x: np.reshape(grid(x), (6, 4), order="F"),
    "moveaxis": lambda x: np.moveaxis(np.reshape(x, (2, 3, 4)), 0, -1),
    "flip": lambda x: np.flip(grid(x), 1),
    "roll": lambda x: np.roll(x, 2) - x,
    "concatenate": lambda x: np.concatenate([x[:3], np.sin(x[7:]), x[:1]]),
    "stack": lambda x: np.stack([x, x[::-1]], axis=1),
    "split": lambda x: np.concatenate(np.split(x, 3)[::-1]),
    "tile and repeat": lambda x: np.tile(np.repeat(x[:3], 2), (2, 1)),
    "broadcast": lambda x: np.broadcast_to(x, (2, N)),
    "outer": lambda x: x[:3, None] * x[3:6],
    "pad": lambda x: np.pad(x[:5], 2, mode="wrap"),
    "insert and delete": lambda x: np.delete(np.insert(x[:5], 1, x[9]), 3),
    "diagonals": lambda x: np.diag(x[:4]) + np.triu(np.reshape(x[4:20], (4, 4))),
    "windows": lambda x: np.sum(np.lib.stride_tricks.sliding_window_view(x, 3), axis=-1),
    "sum": lambda x: np.sum(grid(x), axis=0),
    "mean": lambda x: np.mean(grid(x), axis=1, keepdims=True),
    "sum where": lambda x: np.sum(grid(x), axis=1, where=np.arange(6) % 2 == 0),
    "var": lambda x: np.var(grid(x), axis=1),
    "norm": lambda x: np.linalg.norm(grid(x), axis=0),
    "softmax": lambda x: tg.nn.softmax(grid(x), axis=1),
    "diff": lambda x: np.diff(x, 2) ** 2,
    "gradient": lambda x: np.gradient(grid(x), axis=0, edge_order=2),
    "cumsum": lambda x: np.cumsum(grid(x), axis=1),
    "trapezoid": lambda x: np.trapezoid(grid(x)),
    "convolve": lambda x: np.convolve(x, [1.0, 0.0, 2.0], mode="same"),
    "correlate": lambda x: np.correlate(x, [1.0, 2.0, 3.0], mode="valid"),
    "correlate with a longer one": lambda x: np.correlate(x[:4], np.arange(1.0, 8.0), mode="same"),
    "conv2d": lambda x: tg.nn.conv2d(np.reshape(x, (1, 2, 3, 4)), W, padding=1, stride=2),
    "conv2d of groups": lambda x: tg.nn.conv2d(np.reshape(x, (1, 4, 3, 2)), W, groups=2),
    "avg_pool2d": lambda x: tg.nn.avg_pool2d(np.reshape(x, (2, 1, 3, 4)), 2, 1),
    "constant matrix": lambda x: M @ x,
    "tensor made of constants": lambda x: np.tri(N, N, -20, like=x) @ x + np.zeros_like(x),
    "by a constant matrix": lambda x: grid(x) @ M[:, :6].T,
    "product of matrices": lambda x: grid(x)[:, :4] @ grid(x)[:, 2:].T[:, :3],
    "einsum": lambda x: np.einsum("ij,kj->ik", grid(x)[:2], grid(x)[2:]),
    "inverses of a stack": lambda x: np.linalg.inv(np.reshape(x, (6, 2, 2))),
    "determinants of a stack": lambda x: np.linalg.det(np.reshape(x, (6, 2, 2))),
    "where": lambda x: np.where(x > 0, x, x[::-1]),
    "masked product": lambda x: x * (x > 0),
    "where of values": lambda x: np.where(np.isnan(x) | (x.numpy() > 0), x[0], x),
    "select": lambda x: np.select([x < 0, x > 0], [x, x[::-1]]),
    "signs": lambda x: np.sign(x) * x[::-1] + np.floor(x) * x,
    "scaled by a maximum that is constant": lambda x: x / tg.stop_gradient(np.max(np.abs(x))),
    "writes by a mask": lambda x: cut_off(x),
    "maximum": lambda x: np.maximum(x[1:], x[:-1]),
    "interp": lambda x: np.interp(x, np.arange(-4.0, 5.0), np.arange(9.0) ** 2),
    "cast": lambda x: x.astype(np.float32)[1:],
    "writes": written,
    "writes through a view": of_a_view,
    "writes to a real part": through_real_parts,
    "one element": lambda x: x[3],
    "nothing": lambda x: np.ones(3),
    "constant": lambda x: np.floor(x),
    "no elements": lambda x: x[:0],
}

# What takes its elements from along an axis, by the data or all of them: the function, and its pattern at every point.
ROWS = np.kron(np.eye(4, dtype=bool), np.ones((1, 6), bool))  # a result for each row of the grid
COLUMNS = np.kron(np.ones((1, 4), bool), np.eye(6, dtype=bool))
ALL_OF_ROWS = np.kron(np.eye(4, dtype=bool), np.ones((6, 6), bool))
EVERY_ROW = np.kron(np.ones((4, 4), bool), np.eye(6, dtype=bool))
DENSE: dict[str, tuple[Function, Any]] = {
    "sort": (lambda x: np.sort(grid(x)), ALL_OF_ROWS),
    "partition": (lambda x: np.partition(grid(x), 2, axis=1), ALL_OF_ROWS),
    "max": (lambda x: np.max(grid(x), axis=1), ROWS),
    "min": (lambda x: np.min(grid(x), axis=0), COLUMNS),
    "median": (lambda x: np.median(grid(x), axis=1), ROWS),
    "quantile": (lambda x: np.quantile(grid(x), 0.3, axis=0), COLUMNS),
    "argsort": (lambda x: np.take_along_axis(grid(x), np.argsort(grid(x), axis=1), 1), ALL_OF_ROWS),
    "argmax": (lambda x: grid(x)[np.arange(4), np.argmax(grid(x), axis=1)], ROWS),
    "order of rows": (lambda x: grid(x)[np.argsort(x[:4])], EVERY_ROW),
    "fft": (lambda x: np.fft.fft(grid(x), axis=0).real, EVERY_ROW),
    "numpy": (lambda x: grid(x)[x.detach().numpy()[:4].argsort()], EVERY_ROW),
    "elements by order": (lambda x: x[np.argsort(x)][:2], np.ones((2, N), bool)),
    "list of places": (lambda x: x[[np.argmin(x), 3]], np.ones((2, N), bool)),
    "masks of an axis": (lambda x: np.sum(grid(x), axis=1, where=grid(x) > 0), ROWS),
    "constant matrix": (lambda x: (x[:3, None] > x[:6]) @ x[:6], np.repeat([np.arange(N) < 6], 3, 0)),
}


@pytest.mark.parametrize("name", EXACT)
def test_pattern_is_exact(name: str) -> None:
    pattern = tg.sparsity(EXACT[name], X)
    assert isinstance(pattern, sp.csr_array)
    assert pattern.dtype == bool
    np.testing.assert_array_equal(pattern.toarray(), met(EXACT[name]))


@pytest.mark.parametrize("name", DENSE)
def test_pattern_of_what_selects_by_the_data_is_dense_along_its_axis(name: str) -> None:
    f, expected = DENSE[name]
    np.testing.assert_array_equal(tg.sparsity(f, X).toarray(), expected)


@pytest.mark.parametrize("name", [*EXACT, *DENSE])
def test_sparse_jacobian_is_the_dense_one(name: str) -> None:
    f = EXACT[name] if name in EXACT else DENSE[name][0]
    sparse = tg.jacobian(f, sparsity=True)(X)
    assert isinstance(sparse, sp.csr_array)
    np.testing.assert_allclose(sparse.toarray(), np.reshape(tg.jacobian(f)(X), (-1, N)), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", [*EXACT, *DENSE])
def test_sparse_hessian_is_the_dense_one(name: str) -> None:
    f = EXACT[name] if name in EXACT else DENSE[name][0]

    def loss(x: Any) -> Any:
        y = f(x)
        return np.sum(np.sin(y) * (2 + y))

    sparse = tg.hessian(loss, sparsity=True)(X).toarray()
    np.testing.assert_allclose(sparse, tg.hessian(loss)(X), rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(sparse, sparse.T)


# ---------------------------------------------------------------- every rule


def function_of(trial: Trial) -> tuple[Function, Callable[[], Any]]:
    """A call from the cases of a function as one vector to another, and random vectors that it takes."""
    random = np.random.default_rng(0)
    shapes = [slot.shape for slot in trial.slots]
    ends = np.cumsum([0, *map(math.prod, shapes)])

    def f(x: Any) -> Any:
        parts = [np.reshape(x[i:j], s) for i, j, s in zip(ends[:-1], ends[1:], shapes, strict=True)]
        y = trial.run(*parts)
        kept = [np.ravel(part) for part in parts_of(y) if hasattr(part, "dtype") and part.dtype.kind in "fc"]
        real = [half for part in kept for half in ((part,) if part.dtype.kind == "f" else (part.real, part.imag))]
        return np.concatenate(real) if real else np.zeros(0)

    return f, lambda: np.concatenate([np.zeros(0), *(array.ravel() for array in trial.draw(random, np.float64))])


@pytest.mark.filterwarnings("ignore::tapegrad.errors.DensePatternWarning")
@pytest.mark.parametrize("known", checked(), ids=lambda known: known.name)
def test_pattern_of_every_rule_is_never_too_small(known: Any) -> None:
    for trial in trials_of(known):
        f, draw = function_of(trial)
        x, other = draw(), draw()
        with np.errstate(all="ignore"):
            pattern = tg.sparsity(f, x).toarray()
            for point in (x, other):
                jacobian = tg.jacobian(f)(point)
                # Of functions whose output depends on the data in shape, there is no more than one point.
                assert point is other or jacobian.shape == pattern.shape
                assert jacobian.shape != pattern.shape or (pattern | (jacobian == 0)).all(), trial


@pytest.mark.filterwarnings("ignore::tapegrad.errors.DensePatternWarning")
@pytest.mark.parametrize("known", [k for k in checked() if k.cases.order > 1], ids=lambda known: known.name)
def test_pattern_of_the_gradient_of_every_rule_is_never_too_small(known: Any) -> None:
    f, draw = function_of(next(iter(trials_of(known))))
    gradient = tg.grad(lambda x: np.sum(np.sin(f(x))))
    with np.errstate(all="ignore"):
        pattern = tg.sparsity(gradient, draw()).toarray()
        hessian = tg.jacobian(gradient)(draw())
    assert hessian.shape != pattern.shape or (pattern | (hessian == 0)).all()


def test_every_name_that_links_are_written_down_for_is_one_of_a_rule() -> None:
    names = {known.name for known in complete().values() if type(known) is Primitive}
    newer = {"np.vecdot", "np.matvec", "np.vecmat", "np.cumulative_sum", "np.cumulative_prod"}
    assert {*HANDLERS, *LAST_RESORTS} - names <= newer


# ---------------------------------------------------------------- random programs

STEPS: dict[str, Function] = {
    "sin": np.sin,
    "square": lambda x: x * x,
    "shifted": lambda x: np.concatenate([x[1:], x[:1]]),
    "front": lambda x: np.concatenate([x[: x.size // 2], x[: x.size - x.size // 2]]),
    "picked": lambda x: x[np.arange(x.size) ** 2 % x.size],
    "reversed": lambda x: x[::-1],
    "rows": lambda x: np.repeat(np.sum(np.reshape(x, (2, -1)), axis=1), x.size // 2),
    "columns": lambda x: np.tile(np.mean(np.reshape(x, (2, -1)), axis=0), 2),
    "transposed": lambda x: np.reshape(np.reshape(x, (2, -1)).T, -1),
    "sorted": lambda x: np.reshape(np.sort(np.reshape(x, (2, -1)), axis=0), -1),
    "largest": lambda x: np.repeat(np.max(np.reshape(x, (-1, 2)), axis=1), 2),
    "kept": lambda x: np.where(np.arange(x.size) % 3 == 0, x, 0.0),
    "ordered": lambda x: x[np.argsort(x)],
    "differences": lambda x: np.diff(x, append=0.0),
    "written": lambda x: _filled(x),
    "by order of values": lambda x: x[x.detach().numpy().argsort()[::-1]],
    "by the largest": lambda x: x * x[np.argmax(x * x)],
    "cut off": lambda x: np.where(x > 0, x, 0.1 * x[::-1]),
    "written by order": lambda x: _permuted(x, np.argsort(np.sin(x))),
    "by a matrix of comparisons": lambda x: (x.numpy() < np.arange(x.size)[:, None] / 4) @ x,
    "gradient": lambda x: tg.grad(lambda z: np.sum(np.sort(z)[1:] * z[np.argsort(z)][:-1]))(x),
    "branch": lambda x: x[::-1] if x[0] > 0 else np.cos(x),
    "number": lambda x: x * x[int(np.argmin(x))],
}


def _filled(x: Any) -> Any:
    y = np.zeros(x.size, like=x)
    y[::2] = x[: y[::2].size]
    y[1:] += x[:-1]
    return y


def _permuted(x: Any, order: Any) -> Any:
    y = x * 1
    y[order] = x
    y[order[:2]] += y[order[1:3]]
    return y


@st.composite
def programs(draw: Any) -> Function:
    steps = draw(
        st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 9), st.booleans()), min_size=1, max_size=6)
    )

    def program(x: Any) -> Any:
        made = [x]
        for name, i, times in steps:
            y = STEPS[name](made[i % len(made)])
            made.append(y * made[-1] if times else y + 0.5 * made[i % len(made)][::-1])
        return made[-1]

    program.__name__ = " ".join(f"{name}({i},{times})" for name, i, times in steps)
    return program


@pytest.mark.filterwarnings("ignore::tapegrad.errors.DensePatternWarning")
@settings(max_examples=60)
@given(programs(), st.integers(0, 1000))
def test_pattern_is_never_too_small(program: Function, seed: int) -> None:
    random = np.random.default_rng(seed)
    points = [random.standard_normal(8) for _ in range(5)]
    for f in (program, tg.grad(lambda x: np.sum(np.sin(program(x))))):
        pattern = tg.sparsity(f, points[0]).toarray()
        assert (pattern | ~met(f, points)).all()


@pytest.mark.filterwarnings("ignore::tapegrad.errors.DensePatternWarning")
@given(programs(), st.integers(0, 1000))
def test_sparse_derivatives_of_random_programs_are_the_dense_ones(program: Function, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal(8)
    sparse, dense = tg.jacobian(program, sparsity=True)(x).toarray(), tg.jacobian(program)(x)
    np.testing.assert_allclose(sparse, dense, rtol=1e-10, atol=1e-10 * np.abs(dense).max())

    def loss(x: Any) -> Any:
        return np.sum(np.sin(program(x)))

    sparse, dense = tg.hessian(loss, sparsity=True)(x).toarray(), tg.hessian(loss)(x)
    np.testing.assert_allclose(sparse, dense, rtol=1e-9, atol=1e-9 * np.abs(dense).max())


# ---------------------------------------------------------------- what depends on values, seen or not


def to_a_buffer(x: Any) -> Any:
    buffer = np.zeros(N, like=x)
    buffer[:] = x.detach()
    buffer[buffer < 0] = 0
    return x[np.argsort(buffer)]


def without_recording(x: Any) -> Any:
    with tg.no_grad():
        y = 2 * x
    return x[np.argsort(y)]


def permuted(x: Any) -> Any:
    y = np.zeros(N, like=x)
    order = np.argsort(x)
    y[order] = x[::-1]
    y[order[:3]] += y[order[2:5]]
    return y * x


@tg.primitive(residuals=True)
def ascending(x: Any) -> Any:
    order = np.argsort(x)
    return x[order], order


@tg.defvjp(ascending)
def ascending_vjp(g: Any, _y: Any, _x: Any, *, residuals: Any) -> Any:
    return g[np.argsort(residuals)]


# Their patterns hold at every point, without a warning.
FOLLOWED: dict[str, Function] = {
    "argsort": lambda x: x[np.argsort(x)],
    "lexsort": lambda x: x[np.lexsort((x,))],
    "argmax": lambda x: x * x[np.argmax(x)],
    "one after the other": lambda x: np.stack([x[i] for i in np.argsort(x)]),
    "computed indices": lambda x: x[(np.argsort(x) + 1) % N],
    "rounded": lambda x: x[np.clip(np.round(3 * x), 0, N - 1).astype(int)],
    "take": lambda x: np.take(x, np.argsort(x)[:3]),
    "take_along_axis": lambda x: np.take_along_axis(x, np.argsort(x), 0) * x,
    "detach and numpy": lambda x: x[x.detach().numpy().argsort()],
    "numpy of a leaf": lambda x: x[np.argsort(x.numpy() + 1)],
    "copies": lambda x: x[np.argsort(copy.deepcopy(tg.tensor(x.detach())))],
    "stop_gradient": lambda x: x[np.argsort(tg.stop_gradient(x) * 2)],
    "no_grad": without_recording,
    "a buffer": to_a_buffer,
    "places to write to": permuted,
    "a matrix": lambda x: (x.numpy()[:, None] > x.numpy()) @ np.sin(x),
    "a mask on the diagonal": lambda x: np.diag(x.detach() > 0) @ x,
    "an axis": lambda x: np.sum(np.reshape(x[:9], (3, 3)), axis=np.argmin(x[:2])),
    "a gradient's order": lambda x: x[np.argsort(tg.grad(lambda z: np.sum(z**3))(x))],
    "the order of a gradient by values": lambda x: x[np.argsort(tg.grad(lambda z: np.sum(z**3))(x.numpy()))],
    "in a gradient": lambda x: tg.grad(lambda z: np.sum(z[np.argsort(z)] ** 2 * z))(x),
    "in a tangent": lambda x: tg.jvp(lambda z: z[np.argsort(z)] ** 2 * z, (x,), (np.arange(1.0, N + 1),))[1],
    "in a Jacobian": lambda x: np.sum(tg.jacobian(lambda z: z[np.argsort(z)] ** 2)(x), axis=0),
    "in a checkpoint": lambda x: tg.checkpoint(lambda z: z[np.argsort(z)])(x),
    "straight_through": lambda x: x[tg.straight_through(np.argsort, lambda _z: 1)(x)],
    "a user's primitive": ascending,
    "sort": lambda x: np.sort(x)[1:] * np.sort(x)[:-1],
    "largest": lambda x: x * np.max(x),
}
# What gets away: to Python, to a plain array, or as a length. The pattern is dense, and a warning says where.
LOST: dict[str, tuple[Function, str]] = {
    "branch": (lambda x: x[1:] if x[0] > 0 else x[:-1] * x[3], r"bool\(\)"),
    "loop": (lambda x: x[0] * next(i for i in range(N) if x[i] == np.max(x)) * x, r"bool\(\)"),
    "any": (lambda x: x if (x > 0).any() else x[::-1], r"bool\(\)"),
    "allclose": (lambda x: x if np.allclose(x, 1) else x[::-1], r"bool\(\)"),
    "max of Python's": (lambda x: x * max(x), r"bool\(\)"),
    "sorted by Python": (lambda x: np.stack(sorted(x, key=lambda t: t.item())), r"\.item\(\)"),
    "int": (lambda x: x * x[int(np.argmax(x))], r"int\(\)"),
    "float": (lambda x: x * float(x.detach()[0]) * (x[1] if float(x.detach()[0]) > 0 else 1), r"float\(\)"),
    "list": (lambda x: x[np.argsort(x).tolist()], r"\.tolist\(\)"),
    "length of a slice": (lambda x: np.sum(x[: np.argmax(x) + 1]) * x, "an index in Python"),
    "plain array": (lambda x: x[np.asarray(np.argsort(x))], "NumPy's conversion to an array"),
    "plain buffer": (lambda x: x[np.copyto(into := np.zeros(N, int), np.argsort(x)) or into], r"np\.copyto"),
    "table": (lambda x: np.arange(N)[np.argsort(x)] * x, "an index in Python"),
    "mask": (lambda x: np.sum(x[x > 0]) * x, "a mask, which selects as many elements"),
    "mask of a written array": (lambda x: np.sum(cut_off(x)[x > 0]) * x, "a mask, which selects as many elements"),
    "nonzero": (lambda x: np.sum(x[np.nonzero(x > 0)]) * x, r"np\.nonzero, which gives as many elements"),
    "unique": (lambda x: np.unique(x)[:3], r"np\.unique, which gives as many elements"),
    "repeat": (lambda x: np.repeat(x, 1 + (x > 0))[:N], r"np\.repeat, which gives as many elements"),
    "histogram": (lambda x: np.histogram(x, 3, weights=x)[0], "a function of NumPy's"),
    "a gradient that isn't recorded": (lambda x: x[order_of_gradient(x)], "a gradient that isn't recorded"),
    "backward": (lambda x: x[order_by_backward(x)], r"backward\(\) without create_graph=True"),
    "integers that a rule keeps": (tg.grad(lambda x: np.sum(ascending(x) ** 3)), "whose residuals are integers"),
    "a sparse matrix": (
        lambda x: tg.jacobian(lambda z: z**2, sparsity=np.eye(N))(x.numpy()).data * x,
        "jacobian with a sparsity pattern",
    ),
    "another pattern": (lambda x: x * tg.sparsity(np.sin, x.numpy()).nnz, "a pattern that is found inside"),
}


def order_of_gradient(x: Any) -> Any:
    with tg.no_grad():
        return np.argsort(tg.grad(lambda z: np.sum(z**3))(x))


def order_by_backward(x: Any) -> Any:
    z = tg.tensor(x.detach())
    np.sum(z**3).backward()
    return np.argsort(z.grad)


def loss_of(f: Function) -> Function:
    def loss(x: Any) -> Any:
        y = f(x)
        return np.sum(np.sin(y) * np.linspace(1, 2, y.size).reshape(y.shape))

    return loss


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_pattern_of_what_looks_at_values_holds_at_every_point(name: str) -> None:
    f = FOLLOWED[name]
    for g in (f,) if name in ("a user's primitive", "an axis") else (f, tg.grad(loss_of(f))):
        for x in POINTS[:2]:
            assert (tg.sparsity(g, x).toarray() | ~met(g)).all()
    np.testing.assert_allclose(tg.jacobian(f, sparsity=True)(X).toarray(), tg.jacobian(f)(X), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", LOST)
def test_where_values_get_away_the_pattern_is_dense_and_a_warning_says_where(name: str) -> None:
    f, how = LOST[name]
    with pytest.warns(tg.errors.DensePatternWarning, match=f"^sparsity: .*{how}.* looked at .*test_sparse.py:"):
        pattern = tg.sparsity(f, X)
    assert pattern.toarray().all()
    with pytest.warns(tg.errors.DensePatternWarning, match="^jacobian: "):
        sparse = tg.jacobian(f, sparsity=True)(X).toarray()
    np.testing.assert_allclose(sparse, np.reshape(tg.jacobian(f)(X), sparse.shape), rtol=1e-13, atol=1e-13)


def test_values_that_do_not_depend_on_the_input_stay_what_they_are() -> None:
    w, seen = tg.tensor(X[::-1]), []

    def f(x: Any) -> Any:
        positive, order = w > 0, np.argsort(w)
        seen.extend([positive, order, bool(np.any(w)), int(np.argmax(w)), w.numpy(), x.shape, x.size])
        return x[order[: len(order) // 2]] * (x[0] if positive[0] else 1) + x[: x.size // 2]

    pattern = tg.sparsity(f, X).toarray()
    assert [type(value) for value in seen] == [np.ndarray, np.ndarray, bool, int, np.ndarray, tuple, int]
    np.testing.assert_array_equal(pattern, met(f))


def test_a_function_runs_once_and_its_result_has_the_pattern_of_that_run() -> None:
    random, runs = np.random.default_rng(0), []

    def shuffled(x: Any) -> Any:
        runs.append(random.permutation(N))
        return x[runs[-1]] ** 2

    tg.sparsity(shuffled, X)
    assert len(runs) == 1
    sparse = tg.jacobian(shuffled, sparsity=True)(X).toarray()
    assert len(runs) == 2
    np.testing.assert_array_equal(sparse, np.diag(2 * X)[runs[-1]])


def test_an_error_under_a_tracer_says_so() -> None:
    with pytest.raises(TypeError, match="unhashable") as caught:
        tg.sparsity(lambda x: x * {0: 1.0}[np.argmax(x)], X)
    assert "while tapegrad looked for a sparsity pattern" in caught.value.__notes__[0]


def test_nothing_is_traced_outside_of_the_function() -> None:
    x, seen = tg.tensor(X), []

    def f(z: Any) -> Any:
        thread = threading.Thread(target=lambda: seen.append(x > 0))
        thread.start()
        thread.join()
        return z * 2

    def failing(z: Any) -> Any:
        raise KeyError(z.shape)

    tg.sparsity(f, X)
    with pytest.raises(KeyError):
        tg.sparsity(failing, X)
    for mask in (*seen, x > 0, np.argsort(x)):
        assert type(mask) is np.ndarray
    assert recording.STATE.get() is recording.ON
    assert not recording.TRACERS


# ---------------------------------------------------------------- problems that are met


def three_points(x: Any) -> Any:
    y = np.pad(x, 1)
    return y[2:] - 2 * y[1:-1] + y[:-2] + np.exp(x)


def five_points(u: Any) -> Any:
    p = np.pad(u, 1)
    return 4 * u - p[2:, 1:-1] - p[:-2, 1:-1] - p[1:-1, 2:] - p[1:-1, :-2] + u**3


def blocks(x: Any) -> Any:
    y = np.reshape(x, (-1, 4))
    return y * np.sum(y * y, axis=1, keepdims=True)


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def arrow(x: Any) -> Any:
    return np.sum(x[1:] ** 2) * x[0] + np.sum(np.sin(x))


def energy(u: Any) -> Any:
    return np.sum(np.diff(u, axis=0) ** 4) + np.sum(np.diff(u, axis=1) ** 2) + np.sum(np.cos(u))


@pytest.mark.parametrize("f", [three_points, five_points, blocks], ids=lambda f: f.__name__)
def test_jacobian_of_a_stencil(f: Function) -> None:
    x = X.reshape(4, 6) if f is five_points else X
    pattern = tg.sparsity(f, x)
    dense = np.reshape(tg.jacobian(f)(x), (N, N))
    np.testing.assert_array_equal(pattern.toarray(), dense != 0)
    np.testing.assert_allclose(tg.jacobian(f, sparsity=pattern)(x).toarray(), dense, rtol=1e-14)


@pytest.mark.parametrize("f", [rosenbrock, arrow, energy], ids=lambda f: f.__name__)
def test_hessian_of_a_sparse_problem(f: Function) -> None:
    x = X.reshape(4, 6) if f is energy else X
    dense = np.reshape(tg.hessian(f)(x), (N, N))
    sparse = tg.hessian(f, sparsity=tg.sparsity(tg.grad(f), x))(x)
    np.testing.assert_allclose(sparse.toarray(), dense, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(tg.sparsity(tg.grad(f), x).toarray(), dense != 0)


@pytest.mark.parametrize(
    ("transform", "f", "shape", "most"),
    [
        # The colours, and three sweeps at most to prove the result.
        (tg.jacobian, three_points, (10_000,), 3 + 3),
        (tg.jacobian, five_points, (100, 100), 7 + 3),
        (tg.jacobian, lambda x: x * x[0], (10_000,), 2 + 3),  # A full column: by columns.
        (tg.jacobian, lambda x: np.append(np.sin(x), np.sum(x)), (10_000,), 2 + 3),  # A full row: by rows.
        (tg.hessian, rosenbrock, (10_000,), 3 + 3),
        (tg.hessian, arrow, (10_000,), 2 + 3),
        (tg.hessian, energy, (100, 100), 7 + 3),
    ],
)
def test_a_large_problem_takes_a_handful_of_replays(
    monkeypatch: pytest.MonkeyPatch, transform: Any, f: Function, shape: Any, most: int
) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    pattern = tg.sparsity(f if transform is tg.jacobian else tg.grad(f), x)
    count, replay = 0, runs.replay

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        return replay(*args, **kwargs)

    monkeypatch.setattr(runs, "replay", counted)
    sparse = transform(f, sparsity=pattern)(x)
    assert count <= most
    assert sparse.nnz <= 5.1 * x.size
    v = np.random.default_rng(1).standard_normal(shape)
    expected = tg.jvp(f, (x,), (v,))[1] if transform is tg.jacobian else tg.hvp(f, (x,), (v,))[0]
    np.testing.assert_allclose(sparse @ v.ravel(), np.ravel(expected), rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- patterns that are given

TRIDIAGONAL = np.abs(np.subtract.outer(np.arange(N), np.arange(N))) <= 1


@pytest.mark.parametrize("kind", [sp.csr_array, sp.coo_array, sp.csc_matrix, np.asarray, lambda p: p.astype(int), list])
def test_a_pattern_may_be_any_matrix(kind: Any) -> None:
    sparse = tg.jacobian(three_points, sparsity=kind(TRIDIAGONAL))(X)
    np.testing.assert_allclose(sparse.toarray(), tg.jacobian(three_points)(X), rtol=1e-14)


def test_what_a_sparse_pattern_stores_counts_also_where_it_is_0() -> None:
    pattern = tg.jacobian(lambda x: x**2, sparsity=True)(np.zeros(3))
    assert pattern.nnz == 3
    np.testing.assert_array_equal(tg.jacobian(lambda x: x**2, sparsity=pattern)(np.ones(3)).toarray(), 2 * np.eye(3))


def test_a_pattern_that_is_too_large_does_no_harm() -> None:
    sparse = tg.jacobian(three_points, sparsity=np.ones((N, N), bool))(X)
    np.testing.assert_allclose(sparse.toarray(), tg.jacobian(three_points)(X), rtol=1e-14)


def test_one_half_of_a_hessians_pattern_is_enough() -> None:
    sparse = tg.hessian(rosenbrock, sparsity=np.triu(TRIDIAGONAL))(X)
    np.testing.assert_allclose(sparse.toarray(), tg.hessian(rosenbrock)(X), rtol=1e-14)


@pytest.mark.parametrize("row", [0, 7, N - 1])
def test_a_pattern_that_is_too_small_is_refused_and_a_row_is_named(row: int) -> None:
    pattern = TRIDIAGONAL.copy()
    pattern[row, max(row - 1, 0)] = False
    with pytest.raises(tg.errors.ArgumentError, match=r"pattern is too small: row \d+ .*tapegrad\.sparsity"):
        tg.jacobian(three_points, sparsity=pattern)(X)


def test_a_row_alone_is_named_by_its_number() -> None:
    pattern = np.eye(N, dtype=bool)
    pattern[5, 5] = False
    with pytest.raises(tg.errors.ArgumentError, match=r"row 5 \(and 0 others\)"):
        tg.jacobian(np.sin, sparsity=pattern)(X)
    with pytest.raises(tg.errors.ArgumentError, match=r"row 5 \(and 0 others\)"):
        tg.hessian(lambda x: np.sum(np.sin(x)), sparsity=pattern)(X)


def test_a_full_column_that_the_pattern_lacks_is_found_out_by_columns_too() -> None:
    pattern = np.eye(N, dtype=bool)
    pattern[:, 0] = True
    pattern[9, 9] = False
    with pytest.raises(tg.errors.ArgumentError, match="row 9"):
        tg.jacobian(lambda x: x * x[0], sparsity=pattern)(X)


@pytest.mark.parametrize("pattern", [TRIDIAGONAL[:-1], TRIDIAGONAL[:, :-1], np.ones(N, bool)])
def test_a_pattern_of_another_shape_is_refused(pattern: Any) -> None:
    with pytest.raises(tg.errors.ShapeError, match=r"a row for each element of the output .* \(24, 24\)"):
        tg.jacobian(three_points, sparsity=pattern)(X)


@pytest.mark.parametrize(("given", "error"), [(False, "got False"), ("all", "got a str"), (object(), "got a object")])
def test_what_is_no_pattern_is_refused(given: Any, error: str) -> None:
    with pytest.raises(tg.TapegradError, match=error):
        tg.jacobian(three_points, sparsity=given)(X)


def test_a_pattern_is_coloured_once_and_its_results_are_apart() -> None:
    jacobian = tg.jacobian(np.sin, sparsity=np.eye(N, dtype=bool))
    first = jacobian(X)
    first.indices[:] = 0
    np.testing.assert_allclose(jacobian(2 * X).toarray(), np.diag(np.cos(2 * X)), rtol=1e-15)


def test_derivatives_that_are_not_finite_come_out_as_they_are() -> None:
    x = np.array([0.0, 1.0, 4.0])
    sparse = tg.jacobian(np.sqrt, sparsity=True)(x).toarray()
    np.testing.assert_array_equal(sparse, np.diag([np.inf, 0.5, 0.25]))


# ---------------------------------------------------------------- arguments and results


def test_arrays_of_any_shape_count_in_c_order() -> None:
    x = np.asfortranarray(X.reshape(4, 6))
    sparse = tg.jacobian(lambda x: x.T**2, sparsity=True)(x)
    np.testing.assert_array_equal(sparse.toarray(), np.reshape(tg.jacobian(lambda x: x.T**2)(x), (N, N)))


@pytest.mark.parametrize("x", [2.0, np.float32(2), np.array(2.0)])
def test_numbers_are_matrices_of_one_element(x: Any) -> None:
    assert tg.sparsity(lambda x: x**3, x).toarray().tolist() == [[True]]
    assert tg.jacobian(lambda x: x**3, sparsity=True)(x).toarray().tolist() == [[12.0]]
    assert tg.hessian(lambda x: x**3, sparsity=True)(x).toarray().tolist() == [[12.0]]


def test_the_dtype_is_that_of_the_input() -> None:
    assert tg.jacobian(np.sin, sparsity=True)(X.astype(np.float32)).dtype == np.float32
    assert tg.hessian(rosenbrock, sparsity=True)(X.astype(np.float32)).dtype == np.float32
    assert tg.jacobian(np.sin, sparsity=True)(X.astype(np.longdouble)).dtype == np.longdouble
    # SciPy has no sparse matrices of float16.
    half = tg.jacobian(np.sin, sparsity=True)(X.astype(np.float16))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half.toarray(), np.diag(np.cos(X)), atol=2e-3)


def test_argnums_keywords_and_aux() -> None:
    def f(a: Any, x: Any, *, power: int) -> Any:
        return a * x**power, "aux"

    sparse, aux = tg.jacobian(f, -1, sparsity=True, has_aux=True)(2.0, X, power=2)
    np.testing.assert_allclose(sparse.toarray(), np.diag(4 * X), rtol=1e-15)
    assert aux == "aux"
    hessian, aux = tg.hessian(lambda x: (rosenbrock(x), 3), sparsity=True, has_aux=True)(X)
    np.testing.assert_allclose(hessian.toarray(), tg.hessian(rosenbrock)(X), rtol=1e-14)
    assert aux == 3


def test_containers_are_refused_and_flatten_is_named() -> None:
    for f, x in ((lambda x: x["a"], {"a": X}), (lambda x: (x, x), X)):
        for run in (lambda f=f, x=x: tg.sparsity(f, x), lambda f=f, x=x: tg.jacobian(f, sparsity=True)(x)):
            with pytest.raises(tg.errors.ArgumentError, match=r"tapegrad\.flatten"):
                run()
    with pytest.raises(tg.errors.ArgumentError, match=r"argnums=\(0, 1\).*tapegrad\.flatten"):
        tg.jacobian(np.multiply, (0, 1), sparsity=True)


def test_complex_and_integers_are_refused() -> None:
    with pytest.raises(tg.errors.DTypeError, match="vjp or jvp"):
        tg.jacobian(lambda x: x * 1j, sparsity=True)(X)
    with pytest.raises(tg.errors.DTypeError, match="vjp or jvp"):
        tg.sparsity(np.sin, X + 1j)
    with pytest.raises(tg.errors.DTypeError, match=r"3\.0, not 3"):
        tg.sparsity(np.sin, np.arange(3))


def test_a_sparse_matrix_under_an_outer_derivative_is_refused() -> None:
    with pytest.raises(tg.errors.NotDifferentiableError, match="leave out sparsity"):
        tg.grad(lambda x: tg.jacobian(np.sin, sparsity=True)(x).sum())(X)
    x = tg.tensor(X)
    with tg.no_grad():
        sparse = tg.jacobian(np.sin, sparsity=True)(x)
    np.testing.assert_allclose(sparse.toarray(), np.diag(np.cos(X)), rtol=1e-15)


def test_constants_that_record_for_somebody_else_are_constants() -> None:
    w = tg.tensor(np.eye(N)[:3])
    np.testing.assert_array_equal(tg.sparsity(lambda x: w @ np.sin(x), X).toarray(), np.eye(N)[:3] != 0)


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    for run in (lambda: tg.sparsity(np.sin, X), lambda: tg.jacobian(np.sin, sparsity=True)):
        with pytest.raises(ModuleNotFoundError, match=r"tapegrad\[sparse\]"):
            run()


def test_results_of_integers_are_constant() -> None:
    for f in (np.argsort, lambda x: np.floor(x).astype(int)):
        assert tg.sparsity(f, X).nnz == 0
        assert tg.jacobian(f, sparsity=True)(X).shape == (N, N)


@tg.primitive
def cube(x: Any) -> Any:
    return x**3


@tg.defvjp(cube)
def cube_vjp(g: Any, _y: Any, x: Any) -> Any:
    return 3 * g * x**2


def hooked(x: Any) -> Any:
    y = x * 2
    before = y[1:]
    y.register_hook(lambda _g: None)
    return before * y[:-1]


OPAQUE: dict[str, Function] = {
    "a user's primitive": lambda x: cube(x)[1:],
    "checkpoint": tg.checkpoint(lambda x: x[1:] * x[:-1]),
    "checkpoint of several": lambda x: np.multiply(*tg.checkpoint(lambda x: (x[1:], x[:-1] ** 2))(x)),
    "checkpoint_chain": lambda x: tg.checkpoint_chain(lambda s, k: np.sin(s) + k * s, x, np.arange(3.0)),
    "straight_through": tg.straight_through(np.sign, np.tanh),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_is_not_known_counts_as_dense_and_is_right(name: str) -> None:
    f = OPAQUE[name]
    assert (tg.sparsity(f, X).toarray() | ~met(f)).all()
    np.testing.assert_allclose(tg.jacobian(f, sparsity=True)(X).toarray(), tg.jacobian(f)(X), rtol=1e-13)


def test_what_is_transparent_keeps_its_pattern() -> None:
    programs: dict[str, Function] = {
        "hook": hooked,
        "gradient": lambda x: tg.grad(lambda z: np.sum(np.sin(z[1:]) * z[:-1]))(x),
        "direction": lambda x: tg.jvp(lambda z: z[1:] * z[:-1], (x,), (np.ones(N),))[1],
        "no gradient": lambda x: x[1:] * tg.stop_gradient(x[:-1]),
    }
    for name, f in programs.items():
        np.testing.assert_array_equal(tg.sparsity(f, X).toarray(), met(f), err_msg=name)
