"""``checkpoint``: the same values and gradients as without, at every order, from the arguments alone."""

import functools
import gc
import sys
import threading
import tracemalloc
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from transform_tools import CONTAINERS, EPS, Own, functions, vectors

import tapegrad as tg
from tapegrad import containers
from tapegrad.errors import ChangedDataError, RecordingError, UnexpectedArgumentError, WriteError

X = np.array([0.3, -0.7, 1.1, 0.5])
W = np.linspace(-1, 1, 16).reshape(4, 4)


def smooth(x: Any) -> Any:
    return np.tanh(W @ np.sin(x)) * x


def derivative(f: Any, order: int) -> Any:
    """The gradient of the sum of squares, of that of its gradient, and so on."""
    for _ in range(order):
        f = tg.grad(lambda x, f=f: np.sum(np.sin(f(x)) ** 2))
    return f


def close(a: Any, b: Any) -> bool:
    # The same operations on the same numbers; only sums of cotangents may go in another order.
    return np.allclose(a, b, rtol=1e3 * EPS, atol=1e3 * EPS)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_checkpointed_equals_plain(order: int) -> None:
    assert close(derivative(tg.checkpoint(smooth), order)(X), derivative(smooth, order)(X))


@given(functions(), vectors())
def test_random_functions_have_the_same_gradient_and_hessian(f: Any, x: Any) -> None:
    def loss(f: Any) -> Any:
        return lambda x: np.sum(np.sin(f(x)))

    checkpointed = tg.checkpoint(f)
    assert close(tg.grad(loss(checkpointed))(x), tg.grad(loss(f))(x))
    assert close(tg.hessian(loss(checkpointed))(x), tg.hessian(loss(f))(x))


@pytest.mark.parametrize("transform", ["jvp", "hvp", "jacobian", "hessian", "linearize", "ggnvp"])
def test_other_transforms_pass_through(transform: str) -> None:
    def derived(f: Any) -> Any:
        loss = lambda x: np.sum(f(x) ** 2)  # noqa: E731
        tangent = np.array([1.0, -2.0, 0.5, 0.0])
        if transform == "linearize":
            return tg.linearize(f, X)[1](tangent)
        if transform == "ggnvp":
            return tg.ggnvp(f, lambda z: np.sum(z**4), (X,), (tangent,))[0]
        if transform in ("jvp", "hvp"):
            return np.concatenate(
                [
                    np.ravel(part)
                    for part in getattr(tg, transform)({"jvp": f, "hvp": loss}[transform], (X,), (tangent,))
                ]
            )
        return getattr(tg, transform)({"jacobian": f, "hessian": loss}[transform])(X)

    assert close(derived(tg.checkpoint(smooth)), derived(smooth))


def test_the_function_runs_once_forward_and_once_in_the_sweep() -> None:
    runs = []

    @tg.checkpoint
    def f(x: Any) -> Any:
        runs.append(len(runs))
        return np.sin(x)

    x = tg.tensor(X)
    y = np.sum(f(x))
    assert len(runs) == 1
    y.backward()
    assert len(runs) == 2


# -------------------------------- what it closes over


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", ["leaf", "recorded", "written", "view", "hooked"])
def test_gradients_reach_what_it_closes_over(kind: str, order: int) -> None:
    def gradients(wrap: Any) -> list[Any]:
        leaf, x = tg.tensor(W), tg.tensor(X)
        w = {"leaf": leaf, "hooked": leaf}.get(kind)
        if kind == "hooked":
            leaf.register_hook(lambda g: 2 * g)
        elif kind == "recorded":
            w = leaf * leaf
        elif kind in ("written", "view"):
            w = np.zeros((4, 4), like=leaf)
            w[...] = leaf
            w[0] *= 3.0
            w = w[:, ::-1] if kind == "view" else w
        f = wrap(lambda x: np.tanh(w @ x) + np.sum(w))
        loss = np.sum(f(x) ** 2) + np.sum(w**3)
        loss.backward(create_graph=order == 2)
        if order == 2:
            g, h = leaf.grad, x.grad
            leaf.zero_grad(), x.zero_grad()
            (np.sum(np.sin(g)) + np.sum(h**2)).backward()
        return [leaf.grad, x.grad]

    for a, b in zip(gradients(tg.checkpoint), gradients(lambda f: f), strict=True):
        assert close(a, b)


