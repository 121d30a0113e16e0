"""Backward rules of the second-derivative recursion: squared Jacobians.

Each rule runs an operation as the model would and gives it a backward that carries second
derivatives ``h``: for ``o = f(x)`` with the Jacobian J, ``h_x = (J∘J)^T h_o`` (Becker & LeCun
1989; LeCun, Denker and Solla, Optimal Brain Damage, 1990). Where f is curved, Becker & LeCun add
``f''`` times the first derivative of the loss; it is dropped here, which is the Gauss-Newton
approximation (Schraudolph, Neural Computation 14(7), 2002): one pass is enough, and no second
derivative is negative. Operations whose Jacobian holds only zeros and ones need no rule:
autograd's own backward is the recursion already.

One module a kind; importing them fills :data:`RULES`.
"""

from swim.curvature.rules.arithmetic import Extremum, Product, Quotient
from swim.curvature.rules.attention import LogSoftmax, Softmax
from swim.curvature.rules.averages import Averaging
from swim.curvature.rules.base import RULES, refuse, rule
from swim.curvature.rules.contractions import SquaredProduct
from swim.curvature.rules.elementwise import Scaling
from swim.curvature.rules.interpolation import Interpolating
from swim.curvature.rules.norms import Normalising
from swim.curvature.rules.products import LAYERS, SquaredConvolution, SquaredLinear

__all__ = ["LAYERS", "OURS", "RULES", "Averaging", "refuse", "rule"]

# What the graph may hold of ours; everything else must be on the allow-list of names.
OURS = (
    SquaredLinear,
    SquaredConvolution,
    SquaredProduct,
    Scaling,
    Averaging,
    Normalising,
    Product,
    Quotient,
    Extremum,
    Softmax,
    LogSoftmax,
    Interpolating,
)
