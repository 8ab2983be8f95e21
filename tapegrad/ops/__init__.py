"""Rules for NumPy's own functions, a module a family. Importing it enters them in the table."""

from tapegrad.ops import constants, elementwise, indexing, reductions

__all__ = ["constants", "elementwise", "indexing", "reductions"]
