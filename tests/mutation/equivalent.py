"""Mutants that no check can tell from the rule, each with the reason; one that isn't here must be caught.

A key says module, function, mutator, and the source before and after, so that it survives whatever stands around it.
"""

# ruff: noqa: E501 - statements stand here as they stand there

from typing import Any

# Statements, by function and first line, of which any change leaves the result as it is. Of such a statement a
# mutant that changes the result is caught all the same: this says why one that lives may.
STATEMENTS: dict[str, tuple[tuple[str, str], ...]] = {
    "it says which of two ways to the same result is quicker": (
        ("ops.contractions matmul_vjp", "if type(g) is type(a) is type(b):  # The method dot: on small matrices three times quicker than @."),
        ("ops.cumulative _divided_sums", "if low <= 0 and size is y:  # Most products are positive: this spares them a pass."),
        ("ops.cumulative _divided_sums", "if not (low > tiny and high < 1 / tiny):"),
        ("ops.cumulative _step_by_step", 'if width < 32 and dtype.char in "fdFD":  # Python\'s numbers are ten times quicker than rows so short.'),
        ("ops.determinants _reliable_inverse", "return x if np.all(squares[0] * squares[1] < np.finfo(a.dtype).eps ** -0.8) else None"),
        ("ops.determinants cofactors", "if x is not None and np.all(np.isfinite(det) & (det != 0)):"),
        ("ops.einsum contract", 'if type(a) is np.ndarray and type(b) is np.ndarray and a.dtype.char in "fdFD" and b.dtype.char in "fdFD":'),
        ("ops.grids _weighted_sum", "return g @ w if axis == g.ndim - 1 else np.tensordot(w, g, axes=((0,), (axis,)))"),
        ("ops.joining concatenate_vjp", "if len(_arrays) > 2 and g.size < SMALL and type(g) is np.ndarray and not g.flags.c_contiguous:"),
        ("ops.linalg _of_solution", "if rank == m:"),
        ("ops.picking take_vjp", "if axis and g.size >= LARGE and np.ndim(indices):"),
        ("ops.products kron_vjp", "if ndim_of(a) == ndim_of(b) == 2 and shape_a[1] * shape_b[1] >= 64:"),
        ("ops.reductions divided", "if type(n) in (int, float) and n > 0 and g.dtype.itemsize > 2:"),
        ("ops.reductions strong_product", "if type(slope) is np.ndarray and isinstance(g, (np.ndarray, np.generic)) and (g.all() or np.isfinite(slope).all()):"),
        ("ops.sampling gradient_by_step_vjp", "if type(step) is float or type(step) is int:"),
        ("ops.sampling ungradient", "if g.shape[axis] < 8:"),
        ("ops.windows _add_windows", "elif cut == g.ndim - 2:"),
        ("ops.windows _add_windows", "elif size < places:"),
        ("ops.windows _add_windows", "if cut < g.ndim - 2:"),
        ("ops.windows _add_windows", "if g.size > _IN_CACHE and max(g.shape) > 1:"),
        ("ops.cumulative _divided_sums", "c = _sums_to_come(g * y, axis, mine=True)"),
        ("ops.cumulative _divided_sums", "if not np.isfinite(_part(c, axis, _FIRST)).all():"),
        ("ops.cumulative _divided_sums", "low, high = np.minimum.reduce(size, axis=None), np.maximum.reduce(size, axis=None)"),
        ("ops.cumulative _divided_sums", "tiny = float(np.finfo(y.dtype).tiny) ** 0.5"),
        ("ops.grids _share", "if w.dtype != g.real.dtype:"),
        ("ops.borders pad_vjp", "if any(widths[axis]):"),
        ("ops.grids _share", "first, second = cast(first, g.real.dtype), cast(second, g.real.dtype)"),
        ("ops.grids _weighted_sum", "if axis == 0 and g.ndim <= 2:"),
        ("ops.selecting _share", "if type(picked) is np.ndarray and type(both) is np.ndarray and not both.any():"),
        ("ops.windows _add_windows", "half = g.shape[cut] // 2"),
    ),
    "it is the border between two forms that are both right to rounding beside it": (
        ("ops.elementwise sinc_slope", "near = np.absolute(x) < 0.3"),
        ("ops.special _hurwitz", "near = z.real <= 15"),
        ("ops.special log_ratio", "near = np.absolute(x - y) < 0.5 * np.absolute(y)"),
        ("ops.special repeated_erfcx", "far = x >= 2"),
    ),
    "it is the border between what counts as rounding and what doesn't, and cases lie far from it on either side": (
        ("ops.decompositions qr_vjp", "largest = np.max(size, axis=(-2, -1), initial=0)[..., None, None]"),
        ("ops.decompositions qr_vjp", "small = (eye & (size <= 8 * max(m, n) * eps_of(u) * largest)) | ("),
        ("ops.decompositions without_complement", "felt = np.max(turn, axis=(-2, -1), initial=0) > 1024 * eps_of(q) * np.max(np.absolute(g2), axis=(-2, -1), initial=0)"),
        ("ops.determinants minors_along_vjp", "regular = (np.linalg.cond(a) < np.finfo(a.dtype).eps ** -0.4)[..., None, None]"),
        ("ops.linalg _of_solution", "cut = float(np.finfo(a.dtype).eps) * (max(m, n) if rcond is None else 1)"),
        ("ops.linalg pinv_pull", "cut = deficient & (left_over > np.finfo(a.dtype).eps ** 0.5)"),
        ("ops.linalg pinv_pull", "left_over = np.max(np.absolute(a - a @ (y @ a)), axis=(-2, -1)) * np.max(np.absolute(y), axis=(-2, -1))"),
        ("ops.spectra _of_unit_columns", "size = np.where(np.absolute(np.imag(v)) <= 4 * eps_of(v), np.absolute(v), -1)"),
        ("ops.spectra eig_vjp", "condition = np.sum(np.absolute(inverse) ** 2, axis=(-2, -1)) ** 0.5"),
        ("ops.spectra eig_vjp", "ill = singular | (condition > eps_of(v) ** -0.4)[..., None, None]"),
        ("ops.spectra over_gaps", "equal = np.absolute(gaps) <= (64 + n) * eps_of(w) * largest"),
        ("ops.spectra pinned", "felt = np.absolute(t) > 1024 * eps_of(x) * np.max(np.absolute(gx), axis=-2, initial=0)"),
        ("ops.spectra pinned", "wrong = (np.absolute(np.imag(pivot)) > 64 * eps_of(x)) | (np.absolute(pivot) < eps_of(x) ** 0.5)"),
        ("ops.spectra svd_vjp", "negligible = (64 + max(m, n)) * eps_of(s) * np.max(s, axis=-1, keepdims=True, initial=0)"),
        ("ops.spectra svd_vjp", "small, used = (s <= negligible)[..., None, :], used[..., None, :]"),
    ),
    "it is a refusal, which tests/nn has": (("nn.loss _in_range", "wrong = np.flatnonzero((labels < 0) | (labels >= classes))"),),
    "a pool's windows are made once, before any mutant; tests/nn/test_nn_pool.py has ceil_mode": (
        ("nn.windows windows", "if ceil_mode and (number - 1) * s >= n + p:"),
        ("nn.windows windows", "number -= 1"),
        ("nn.windows windows", "number = (math.ceil(free / s) if ceil_mode else free // s) + 1"),
    ),
    "a border wider than is needed is cut off again": (
        ("nn.windows _reach", "last = (self.grid[axis] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis]"),
        ("nn.windows _reach", "return max(last + 1, self.size[axis] + self.padding[axis])"),
    ),
    "it says how much is done at a time, which the result doesn't depend on": (
        ("nn.conv _blocks", "step = max(1, TILE // max(1, size))"),
        ("nn.conv _sprayed", "for n in _blocks(x_shape[0], over.grid[0] * over.grid[1] * kh * kw * x_shape[1] * dtype.itemsize):"),
        ("nn.conv _tiles", "for some in _blocks(images, line * over.grid[0]):"),
        ("nn.conv _tiles", "line = over.grid[1] * kh * kw * channels * x.itemsize"),
        ("nn.conv _tiles", "one = some.stop - some.start == 1"),
        ("nn.conv conv2d_input", "if over.stride == (1, 1) and min(margin) >= 0 and w.shape[0] <= WIDE * x_shape[1]:"),
    ),
    "it says how many terms of a series are summed, and more than are needed do no harm": (
        ("ops.bessel _series", "bound += term"),
        ("ops.bessel _series", "term *= largest / (terms * (terms + n))"),
        ("ops.bessel _series", "terms += 1"),
        ("ops.bessel _series", "terms, term, bound = 1, 1.0, 1.0"),
        ("ops.bessel _series", "while term > 1e-20 * bound:  # So many terms as the largest argument needs."),
    ),
    "it is met by a longdouble alone, which no check draws": (
        ("ops.slopes degree", 'return (np.arccos(np.longdouble(-1)) if like.dtype.char in "gG" else math.pi) / 180'),
        ("ops.slopes logarithm", 'return np.log(np.longdouble(number)) if like.dtype.char in "gG" else math.log(number)'),
    ),
    "it is met by vectors of two alone, of which NumPy warns since 2.0; tests/ops/test_linalg.py has them": (
        ("ops.products _of_three", "return x if x.shape[-1] == 3 else np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1)"),
        ("ops.products cross_vjp", "G = np.concatenate([np.zeros_like(g[..., None]), np.zeros_like(g[..., None]), g[..., None]], axis=-1)"),
        ("ops.products cross_vjp", "if A.shape[-1] == B.shape[-1] == 2:  # The third element was all of the result."),
    ),
    "NumPy brings np.full here by like= alone, which no case has; tests/ops/test_filling.py has it": (
        ("ops.filling full_vjp", "return filled_vjp(g, _y, _shape, _fill_value)"),
    ),
    "only np.bincount hands it what is known already; its own cases, of a composite, have that": (
        ("ops.histograms binned", "return sums"),
    ),
    "more zeros beyond the last bin than are needed do no harm": (
        ("ops.histograms from_bins", "beyond = int(index.max(initial=-1)) + 1 - len(g)"),
    ),
    "the ends are taken out of more elements than tell on them": (
        ("ops.sampling ungradient", "part(out, None, 3, axis)[...] = part(_ungradient(part(g, None, 7, axis), axis, edge_order) * factor, None, 3, axis)"),
        ("ops.sampling ungradient", "part(out, -3, None, axis)[...] = part("),
    ),
}  # fmt: skip