def test_only_what_it_closes_over_records() -> None:
    w = tg.tensor(X)
    y = tg.checkpoint(lambda x: w * x)(np.arange(4.0))
    np.sum(y).backward()
    assert np.array_equal(w.grad, np.arange(4.0))


def test_a_gradient_of_a_gradient_reaches_what_only_the_closure_holds() -> None:
    w = tg.tensor(2.0)
    f = tg.checkpoint(lambda: w**4)
    f().backward(create_graph=True)
    g = w.grad
    w.zero_grad()
    g.backward()
    assert w.grad == 48


def test_an_argument_that_is_closed_over_as_well_counts_twice() -> None:
    x = tg.tensor(3.0)
    tg.checkpoint(lambda y: x * y)(x).backward()
    assert x.grad == 6


def test_parameters_made_in_the_first_run_get_their_gradient() -> None:
    made: dict[str, Any] = {}

    @tg.checkpoint
    def f(x: Any) -> Any:
        if "w" not in made:
            made["w"] = tg.tensor(2.0)
        return x * made["w"]

    x = tg.tensor(3.0)
    f(x).backward()
    assert (x.grad, made["w"].grad) == (2, 3)


# -------------------------------- arguments and results


@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers_come_and_go(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, parts = CONTAINERS[kind]
    monkeypatch.setattr(containers, "_REGISTERED", dict(containers._REGISTERED))
    tg.register_container(Own, lambda own: ((own.left, own.right), own.label), lambda label, parts: Own(*parts, label))

    def f(c: Any, *, scale: Any) -> Any:
        a, b = parts(c)
        return build(a * b * scale["s"], np.sum(a))

    def gradients(f: Any) -> list[Any]:
        tensors = [tg.tensor(X), tg.tensor(X[::-1]), tg.tensor(2.0)]
        a, b = parts(f(build(tensors[0], tensors[1]), scale={"s": tensors[2], "name": "kept"}))
        (np.sum(a**2) * b).backward()
        return [t.grad for t in tensors]

    for a, b in zip(gradients(tg.checkpoint(f)), gradients(f), strict=True):
        assert close(a, b)


def test_outputs_that_nobody_used_count_as_zero() -> None:
    f = tg.checkpoint(lambda x: (x**2, np.exp(x), x * 3))
    x = tg.tensor(X)
    np.sum(f(x)[2]).backward()
    assert np.array_equal(x.grad, np.full(4, 3.0))


def test_what_isnt_recorded_comes_out_as_it_is() -> None:
    constant = np.arange(3)
    f = tg.checkpoint(lambda x: {"y": x * 2, "n": 3, "name": "f", "mask": x > 0, "same": constant, "none": None})
    out = f(tg.tensor(X))
    assert out["same"] is constant
    assert (out["n"], out["name"], out["none"]) == (3, "f", None)
    assert type(out["mask"]) is np.ndarray


def test_a_tensor_from_outside_comes_out_as_it_is() -> None:
    w = tg.tensor(X)
    assert tg.checkpoint(lambda x: (x * 2, w))(tg.tensor(X))[1] is w


def test_results_are_values_of_their_own() -> None:
    x = tg.tensor(X) * 1
    y = tg.checkpoint(lambda x: x[1:])(x)
    z = np.sum(y * x[1:])
    y[0] = 100.0
    assert np.array_equal(x.numpy(), X)
    z.backward()


def test_a_small_part_of_a_large_array_doesnt_keep_it_alive() -> None:
    y = tg.checkpoint(lambda x: (np.zeros(100_000, like=x) + x)[:2])(tg.tensor(1.0))
    assert y._value.base is None


def test_methods_partials_and_keywords_work() -> None:
    class Model:
        def __init__(self) -> None:
            self.w = tg.tensor(2.0)

        def run(self, x: Any, power: int = 1) -> Any:
            return self.w * x**power

    model, x = Model(), tg.tensor(3.0)
    tg.checkpoint(model.run)(x, power=2).backward()
    assert (model.w.grad, x.grad) == (9, 12)
    x.zero_grad()
    tg.checkpoint(functools.partial(model.run, power=3))(x).backward()
    assert x.grad == 54


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_dtypes_are_kept(dtype: Any) -> None:
    def gradient(f: Any) -> Any:
        x = tg.tensor(X.astype(dtype) * (1 + 2j if np.dtype(dtype).kind == "c" else 1))
        y = f(x)
        np.sum(np.abs(y)).backward()
        assert y.dtype == dtype
        return x.grad

    a, b = gradient(tg.checkpoint(lambda x: x * x * 3 + x)), gradient(lambda x: x * x * 3 + x)
    assert a.dtype == dtype
    assert np.array_equal(a, b)


def test_nothing_is_recorded_where_nothing_records() -> None:
    f = tg.checkpoint(lambda x: x * 2)
    assert type(f(X)) is np.ndarray
    assert not f(tg.tensor(X, requires_grad=False)).requires_grad
    with tg.no_grad():
        assert not f(tg.tensor(X)).requires_grad


def test_one_entry_is_recorded() -> None:
    def chain(x: Any) -> Any:
        for _ in range(10):
            x = np.sin(x)
        return x

    x = tg.tensor(X)
    assert tg.checkpoint(chain)(x)._entry[-1] is x._entry


# -------------------------------- nesting, sweeps


@pytest.mark.parametrize("order", [1, 2, 3])
def test_calls_nest(order: int) -> None:
    inner = tg.checkpoint(smooth)
    middle = tg.checkpoint(lambda x: inner(x) + np.sin(inner(x * 2)))
    outer = tg.checkpoint(lambda x: middle(middle(x)))

    def plain(x: Any) -> Any:
        for _ in range(2):
            x = smooth(x) + np.sin(smooth(x * 2))
        return x

    assert close(derivative(outer, order)(X), derivative(plain, order)(X))


def test_transforms_inside_are_differentiated() -> None:
    f = tg.checkpoint(lambda x: tg.grad(lambda y: np.sum(y**3 * x))(x))
    assert close(tg.grad(lambda x: np.sum(f(x)))(X), 9 * X**2)


def test_the_sweep_may_run_under_no_grad() -> None:
    x = tg.tensor(X)
    y = np.sum(tg.checkpoint(np.sin)(x))
    with tg.no_grad():
        y.backward()
    assert close(x.grad, np.cos(X))


def test_a_graph_is_swept_again_only_if_retained() -> None:
    x = tg.tensor(X)
    y = np.sum(tg.checkpoint(lambda x: np.sin(x) * x)(x))
    y.backward(retain_graph=True)
    once = x.grad
    y.backward()
    assert close(x.grad, 2 * once)
    with pytest.raises(RecordingError, match="retain_graph=True"):
        y.backward()


def test_a_written_tensor_that_it_closes_over_can_be_used_again_afterwards() -> None:
    x = tg.tensor(X)
    w = np.zeros(4, like=x)
    w[1:] = x[1:] * 2
    y = np.sum(tg.checkpoint(lambda x: w * x)(x))
    y.backward(retain_graph=True)
    once = x.grad
    y.backward(retain_graph=True)
    np.sum(w).backward()
    assert close(x.grad, 2 * once + np.array([0, 2, 2, 2]))


def test_hooks_inside_run_in_the_sweep_and_those_outside_once() -> None:
    inside, outside = [], []

    def f(x: Any) -> Any:
        y = x * 2
        y.register_hook(lambda g: inside.append(g))
        return y * x

    x = tg.tensor(X)
    x.register_hook(lambda g: outside.append(g))
    np.sum(tg.checkpoint(f)(x) + x).backward()
    assert len(inside) == len(outside) == 1
    assert close(outside[0], 4 * X + 1)


def test_the_strong_zero_holds() -> None:
    f = tg.checkpoint(lambda x: np.where(x > 0, np.sqrt(np.where(x > 0, x, 0) * 1), 0))
    assert np.array_equal(tg.grad(lambda x: np.sum(f(x)))(np.array([0.0, 4.0])), [0, 0.25])
    g = tg.checkpoint(lambda x: np.sqrt(x))
    assert np.array_equal(tg.grad(lambda x: np.sum(np.where(x > 0, g(x), 0)))(np.array([0.0, 4.0])), [0, 0.25])


def test_debugging_changes_nothing() -> None:
    w = tg.tensor(W)
    with tg.debug(), tg.Tape() as tape:
        x = tg.tensor(X)
        y = np.sum(tg.checkpoint(lambda x: np.tanh(w @ x))(x))
        assert any("checkpoint" in fact.primitive for fact in tape)
        y.backward()
    assert np.all(np.isfinite(x.grad))


# -------------------------------- randomness

RNG = np.random.default_rng(1)
legacy_normal = np.random.normal


def noise(n: int) -> Any:
    return RNG.normal(size=n)


@pytest.mark.parametrize(
    "source", ["argument", "closure", "global", "attribute", "RandomState", "legacy", "bare", "bits"]
)
def test_draws_are_the_same_again(source: str) -> None:
    rng = np.random.default_rng(7)
    holder = SimpleNamespace(rng=rng, deep=[{"state": np.random.RandomState(3)}])

    def draw(given: Any) -> Any:
        return {
            "argument": lambda: given["rng"].normal(size=4),
            "closure": lambda: rng.normal(size=4),
            "global": lambda: noise(4),
            "attribute": lambda: holder.rng.normal(size=4),
            "RandomState": lambda: holder.deep[0]["state"].normal(size=4),
            "legacy": lambda: np.random.normal(size=4),
            "bare": lambda: legacy_normal(size=4),
            "bits": lambda: rng.bit_generator.random_raw(4) / 2.0**64,
        }[source]()

    drawn = []

    @tg.checkpoint
    def f(x: Any, given: Any) -> Any:
        drawn.append(draw(given))
        return x * drawn[-1]

    x = tg.tensor(X)
    y = f(x, {"rng": rng})
    between = draw({"rng": rng})
    np.sum(y).backward()
    after = draw({"rng": rng})
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(x.grad, drawn[0])
    # The sweep leaves the generator where it was.
    assert not np.array_equal(between, drawn[0])
    assert not np.array_equal(after, between)
    assert not np.array_equal(after, drawn[0])


def test_scipys_draws_are_the_same_again() -> None:
    drawn = []

    @tg.checkpoint
    def f(x: Any) -> Any:
        drawn.append(scipy.stats.norm.rvs(size=4))
        return x * drawn[-1]

    x = tg.tensor(X)
    np.sum(f(x)).backward()
    assert np.array_equal(*drawn)
    assert np.array_equal(x.grad, drawn[0])


def test_the_generator_goes_on_after_the_sweep_as_if_there_were_none() -> None:
    def run(wrap: Any) -> Any:
        rng, x = np.random.default_rng(5), tg.tensor(X)
        f = wrap(lambda x: x * rng.normal(size=4))
        np.sum(f(f(x))).backward()
        return x.grad, rng.normal()

    (a, b), (c, d) = run(tg.checkpoint), run(lambda f: f)
    assert np.array_equal(a, c)
    assert b == d


def test_draws_are_the_same_at_second_order() -> None:
    rng = np.random.default_rng(5)

    def gradient(wrap: Any) -> Any:
        rng.bit_generator.state = np.random.default_rng(9).bit_generator.state
        return derivative(wrap(lambda x: np.sin(x) * rng.normal(size=4)), 2)(X)

    assert close(gradient(tg.checkpoint), gradient(lambda f: f))


def test_other_sources_of_chance_are_found_out() -> None:
    import random

    x = tg.tensor(X)
    y = tg.checkpoint(lambda x: x * random.random())(x)
    with pytest.raises(ChangedDataError, match=r"NumPy's\s+generators"):
        np.sum(y).backward()
    assert x.grad is None


# -------------------------------- changes between the call and the sweep


def test_tensors_written_to_after_the_call_count_as_they_were() -> None:
    x, c = tg.tensor(X), tg.tensor(X, requires_grad=False)
    y = np.sum(tg.checkpoint(lambda x, c: x**2 * c)(x, c))
    with tg.no_grad():
        x *= 5.0
        c[...] = 0.0
    y.backward()
    assert close(x.grad, 2 * X * X)


def test_a_recorded_argument_written_to_after_the_call_counts_as_it_was() -> None:
    x = tg.tensor(X)
    z = x * 1
    y = np.sum(tg.checkpoint(lambda z: z**2)(z))
    z[0] = 100.0
    y.backward()
    assert close(x.grad, 2 * X)


def test_small_arrays_and_lists_count_as_they_were() -> None:
    x, a, some = tg.tensor(X), X.copy(), [2.0, X.copy()]
    y = np.sum(tg.checkpoint(lambda x, a, some: x * a * some[0] * some[1])(x, a, some))
    a[...] = 0.0
    some[0] = 0.0
    some[1][...] = 0.0
    y.backward()
    assert close(x.grad, 2 * X * X)


@pytest.mark.parametrize("change", ["written", "bound anew", "another path", "array"])
def test_a_function_that_changed_is_found_out(change: str) -> None:
    x = tg.tensor(X)
    held = SimpleNamespace(w=tg.tensor(X), a=X.copy(), deep=True)

    @tg.checkpoint
    def f(x: Any) -> Any:
        return x * held.w * held.a if held.deep else x * held.a * X

    y = np.sum(f(x))
    if change == "written":
        with tg.no_grad():
            held.w += 1e-12
    elif change == "bound anew":
        held.w = tg.tensor(X)
    elif change == "another path":
        held.deep = False
    else:
        held.a[0] = 5.0
    with pytest.raises(ChangedDataError, match="run again"):
        y.backward()
    assert x.grad is None


def test_writing_to_an_argument_is_refused() -> None:
    def f(x: Any) -> Any:
        x[0] = 3.0
        return x * 2

    with pytest.raises(WriteError, match="writes to an argument"):
        tg.checkpoint(f)(tg.tensor(X) * 1)
    with pytest.raises(WriteError):
        tg.checkpoint(f)(tg.tensor(X))


def test_writing_to_a_tensor_from_outside_is_refused() -> None:
    x = tg.tensor(X)
    buffer = x * 1

    def f(x: Any) -> Any:
        buffer[0] = x[0] * 2
        return buffer * 2

    with pytest.raises(WriteError, match="didn't make"):
        tg.checkpoint(f)(x)


def test_writing_to_arrays_of_its_own_is_fine() -> None:
    def f(x: Any) -> Any:
        y = np.zeros(4, like=x)
        for i in range(4):
            y[i] = x[i] ** 2
        y += x
        z = x.copy()
        z[1:] *= y[:-1]
        return y * z

    for order in (1, 2):
        assert close(derivative(tg.checkpoint(f), order)(X), derivative(f, order)(X))


def test_an_iterator_is_refused() -> None:
    with pytest.raises(UnexpectedArgumentError, match="pass a list"):
        tg.checkpoint(lambda x, it: x * sum(it))(tg.tensor(X), iter([1.0, 2.0]))


def test_what_isnt_callable_is_refused() -> None:
    with pytest.raises(UnexpectedArgumentError, match="checkpoint"):
        tg.checkpoint(3)  # type: ignore[arg-type]


# -------------------------------- exceptions, threads, memory


def test_an_exception_passes_unchanged_and_leaves_nothing() -> None:
    error = ValueError("mine")
    failing = [False]

    @tg.checkpoint
    def f(x: Any) -> Any:
        if failing[0]:
            raise error
        return x * np.random.default_rng(0).normal()

    x = tg.tensor(X)
    failing[0] = True
    with pytest.raises(ValueError, match="mine") as caught:
        f(x)
    assert caught.value is error
    failing[0] = False
    y = np.sum(f(x))
    failing[0] = True
    with pytest.raises(ValueError, match="mine") as caught:
        y.backward()
    assert caught.value is error
    assert "checkpoint" in caught.value.__notes__[0]
    assert x.grad is None
    failing[0] = False
    y.backward()
    assert x.grad is not None


def test_generators_are_put_back_after_an_exception() -> None:
    rng, failing = np.random.default_rng(0), [False]

    @tg.checkpoint
    def f(x: Any) -> Any:
        y = x * rng.normal()
        if failing[0]:
            raise ValueError("mine")
        return y

    y = np.sum(f(tg.tensor(X)))
    state = rng.bit_generator.state
    failing[0] = True
    with pytest.raises(ValueError, match="mine"):
        y.backward()
    assert rng.bit_generator.state == state


def test_threads_share_a_function_and_a_graph() -> None:
    w = tg.tensor(W)
    f = tg.checkpoint(lambda x: np.tanh(w @ x))
    shared_x = tg.tensor(X)
    shared = np.sum(f(shared_x))
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(5):
            got = tg.grad(lambda x: np.sum(tg.checkpoint(lambda x: np.sin(x) * i)(x)))(X)
            if not close(got, np.cos(X) * i):
                wrong.append(i)
            shared.backward(retain_graph=True)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    once = tg.grad(lambda x: np.sum(np.tanh(W @ x)))(X)
    assert np.allclose(shared_x.grad, 30 * once, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_memory_is_that_of_the_arguments_and_one_block(order: int) -> None:
    n, blocks, steps = 20_000, 16, 16

    def block(x: Any) -> Any:
        for _ in range(steps):
            x = np.sin(x)
        return x

    def peak(f: Any) -> float:
        x = tg.tensor(np.full(n, 0.5))
        tracemalloc.start()
        try:
            y = x
            for _ in range(blocks):
                y = f(y)
            np.sum(y).backward(create_graph=order == 2)
            if order == 2:
                g = x.grad
                x.zero_grad()
                np.sum(g).backward()
            return tracemalloc.get_traced_memory()[1] / (8 * n)
        finally:
            tracemalloc.stop()

    plain, checkpointed = peak(block), peak(tg.checkpoint(block))
    # 16 blocks' arguments and one block of 16 values and their slopes, against 256 values.
    assert plain > 256
    assert checkpointed < (0.3 if order == 1 else 0.4) * plain


@pytest.mark.parametrize("kind", ["checkpoint", "checkpoint_chain", "root", "fixed_point"])
@pytest.mark.parametrize("swept", [True, False])
def test_what_was_kept_is_freed_at_once(kind: str, swept: bool) -> None:
    class Kept:
        pass

    x, kept = tg.tensor(2.0), Kept()
    dead = weakref.ref(kept)
    gc.disable()  # Nothing is to wait for Python to look for circles.
    try:
        if kind == "checkpoint":
            y = tg.checkpoint(lambda x, kept=kept: x * 2)(x)
        elif kind == "checkpoint_chain":
            y = tg.checkpoint_chain(lambda s, _t, kept=kept: s * 2, x, range(3))
        elif kind == "root":
            y = tg.root(lambda z, x, kept=kept: z**2 - x, 1.0, x)
        else:
            y = tg.fixed_point(lambda z, x, kept=kept: (z + x / z) / 2, 1.0, x)
        del kept
        if swept:
            y.backward()
        else:
            del y
        assert dead() is None
    finally:
        gc.enable()


def this_line() -> str:
    return f"{__file__}:{sys._getframe(1).f_lineno}"


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", ["checkpoint", "chain", "chain of a budget"])
def test_an_error_in_the_sweep_says_where_the_call_was_made(kind: str, order: int) -> None:
    error, failing = ValueError("mine"), [False]

    def f(x: Any) -> Any:
        if failing[0]:
            raise error
        return x * x

    x = tg.tensor(X)
    if kind == "checkpoint":
        y, line = tg.checkpoint(f)(x), this_line()
    else:
        ways = {"snapshots": 2} if "budget" in kind else {}
        y, line = tg.checkpoint_chain(lambda s, _t: f(s), x, range(5), **ways), this_line()
    y = np.sum(y)
    if order == 2:
        y.backward(create_graph=True)
        y, x.grad = np.sum(x.grad), None
    failing[0] = True
    with pytest.raises(ValueError, match="mine") as caught:
        y.backward()
    assert caught.value is error
    assert line in error.__notes__[-1]
    assert x.grad is None


def test_an_error_in_a_nested_call_says_where_each_was_made() -> None:
    runs, lines = [0], []

    def inner(x: Any) -> Any:
        runs[0] += 1
        if runs[0] == 3:  # The first two are the first run, and that in the run again of the outer one.
            raise ValueError("mine")
        return x * x

    def outer(x: Any) -> Any:
        y, line = tg.checkpoint(inner)(x), this_line()
        lines.append(line)
        return y

    y, line = tg.checkpoint(outer)(tg.tensor(X)), this_line()
    with pytest.raises(ValueError, match="mine") as caught:
        np.sum(y).backward()
    first, second = caught.value.__notes__
    assert lines[0] in first
    assert line in second


def test_an_error_in_the_first_run_passes_unchanged() -> None:
    error = ValueError("mine")

    def f(*_args: Any) -> Any:
        raise error

    for run in (lambda: tg.checkpoint(f)(tg.tensor(X)), lambda: tg.checkpoint_chain(f, tg.tensor(X), range(3))):
        with pytest.raises(ValueError, match="mine") as caught:
            run()
        assert caught.value is error
        assert not hasattr(error, "__notes__")
