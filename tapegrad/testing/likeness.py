"""What a wrong gradient looks like beside the right one: half of it, transposed, conjugated, ...

The right gradient is known at some entries (all of a small argument), by differences. Each likeness is
a way back: what would have to be done to the wrong gradient to get the right one. That needs only the
entries that are known, and so serves large arguments as well.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tapegrad.testing.differences import Column

NEAR = 1e-5  # of the largest entry: nearer than this is the same, for a likeness
DIGITS = 1e-5  # of the largest entry: a gradient nearer than this is right in its first digits


class Known(NamedTuple):
    """A wrong gradient, and what is known of the right one."""

    gradient: Any  # of the argument's shape
    argument: Any
    entries: Any  # (n,) the flat indices at which the right one is known
    columns: Sequence[tuple[Column, ...]]  # at each entry: along 1, and along 1j where the argument is complex
    cotangents: Sequence[Any]  # one of each output, of its shape
    error: float  # by how much the worst entry is wrong
    allowed: float  # how far from the right one a right gradient may be
    others: Sequence[tuple[str, Sequence[tuple[Column, ...]]]]  # names and columns of other arguments of this shape

    def right(self, change: Callable[[Any], Any] = lambda u: u, columns: Any = None) -> Any:
        """The right gradient at the entries; that of other cotangents, where they are changed."""
        u = np.concatenate([change(c).reshape(-1) for c in self.cotangents])
        found = np.zeros(len(self.entries), self.argument.dtype)
        for k, parts in enumerate(columns or self.columns):
            for column, unit in zip(parts, (1.0, 1j), strict=False):
                found[k] += unit * float(np.real(np.conj(u) * column.values).sum())
        return found

    def at_entries(self, array: Any) -> Any:
        """An array of the argument's shape, at the entries."""
        return array.reshape(-1)[self.entries]

    def is_near(self, a: Any, b: Any) -> bool:
        """Whether two gradients are the same, for a likeness."""
        scale = float(np.max(np.abs(b), initial=0.0))
        return bool(np.all(np.abs(a - b) <= NEAR * scale + self.allowed))


def likeness(known: Known) -> str:
    """The first description that fits; empty where the gradient resembles nothing."""
    right, given = known.right(), known.at_entries(known.gradient)
    if not np.isfinite(given).all():
        return _not_finite(known, right, given)
    with np.errstate(all="ignore"):
        for describe in (_zero, _precision, _multiple, _moved, _unsummed, _misused, _of_another, _masked, _offset):
            for words in describe(known, right, given):
                return words
            if describe is _precision and known.is_near(given, right):
                return ""  # Everything would fit.
    return ""


def _zero(known: Known, right: Any, given: Any) -> Iterator[str]:
    if not np.any(known.gradient):
        yield "zero everywhere"


def _precision(known: Known, right: Any, given: Any) -> Iterator[str]:
    """Right in its first digits: computed in a narrower dtype, or nearly right."""
    scale, error = float(np.max(np.abs(right), initial=0.0)), known.error
    if not (error <= DIGITS * scale and known.is_near(given, right)):
        return
    kind = "complex" if given.dtype.kind == "c" else "float"
    for narrow, bits in ((np.float32, 32), (np.float16, 16)):
        parts = given.view(given.real.dtype) if given.dtype.kind == "c" else given
        if np.array_equal(parts, parts.astype(narrow)) and error <= float(np.finfo(narrow).eps) * scale:
            width = bits * (2 if kind == "complex" else 1)
            yield f"dtype {kind}{width} of a {known.argument.dtype} operand: every entry is a {kind}{width} number"
    digits = int(-np.log10(error / scale))
    single = "; if something computes in float32 on the way, and is meant to, pass rtol=1.2e-7"
    yield f"right in the first {digits} digits only{single if 6 <= digits <= 8 else ''}"


