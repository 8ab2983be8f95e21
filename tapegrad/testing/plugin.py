"""A plugin for pytest: the fixtures ``gradcheck`` and ``sealed_state``, the marker ``differentiable``.

It is on wherever tapegrad is installed with its extra (``pip install tapegrad[testing]``), and does nothing
where Hypothesis isn't. What it needs is imported when a test asks for it.
"""

import functools
import importlib.util
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

EXAMPLES = 25
ON = importlib.util.find_spec("hypothesis") is not None
KEYWORDS = ("args", "kwargs", "order", "laws", "without")  # of the marker


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plugin's option, and its setting."""
    if not ON:
        return
    group = parser.getgroup("tapegrad", "gradients (tapegrad)")
    group.addoption(
        "--gradcheck-examples",
        type=_positive,
        metavar="N",
        help=f"examples drawn for each gradcheck and each test marked differentiable (default: {EXAMPLES})",
    )
    parser.addini("gradcheck_examples", f"the same, for good (default: {EXAMPLES})", default=str(EXAMPLES))
    parser.addini("gradcheck_sealed", "fail tests that leave tapegrad's or NumPy's globals changed", "bool", False)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(f"at least 1 example is needed; got {number}")
    return number


def pytest_configure(config: pytest.Config) -> None:
    """The plugin's marker."""
    if ON:
        config.addinivalue_line(
            "markers",
            "differentiable(args, kwargs={}, order=2, laws=False, without={}): the function is itself what is "
            "tested: its gradients are compared with differences at args, a tuple of arrays or of strategies "
            "for them. With laws=True all of tapegrad.testing.laws are asked for, but those left out by "
            "without={name: reason}; or those that laws=(...) names.",
        )


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Compare gradients with central differences: ``gradcheck(f, *args, order=2, laws=False, without={})``.

    ``args`` are arrays, numbers and containers of them; any that is a strategy of Hypothesis's is drawn,
    as many times as ``--gradcheck-examples`` says. ``laws`` may also name those to ask for. Other keyword
    arguments go to ``f``.
    """
    count = examples_of(request.config)

    def check(
        f: Callable[..., Any],
        *args: Any,
        order: int = 2,
        laws: bool | Sequence[str] = False,
        without: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        check_at(f, args, kwargs, order=order, laws=laws, without=without, examples=count)

    return check


@pytest.fixture
def sealed_state() -> Iterator[None]:
    """Fail the test that leaves a global of tapegrad's or NumPy's changed, and put it back.

    Of every test with ``gradcheck_sealed = true`` in the settings of pytest.
    """
    from tapegrad.testing.seals import sealed

    with sealed():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[Any]:
    """Seal the state around every test, where the settings say so."""
    if not ON or not item.config.getini("gradcheck_sealed"):
        return (yield)
    from tapegrad.testing.seals import sealed

    with sealed():
        return (yield)


# ---------------------------------------------------------------- the marker


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> list[pytest.Function] | None:
    """A test for each mark of a function that is marked differentiable, whatever the function's name is."""
    if not ON or not isinstance(obj, types.FunctionType):
        return None
    marks = [mark for mark in getattr(obj, "pytestmark", ()) if mark.name == "differentiable"]
    if not marks:
        return None
    many = len(marks) > 1
    return [
        pytest.Function.from_parent(
            collector,
            name=f"{name}[{i}]" if many else name,
            callobj=_test_of(collector, obj, mark),
        )
        for i, mark in enumerate(reversed(marks))
    ]


