"""The conformance kit: is this chip, with this driver and this torch, fit to run models?

Checks run in a process of their own, and this room's interface imports no torch.
"""

from unisono.conformance.processes.supervising import Listener, Options, Run, check_device
from unisono.conformance.results import Failure, Figure, Result

__all__ = ["Failure", "Figure", "Listener", "Options", "Result", "Run", "check_device"]
