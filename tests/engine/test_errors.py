"""Errors: what is refused, by which class, and that the message names the user's call and not our internals."""

import builtins
import functools
import inspect
import math

import numpy as np
import pytest
from engine_tools import records_now

import tapegrad as tg
from tapegrad import errors
from tapegrad.errors import (
    ArgumentError,
    NotDifferentiableError,
    RegistrationError,
    RuleError,
    TapegradError,
    UnexpectedArgumentError,
)
from tapegrad.primitive import ROADS, TABLE, unsupported

CLASSES = [
    c
    for _name, c in inspect.getmembers(errors, inspect.isclass)
    if issubclass(c, TapegradError) and c is not TapegradError
]

# ---------------------------------------------------------------- classes


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_error_is_also_the_builtin_that_a_caller_expects(error):
    others = [base for base in error.__mro__ if base.__module__ == "builtins"]
    assert others[0] in (TypeError, ValueError, RuntimeError, AttributeError)
    assert error.__doc__


@pytest.mark.parametrize(
    ("provoke", "builtin"),
    [
        (lambda: tg.tensor([1.0, 2.0]).backward(), ValueError),
        (lambda: tg.tensor([1]).backward(), RuntimeError),
        (lambda: tg.tensor([1.0]).backward(np.ones(2)), ValueError),
        (lambda: tg.tensor([1.0]).backward(np.ones(1) * 1j), TypeError),
        (lambda: (tg.tensor([1.0]) * 2).grad, RuntimeError),
        (lambda: tg.tensor([1], requires_grad=True), TypeError),
        (lambda: tg.tensor(["a"]), TypeError),
        (lambda: np.asarray(tg.tensor([1.0])), TypeError),
        (lambda: float(tg.tensor(1.0)), TypeError),
        (lambda: np.add.at(tg.tensor([1.0]), 0, 1.0), ValueError),
        (lambda: np.sin(tg.tensor([1.0]), where=[True]), TypeError),
        (lambda: tg.tensor([1.0]).__iadd__(1.0), ValueError),
        (lambda: tg.tensor([1.0]).__setitem__(0, 1.0), ValueError),
        (lambda: tg.tensor([1.0]).mT, ValueError),
    ],
)
def test_errors_can_be_caught_as_ours_or_as_the_builtin(provoke, builtin):
    with pytest.raises(TapegradError) as caught:
        provoke()
    assert isinstance(caught.value, builtin)
    assert caught.value.args[0]


# ---------------------------------------------------------------- calls


def test_shapes_that_do_not_broadcast_raise_numpys_message_unchanged():
    a, b = np.ones(2), np.ones((4, 3))
    for operate in (np.add, np.multiply, np.arctan2):
        with pytest.raises(ValueError, match="broadcast") as numpys:
            operate(a, b)
        for operands in ((tg.tensor(a), tg.tensor(b)), (tg.tensor(a), b), (a, tg.tensor(b))):
            with pytest.raises(ValueError, match="broadcast") as ours:
                operate(*operands)
            assert str(ours.value) == str(numpys.value)
            assert type(ours.value) is type(numpys.value)


@pytest.mark.parametrize(
    "program",
    [
        lambda x: x.reshape(5),
        lambda x: x[7],
        lambda x: x["name"],
        lambda x: x[0, 0, 0],
        lambda x: np.sum(x, axis=5),
        lambda x: x @ np.ones(7),
        lambda x: np.concatenate([x, np.ones((1, 5))]),
        lambda x: np.sin(x, x, x),
        lambda x: np.sum(),
        lambda x: np.add(x),
        lambda x: np.transpose(x, (0, 0)),
    ],
)
def test_what_numpy_refuses_is_refused_in_numpys_words(program):
    array = np.ones((2, 3))
    with pytest.raises((TypeError, ValueError, IndexError)) as numpys:
        program(array)
    with pytest.raises(type(numpys.value)) as ours:
        program(tg.tensor(array))
    assert str(ours.value) == str(numpys.value)


@pytest.mark.parametrize(
    ("options", "instead"),
    [({"where": [True, False]}, "out="), ({"signature": "d->d"}, "dtype=")],
    ids=str,
)
def test_a_keyword_that_the_rule_does_not_know_is_refused_by_name_and_says_what_to_use(options, instead):
    (name,) = options
    with pytest.raises(UnexpectedArgumentError, match=rf"np\.sin.*{name}=.*{instead}"):
        np.sin(tg.tensor([1.0, 2.0]), **options)


