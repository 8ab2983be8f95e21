"""Constants, and functions that only answer about an array: what has no derivative anywhere."""

import numpy as np

from tapegrad.primitive import constant, creation, plain

constant(np.isfinite, np.equal, np.not_equal, np.greater, np.less, np.floor, np.isnan)
creation(np.zeros_like, np.ones_like)
plain(np.shape)
