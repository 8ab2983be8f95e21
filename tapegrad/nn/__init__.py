"""Networks: layers, activations and losses, called as their namesakes in ``torch.nn.functional``.

The differences: an axis is called ``axis``; ``hinge_loss`` is the multiclass hinge of the CS231n notes.
Images are (N, C, H, W), kernels (O, C / groups, kH, kW), weights of a linear layer (out, in).
"""

from tapegrad.nn.activation import leaky_relu as leaky_relu
from tapegrad.nn.activation import log_softmax as log_softmax
from tapegrad.nn.activation import relu as relu
from tapegrad.nn.activation import sigmoid as sigmoid
from tapegrad.nn.activation import softmax as softmax
from tapegrad.nn.activation import softplus as softplus
from tapegrad.nn.conv import conv2d as conv2d
from tapegrad.nn.linear import linear as linear
from tapegrad.nn.loss import cross_entropy as cross_entropy
from tapegrad.nn.loss import hinge_loss as hinge_loss
from tapegrad.nn.loss import mse_loss as mse_loss
from tapegrad.nn.norm import batch_norm as batch_norm
from tapegrad.nn.pool import avg_pool2d as avg_pool2d
from tapegrad.nn.pool import max_pool2d as max_pool2d