def test_the_older_name_of_signature_is_refused_as_it_is():
    with pytest.raises(UnexpectedArgumentError, match=r"np\.sin.*signature=.*dtype="):
        np.sin(tg.tensor([1.0, 2.0]), sig="d->d")


def test_a_keyword_that_nobody_knows_is_refused_by_name():
    x = tg.tensor([1.0, 2.0])
    with pytest.raises(TypeError, match="nonsense"):
        np.sum(x, nonsense=1)
    with pytest.raises(TypeError, match="nonsense"):
        np.sin(x, nonsense=1)
    with pytest.raises(TypeError, match="nonsense"):
        x.sum(nonsense=1)


def test_a_keyword_of_a_primitive_that_its_rule_does_not_name_is_refused(with_rule):
    scaled = with_rule(lambda a, factor=1.0: a * factor, lambda g, _y, _a: g)
    x = tg.tensor([1.0])
    with pytest.raises(UnexpectedArgumentError, match="factor"):
        scaled(x, factor=2.0)
    with pytest.raises(UnexpectedArgumentError):
        scaled(x, 2.0)
    assert scaled(x).requires_grad


def test_a_recording_parameter_is_refused_by_name():
    x = tg.tensor([1.0, 2.0])
    with pytest.raises(NotDifferentiableError, match=r"initial.*detach"):
        np.sum(x, initial=tg.tensor(1.0))


# ---------------------------------------------------------------- functions without a rule


@pytest.fixture
def forgotten(monkeypatch):
    """NumPy's functions as they are for one that the table doesn't know."""
    for function in (np.tanh, np.sum, np.matmul):
        monkeypatch.delitem(TABLE, function)
        monkeypatch.delitem(ROADS, function, raising=False)


def test_a_function_without_a_rule_is_named_where_a_gradient_would_pass(forgotten):
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    for program, name in (
        (lambda: np.tanh(x), r"np\.tanh"),
        (lambda: np.sum(x), r"np\.sum"),
        (lambda: np.sum(x, axis=0), r"np\.sum"),
        (lambda: np.matmul(np.ones((2, 2)), x), r"np\.matmul"),
    ):
        with pytest.raises(NotDifferentiableError, match=name):
            program()


def test_a_function_without_a_rule_gives_numpys_value_where_none_would(forgotten):
    t, x = tg.tensor([1.0, 2.0], requires_grad=False), tg.tensor([1.0, 2.0])
    with tg.no_grad():
        under = np.tanh(x)
    for y in (np.tanh(t), under):
        assert type(y) is tg.Tensor
        assert not y.requires_grad
        np.testing.assert_array_equal(y.numpy(), np.tanh([1.0, 2.0]))
    assert np.sum(t).item() == 3.0


def test_a_users_ufunc_is_named_too():
    twice = np.frompyfunc(lambda v: 2 * v, 1, 1)
    with pytest.raises(NotDifferentiableError, match="rule"):
        twice(tg.tensor([1.0]))


def test_a_users_function_without_a_rule_is_named():
    @tg.primitive
    def unruly(a):
        return a * 2

    with pytest.raises(NotDifferentiableError, match=r"unruly.*defvjp"):
        unruly(tg.tensor([1.0]))
    with tg.no_grad():
        assert unruly(tg.tensor([1.0])).item() == 2.0
    assert unruly(np.array([1.0])).item() == 2.0


def test_an_unsupported_function_gives_its_reason():
    @tg.primitive
    def hopeless(a):
        return a

    unsupported(hopeless, reason="it can't be done")
    try:
        with pytest.raises(NotDifferentiableError, match=r"hopeless.*it can't be done"):
            hopeless(tg.tensor([1.0]))
        with pytest.raises(NotDifferentiableError, match="hopeless"):
            hopeless([tg.tensor([1.0])])
        assert hopeless(tg.tensor([1])).item() == 1
    finally:
        del TABLE[hopeless]


# ---------------------------------------------------------------- rules


def faulty(with_rule, returned, arity=1):
    """A result whose rule returns that, whatever it gets."""
    if arity == 1:
        return with_rule(lambda a: a * 1.0, lambda _g, _y, _a: returned)
    return with_rule(lambda a, b: a * b, lambda _g, _y, _a, _b: returned)


