"""Every public name of NumPy is classed, once and rightly; every keyword of its functions is met by a case.

When a new NumPy brings names, the first test says which: functions of arrays go to the table (a rule, a
composite, ``constant``, ``plain`` or ``unsupported``), anything else to ``tapegrad.ops.namespace``.
"""

import inspect
import warnings

import numpy as np
import pytest

from tapegrad.kinds import Elementwise, Known
from tapegrad.ops.namespace import classes
from tapegrad.primitive import TABLE

NAMES = classes()


def names(text: str) -> frozenset[str]:
    """Names, written with blanks between them."""
    return frozenset(text.split())


# What each function is said to be; whatever isn't named here carries a gradient: primitive or composite.
CONSTANT = names("""
    all any argmax argmin argpartition argsort argwhere around bitwise_and bitwise_count bitwise_invert
    bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil count_nonzero diag_indices_from
    digitize equal fix flatnonzero floor floor_divide gcd greater greater_equal in1d invert iscomplex isfinite isin
    isinf isnan isneginf isposinf isreal ix_ lcm left_shift less less_equal lexsort linalg.matrix_rank logical_and
    logical_not logical_or logical_xor nanargmax nanargmin nonzero not_equal ravel_multi_index right_shift rint round
    searchsorted signbit spacing tril_indices_from triu_indices_from trunc unravel_index
    empty_like ones_like zeros_like arange empty eye fromfunction fromiter frombuffer fromfile fromstring genfromtxt
    identity loadtxt ones tri zeros
    """)
PLAIN = names("""
    allclose array2string array_equal array_equiv array_repr array_str bartlett base_repr binary_repr blackman
    broadcast_shapes can_cast common_type diag_indices einsum_path format_float_positional format_float_scientific
    from_dlpack fromregex frompyfunc get_include get_printoptions getbufsize geterr geterrcall hamming hanning
    indices fft.fftfreq fft.rfftfreq info isclose iscomplexobj isdtype isfortran isrealobj isscalar issubdtype
    iterable kaiser load mask_indices may_share_memory min_scalar_type mintypecode ndim nested_iters printoptions
    promote_types result_type save savetxt savez savez_compressed set_printoptions setbufsize seterr seterrcall
    shape shares_memory show_config show_runtime size tril_indices triu_indices typename
    """)
UNSUPPORTED = names("""
    asmatrix bmat busday_count busday_offset datetime_as_string datetime_data is_busday isnat packbits unpackbits
    """)
EXPECTED = {"constant": CONSTANT, "plain": PLAIN, "unsupported": UNSUPPORTED}

MODULES = {"": np, "linalg.": np.linalg, "fft.": np.fft}


def public_names() -> list[str]:
    """The public names of numpy, numpy.linalg and numpy.fft that are installed, after ``numpy.``."""
    return sorted(
        prefix + name
        for prefix, module in MODULES.items()
        # NumPy 2.0 names some of its own tools in __all__, too.
        for name in {*module.__all__, *dir(module)}
        if not name.startswith("_") or (name.startswith("__") and name in module.__all__)
    )


def named(name: str) -> object:
    prefix, _, last = name.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # An old name may say that it is one.
        return getattr(MODULES[prefix + "." if prefix else ""], last)


def expected_kinds(name: str) -> tuple[str, ...]:
    found = tuple(kind for kind, names in EXPECTED.items() if name in names)
    return found or ("primitive", "composite")


FUNCTIONS = [name for name in public_names() if name not in NAMES]


def test_every_public_name_is_classed() -> None:
    missing = [name for name in FUNCTIONS if named(name) not in TABLE]
    assert not missing, f"class these, functions in the table, anything else in tapegrad.ops.namespace: {missing}"


def test_no_name_is_classed_twice() -> None:
    # The table refuses a function that stands there; an alias is the same function.
    twice = [name for name in public_names() if name in NAMES and callable(named(name)) and _in_table(named(name))]
    assert not twice, f"these stand in the table and in tapegrad.ops.namespace: {twice}"


def _in_table(value: object) -> bool:
    return getattr(value, "__hash__", None) is not None and value in TABLE


def test_every_function_is_of_the_kind_that_is_expected() -> None:
    known = {name: TABLE[named(name)].kind for name in FUNCTIONS if named(name) in TABLE}
    wrong = {name: kind for name, kind in known.items() if kind not in expected_kinds(name)}
    assert not wrong, f"kinds that differ from CONSTANT, PLAIN and UNSUPPORTED above: {wrong}"


def test_what_is_listed_as_no_function_is_none() -> None:
    installed = set(public_names())
    wrong = [name for name, what in NAMES.items() if name in installed and not _is_a(what, name)]
    assert not wrong, f"these aren't what tapegrad.ops.namespace says: {wrong}"


