"""Every rule in the table serves forward too: the transpose of its transpose is the derivative."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.testing import rules
from tapegrad.testing.check import outputs, random_like
from tapegrad.testing.draw import Trial, checked, trials_of

TRIALS = [trial for known in checked() for trial in trials_of(known) if trial.slots]


def inner(a: Any, b: Any) -> Any:
    """Re<a, b> over lists of arrays."""
    return sum(float(np.sum((np.conj(x) * y).real)) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_jvp_and_vjp_are_adjoint_through_every_rule(trial: Trial) -> None:
    for dtypes in rules.dtypes_of(trial):
        rng = rules.rng_of(trial)
        arrays = trial.draw(rng, *dtypes)
        tangents = [np.asarray(random_like(x, rng)) for x in arrays]

        def f(*xs: Any, trial: Trial = trial) -> Any:
            return outputs(trial.run(*xs))

        with rules.errors_of(trial, arrays):
            out, along = tg.jvp(f, tuple(arrays), tuple(tangents))
            _, pullback = tg.vjp(f, *arrays)
            seeds = [np.asarray(random_like(y, rng)) for y in out]
            back = pullback(seeds)
            # The same where another derivative is under way, so that everything is recorded.
            recorded = tuple(tg.tensor(x) for x in arrays)
            _, along_recorded = tg.jvp(f, recorded, tuple(tangents))
        forward, backward = inner(along, seeds), inner(tangents, back)
        size = inner(*([np.abs(x) for x in pair] for pair in (along, seeds))) + inner(
            *([np.abs(x) for x in pair] for pair in (tangents, back))
        )
        eps = max(np.finfo(x.dtype).eps for x in [*arrays, *out])
        assert abs(forward - backward) <= 1e4 * eps * (size + 1), (str(trial), dtypes, forward, backward)
        for a, b in zip(along, along_recorded, strict=True):
            scale = 1 + np.max(np.abs(a), initial=0)
            np.testing.assert_allclose(np.asarray(b.numpy()), a, atol=1e4 * eps * scale, err_msg=f"{trial} {dtypes}")
