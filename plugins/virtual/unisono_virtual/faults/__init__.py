"""Planted faults: what real chips and their drivers have done wrong, by name.

``install(faults=["gemm_wrong_tile"])`` or ``UNISONO_VIRTUAL_FAULTS=gemm_wrong_tile,hang`` plants
them; whoever claims to test a device can be tested with it. Off unless asked for.
"""

from unisono_virtual.faults.registry import FAULTS, VARIABLE, Fault, check, from_environment, plant

__all__ = ["FAULTS", "VARIABLE", "Fault", "check", "from_environment", "plant"]