@pytest.mark.parametrize("options", [{}, {"create_graph": True}], ids=str)
@pytest.mark.parametrize(
    ("returned", "named"),
    [
        (np.ones(3), r"\(3,\)"),
        (np.ones((2, 1)), r"\(2, 1\)"),
        (np.ones(()), r"\(\)"),
        (np.ones(2, int), "int64"),
        (np.ones(2, bool), "bool"),
        (1.0, "float"),
        ("text", "str"),
        ([1.0, 1.0], "list"),
        ((np.ones(2), np.ones(2)), "2 cotangents for 1"),
        ((), "0 cotangents for 1"),
    ],
    ids=repr,
)
def test_a_rule_that_returns_no_cotangent_is_refused_and_named(with_rule, returned, named, options):
    def misguided(a):
        return a * 1.0

    x = tg.tensor([1.0, 2.0])
    y = with_rule(misguided, lambda _g, _y, _a: returned)(x)
    with pytest.raises(RuleError, match=rf"misguided.*{named}"):
        np.sum(y).backward(**options)
    assert x.grad is None


@pytest.mark.parametrize("returned", [(np.ones(2),), (np.ones(2),) * 3, np.ones(2), [np.ones(2), np.ones(2)]], ids=repr)
def test_a_rule_of_two_operands_returns_two_cotangents(with_rule, returned):
    x, z = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    with pytest.raises(RuleError, match="cotangents for 2 operands"):
        np.sum(faulty(with_rule, returned, 2)(x, z)).backward()
    assert x.grad is None


def test_the_operand_whose_cotangent_is_wrong_is_named(with_rule):
    x, z = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    with pytest.raises(RuleError, match=r"operand 1 of shape \(2,\)"):
        np.sum(faulty(with_rule, (np.ones(2), np.ones(5)), 2)(x, z)).backward()


def test_a_complex_cotangent_of_a_real_operand_counts_by_its_real_part(with_rule):
    x = tg.tensor([1.0, 2.0])
    np.sum(faulty(with_rule, np.array([3.0 + 4.0j, 5.0]))(x)).backward()
    np.testing.assert_array_equal(x.grad, [3.0, 5.0])


def test_a_cotangent_of_another_precision_is_cast(with_rule):
    x = tg.tensor([1.0, 2.0], np.float32)
    np.sum(faulty(with_rule, np.array([3.0, 5.0]))(x)).backward()
    assert x.grad.dtype == np.float32


def test_none_says_that_there_is_no_gradient(with_rule):
    x, z = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    np.sum(faulty(with_rule, (None, np.ones(2)), 2)(x, z)).backward()
    assert x.grad is None
    np.testing.assert_array_equal(z.grad, [1.0, 1.0])


def test_work_for_an_operand_that_does_not_record_is_not_done(with_rule):
    def rule(g, _y, a, b):
        return lambda: g * b, lambda: 1 / 0

    x = tg.tensor([1.0, 2.0])
    np.sum(with_rule(lambda a, b: a * b, rule)(x, np.array([3.0, 4.0]))).backward()
    np.testing.assert_array_equal(x.grad, [3.0, 4.0])


@pytest.mark.parametrize("options", [{}, {"create_graph": True}], ids=str)
def test_an_exception_in_a_rule_passes_unchanged_with_a_note_that_names_the_operation(with_rule, options):
    error = KeyError("on purpose")

    def misguided(a):
        return a * 1.0

    def rule(_g, _y, _a):
        raise error

    y = with_rule(misguided, rule)(tg.tensor(np.ones((2, 3))))
    with pytest.raises(KeyError) as caught:
        np.sum(y).backward(**options)
    assert caught.value is error
    (note,) = error.__notes__
    assert "misguided" in note
    assert "(2, 3)" in note


def test_an_exception_in_a_forward_passes_unchanged(with_rule):
    error = KeyError("on purpose")

    def forward(_a):
        raise error

    with pytest.raises(KeyError) as caught:
        with_rule(forward, lambda g, _y, _a: g)(tg.tensor([1.0]))
    assert caught.value is error
    assert records_now()


def test_an_underscore_means_that_an_array_is_not_kept(with_rule):
    given = []

    def rule(g, _y, _a):
        given.append((_y, _a))
        return g

    x = tg.tensor(np.ones((2, 3)), np.float32)
    np.sum(with_rule(lambda a: a * 1.0, rule)(x)).backward()
    for placeholder in given[0]:
        assert not isinstance(placeholder, np.ndarray)
        assert (placeholder.shape, placeholder.dtype, placeholder.ndim, placeholder.size) == ((2, 3), np.float32, 2, 6)


# ---------------------------------------------------------------- several outputs


def test_unused_outputs_have_the_cotangent_none(with_rule):
    seen = []

    def rule(g, y, a):
        seen.append((type(g), type(y), [part is None for part in g]))
        return sum(part for part in g if part is not None) * a

    for index in range(3):
        three = with_rule(lambda a: (a * 1.0, a * 1.0, a * 1.0), rule)
        x = tg.tensor([1.0, 2.0])
        np.sum(three(x)[index]).backward()
        assert seen.pop() == (tuple, tuple, [i != index for i in range(3)])
        np.testing.assert_array_equal(x.grad, [1.0, 2.0])


