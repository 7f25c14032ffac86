"""Programs that a model has a say in, in processes of their own under limits.

Knows how to hold and limit them; nothing of templates or tokenizers.
"""

from unisono.text.limited.process import LimitBrokenError, LimitedProcess, Limits
from unisono.text.limited.program import LimitedProgram

__all__ = ["LimitBrokenError", "LimitedProcess", "LimitedProgram", "Limits"]
