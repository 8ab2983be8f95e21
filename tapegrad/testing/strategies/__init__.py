"""Strategies for Hypothesis: what a gradient is to be tested on (extra ``tapegrad[testing]``).

They are ordinary strategies: they compose with ``hypothesis.strategies`` and ``hypothesis.extra.numpy``,
and shrink to the smallest and roundest example that still shows what was found.
"""

from tapegrad.testing.strategies.arrays import LAYOUTS as LAYOUTS
from tapegrad.testing.strategies.arrays import arrays_in as arrays_in
from tapegrad.testing.strategies.arrays import broadcastable_operands as broadcastable_operands
from tapegrad.testing.strategies.arrays import broadcastable_shapes as broadcastable_shapes
from tapegrad.testing.strategies.arrays import shapes as shapes
from tapegrad.testing.strategies.calls import calls as calls
from tapegrad.testing.strategies.containers import containers as containers
from tapegrad.testing.strategies.contractions import convolution_calls as convolution_calls
from tapegrad.testing.strategies.contractions import einsum_calls as einsum_calls
from tapegrad.testing.strategies.drawn import DrawnCall as DrawnCall
from tapegrad.testing.strategies.indexing import axes as axes
from tapegrad.testing.strategies.indexing import indices as indices
from tapegrad.testing.strategies.matrices import matrices as matrices
