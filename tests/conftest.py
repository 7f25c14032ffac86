"""The CPU of these tests is plain torch, the reference, even where native kernels are installed;
``UNISONO_IGNORE_PACKAGES=''`` runs them with those."""

from __future__ import annotations

import os

os.environ.setdefault("UNISONO_IGNORE_PACKAGES", "unisono-cpu")