def _multiple(known: Known, right: Any, given: Any) -> Iterator[str]:
    """One number times the right one, or its conjugate."""
    for what, like in (("", right), ("conjugated", np.conj(right))):
        square = float(np.sum(np.abs(like) ** 2))
        if square == 0 or (what and known.is_near(like, right)):
            continue
        factor = complex(np.sum(np.conj(like) * given) / square)
        factor = complex(_rounded(factor.real), _rounded(factor.imag))
        # Of one real entry anything is a multiple: only a factor that means something is worth telling.
        if not known.is_near(given, factor * like) or known.is_near(given, right):
            continue
        if given.size == 1 and given.dtype.kind == "f" and not _is_telling(factor.real, known):
            continue
        times = _times(factor, known)
        yield ", ".join(word for word in (what, times) if word)


def _rounded(number: float) -> float:
    """The number, or the simple one (of halves and thirds) that it is near to."""
    near = round(number * 12) / 12
    return near if abs(number - near) <= 10 * NEAR * max(1.0, abs(near)) else number


def _is_telling(factor: float, known: Known) -> bool:
    return factor in (-1.0, 0.5, 2.0, -0.5, -2.0) or bool(_length_of(factor, known))


def _times(factor: complex, known: Known) -> str:
    named = {1: "", -1: "of the wrong sign", 0.5: "half of it", 2: "twice as large"}
    if factor in named:
        return named[factor]  # type: ignore[index]
    if factor.imag:
        return f"{factor:.6g} times it" if factor.real else f"{factor.imag:.6g}j times it"
    return f"{factor.real:.6g} times it{_length_of(factor.real, known)}"


def _length_of(factor: float, known: Known) -> str:
    """Whether the factor is the length of an axis: a mean was taken for a sum, or the other way round."""
    arrays = [("the argument", known.argument), *((f"output {k}", u) for k, u in enumerate(known.cotangents))]
    for name, array in arrays:
        for axis, n in enumerate(array.shape):
            if n > 2 and abs(factor - n) <= NEAR * n:
                return f" ({n} is the length of axis {axis} of {name}: summed where a mean is right?)"
            if n > 2 and abs(factor - 1 / n) <= NEAR:
                return f" (1/{n}, and {n} is the length of axis {axis} of {name}: a mean where a sum is right?)"
    return ""


def _moved(known: Known, right: Any, given: Any) -> Iterator[str]:
    """The right entries at other places."""
    g = known.gradient
    axes = range(g.ndim)
    back: list[tuple[str, Any]] = [("transposed", g.T)]
    if g.ndim > 2:
        back.append(("transposed in its last two axes", np.swapaxes(g, -1, -2)))
    back += [(f"reversed along axis {a}", np.flip(g, a)) for a in axes]
    back += [(f"rolled by {s} along axis {a}", np.roll(g, -s, a)) for a in axes for s in (1, -1)]
    for words, moved in back:
        if moved.shape == g.shape and known.is_near(known.at_entries(moved), right):
            yield words
    if len(known.entries) == g.size > 1 and known.is_near(np.sort(given), np.sort(right)):
        yield "the right entries in another order"


def _unsummed(known: Known, right: Any, given: Any) -> Iterator[str]:
    """Only one entry of the output along an axis counted, where their sum is right; or their mean did."""
    if len(known.cotangents) != 1:
        return
    (u,) = known.cotangents
    for axis in range(u.ndim):
        partial = _along(known, u, axis)  # (entries, length of the axis)
        if u.shape[axis] < 2 or not np.all(np.count_nonzero(np.abs(partial) > known.allowed, axis=1) > 1):
            continue
        for k in range(u.shape[axis]):
            if known.is_near(given, partial[:, k]):
                yield f"not summed over the broadcast axis {axis}: only its entry {k} counts"


