"""Backward rules of the second-derivative recursion: squared Jacobians.

Each rule runs an operation as the model would and gives it a backward that carries second
derivatives ``h``: for ``o = f(x)`` with the Jacobian J, ``h_x = (J∘J)^T h_o`` (Becker & LeCun
1989; LeCun, Denker and Solla, Optimal Brain Damage, 1990). Where f is curved, Becker & LeCun add
``f''`` times the first derivative of the loss; it is dropped here, which is the Gauss-Newton
approximation (Schraudolph, Neural Computation 14(7), 2002): one pass is enough, and no second
derivative is negative. Operations whose Jacobian holds only zeros and ones need no rule:
autograd's own backward is the recursion already.

One module per kind of operation; importing a module fills :data:`RULES`.

To add a rule:

1. Write a function decorated with ``@rule(torch_function, ...)`` and the ``autograd.Function`` that
   it applies, in the module of their kind.
2. Import the ``autograd.Function`` here. A module that is not imported here registers no rule.
3. Add the ``autograd.Function`` to :data:`OURS`. The recursion refuses every other node of the
   graph that :mod:`swim.curvature.zero_one_operations` does not list.
4. Add how the function is called to ``CALLS`` in ``tests/reference/test_operations.py``, a network
   with its twin to ``tests/reference/networks.py``, and a witness to ``WITNESS`` in
   ``test_recursion.py``: a network on which autograd's own backward would fail the test.
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

# Nodes of the graph that rules make; all others must be named in zero_one_operations.
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