@pytest.mark.parametrize("options", [{}, {"create_graph": True}], ids=str)
def test_several_outputs_come_to_their_rule_together(with_rule, options):
    calls = []

    def rule(g, _y, a, b):
        calls.append(type(g))
        first, second = g
        return first * b + second, first * a

    both = with_rule(lambda a, b: (a * b, a * 1.0), rule)
    x, z = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    product, same = both(x, z)
    np.sum(product * 10.0 + same + product).backward(**options)
    assert calls == [tuple]
    np.testing.assert_array_equal(x.grad.tolist(), [34.0, 45.0])
    np.testing.assert_array_equal(z.grad.tolist(), [11.0, 22.0])


def test_an_integer_among_several_outputs_is_a_plain_array(with_rule):
    split = with_rule(lambda a: (np.floor(a).astype(int), a * 1.0), lambda g, _y, _a: g[1])
    x = tg.tensor([1.5, 2.5])
    whole, rest = split(x)
    assert type(whole) is np.ndarray
    np.sum(rest).backward()
    np.testing.assert_array_equal(x.grad, [1.0, 1.0])


def test_one_output_of_several_can_be_a_root_and_the_other_freed(with_rule):
    both = with_rule(
        lambda a: (a * 2.0, a * 3.0),
        lambda g, _y, _a: sum(part * (2.0 + i) for i, part in enumerate(g) if part is not None),
    )
    x = tg.tensor([1.0])
    first, second = both(x)
    first.backward()
    assert x.grad == 2.0
    with pytest.raises(TapegradError, match="retain_graph"):
        second.backward()
    assert x.grad == 2.0


# ---------------------------------------------------------------- primitives that give what they shouldn't


@pytest.mark.parametrize("operands", [1, 2])
@pytest.mark.parametrize("value", [[1.0, 2.0], None, "text"], ids=repr)
def test_a_primitive_that_gives_no_array_is_refused_and_named(with_rule, operands, value):
    def careless(a, b=None):
        return value

    rule = (lambda g, _y, _a: g) if operands == 1 else (lambda g, _y, _a, _b: (g, g))
    x = tg.tensor([1.0, 2.0])
    with pytest.raises(TapegradError, match="careless"):
        with_rule(careless, rule)(*[x] * operands)


@pytest.mark.parametrize("operands", [1, 2])
def test_a_primitive_that_gives_a_python_number_gives_a_scalar(with_rule, operands):
    def total(*a):
        return float(sum(np.sum(part) for part in a))

    rule = (lambda g, _y, a: g * (a + 1) / (a + 1)) if operands == 1 else (lambda g, _y, a, b: (g * a / a, g * b / b))
    x = tg.tensor([1.0, 2.0])
    y = with_rule(total, rule)(*[x] * operands)
    assert y.dtype == np.float64
    assert y.item() == 3.0 * operands
    y.backward()
    np.testing.assert_array_equal(x.grad, [operands, operands])


@pytest.mark.parametrize("operands", [1, 2])
def test_a_primitive_that_gives_integers_gives_a_plain_array(with_rule, operands):
    rule = (lambda _g, _y, _a: None) if operands == 1 else (lambda _g, _y, _a, _b: (None, None))
    counted = with_rule(lambda *a: (sum(a) > 0).astype(int), rule)
    found = counted(*[tg.tensor([1.0, -2.0])] * operands)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, [1, 0])


def test_a_primitive_may_return_its_operand(with_rule):
    x = tg.tensor([1.0, 2.0])
    y = with_rule(lambda a: a, lambda g, _y, _a: g)(x)
    with tg.no_grad():
        x += 5.0
    np.testing.assert_array_equal(y.numpy(), [6.0, 7.0])  # The same memory, as with arrays.
    np.sum(y * y).backward()
    np.testing.assert_array_equal(x.grad, [12.0, 14.0])


def test_a_primitive_meets_arrays_and_never_tensors(with_rule):
    kinds = []

    def forward(a, b):
        kinds.append((type(a), type(b)))
        return a * b

    both = with_rule(forward, lambda g, _y, a, b: (g * b, g * a))
    both(tg.tensor([1.0]), tg.tensor([2.0]))
    both(tg.tensor([1.0]), np.array([2.0]))
    assert kinds == [(np.ndarray, np.ndarray)] * 2


