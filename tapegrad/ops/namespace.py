"""The public names of NumPy that aren't functions of arrays: classes, submodules, constants, tools.

Every function that can meet an array stands in the table (primitive.py). Everything else in ``numpy``,
``numpy.linalg`` and ``numpy.fft`` is listed here with what it is, so that a name which a new NumPy brings
is found to be missing. As names: some are loaded when they are first asked for, and some not in every NumPy.
"""

NAMES: dict[str, str] = {
    "scalar type": """
        bool bool_ byte bytes_ cdouble character clongdouble complex128 complex256 complex64 complexfloating csingle
        datetime64 double flexible float128 float16 float32 float64 floating generic half inexact int16 int32 int64
        int8 int_ intc integer intp long longdouble longlong number object_ short signedinteger single str_
        timedelta64 ubyte uint uint16 uint32 uint64 uint8 uintc uintp ulong ulonglong unsignedinteger ushort void""",
    "class": """
        __array_namespace_info__ broadcast busdaycalendar dtype errstate finfo flatiter iinfo matrix memmap ndarray
        ndenumerate ndindex nditer poly1d recarray record ufunc vectorize linalg.LinAlgError""",
    "submodule": """
        char core ctypeslib dtypes emath exceptions f2py fft lib linalg ma polynomial random rec strings testing typing
        fft.helper linalg.linalg""",
    "number or name": """
        False_ True_ ScalarType __version__ e euler_gamma inf little_endian nan newaxis pi sctypeDict typecodes""",
    # np.r_[t, u] and np.c_[t, u] ask a recording tensor for its value, which raises; np.concatenate and
    # np.stack are what they are for.
    "index trick": "c_ index_exp mgrid ogrid r_ s_",
    "runner of NumPy's tests": "test fft.test linalg.test",
    # It calls np.vstack, which meets the tensor.
    "old name of a function": "row_stack",
}


def classes() -> dict[str, str]:
    """Each name that is listed, after ``numpy.``, with what it is; raises KeyError for one that is listed twice.

    >>> classes()["linalg.LinAlgError"]
    'class'
    """
    found: dict[str, str] = {}
    for what, names in NAMES.items():
        for name in names.split():
            if name in found:
                raise KeyError(f"{name} is listed as {found[name]} and as {what}")
            found[name] = what
    return found
