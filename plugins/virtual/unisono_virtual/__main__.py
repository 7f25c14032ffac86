"""``python -m unisono_virtual``: compile the device and say what it is."""

from __future__ import annotations

import sys

import torch

from unisono.core.errors import UnisonoError
from unisono_virtual import building, install


def main() -> int:
    try:
        library = building.library()
        made = install(chip=sys.argv[1] if len(sys.argv) > 1 else None)
    except UnisonoError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    chip = made.imitation
    lines = [
        f"device    {chip.title}, {made.num_devices} of them as {made.name}:0 and on",
        f"memory    {chip.memory_bytes / 2**30:.2f} GiB each",
        f"clock     {chip.unpredictable or 'roofline of the published figures'}",
        f"torch     {torch.__version__}",
        f"library   {library}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
