"""Whether operations are recorded: ``no_grad``, ``enable_grad``, ``debug``, and tapes that look on.

Each context (thread or task) has its own marks. Entering leaves a mark, exiting takes away that same
mark, in whatever order the exits come; what holds is told by the marks that remain, the last one first.
"""

import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self


class State:
    """What the marks of a context come to. Operations take their quick road only where it is ``ON``."""

    __slots__ = ("debugging", "enabled", "tapes", "tracer")

    def __init__(self, enabled: bool, debugging: bool = False, tapes: tuple[Any, ...] = (), tracer: Any = None) -> None:
        self.enabled, self.debugging, self.tapes, self.tracer = enabled, debugging, tapes, tracer


ON, OFF = State(True), State(False)
STATE: contextvars.ContextVar[State] = contextvars.ContextVar("tapegrad_state", default=ON)
_MARKS: contextvars.ContextVar[tuple["Mark", ...]] = contextvars.ContextVar("tapegrad_marks", default=())
TRACERS: list[Any] = []  # that are at work in any context: while there is none, nobody has to look for one


def tracer() -> Any:
    """What follows the values that leave tensors in this context (transforms/sparse/traced.py); nearly always None."""
    return STATE.get().tracer if TRACERS else None


def from_data(x: Any, *operands: Any) -> Any:
    """``x``, which was found by looking at the values of the operands: followed, where somebody follows those."""
    found = tracer()
    return x if found is None or not found.depends(operands) else found.handed_out(x)


def _set(marks: tuple["Mark", ...]) -> None:
    switches = [mark.switch for mark in marks if mark.switch is not None]
    enabled = switches[-1] if switches else True
    debugging = any(mark.debugging for mark in marks)
    tapes = tuple(mark for mark in marks if mark.watches)
    tracers = [mark.tracer for mark in marks if mark.traces]
    _MARKS.set(marks)
    if debugging or tapes or tracers:
        STATE.set(State(enabled, debugging, tapes, tracers[-1] if tracers else None))
    else:
        STATE.set(ON if enabled else OFF)


class Mark:
    """A context manager, and a decorator, that leaves a mark while it is entered."""

    switch: bool | None = None  # recording on or off; None leaves it as it is
    debugging = False
    watches = False
    traces = False
    tracer: Any = None  # what follows values from here on, if it ``traces``; None: nobody does

    def __enter__(self) -> Self:
        _set((*_MARKS.get(), self))
        return self

    def __exit__(self, *_exception: object) -> None:
        marks = _MARKS.get()
        for i in reversed(range(len(marks))):
            if marks[i] is self:
                _set(marks[:i] + marks[i + 1 :])
                return

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function; of a generator function, the mark holds while its own frame runs."""
        if inspect.isasyncgenfunction(function):
            raise TypeError(f"{type(self).__name__}: an async generator can't be decorated; use 'with' inside it")
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                return self._resumed(function(*args, **kwargs))

            return generator
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def coroutine(*args: Any, **kwargs: Any) -> Any:
                with type(self)():
                    return await function(*args, **kwargs)

            return coroutine

        @functools.wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return decorated

    def _resumed(self, inner: Any) -> Any:
        resume: Callable[[], Any] = functools.partial(next, inner)
        while True:
            try:
                with type(self)():
                    value = resume()
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield value
            except GeneratorExit:
                with type(self)():
                    inner.close()
                raise
            except BaseException as error:
                resume = functools.partial(inner.throw, error)
            else:
                resume = functools.partial(inner.send, sent)


class no_grad(Mark):  # noqa: N801 - reads as the verb that it is in other libraries
    """Operations inside record nothing; ``with tg.no_grad():`` or ``@tg.no_grad()``.

    >>> import tapegrad as tg
    >>> x = tg.tensor([1.0, 2.0])
    >>> with tg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    switch = False


class enable_grad(Mark):  # noqa: N801
    """Operations inside record, also within ``no_grad``; ``with tg.enable_grad():`` or ``@tg.enable_grad()``.

    >>> import tapegrad as tg
    >>> x = tg.tensor([1.0, 2.0])
    >>> with tg.no_grad(), tg.enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    switch = True


class aside(Mark):  # noqa: N801
    """What runs inside is one operation, in which nobody follows values."""

    traces = True


class debug(Mark):  # noqa: N801
    """Every check in full: the strong zero at each step, whole arrays fingerprinted, each cotangent's
    shape and dtype looked at, and errors in a rule that name the line which recorded it.

    Several times slower. ``with tg.debug():``

    >>> import tapegrad as tg
    >>> with tg.debug():
    ...     tg.tensor([1.0, 2.0]).sum().backward()
    """

    debugging = True


class Fact(NamedTuple):
    """What a tape keeps of an entry. It holds no array."""

    position: int
    primitive: str
    operands: tuple[int | str, ...]  # positions of entries, or what else the operand was
    shape: tuple[int, ...]
    dtype: Any
    nbytes: int  # of the arrays that the entry holds for its rule, in bytes


class Tape(Mark):
    """Keeps the facts of what is recorded inside: ``len(tape)``, iteration in order, ``print(tape)``.

    It is there to look at and holds no array alive. Each fact has ``position`` (counted up over all
    entries of the process), ``primitive``, ``operands`` (positions, or "leaf" and "constant"),
    ``shape``, ``dtype`` and ``nbytes`` (bytes held for the rule).

    >>> import numpy as np, tapegrad as tg
    >>> x = tg.tensor([1.0, 2.0, 3.0])
    >>> with tg.Tape() as tape:
    ...     loss = np.sum(np.sin(x) ** 2)
    >>> print(tape)
     #  primitive  operands  shape  dtype    bytes held
     1  np.sin     leaf      (3,)   float64          24
     2  np.square  #1        (3,)   float64          24
     3  np.sum     #2        ()     float64           0
    """

    watches = True

    def __init__(self) -> None:
        self._facts: list[Fact] = []

    def observe(self, fact: Fact) -> None:
        """Keep a fact; called where an entry is made."""
        self._facts.append(fact)

    def __len__(self) -> int:
        return len(self._facts)

    def __iter__(self) -> Iterator[Fact]:
        return iter(self._facts)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        number = {fact.position: f"#{i}" for i, fact in enumerate(self._facts, 1)}
        rows = [("#", "primitive", "operands", "shape", "dtype", "bytes held")]
        for i, fact in enumerate(self._facts, 1):
            operands = ", ".join(o if isinstance(o, str) else number.get(o, "earlier") for o in fact.operands)
            rows.append((str(i), fact.primitive, operands, str(fact.shape), str(fact.dtype), f"{fact.nbytes:,}"))
        widths = [max(len(row[k]) for row in rows) for k in range(6)]
        return "\n".join(
            f"{row[0]:>{max(2, widths[0])}}  "
            + "  ".join(f"{row[k]:<{widths[k]}}" for k in range(1, 5))
            + f"  {row[5]:>{widths[5]}}"
            for row in rows
        )
