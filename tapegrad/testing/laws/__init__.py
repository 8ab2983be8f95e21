"""Laws: what holds for the gradients of any function, each as a function that raises where it is broken.

>>> import numpy as np
>>> from tapegrad.testing.laws import laws, pullback_is_linear
>>> pullback_is_linear(np.sin, np.array([1.0, 2.0]))

``laws(f, *args)`` asks for all of them:

>>> report = laws(np.sin, np.array([1.0, 2.0]))
>>> "hessian_is_symmetric" in report.held
True
"""

from tapegrad.testing.laws.agreement import (
    batch_agrees,
    checkpoint_agrees,
    float32_agrees,
    in_place_agrees,
    rows_agree,
)
from tapegrad.testing.laws.all import LAWS, Report, laws
from tapegrad.testing.laws.calculus import (
    derivatives_are_right,
    gradients_are_like_arguments,
    hessian_is_symmetric,
    jvp_is_the_adjoint,
    pullback_is_linear,
    ties_total_one,
    zeros_give_zeros,
)
from tapegrad.testing.laws.ownership import (
    nothing_is_changed,
    nothing_is_shared,
    recording_keeps_the_value,
    replay_is_recording,
    twice_is_the_same,
)
from tapegrad.testing.laws.subject import InapplicableError

__all__ = [
    "LAWS",
    "InapplicableError",
    "Report",
    "batch_agrees",
    "checkpoint_agrees",
    "derivatives_are_right",
    "float32_agrees",
    "gradients_are_like_arguments",
    "hessian_is_symmetric",
    "in_place_agrees",
    "jvp_is_the_adjoint",
    "laws",
    "nothing_is_changed",
    "nothing_is_shared",
    "pullback_is_linear",
    "recording_keeps_the_value",
    "replay_is_recording",
    "rows_agree",
    "ties_total_one",
    "twice_is_the_same",
    "zeros_give_zeros",
]
