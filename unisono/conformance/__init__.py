"""The conformance kit: is this chip, with this driver and this torch, fit to run models?

Checks run in a process of their own, and this room's interface imports no torch.
"""

from unisono.conformance.results import Failure, Figure, Result
from unisono.conformance.supervising import Listener, Options, Run, check_device

__all__ = ["Failure", "Figure", "Listener", "Options", "Result", "Run", "check_device"]
