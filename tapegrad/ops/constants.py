"""Constants, plain answers, creation, and what no gradient can pass: functions without a derivative."""

import numpy as np

from tapegrad.primitive import constant, creation, plain, unsupported

# ---------------------------------------------------------------- constants

constant(np.floor, np.ceil, np.trunc, np.rint, np.fix, np.round, np.around, np.floor_divide, np.spacing)
constant(np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
constant(np.logical_and, np.logical_or, np.logical_xor, np.logical_not)
constant(np.isfinite, np.isinf, np.isnan, np.isneginf, np.isposinf, np.isreal, np.iscomplex, np.signbit)
constant(np.all, np.any, np.count_nonzero, np.argmax, np.argmin, np.nanargmax, np.nanargmin)
constant(np.nonzero, np.flatnonzero, np.argwhere, np.searchsorted, np.digitize)
constant(np.argsort, np.argpartition, np.lexsort, np.isin, np.linalg.matrix_rank)
constant(np.ix_, np.diag_indices_from, np.tril_indices_from, np.triu_indices_from)
constant(np.ravel_multi_index, np.unravel_index)
if hasattr(np, "in1d"):  # until NumPy 2.3
    constant(np.in1d)
constant(
    np.bitwise_and,
    np.bitwise_or,
    np.bitwise_xor,
    np.bitwise_count,
    np.invert,
    np.left_shift,
    np.right_shift,
    np.gcd,
    np.lcm,
    note="of integers and bools",
)

# ---------------------------------------------------------------- plain answers

plain(np.shape, np.ndim, np.size, np.isscalar, np.iterable, np.broadcast_shapes, np.einsum_path)
plain(np.iscomplexobj, np.isrealobj, np.isfortran, np.shares_memory, np.may_share_memory)
plain(np.allclose, np.isclose, np.array_equal, np.array_equiv)
plain(np.result_type, np.can_cast, np.min_scalar_type, np.common_type, np.promote_types, np.mintypecode)
plain(np.isdtype, np.issubdtype)
plain(np.array_repr, np.array_str, np.array2string, np.base_repr, np.binary_repr, np.typename, np.info)
plain(np.format_float_positional, np.format_float_scientific)
plain(np.get_printoptions, np.set_printoptions, np.printoptions)
plain(np.save, np.savez, np.savez_compressed, np.savetxt, np.load, np.fromregex, np.from_dlpack)
plain(np.bartlett, np.blackman, np.hamming, np.hanning, np.kaiser)
plain(np.indices, np.diag_indices, np.tril_indices, np.triu_indices, np.mask_indices)
plain(np.frompyfunc, np.nested_iters, np.get_include, np.show_config, np.show_runtime)
plain(np.geterr, np.seterr, np.geterrcall, np.seterrcall, np.getbufsize, np.setbufsize)

# ---------------------------------------------------------------- creation

creation(np.zeros_like, np.ones_like, np.empty_like)
# These come here by like= alone: np.zeros(n, like=tensor).
creation(np.zeros, np.ones, np.empty, np.eye, np.identity, np.tri, np.arange)
creation(np.fromfunction, np.fromiter, np.frombuffer, np.fromstring, np.fromfile, np.genfromtxt, np.loadtxt)

# ---------------------------------------------------------------- unsupported

unsupported(np.asmatrix, np.bmat, reason="np.matrix is refused as an operand; use two-dimensional arrays")
unsupported(
    np.busday_count,
    np.busday_offset,
    np.is_busday,
    np.datetime_as_string,
    np.datetime_data,
    np.isnat,
    reason="dates have no derivative",
)
unsupported(np.packbits, np.unpackbits, reason="packed bits have no derivative; they are of integers and bools")
