"""The exceptions: each is a ``TapegradError`` and the builtin that a caller would expect; and a warning."""


class TapegradError(Exception):
    """Base of everything that tapegrad raises on its own account."""


class NotDifferentiableError(TapegradError, TypeError):
    """A gradient would have to pass through a function that has no rule."""


class ConversionError(TapegradError, TypeError):
    """A recording tensor would leave the tape, and its gradient be lost."""


class DTypeError(TapegradError, TypeError):
    """Data of a kind that has no place here: objects, strings, dates; or integers that should record."""


class ShapeError(TapegradError, ValueError):
    """Shapes that don't fit each other."""


class ArgumentError(TapegradError, ValueError):
    """An argument whose value makes no sense."""


class UnexpectedArgumentError(TapegradError, TypeError):
    """An argument that the function's rule doesn't know."""


class RegistrationError(TapegradError, ValueError):
    """A rule that can't be entered in the table."""


class RuleError(TapegradError, RuntimeError):
    """A rule that returned something which is not a cotangent of its operands."""


class RecordingError(TapegradError, RuntimeError):
    """A request that the recording can't answer: nothing recorded, already freed, not a leaf."""


class ChangedDataError(TapegradError, RuntimeError):
    """An array that a rule reads was changed between recording and replay."""


class NoAttributeError(TapegradError, AttributeError):
    """An attribute of arrays that has no right answer for a tensor."""


class WriteError(TapegradError, ValueError):
    """A write that would make a gradient wrong."""


class ImmutableError(WriteError, TypeError):
    """A write to a scalar: NumPy's are immutable, and so are tensors that hold one."""


class ConvergenceError(TapegradError, RuntimeError):
    """A solver that didn't reach what it was to solve, or an equation that has no single solution there."""


class DensePatternWarning(UserWarning):
    """A function whose sparsity can't be told: what it does may depend on the values that it is given."""