def test_a_primitive_is_called_with_keywords_and_positions_alike(with_rule):
    def rule(g, _y, _a, *, factor=1.0):
        return g * factor

    scaled = with_rule(lambda a, factor=1.0: a * factor, rule)
    for call in (lambda x: scaled(x, 3.0), lambda x: scaled(x, factor=3.0)):
        x = tg.tensor([1.0])
        call(x).backward()
        assert x.grad == 3.0
    x = tg.tensor([1.0])
    scaled(x).backward()
    assert x.grad == 1.0
    with pytest.raises(TypeError, match="factor"):
        scaled(x, 3.0, factor=3.0)


# ---------------------------------------------------------------- registration


def test_a_function_is_registered_once():
    with pytest.raises(RegistrationError, match=r"np\.sin"):
        tg.defvjp(np.sin)(lambda g, _y, _x: g)
    with pytest.raises(RegistrationError, match=r"np\.floor.*constant"):
        tg.defvjp(np.floor)(lambda g, _y, _x: g)


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        (lambda g, _y, _a, **rest: g, "rest"),
        (lambda g, _y: g, "takes"),
        (lambda: None, "takes"),
        (lambda g, _y, *, axis=None: g, "operand"),
        (lambda g, _y, _a, *more: g, "operand"),
    ],
)
def test_a_rule_whose_signature_makes_no_sense_is_refused(rule, named):
    @tg.primitive
    def fresh(a):
        return a

    with pytest.raises(RegistrationError, match=f"fresh.*{named}"):
        tg.defvjp(fresh)(rule)
    assert fresh not in TABLE


def test_a_rule_with_the_wrong_number_of_operands_of_a_ufunc_is_refused(forgotten):
    with pytest.raises(RegistrationError, match=r"np\.tanh has 1 operand"):
        tg.defvjp(np.tanh)(lambda g, _y, _a, _b: g)


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (lambda x, y: x + y, lambda g, _y, _x: g),
        (lambda x, y, z, axis=0: x, lambda g, _y, _x, *, axis=0: g),
        (lambda x: x, lambda g, _y, _a, _b: (g, g)),
        (lambda x, *, n: x, lambda g, _y, _a, _b, *, n: (g, g)),
        (lambda x, *, n: x, lambda g, _y, _x: g),
        (lambda x, *, n, m: x, lambda g, _y, _x, *, n: g),
        (lambda: 1.0, lambda g, _y, _x: g),
        (lambda xs, y: y, lambda g, _y, *_xs: [g for _x in _xs]),
        (functools.partial(lambda x, y: x + y, 1.0), lambda g, _y, _a, _b: (g, g)),
    ],
)
def test_a_rule_that_fits_no_call_of_its_function_is_refused(function, rule):
    fresh = tg.primitive(function, name="fresh")
    with pytest.raises(RegistrationError, match=r"fresh takes \(.*no call fits both"):
        tg.defvjp(fresh)(rule)
    assert fresh not in TABLE


def test_the_error_for_a_rule_that_fits_no_call_shows_both_signatures():
    fresh = tg.primitive(lambda x, y, *, n: x + y * n, name="fresh")
    with pytest.raises(RegistrationError, match=r"takes \(x, y, \*, n\).*operands \(x\) and the parameters \(m\)"):
        tg.defvjp(fresh)(lambda g, _y, x, *, m=1: g)


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (lambda x, y: x + y, lambda g, _y, _x, *, y: g),
        (lambda x, y=1.0: x + y, lambda g, _y, _x: g),
        (lambda x, y=1.0: x + y, lambda g, _y, _a, _b: (g, g)),
        (lambda *xs: xs[0], lambda g, _y, _a, _b: (g, g)),
        (lambda *xs, n=1: xs[0], lambda g, _y, _a, *, n=1: g),
        (lambda xs, axis=0: xs[0], lambda g, _y, *_xs, axis=0: [g for _x in _xs]),
        (lambda x, **rest: x, lambda g, _y, _x, *, n=1: g),
        (lambda x, *, n: x, lambda g, _y, _x, *, n: g),
        (math.hypot, lambda g, _y, _a, _b: (g, g)),
    ],
)
def test_a_rule_that_may_fit_a_call_of_its_function_is_taken(function, rule):
    fresh = tg.primitive(function, name="fresh")
    tg.defvjp(fresh)(rule)
    assert TABLE.pop(fresh).rule is rule


# ---------------------------------------------------------------- arguments


def test_arguments_of_backward_are_by_keyword():
    with pytest.raises(TypeError):
        tg.tensor(1.0).backward(None, True)


def test_errors_of_arguments_are_value_errors():
    assert issubclass(ArgumentError, builtins.ValueError)