def _is_a(what: str, name: str) -> bool:
    value = named(name)
    if what in ("class", "scalar type"):
        return isinstance(value, type)
    if what == "submodule":
        return inspect.ismodule(value)
    return callable(value) == (what in ("old name of a function", "runner of NumPy's tests"))


@pytest.mark.parametrize("name", ["sin", "add"])
def test_a_name_that_is_not_classed_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TABLE, named(name))
    with pytest.raises(AssertionError, match=name):
        test_every_public_name_is_classed()


def test_a_wrong_kind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, np.sin, Known("constant", np.sin))
    with pytest.raises(AssertionError, match="sin"):
        test_every_function_is_of_the_kind_that_is_expected()


# ---------------------------------------------------------------- keywords

# Keywords that no case has to meet, with the reason.
NOT_MATTERING = {
    "subok": "a tensor has no subclasses",
    "like": "no argument of the function: it chooses who answers",
    "device": "NumPy knows one, 'cpu'",
    "out": "of writes, with tests of its own",
    "sig": "an older name of signature",
    "signature": "names a loop, as dtype does, and is refused",
    "casting": "the forward refuses what can't be cast; what can has the same gradient",
    "optimize": "says how a contraction is computed, not what",
    "writeable": "of a view, whose tensor is read-only",
}
# The same of single functions.
NOT_MATTERING_OF = {
    ("full", "dtype"): "like= alone brings np.full here: tests/ops/test_constants.py",
    ("full", "order"): "a layout in memory, and by like= alone",
    ("einsum", "order"): "a layout in memory",
    ("nan_to_num", "copy"): "copy=False writes to its argument, and is refused",
    # Old names, which newer NumPys have no more; they are refused as keywords that aren't known.
    ("reshape", "newshape"): "an old name of shape",
    ("quantile", "interpolation"): "an old name of method",
    ("nanquantile", "interpolation"): "an old name of method",
    ("percentile", "interpolation"): "an old name of method",
    ("nanpercentile", "interpolation"): "an old name of method",
    ("corrcoef", "bias"): "has had no effect since NumPy 1.10, and warns",
    ("corrcoef", "ddof"): "has had no effect since NumPy 1.10, and warns",
}
_BY_LIKE = "by like= alone: tests/ops/test_creation.py"
_WRITES = "returns nothing: tests/storage"
# Functions whose calls aren't tried with the others', with the reason.
WITHOUT_CASES = {
    **dict.fromkeys(names("array asarray asanyarray ascontiguousarray asfortranarray asarray_chkfinite"), _BY_LIKE),
    **dict.fromkeys(names("require full_like"), _BY_LIKE),
    **dict.fromkeys(names("copyto put putmask place put_along_axis fill_diagonal"), _WRITES),
    "trapz": "until NumPy 2.3 the old name of trapezoid, which warns",
}
# Of ufuncs: dtype, casting and order go to NumPy's own loop in the engine, where tests/engine has them; where=
# leaves what out= holds, and is with the writes.
OF_UFUNCS = frozenset({"where", "casting", "order", "dtype", "axes", "axis", "keepdims"})


def keywords_of(known: Known) -> list[str]:
    """The keywords of NumPy's signature, in order; of a function that shows none, nothing."""
    try:
        parameters = inspect.signature(known.function).parameters.values()
    except ValueError:
        return []
    return [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]


def unmet_keywords(known: Known) -> list[str]:
    """The keywords that no case of the function meets, by name or by position."""
    assert known.cases is not None
    names = keywords_of(known)
    calls = [*known.cases.calls, *(example[0] for example in known.cases.examples)]
    if isinstance(known, Elementwise):
        names = names[known.arity :]
    met = {name for c in calls for name in (*c.parameters, *names[: len(c.operands)])}
    if isinstance(known.function, np.ufunc):
        met |= OF_UFUNCS
    return [name for name in names if name not in met and name not in NOT_MATTERING]


def test_every_function_with_a_gradient_has_cases() -> None:
    known = {name: TABLE[named(name)] for name in FUNCTIONS if named(name) in TABLE}
    without = {name for name, k in known.items() if k.kind in ("primitive", "composite") and k.cases is None}
    assert without == {name for name in WITHOUT_CASES if name in known}, (
        "give these functions cases, or say in WITHOUT_CASES who tries them"
    )


def test_every_keyword_of_numpys_functions_is_met_by_a_case() -> None:
    unmet = {}
    for name in FUNCTIONS:
        known = TABLE.get(named(name))
        if known is not None and known.kind in ("primitive", "composite") and known.cases is not None:
            unmet[name] = [k for k in unmet_keywords(known) if (name, k) not in NOT_MATTERING_OF]
    unmet = {name: keywords for name, keywords in unmet.items() if keywords}
    assert not unmet, f"give these functions cases that meet their keywords: {unmet}"


def test_a_keyword_without_a_case_is_found() -> None:
    known = Known("composite", np.sort, cases=TABLE[np.flip].cases)
    assert unmet_keywords(known) == ["kind", "order", "stable"]
