"""Reports: where a gradient is wrong, by how much, what it looks like, and a program that shows it.

Everything here runs after a check has failed; it asks more differences, to say more.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import tapegrad as tg
from tapegrad.testing.differences import Column, Slope, column_along
from tapegrad.testing.likeness import Known, likeness
from tapegrad.testing.pullbacks import Function, differentiable, outputs
from tapegrad.testing.undecided import Reason

LEFT = "zero everywhere: what the function returns isn't recorded, it left the tape on the way"
SHORT = 4  # entries of cotangents that a report prints
LARGEST = 50  # entries of an argument whose right gradient a report asks for; of a larger one, a sample


class Probe(NamedTuple):
    """One derivative that was checked: along a direction, by ``backward()`` and by differences."""

    direction: Any  # of the argument's shape
    analytic: float
    slope: Slope
    allowed: float  # how far they may be apart

    @property
    def place(self) -> str:
        """The index that the probe moves, or that it moves them all."""
        places = np.argwhere(self.direction)
        if len(places) != 1:
            return "along a random direction"
        index = tuple(int(k) for k in places[0])
        part = ""
        if self.direction.dtype.kind == "c":
            part = " (imaginary part)" if self.direction[index].imag else " (real part)"
        return f"index {index}{part}"

    @property
    def unit(self) -> float:
        """By how much the probe moves its entry; of several entries, 1."""
        moved = np.abs(self.direction[self.direction != 0])
        return float(moved[0]) if moved.size == 1 else 1.0


class Finding(NamedTuple):
    """A gradient that is wrong, or that can't be told; what a report is made of.

    name : of the argument: ``argument 0['w']``
    reason : why differences can't tell; None where the gradient is wrong
    likeness : what the wrong gradient looks like; empty where it resembles nothing
    """

    name: str
    argument: Any
    cotangents: Sequence[Any]
    probe: Probe
    wrong: int
    probed: int
    reason: Reason | None
    likeness: str

    def report(self, function: str, order: int = 1) -> str:
        """The finding in words, on three lines and more."""
        what = "" if order == 1 else f" at order {order}"
        if self.reason:
            first = f"{function}: differences can't tell the gradient by {self.name}{what}: {_KINDS[self.reason.kind]}"
        else:
            first = f"{function}: the gradient by {self.name} is wrong{what}" + (
                f": {self.likeness}" if self.likeness else ""
            )
        x, u = self.argument, self.probe.unit
        of = f" of {x.dtype} {x.shape}"
        kind = "untold" if self.reason else "wrong"
        among = f", the worst of {self.wrong} {kind} of {self.probed} probed" if self.wrong > 1 else ""
        lines = [first, f"  where        {self.probe.place}{of}{among}"]
        if sum(c.size for c in self.cotangents) <= SHORT:
            lines.append(f"  cotangent    {', '.join(str(c.tolist()) for c in self.cotangents)}")
        lines.append(f"  backward     {self.probe.analytic / u!r}")
        if self.reason:
            lines += [f"  differences  {self.reason.seen}", f"  what to do   {self.reason.advice}{self._between()}"]
        else:
            slope = self.probe.slope
            lines.append(f"  differences  {slope.value / u!r} +- {slope.bar / u:.1g}")
        return "\n".join(lines)

    def _between(self) -> str:
        """At a kink, whether the gradient is one of the slopes between the two sides'."""
        if self.reason is None or not self.reason.slopes:
            return ""
        low, high = sorted(self.reason.slopes)
        margin = 1e-6 * (high - low)
        inside = low - margin <= self.probe.analytic <= high + margin
        return f"; what backward gives {'lies' if inside else 'does not lie'} between the two"


_KINDS = {
    "kink": "there is a kink",
    "jump": "there is a jump",
    "steep": "the slope is infinite",
    "rough": "the function is rough",
    "non-finite": "it isn't finite",
    "ill-conditioned": "it is ill-conditioned",
}