def _test_of(collector: Any, function: Any, mark: pytest.Mark) -> Callable[..., None]:
    """The test of a marked function, which takes no fixtures: its own parameters are what is drawn."""
    given = dict(mark.kwargs)
    if len(mark.args) == 1:
        given.setdefault("args", mark.args[0])
    unknown = [name for name in given if name not in KEYWORDS]
    if "args" not in given or unknown or len(mark.args) > 1:
        raise collector.CollectError(
            f"{function.__name__}: @pytest.mark.differentiable takes args=(...), a tuple with an array or a strategy "
            f"for each parameter, and {', '.join(KEYWORDS[1:])}; got {mark.args} and {sorted(given)}"
        )
    args = given["args"] if type(given["args"]) is tuple else (given["args"],)
    in_class = isinstance(collector, pytest.Class)
    examples = examples_of(collector.config)

    def test() -> None:
        f = function.__get__(collector.obj()) if in_class else function
        check_at(
            f,
            args,
            given.get("kwargs", {}),
            order=given.get("order", 2),
            laws=given.get("laws", False),
            without=given.get("without"),
            examples=examples,
        )

    test.__doc__ = function.__doc__
    test.pytestmark = list(function.pytestmark)  # type: ignore[attr-defined]
    if not in_class:
        return test

    def method(_self: Any) -> None:
        test()

    method.pytestmark = test.pytestmark  # type: ignore[attr-defined]
    return types.MethodType(method, collector)


# ---------------------------------------------------------------- checking


def examples_of(config: pytest.Config) -> int:
    """How many examples to draw."""
    given = config.getoption("gradcheck_examples")
    return int(given if given is not None else config.getini("gradcheck_examples"))


def check_at(
    f: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    order: int = 2,
    laws: bool | Sequence[str] = False,
    without: Mapping[str, str] | None = None,
    examples: int = EXAMPLES,
) -> None:
    """Check the gradients of ``f`` at arguments, of which those that are strategies are drawn.

    Raises GradientError where a gradient is wrong; UndecidedError where differences can tell at none of
    the examples.
    """
    from hypothesis.strategies import SearchStrategy

    at = functools.partial(_ask, f, dict(kwargs), order, dict(without or {}), laws, [])
    if any(isinstance(a, SearchStrategy) for a in args):
        _drawn(at, args, examples)
    else:
        at(args)


def _ask(
    f: Callable[..., Any],
    kwargs: dict[str, Any],
    order: int,
    without: dict[str, str],
    laws: bool | Sequence[str],
    broken: list[str],
    point: Sequence[Any],
) -> None:
    """Check at one point. The law that is broken is alone asked for afterwards: shrinking is dear."""
    from tapegrad.testing.check import GradientError, UndecidedError, check_grads

    if not laws:
        check_grads(f, *point, order=order, **kwargs)
        return
    from tapegrad.testing.laws import LAWS
    from tapegrad.testing.laws import laws as asked

    undecided: UndecidedError | None = None
    for name in broken or ([law.__name__ for law in LAWS] if laws is True else laws):
        left_out = {law: why for law, why in without.items() if law == name}
        try:
            asked(f, *point, only=[name], without=left_out, order=order, **kwargs)
        except UndecidedError as error:
            undecided = undecided or error
        except GradientError:
            broken[:] = [name]
            raise
    if undecided is not None:
        raise undecided


def _drawn(at: Callable[[Sequence[Any]], None], args: Sequence[Any], examples: int) -> None:
    """Check at every example of the strategies among the arguments."""
    import hypothesis
    from hypothesis import strategies as st

    from tapegrad.testing.check import UndecidedError
    from tapegrad.testing.laws.subject import explained

    strategies = [a if isinstance(a, st.SearchStrategy) else st.just(a) for a in args]
    undecided: list[UndecidedError] = []
    decided = 0

    @hypothesis.settings(max_examples=examples, deadline=None)
    @hypothesis.given(st.tuples(*strategies))
    def gradients(point: Sequence[Any]) -> None:
        nonlocal decided
        try:
            at(point)
            decided += 1
        except UndecidedError as error:
            undecided.append(error)  # A kink here and there is no mistake.

    with explained():
        gradients()
    if not decided and undecided:
        undecided[0].add_note(f"differences could tell at none of {len(undecided)} examples")
        raise undecided[0]