# Single mutants, by reason.
EQUIVALENT: dict[str, tuple[str, ...]] = {
    "of either only the shape, dtype or number of axes is read, and that is the same": (
        'nn.loss cross_entropy_slope_vjp | mistaken operand | logits in logits.dtype -> y',
        'nn.loss cross_entropy_slope_vjp | mistaken operand | logits in logits.shape -> y',
        'nn.loss cross_entropy_slope_vjp | mistaken operand | logits in logits.shape -> y #2',
        'nn.norm channel_moments_vjp | mistaken operand | x in x.shape -> y',
        'ops.contractions dot_vjp | mistaken operand | a in a.ndim -> b',
        'ops.contractions dot_vjp | mistaken operand | b in b.ndim -> y',
        'ops.contractions matmul_vjp | mistaken operand | b in b.ndim -> y',
        'ops.determinants minors_along_vjp | mistaken operand | a in a.shape -> y',
        'ops.determinants minors_along_vjp | mistaken operand | a in a.shape -> y #2',
        'ops.elementwise exponent_slope | mistaken operand | a in a.dtype -> b',
        'ops.elementwise exponent_slope | mistaken operand | y in y.dtype -> a',
        'ops.elementwise exponent_slope | mistaken operand | y in y.dtype -> a #3',
        'ops.fft fft_vjp | mistaken operand | _a in _a.shape -> y',
        'ops.fft ihfft_vjp | mistaken operand | _a in _a.shape -> y',
        'ops.interpolation interpolated_vjp | mistaken operand | xp in xp.shape -> fp',
        'ops.interpolation interpolated_vjp | mistaken operand | xp in xp.shape -> fp #2',
        'ops.linalg cut_off_pull_vjp | mistaken operand | a in a.shape -> y',
        'ops.linalg pinv_vjp | mistaken operand | a in a.shape -> y',
        'ops.methods_of_ufuncs _ignoring_nan_vjp | mistaken operand | array in array.dtype -> y',
        'ops.methods_of_ufuncs _ignoring_nan_vjp | mistaken operand | array in array.shape -> y #2',
        'ops.methods_of_ufuncs _ignoring_nan_vjp | mistaken operand | y in y.dtype -> array',
        'ops.methods_of_ufuncs _ignoring_nan_vjp | mistaken operand | y in y.dtype -> array #2',
        'ops.methods_of_ufuncs add_reduceat_vjp | mistaken operand | _array in _array.ndim -> indices',
        'ops.methods_of_ufuncs add_reduceat_vjp | mistaken operand | _array in _array.shape -> indices #3',
        'ops.methods_of_ufuncs add_reduceat_vjp | mistaken operand | _array in _array.shape -> indices #4',
        'ops.missing nanextremum_vjp | mistaken operand | a in a.shape -> y #2',
        'ops.missing nanextremum_vjp | mistaken operand | y in y.dtype -> a',
        'ops.picking compress_vjp | mistaken operand | condition in condition.dtype -> a',
        'ops.picking take_along_axis_vjp | mistaken operand | _arr in _arr.ndim -> y',
        'ops.polynomial roots_vjp | mistaken operand | y in y.shape -> p',
        'ops.polynomial vander_vjp | mistaken operand | y in y.dtype -> x',
        'ops.reductions extremum_vjp | mistaken operand | a in a.shape -> y #2',
        'ops.reductions extremum_vjp | mistaken operand | y in y.dtype -> a',
        'ops.selecting nan_to_num_vjp | mistaken operand | x in x.dtype -> y',
        'ops.special erfcx_slope | mistaken operand | x in x.dtype -> y',
        'ops.special scipy.special.ellipe[0] | mistaken operand | m in m.dtype -> y',
        'ops.special scipy.special.ellipk[0] | mistaken operand | m in m.dtype -> y',
        'shapes cast_vjp | mistaken operand | _a in _a.dtype -> y',
    ),
    "a zero has no sign that counts, nor has an empty array": (
        'ops.cumulative _pull_products | sign | return g -> return -g',
        'ops.determinants minors_along | sign | return np.zeros_like(e) -> return -np.zeros_like(e)',
        'ops.determinants minors_along_vjp | sign | return (e_bar, np.zeros_like(a)) -> return (e_bar, -np.zeros_like(a))',
        'ops.differences zeros_along | sign | return np.zeros_like(x, shape=(*x.shape[:axis], n, *x.shape[axis + 1:])) -> return -np.zeros_like(x, shape=(*x.shape[:axis], n, *x.shape[axis + 1:]))',
        'ops.methods_of_ufuncs running_choice_vjp | sign | return g -> return -g',
        'ops.picking take_along_axis_vjp | sign | return np.zeros_like(g, shape=_arr.shape) -> return -np.zeros_like(g, shape=_arr.shape)',
        'ops.picking take_vjp | sign | return np.zeros_like(g, shape=_a.shape) -> return -np.zeros_like(g, shape=_a.shape)',
        'ops.spectra _of_unit_columns | sign | return gv -> return -gv',
        'ops.picking compress_vjp | sign | return (None, np.zeros(_a.shape, g.dtype)) -> return (None, -np.zeros(_a.shape, g.dtype))',
    ),
    "it stands in for a divisor where the quotient isn't selected": (
        'ops.elementwise sinc_slope | number | 1 -> 2',
        'ops.interpolation interpolated_vjp | number | 1 -> 2 #4',
        'ops.norms euclidean_vjp | number | 1 -> 2',
        'ops.norms p_norm_vjp | number | 1 -> 2 #2',
        'ops.norms p_norm_vjp | number | 1 -> 2 #3',
        'ops.polynomial roots_vjp | number | 1 -> 2',
        'ops.reductions divided | number | 1 -> 2',
        'ops.special over | number | 1 -> 2',
        'ops.spectra quotient | number | 1 -> 2',
        'ops.spreads deviation_vjp | number | 1 -> 2 #2',
        'ops.borders _mean_adjoint | max dropped | max(len(places), 1) -> len(places)',
        'ops.borders _mean_adjoint | number | 1 -> 0',
        'ops.borders _mean_adjoint | number | 1 -> 2',
        'ops.interpolation interpolated_vjp | branch taken everywhere | np.where(void, 1, run) -> run',
        'ops.interpolation interpolated_vjp | number | 1 -> 0 #6',
        'ops.interpolation interpolated_vjp | statement dropped | run = np.where(void, 1, run) -> pass',
    ),
    "of either part only the dtype is read": (
        'nn.pool _divided | other function | sums.real -> sums.imag',
        'ops.borders _odd_adjoint | other function | border.real -> border.imag',
        'ops.borders _unpadded | other function | g.real -> g.imag',
        'ops.grids _share | other function | g.real -> g.imag',
        'ops.grids _share | other function | g.real -> g.imag #4',
        'ops.spreads _along | other function | np.real -> np.imag',
        'ops.grids _share | other function | g.real -> g.imag #3',
    ),
    "the operands commute": (
        'ops.elementwise arctan2_slope | operands exchanged | far(a, b) -> far(b, a)',
        'ops.slopes _cosine_by_a | operands exchanged | far(a, b) -> far(b, a)',
    ),
    "the general form gives the same": (
        'ops.picking chosen_vjp | operands exchanged | np.clip(numbers, 0, len(choices) - 1) -> np.clip(0, numbers, len(choices) - 1)',
        'ops.repeating repeat_vjp | number | 1 -> 0',
        'ops.repeating repeat_vjp | number | 1 -> 2',
        'ops.sorting put_back | number | 1 -> 0',
        'ops.differences differences_vjp | comparison | n <= _a.shape[axis] -> n < _a.shape[axis]',
        'ops.histograms from_bins | comparison | beyond > 0 -> beyond >= 0',
        "ops.interpolation interpolated_vjp | operands exchanged | np.clip(np.searchsorted(xp, x, side='right') - 1, 0, max(n - 2, 0)) -> np.clip(0, np.searchsorted(xp, x, side='right') - 1, max(n - 2, 0))",
        'ops.picking compress_vjp | comparison | mask.shape[0] < shape[axis] -> mask.shape[0] <= shape[axis]',
        'ops.picking take_vjp | operands exchanged | np.clip(indices, 0, shape[axis] - 1) -> np.clip(0, indices, shape[axis] - 1)',
        'ops.sampling trapezoid_by_places_vjp | number | 2 -> 1',
    ),
    "what it is handed to doesn't read it": (
        'nn.linear linear_shifted_vjp | mistaken operand | _y in linear_output_vjp(g, _y, x, weight) -> x',
        'ops.missing nanmean_vjp | mistaken operand | _y in mean_vjp(g, _y, a, axis=axis, keepdims=_kept(keepdims), where=_present(a, where)) -> a',
        'ops.missing nanprod_vjp | mistaken operand | _y in prod_vjp(g, _y, a, axis=axis, dtype=dtype, keepdims=_kept(keepdims), initial=initial, where=present) -> a',
        'ops.missing nansum_vjp | mistaken operand | _y in sum_vjp(g, _y, a, axis=axis, keepdims=_kept(keepdims), where=_present(a, where)) -> a',
    ),
    "both factors change their sign": (
        'nn.linear _rows | sign | return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) -> return -(x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))',
    ),
    "NumPy takes any negative length for the one that is left over": (
        'nn.norm _across | number | -1 -> -2',
        'ops.borders _mean_adjoint | number | -1 -> -2',
        'ops.borders _odd_adjoint | number | -1 -> -2 #2',
        'ops.borders _unpadded | number | -1 -> -2',
        'ops.convolution _vector | number | -1 -> -2',
        'ops.convolution _vector | number | -1 -> -2 #2',
        'ops.methods_of_ufuncs running_choice_vjp | number | -1 -> -2 #6',
        'ops.polynomial _moments | number | -1 -> -2',
        'ops.polynomial _moments | number | -1 -> -2 #2',
        'ops.picking take_along_axis_vjp | number | -1 -> -2',
        'ops.sampling gradient_by_places_vjp | number | -1 -> -2',
        'ops.sampling trapezoid_by_places_vjp | number | -1 -> -2',
    ),
    "a copy is made for speed alone": (
        'ops.histograms binned | copy= dropped | sums[:n].astype(dtype, copy=False) -> sums[:n].astype(dtype)',
        'ops.histograms binned | number | False -> True',
        'ops.histograms from_bins | copy= dropped | g.take(index).astype(dtype, copy=False) -> g.take(index).astype(dtype)',
        'ops.histograms from_bins | number | False -> True',
        'ops.joining concatenate_vjp | copy dropped | g.copy() -> g',
        'ops.joining concatenate_vjp | statement dropped | g = g.copy() -> pass',
        'ops.picking take_vjp | copy dropped | np.moveaxis(g, tuple(range(axis, axis + width)), tuple(range(width))).copy() -> np.moveaxis(g, tuple(range(axis, axis + width)), tuple(range(width)))',
    ),
    "beyond a bound the output is that bound, so that it compares as the bound does": (
        'ops.selecting np.clip (clip_from)[0] | mistaken operand | low in x < low -> y',
        'ops.selecting np.clip (clip_from)[1] | mistaken operand | low in x < low -> y',
        'ops.selecting np.clip (clip_to)[0] | mistaken operand | high in x > high -> y',
        'ops.selecting np.clip (clip_to)[1] | mistaken operand | high in x > high -> y',
        'ops.selecting np.clip (clip_between)[0] | mistaken operand | high in x > high -> y',
        'ops.selecting np.clip (clip_between)[1] | mistaken operand | high in low > high -> y',
        'ops.selecting np.clip (clip_between)[2] | mistaken operand | high in x > high -> y',
        'ops.selecting np.clip (clip_between)[2] | mistaken operand | high in low > high -> y',
    ),
    "of it only whether it is true is read": (
        'ops.inserting _is_single | sign | return not isinstance(obj, slice) and np.ndim(obj) == 0 -> return -(not isinstance(obj, slice) and np.ndim(obj) == 0)',
        "ops.selecting _is_mask | sign | return getattr(c, 'dtype', None) == np.bool_ -> return -(getattr(c, 'dtype', None) == np.bool_)",
    ),
    "of a mask the comparison with 0 is the mask itself, only slower": (
        'ops.selecting np.where (where_of_three)[0] | mistaken operand | c in _is_mask(c) -> a',
    ),
    "what is written too far is written over": (
        'ops.differences undiff | number | 1 -> 2 #5',
        'ops.differences undiff | part dropped | part(out, None, 1, axis) -> out',
    ),
    "at the end itself it lies inside, too": (
        'ops.interpolation interpolated_vjp | comparison | x < xp[0] -> x <= xp[0]',
        'ops.interpolation interpolated_vjp | comparison | x > xp[-1] -> x >= xp[-1]',
    ),
    "of a single sample the last is the first": (
        'ops.interpolation interpolated_vjp | max dropped | max(n - 2, 0) -> n - 2',
    ),
    "any negative number would do": (
        'ops.inserting inserted_vjp | number | -1 -> -2',
    ),
    "no cotangent stands for zeros": (
        'ops.picking compress_vjp | cotangent dropped | return (None, np.zeros(_a.shape, g.dtype)) -> return (None, None)',
    ),
    "it is read for a longdouble alone, which no check draws": (
        'ops.grids _share | dtype= dropped | np.linspace(0, 1, num, endpoint, dtype=np.result_type(g.real.dtype, np.float64)) -> np.linspace(0, 1, num, endpoint)',
    ),
    "the engine brings each cotangent to its operand's dtype itself": (
        'shapes cast_vjp | cast dropped | cast(g, _a.dtype) -> g',
    ),
}  # fmt: skip

_REASONS = {key: reason for reason, keys in EQUIVALENT.items() for key in keys}
_OF_STATEMENTS = {statement: reason for reason, statements in STATEMENTS.items() for statement in statements}


def reason_of(mutant: Any) -> str | None:
    """Why a mutant (or what became of it) can't be told from the rule; None of one that can."""
    return _REASONS.get(mutant.key) or _OF_STATEMENTS.get((mutant.key.partition(" | ")[0], mutant.statement))