def _along(known: Known, u: Any, axis: int) -> Any:
    """What each entry of the output along an axis adds to the right gradient: (entries, length of the axis)."""
    others = tuple(k for k in range(u.ndim) if k != axis)
    parts = np.zeros((len(known.entries), u.shape[axis]), known.argument.dtype)
    for k, columns in enumerate(known.columns):
        for column, unit in zip(columns, (1.0, 1j), strict=False):
            parts[k] += unit * np.real(np.conj(u) * column.values.reshape(u.shape)).sum(axis=others)
    return parts


def _misused(known: Known, right: Any, given: Any) -> Iterator[str]:
    """The gradient of another cotangent than the one given."""
    if known.is_near(given, known.right(np.ones_like)):
        yield "that of a cotangent of ones: the rule doesn't use the one it is given"
    if any(u.dtype.kind == "c" for u in known.cotangents):
        of_conjugate = known.right(np.conj)
        for words, like in (
            ("of the conjugated cotangent", of_conjugate),
            ("not conjugated: g * slope, where g * conj(slope) is right", np.conj(of_conjugate)),
        ):
            if not known.is_near(like, right) and known.is_near(given, like):
                yield words
        if known.is_near(given, right.real) and np.any(right.imag):
            yield "its real part only"


def _of_another(known: Known, right: Any, given: Any) -> Iterator[str]:
    for name, columns in known.others:
        if known.is_near(given, known.right(columns=columns)):
            yield f"that of {name}"


def _masked(known: Known, right: Any, given: Any) -> Iterator[str]:
    """Right at some entries, and wrong where something holds."""
    near = NEAR * float(np.max(np.abs(right), initial=0.0)) + known.allowed
    wrong = np.abs(given - right) > near
    count = f"{int(wrong.sum())} of {wrong.size} entries"
    right_ones = f"right at {int(wrong.size - wrong.sum())} of {wrong.size} entries"
    nothing, expected = np.abs(given) <= near, np.abs(right) > near
    if np.array_equal(nothing, expected) and 0 < int(nothing.sum()) < nothing.size:
        yield "zero where it isn't, and not zero where it is: the mask is inverted"
    if wrong.all() or not wrong.any():
        return
    where = _where(known, wrong)
    if np.all(nothing[wrong]):
        yield f"right where unmasked, and zero at {count}{where}"
    if not np.any(expected[wrong]):
        yield f"right where unmasked, and not zero at {count} where it should be{where}"
    yield f"{right_ones}, wrong at {where[2:]}" if where.endswith("alone") else f"{right_ones}, wrong at others{where}"


def _where(known: Known, wrong: Any) -> str:
    """What the wrong entries have in common."""
    x = known.argument
    if int(wrong.sum()) == 1:
        return f", {_index(known, int(np.flatnonzero(wrong)[0]))} alone"
    if x.dtype.kind == "f":
        for words, holds in (("x < 0", x < 0), ("x > 0", x > 0), ("x == 0", x == 0), ("|x| > 1", np.abs(x) > 1)):
            if np.array_equal(known.at_entries(holds), wrong):
                return f", where {words}"
    places = np.unravel_index(known.entries, x.shape)
    for axis in range(x.ndim):
        for k in {0, x.shape[axis] - 1}:
            if np.array_equal(places[axis] == k, wrong):
                return f", those at index {k} of axis {axis}"
    return ""


def _index(known: Known, k: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.unravel_index(known.entries[k], known.argument.shape))


def _offset(known: Known, right: Any, given: Any) -> Iterator[str]:
    offset = given - right
    if given.size > 1 and known.is_near(given, right + offset[0]):
        yield f"{offset[0]:.6g} more than it, at every entry"


def _not_finite(known: Known, right: Any, given: Any) -> str:
    bad = ~np.isfinite(given)
    what = "nan" if np.isnan(given[bad]).all() else "not finite"
    if bad.all():
        return f"{what} everywhere"
    return f"{what} at {int(bad.sum())} of {bad.size} entries{_where(known, bad)}"
