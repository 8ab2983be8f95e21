"""Linear algebra: inverses and what solves equations. determinants.py, decompositions.py and norms.py have the rest."""

import functools
import math
import operator
from typing import Any

import numpy as np

from tapegrad.cases import Cases, Domain, call
from tapegrad.errors import WriteError
from tapegrad.ops.decompositions import ONE_TO_TEN, skew
from tapegrad.ops.decompositions import hermitian as hermitian_part
from tapegrad.primitive import composite, defvjp, primitive
from tapegrad.shapes import conj, mH, unbroadcast

NO_VALUE = np._NoValue  # What NumPy itself takes for "not given".
TALL = np.array([[2.0, 1.0], [0.5, -1.0], [1.0, 3.0]])


class Regular(Domain):
    """Draws square matrices far from singular ones, and anything else as usual."""

    def draw(self, rng: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """Arrays of ``shape`` and ``dtype``."""
        x = super().draw(rng, shape, dtype)
        if len(shape) < 2 or shape[-1] != shape[-2]:
            return x
        return (x + 3 * np.eye(shape[-1])).astype(dtype)


REGULAR = Regular(-1.0, 1.0)

# ---------------------------------------------------------------- inv, solve


@defvjp(
    np.linalg.inv,
    cases=Cases(domain=REGULAR, calls=(call((3, 3)), call((2, 3, 3)), call((1, 1)), call((0, 0)), call((0, 2, 2)))),
)
def inv_vjp(g: Any, y: Any, _a: Any) -> Any:
    """a_bar = -y^H g y^H  (Giles 2008, matrix inverse)."""
    yH = mH(y)
    return -(yH @ g @ yH)


@defvjp(
    np.linalg.solve,
    cases=Cases(
        domain=REGULAR,
        calls=(
            call((3, 3), (3,)),
            call((3, 3), (3, 2)),
            call((2, 3, 3), (3,)),
            call((2, 3, 3), (3, 2)),
            call((3, 3), (2, 3, 1)),
            call((2, 1, 2, 2), (3, 2, 2)),
            call((0, 0), (0,)),
            call((0, 0), (0, 2)),
            call((2, 2), (2, 0)),
            call((0, 2, 2), (2, 1)),
        ),
    ),
)
def solve_vjp(g: Any, y: Any, a: Any, _b: Any) -> Any:
    """b_bar = a^-H g, a_bar = -b_bar y^H  (Giles 2008); one vector b is a column, as NumPy 2 has it."""
    if _b.ndim > 1:
        b_bar = np.linalg.solve(mH(a), g)
        return lambda: unbroadcast(-(b_bar @ mH(y)), a.shape), lambda: unbroadcast(b_bar, _b.shape)
    b_bar = np.linalg.solve(mH(a), g[..., None])
    return (
        lambda: -(b_bar * conj(y[..., None, :])),
        lambda: unbroadcast(b_bar[..., 0], _b.shape),
    )


@composite(
    np.linalg.tensorinv,
    cases=Cases(domain=REGULAR, calls=(call((2, 3, 6), ind=2), call((4, 2, 2), ind=1))),
)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of the matrix whose rows are the first ``ind`` axes."""
    if ind <= 0:
        raise ValueError(f"Invalid ind argument: {ind}; np.linalg.tensorinv wants a positive integer")
    shape = a.shape[ind:] + a.shape[:ind]
    return np.linalg.inv(a.reshape(math.prod(a.shape[ind:]), -1)).reshape(shape)


@composite(
    np.linalg.tensorsolve,
    cases=Cases(
        domain=Domain(-2.0, 2.0),
        calls=(
            call((2, 3, 6), (2, 3)),
            call((2, 6, 3), (2, 3), axes=(1,)),
            call((4, 2, 2), (4,)),
            call((2, 2, 4), (4,), axes=[0, 1]),
        ),
    ),
)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """The x with ``tensordot(a, x, x.ndim) == b``."""
    a, b = _array(a), _array(b)
    if axes is not None:
        moved = [operator.index(k) for k in axes]
        a = np.transpose(a, (*(k for k in range(a.ndim) if k not in moved), *moved))
    shape = a.shape[b.ndim - a.ndim :]
    size = math.prod(shape)
    if math.prod(a.shape) != size**2:
        raise np.linalg.LinAlgError(
            f"np.linalg.tensorsolve: prod(a.shape[b.ndim:]) has to be prod(a.shape[:b.ndim]); "
            f"got {a.shape} and {b.ndim}"
        )
    return np.linalg.solve(a.reshape(size, size), b.reshape(-1)).reshape(shape)


def _array(x: Any) -> Any:
    return x if hasattr(x, "dtype") else np.asarray(x)


# ---------------------------------------------------------------- pinv


@defvjp(
    np.linalg.pinv,
    cases=Cases(
        domain=REGULAR,
        calls=(
            call((3, 2)),
            call((2, 3)),
            call((3, 3), rcond=1e-4),
            call((4, 3), rtol=1e-6),
            call((2, 3, 2), rcond=np.array([1e-3, 1e-9])),
            call((2, 2, 2), rtol=None),
            call((0, 2)),
            call((2, 0)),
            call((0, 2, 3)),
            call(np.diag([1.0, 2.0]), rcond=1e-10, hermitian=True),
        ),
        examples=(
            *(
                (call(a), (np.array([[-25.0, 25.0, -12.5], [25.0, 0.0, 6.25], [-12.5, 6.25, -6.25]]),))
                for a in (np.diag([0.2, 0.0, 0.4]), np.diag([-0.2, 0.0, -0.4]))
            ),
            (call(np.diag([1.0, 2.0]), hermitian=True), (-np.outer([1.0, 0.5], [1.0, 0.5]),)),
            # Of the singular values 2, 1 and 4, and of 2 and 1, that of 1 is cut off.
            (
                call(np.diag([2.0, 1.0, 4.0]), rcond=0.3),
                (np.array([[-15, 100, -22.5], [80, 0, 38], [-52.5, 32, -37.5]]) / 60,),
                ONE_TO_TEN,
            ),
            # Beside it one of full rank; one that is 0 besides.
            (
                call(np.stack([np.diag([2.0, 1.0, 4.0]), np.diag([5.0, 4.0, 2.0])]), rcond=0.3),
                (
                    np.stack(
                        [
                            np.array([[-15, 100, -22.5], [80, 0, 38], [-52.5, 32, -37.5]]) / 60,
                            -ONE_TO_TEN / np.outer([5, 4, 2], [5, 4, 2]),
                        ]
                    ),
                ),
                ONE_TO_TEN,
            ),
            (
                call(np.diag([4.0, 1.0, 0.0]), rcond=0.3),
                (np.array([[-15, 72, 105], [48, 0, 0], [45, 0, 0]]) / 240,),
                ONE_TO_TEN,
            ),
            (call(np.eye(3, 2) * [2.0, 1.0], rcond=0.6), (np.array([[-3, 20], [16, 0], [9, 0]]) / 12,), ONE_TO_TEN[:2]),
            # Read of a Hermitian matrix is the lower triangle alone; the gradient is that of both.
            (
                call(np.array([[1.0, 9.0], [0.0, 2.0]]), hermitian=True),
                (np.array([[-1.0, -1.5], [-1.5, -1.25]]),),
                ONE_TO_TEN[:2, :2],
            ),
            (
                call(np.array([[1.0, 9.0], [1.0, 1.0]]), rcond=1e-10, hermitian=True),
                (np.array([[-1.25, -0.75], [-0.75, -0.25]]),),
                ONE_TO_TEN[:2, :2],
            ),
        ),
        analytic=False,
        note="at constant rank; where a singular value that isn't 0 was cut off, the second derivative is nan",
    ),
)
def pinv_vjp(g: Any, y: Any, a: Any, *, _rcond: Any = None, hermitian: bool = False, _rtol: Any = NO_VALUE) -> Any:
    """As ``pinv_pull`` has it; with hermitian=True the symmetric gradient."""
    if hermitian:
        a = np.where(np.tri(a.shape[-1], dtype=bool), a, mH(a))
        return hermitian_part(pinv_pull(g, y, a))
    return pinv_pull(g, y, a)


def pinv_pull(g: Any, y: Any, a: Any) -> Any:
    """a_bar = -y^H g y^H + (1 - a y) g^H y y^H + y^H y g^H (1 - y a), for y = pinv(a)  (Golub & Pereyra 1973).

    This holds if the singular values that were cut off are 0. Where they are not, ``cut_off_pull`` knows.
    """
    if a.shape[-2] < a.shape[-1]:
        return mH(pinv_pull(mH(g), mH(y), mH(a)))  # Tall matrices: products of the narrow sides come first.
    gH, yH = mH(g), mH(y)
    z = gH @ (y @ yH)
    smooth = z - a @ (y @ z) - yH @ (g @ yH)
    rank = np.real(np.sum(y * a.swapaxes(-1, -2), axis=(-2, -1)))
    deficient = rank < a.shape[-1] - 0.5
    if not deficient.any():  # Then y a is 1, wherever a moves.
        return smooth
    r = y @ gH
    smooth = smooth + yH @ (r - (r @ y) @ a)
    left_over = np.max(np.absolute(a - a @ (y @ a)), axis=(-2, -1)) * np.max(np.absolute(y), axis=(-2, -1))
    cut = deficient & (left_over > np.finfo(a.dtype).eps ** 0.5)
    return np.where(cut[..., None, None], cut_off_pull(g, y, a), smooth) if cut.any() else smooth


@primitive
def cut_off_pull(g: Any, y: Any, a: Any) -> Any:
    """The cotangent of ``a`` for that of y = pinv(a), where singular values that aren't 0 were cut off.

    y = V f(S) U^H with f = 1/s or 0, and so its derivative has the quotients (f_i -+ f_j) / (s_i -+ s_j) on the
    Hermitian and the skew-Hermitian part (Noferini 2017): never 0 / 0, as f is the same or far apart.
    """
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    # y says what was kept: v_i^H y u_i is 1 / s_i there, else 0.
    f = np.where(np.sum(vh * np.swapaxes(y @ u, -1, -2), axis=-1).real * s > 0.5, 1 / s, 0)
    gH, v = mH(g), mH(vh)
    m = mH(u) @ gH @ v
    fi, fj, si, sj = f[..., :, None], f[..., None, :], s[..., :, None], s[..., None, :]
    both, none = (fi > 0) & (fj > 0), (fi == 0) & (fj == 0)
    falls = np.where(both, -fi * fj, (fi - fj) / np.where(both | none, 1, si - sj))
    rises = (fi + fj) / np.where(none, 1, si + sj)
    slopes = (f / np.where(f > 0, s, 1))[..., None, :]
    left = u @ (falls * hermitian_part(m) + rises * skew(m)) + (gH @ v - u @ m) * slopes
    return left @ vh  # Of a wide matrix there would be a term for the rest of V; ``pinv_pull`` hands over none.


@defvjp(
    cut_off_pull,
    cases=Cases(
        calls=(call((2, 3), np.linalg.pinv(TALL, rcond=0.9), TALL),),
        examples=((call(TALL.T, np.linalg.pinv(TALL, rcond=0.9), TALL), (None, None, np.full(TALL.shape, np.nan))),),
        analytic=False,
        note="only within np.linalg.pinv",
    ),
)
def cut_off_pull_vjp(g: Any, _y: Any, _g: Any, pinv: Any, a: Any) -> Any:
    """It is its own adjoint, but for g^H in place of g. The derivative by ``a`` isn't known here: nan."""
    return mH(cut_off_pull(mH(g), pinv, a)), None, lambda: np.full_like(a, np.nan)


# ---------------------------------------------------------------- lstsq


@defvjp(
    np.linalg.lstsq,
    cases=Cases(
        calls=(
            call((4, 2), (4,)),
            call((4, 2), (4, 3), rcond=1e-8),
            call((2, 4), (2,)),
            call((3, 3), (3, 2), rcond=None),
            call((3, 2), (3, 1), rcond=-1),
            call((3, 2), (3, 0)),
            call((0, 2), (0, 1)),
        ),
        # Of a deficient matrix, the solution alone; with the singular value of 1 cut off, as of ``pinv``.
        examples=(
            (
                call(np.diag([2.0, 0.0, 4.0])[[0, 2, 1]], np.ones(3)),
                (np.array([[-2, 2, -1], [-1, 0.5, -0.5], [2, 0, 0.5]]) / 8, np.array([0.5, 0.25, 0.0])),
                [1.0, 0.0, 0.0],
            ),
            (
                call(np.diag([2.0, 1.0, 4.0]), np.ones(3), rcond=0.3),
                (np.eye(3) + np.array([[-15, 30, -7.5], [30, 0, 5], [-7.5, 5, -3.75]]) / 60, np.array([0.5, 0, 0.25])),
                [1.0, 0.0, 1.0],
            ),
        ),
        analytic=False,
        note="at constant rank; where a singular value that isn't 0 was cut off, the second derivative is nan",
    ),
)
def lstsq_vjp(g: Any, y: Any, a: Any, b: Any, *, rcond: Any = None) -> Any:
    """x = pinv(a) b; residuals |b - a x|^2, which don't feel x; singular values by the rule of svd."""
    gx, gr, _, gs = g
    B = b if b.ndim == 2 else b[:, None]
    X = y[0].reshape(a.shape[1], B.shape[1])
    a_bar, b_bar = np.zeros_like(a), np.zeros_like(B)
    if gx is not None:
        a_bar, b_bar = _of_solution(gx.reshape(X.shape), X, y[2], a, B, rcond)
    if gr is not None and gr.size:  # There are none where the equations can be fulfilled.
        r = 2 * gr * (B - a @ X)
        a_bar, b_bar = a_bar - r @ mH(X), b_bar + r
    if gs is not None:
        u, _, vh = np.linalg.svd(a, full_matrices=False)
        a_bar = a_bar + (u * gs) @ vh
    return a_bar, b_bar.reshape(b.shape)


def _of_solution(g: Any, x: Any, rank: Any, a: Any, b: Any, rcond: Any) -> tuple[Any, Any]:
    """The cotangents that x = pinv(a) b gives a and b; by a QR decomposition where a has full rank."""
    m, n = a.shape
    if rank == n <= m:
        q, r = np.linalg.qr(a)
        w = np.linalg.solve(mH(r), g)
        z = q @ w
        return (b - a @ x) @ mH(np.linalg.solve(r, w)) - z @ mH(x), z
    if rank == m:
        q, r = np.linalg.qr(mH(a))
        along = mH(q) @ g
        z, w = np.linalg.solve(r, along), np.linalg.solve(r, mH(q) @ x)
        return w @ mH(g - q @ along) - z @ mH(x), z
    cut = float(np.finfo(a.dtype).eps) * (max(m, n) if rcond is None else 1)
    inverse = np.linalg.pinv(a, rcond=cut if rcond is None or rcond < 0 else rcond)
    return pinv_pull(g @ mH(b), inverse, a), mH(inverse) @ g


# ---------------------------------------------------------------- products of many matrices


@composite(
    np.linalg.matrix_power,
    cases=Cases(
        domain=REGULAR,
        calls=(
            call((3, 3), n=0),
            call((3, 3), n=1),
            call((2, 3, 3), n=2),
            call((3, 3), n=3),
            call((2, 2), n=7),
            call((2, 2, 2), n=-1),
            call((3, 3), n=-3),
            call((0, 0), n=2),
        ),
    ),
)
def matrix_power(a: Any, n: int) -> Any:
    """``a`` multiplied by itself, or its inverse; the gradient of ``n=0`` is 0."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError(f"np.linalg.matrix_power: the last two axes must be square; got shape {a.shape}")
    n = operator.index(n)
    if n == 0:
        return np.where(np.ones(a.shape, dtype=bool), np.eye(a.shape[-1], dtype=a.dtype), a)
    square = np.linalg.inv(a) if n < 0 else a
    n, power = abs(n), None
    while n:
        n, odd = divmod(n, 2)
        if odd:
            power = square if power is None else power @ square
        if n:
            square = square @ square
    return power


@composite(
    np.linalg.multi_dot,
    cases=Cases(
        calls=(
            call([(2, 3), (3, 4)]),
            call([(3,), (3, 2), (2,)]),
            call([(3,), (3, 2), (2, 4)]),
            call([(2, 3), (3, 4), (4,)]),
            call([(5, 2), (2, 6), (6, 1), (1, 3)]),
            call([(3,), (3,)]),
            call([(2, 0), (0, 3), (3, 2)]),
        )
    ),
)
def multi_dot(arrays: Any, *, out: Any = None) -> Any:
    """The product of matrices, in the order that needs the fewest multiplications; vectors at the ends."""
    if out is not None:
        raise WriteError("np.linalg.multi_dot: out= of or from a tensor can't be recorded; assign the result instead")
    factors = [_array(x) for x in arrays]
    if len(factors) < 2:
        raise ValueError(f"Expecting at least two arrays; np.linalg.multi_dot got {len(factors)}")
    if len(factors) == 2:
        return np.dot(*factors)
    row, column = factors[0].ndim == 1, factors[-1].ndim == 1
    factors[0] = factors[0].reshape(1, -1) if row else factors[0]
    factors[-1] = factors[-1].reshape(-1, 1) if column else factors[-1]
    for x in factors:
        if x.ndim != 2:
            raise np.linalg.LinAlgError(
                f"{x.ndim}-dimensional array given. Array must be two-dimensional, or one-dimensional at the ends"
            )
    y = _chained(factors, _cheapest_splits(tuple(x.shape[0] for x in factors) + factors[-1].shape[1:]))
    return y.reshape(y.shape[row : 2 - column]) if row or column else y


def _chained(factors: Any, splits: dict[tuple[int, int], int], first: int = 0, last: int = -1) -> Any:
    last = last % len(factors)
    if first == last:
        return factors[first]
    split = splits[first, last]
    return np.dot(_chained(factors, splits, first, split), _chained(factors, splits, split + 1, last))


@functools.lru_cache(maxsize=64)
def _cheapest_splits(sizes: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """After which factor to split each product of factors i to j (Cormen et al. 2009, 15.2).

    sizes : the rows of each factor, and the columns of the last

    >>> _cheapest_splits((10, 100, 5, 50))[0, 2]
    1
    """
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    splits = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            costs = [cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)]
            cost[i, j] = min(costs)
            splits[i, j] = i + costs.index(cost[i, j])
    return splits
