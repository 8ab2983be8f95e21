"""Rules for NumPy's own functions, a module a family. Importing it enters them in the table."""

from tapegrad.ops import constants, contractions, elementwise, indexing, joining, reductions, selecting, shaping

__all__ = ["constants", "contractions", "elementwise", "indexing", "joining", "reductions", "selecting", "shaping"]
