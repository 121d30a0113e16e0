"""RRAM4: the two middle ones of four levels vary 4 times as much.

Source: the name and s = 4 are those of later code by the authors of SWIM (Yan, Hu and Shi, DAC
2022, arXiv:2202.08395). No measurement is known to us that they rest on.
Unit: factors of sigma, which is a part of a device's full scale. Valid for levels in [0, 1] of
devices of two bits or more; anything else raises.
"""

from swim.devices.middle_levels import MiddleLevels

DEVICE = MiddleLevels(s=4)
