"""Programming policies: how the devices of one chip are written.

A policy sees one chip at a time, may read its devices as they came out, and decides which to
write again. A mask fixed beforehand is the simplest policy.
"""

from swim.policies.base import Chip, Policy, Programmed
from swim.policies.by_mask import VerifyMask

__all__ = ["Chip", "Policy", "Programmed", "VerifyMask"]