def resemblance(
    f: Function,
    args: Sequence[Any],
    i: int,
    gradients: dict[int, Any],
    seeds: Sequence[Any],
    here: Any,
    probe: Probe,
    names: Sequence[str],
) -> str:
    """What the wrong gradient of argument ``i`` looks like; empty where it resembles nothing."""
    x, gradient = args[i], gradients[i]
    entries = np.arange(x.size)
    if x.size > LARGEST:  # The same number of entries whatever the size; the worst one among them.
        entries = np.random.default_rng(0).choice(x.size, LARGEST // 2, replace=False)
        moved = np.flatnonzero(probe.direction)
        entries = np.union1d(entries, moved) if moved.size == 1 else entries
    columns = [_columns(f, args, i, int(k), here, probe.slope.step) for k in entries]
    if not all(np.isfinite(column.values).all() for parts in columns for column in parts):
        return ""
    bar = max(column.bar for parts in columns for column in parts) * sum(float(np.abs(u).sum()) for u in seeds)
    if not np.any(gradient) and not _is_recorded(f, args):
        return LEFT
    others = [
        (names[k], [_columns(f, args, k, int(n), here, probe.slope.step) for n in entries])
        for k, c in gradients.items()
        if k != i and c.shape == gradient.shape and args[k].dtype == x.dtype
    ]
    error, allowed = abs(probe.analytic - probe.slope.value) / probe.unit, max(bar, probe.allowed / probe.unit)
    return likeness(Known(gradient, x, entries, columns, seeds, error, allowed, others))


def _is_recorded(f: Function, args: Sequence[Any]) -> bool:
    """Whether any output on tensors is a tensor that records."""
    made = outputs(f(*(tg.tensor(a) if differentiable(a) else a for a in args)))
    return any(isinstance(y, tg.Tensor) and y.requires_grad for y in made)


def _columns(f: Function, args: Sequence[Any], i: int, k: int, here: Any, step: float) -> tuple[Column, ...]:
    """The derivatives of all outputs by one entry, and by its imaginary part where it has one."""
    x, found = args[i], []
    for part in (1.0, 1j) if x.dtype.kind == "c" else (1.0,):
        direction = np.zeros(x.size, x.dtype)
        direction[k] = part * max(1.0, abs(x.reshape(-1)[k]))
        column = column_along(f, args, i, direction.reshape(x.shape), here, step)
        scale = float(np.abs(direction[k]))
        found.append(Column(column.values / scale, column.bar / scale))
    return tuple(found)


def narrowed(probe: Probe, probed: Callable[[Any], Probe], wrong: Callable[[Probe], bool]) -> Probe:
    """The probe of one entry that is wrong, where a direction over many entries was: by halving.

    The probe itself where the halves are right each, to the width of their bars.
    """
    while (moved := np.flatnonzero(probe.direction)).size > 1:
        for half in np.array_split(moved, 2):
            direction = np.zeros(probe.direction.size, probe.direction.dtype)
            direction[half] = probe.direction.reshape(-1)[half]
            if wrong(found := probed(direction.reshape(probe.direction.shape))):
                probe = found
                break
        else:
            return probe
    return probe


def broadcast_note(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Along which axis a cotangent of shape ``given`` for an operand of shape ``wanted`` wasn't summed; else empty.

    >>> broadcast_note((2, 3), (3,)), broadcast_note((2, 3), (2, 1)), broadcast_note((3,), (2,))
    ('not summed over the broadcast axis 0', 'not summed over the broadcast axis 1', '')
    """
    lead = len(given) - len(wanted)
    if lead < 0:
        return ""
    pairs = list(zip(given[lead:], wanted, strict=True))
    if any(n not in (m, 1) and m not in (n, 1) for n, m in pairs):
        return ""
    axes = [*range(lead), *(lead + k for k, (n, m) in enumerate(pairs) if n != m == 1)]
    if not axes or any(n != m != 1 for n, m in pairs):
        return ""
    return f"not summed over the broadcast {'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}"
