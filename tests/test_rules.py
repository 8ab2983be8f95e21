"""Every rule in the table keeps every promise: the checks of tapegrad.testing.rules over all cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import tapegrad
import tapegrad.nn
from tapegrad import pulls
from tapegrad.kinds import Elementwise, Known, Primitive
from tapegrad.primitive import TABLE
from tapegrad.testing import rules
from tapegrad.testing.check import GradientError, outputs, random_seeds
from tapegrad.testing.draw import Trial, checked, elementwise_trial, trials_of, unknown_parameters
from tapegrad.testing.widths import check_width

OURS = [k for k in TABLE.values() if k.kind in ("primitive", "composite")]
TRIALS = [trial for known in checked() for trial in trials_of(known)]
FIRST_TRIALS = [trials[0] for trials in map(trials_of, checked()) if trials]
ELEMENTWISE = [known for known in checked() if isinstance(known, Elementwise)]

# By like= alone can a tensor bring NumPy here, and that is no argument of a call: tests/ops/test_constants.py.
REACHED_ELSEWHERE = {np.full}


def _outputs(trial: Trial) -> int:
    with np.errstate(all="ignore"):
        return len(outputs(trial.run(*trial.draw(np.random.default_rng(0), float))))


every_call = pytest.mark.parametrize("trial", TRIALS, ids=str)
every_elementwise = pytest.mark.parametrize("known", ELEMENTWISE, ids=lambda known: known.name)


@every_call
def test_a_recorded_call_gives_numpys_value(trial: Trial) -> None:
    rules.check_value(trial)


@every_call
def test_cotangents_agree_with_differences(trial: Trial) -> None:
    rules.check_first_order(trial)


@every_call
def test_cotangents_of_the_rule_agree_with_differences(trial: Trial) -> None:
    rules.check_second_order(trial)


@pytest.mark.parametrize("trial", [t for t in TRIALS if t.slots and _outputs(t) > 1], ids=str)
def test_cotangents_of_several_outputs_come_at_once(trial: Trial) -> None:
    rules.check_together(trial)


def test_a_rule_that_forgets_one_cotangent_beside_another_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    known = next(k for k in checked() if k.name == "np.linalg.eigh" and isinstance(k, Primitive))
    right = known.pull
    monkeypatch.setattr(known, "pull", lambda g, *rest: right((g[0], None) if g[0] is not None else g, *rest))
    (trial, *_) = trials_of(known)
    rules.check_first_order(trial)
    with pytest.raises(GradientError, match="all outputs at once"):
        rules.check_together(trial)


@every_call
def test_cotangents_agree_with_the_complex_step(trial: Trial) -> None:
    rules.check_complex_step(trial)


@every_call
def test_a_cotangent_has_the_shape_and_dtype_of_its_operand(trial: Trial) -> None:
    rules.check_cotangents(trial)


@every_call
def test_nothing_is_changed_and_nothing_shared(trial: Trial) -> None:
    rules.check_ownership(trial)


@every_call
def test_a_rule_is_linear_in_the_cotangent(trial: Trial) -> None:
    rules.check_linearity(trial)


@every_call
def test_a_cotangent_is_the_same_beside_constants(trial: Trial) -> None:
    rules.check_constants(trial)


@pytest.mark.parametrize("trial", [t for t in TRIALS if len(t.slots) > 1], ids=str)
def test_a_narrower_operand_costs_the_others_no_digits(trial: Trial) -> None:
    check_width(trial)


def test_a_rule_that_is_handed_the_narrow_operand_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "ruled", lambda known, g, y, operands, packed: known.pull(g, y, operands, packed))
    with pytest.raises(GradientError, match="when all are wide"):
        check_width(trials_of(TABLE[np.interp])[0])


@pytest.mark.parametrize("trial", [t for t in TRIALS if getattr(t.known, "multilinear", False)], ids=str)
def test_missing_data_that_meets_no_cotangent_counts_as_zero(trial: Trial) -> None:
    rules.check_missing_data(trial)


@pytest.mark.parametrize("trial", [t for t in FIRST_TRIALS if t.cases.examples], ids=str)
def test_examples_give_the_cotangents_that_they_say(trial: Trial) -> None:
    rules.check_examples(trial)


@every_elementwise
def test_a_zero_cotangent_is_a_strong_zero(known: Elementwise) -> None:
    rules.check_strong_zero(known)


@every_elementwise
@given(data=st.data())
def test_broadcasting_is_undone(known: Elementwise, data: st.DataObject) -> None:
    drawn = data.draw(mutually_broadcastable_shapes(num_shapes=known.arity, max_dims=3, min_side=0, max_side=3))
    kinds = rules.dtypes_of(elementwise_trial(known, *drawn.input_shapes))
    dtype = data.draw(st.sampled_from([kind[0] for kind in kinds if len(kind) == 1]))
    rules.check_broadcasting(known, drawn.input_shapes, dtype)


@every_elementwise
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0)], ids=str)
def test_elementwise_rules_hold_for_scalars_and_empty_arrays(known: Elementwise, shape: tuple[int, ...]) -> None:
    rules.check_trial(elementwise_trial(known, *[shape] * known.arity))


@pytest.mark.parametrize("known", OURS, ids=lambda known: known.name)
def test_what_has_a_rule_has_cases(known: Primitive) -> None:
    if known.kind == "primitive":
        assert known.cases is not None, f"{known.name} stands in the table with a rule and no cases"
        assert trials_of(known), f"{known.name} has cases without a call to try"


@every_call
def test_a_call_names_parameters_that_the_rule_knows(trial: Trial) -> None:
    assert unknown_parameters(trial) == []


def test_a_case_that_names_an_unknown_parameter_is_found() -> None:
    known = TABLE[np.negative]
    wrong = Trial(known, trials_of(known)[0].cases, tapegrad.cases.call((2,), axis=0), 0)
    assert unknown_parameters(wrong) == ["axis"]


@pytest.mark.parametrize("known", checked(), ids=lambda known: known.name)
def test_no_rule_is_checked_on_zeros_alone(known: Known) -> None:
    # A gradient that is 0 in every case agrees with a rule that forgot it.
    assert reached(known) or known.function in REACHED_ELSEWHERE


def reached(known: Known) -> bool:
    """Whether some case gives some operand a gradient that isn't 0."""
    assert known.cases is not None
    if any(c is not None and np.any(np.asarray(c) != 0) for example in known.cases.examples for c in example[1]):
        return True
    for trial in trials_of(known):
        for dtypes in rules.dtypes_of(trial, wide=True):
            arrays = trial.draw(np.random.default_rng(0), *dtypes)
            seeds = random_seeds(trial.run, arrays, np.random.default_rng(1))
            if any(np.any(gradient != 0) for gradient in rules.pull(trial, arrays, seeds)):
                return True
    return False
