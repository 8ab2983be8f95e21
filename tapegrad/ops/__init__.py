"""Rules for NumPy's own functions, a module a family. Importing it enters them in the table.

What nearly every program uses is entered at once, the other families when the table is first asked for a
function that it hasn't: ``import tapegrad`` stays quick.
"""

from tapegrad.ops import contractions, elementwise, indexing, joining, reductions, selecting, shaping, spreads
from tapegrad.primitive import later

__all__ = ["contractions", "elementwise", "indexing", "joining", "reductions", "selecting", "shaping", "spreads"]

_FAMILIES = """
applying bessel borders constants convolution creation cumulative decompositions
determinants diagonals differences einsum emath fft filling fitting
grids histograms inserting interpolation linalg methods_of_ufuncs missing namespace norms
picking polynomial products quantiles repeating sampling sets sorting
spectra statistics windows writing
"""

later(*(f"tapegrad.ops.{name}" for name in _FAMILIES.split()))
later("tapegrad.ops.special", beside="scipy.special")
