"""A batch as OpenAI has it, and the ways that it goes: from one status to the next.

Knows the object; nothing of files or of how it is run.
"""

from __future__ import annotations

import time
from typing import Any

from unisono.server.batches.records import new_id

Json = dict[str, Any]
WINDOW_S = 24 * 3600
UNFINISHED = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_TIMES = (
    *("in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at"),
    *("cancelling_at", "cancelled_at"),
)


def new_batch(endpoint: str, input_file: str, metadata: dict[str, str] | None) -> Json:
    now_s = int(time.time())
    return {
        "id": new_id("batch_"),
        "object": "batch",
        "endpoint": endpoint,
        "errors": None,
        "input_file_id": input_file,
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now_s,
        **dict.fromkeys(_TIMES),
        "expires_at": now_s + WINDOW_S,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": metadata,
    }


def move_to(batch: Json, status: str) -> None:
    """The batch has this status from now on."""
    batch["status"] = status
    batch[f"{status}_at"] = int(time.time())
