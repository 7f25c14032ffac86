"""The capability card: what was found on a device, as data to commit and to compare."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

from unisono.conformance.processes.supervising import Run
from unisono.hardware.cards.status import CARD_SCHEMA


def make_card(run: Run) -> dict[str, Any]:
    """A JSON object of schema ``CARD_SCHEMA``. A run of some checks alone passes nothing."""
    about = run.about
    return {
        "schema": CARD_SCHEMA,
        "hardware": about.get("hardware", run.options.device),
        "passed": run.passed and not run.options.only,
        "mode": "quick" if run.options.quick else "full",
        "only": list(run.options.only),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(run.seconds, 1),
        "versions": about.get("versions", {}),
        "device": {
            key: about.get(key)
            for key in ("device", "index", "description", "vendor", "total_memory")
        },
        "dtypes": about.get("dtypes", []),
        "features": about.get("features", []),
        "math_api": about.get("math_api", ""),
        "results": [_strict(result.to_json()) for result in run.results],
        "figures": [
            _strict(figure) for result in run.results for figure in result.to_json()["figures"]
        ],
    }


def _strict(value: Any) -> Any:
    """JSON knows no infinity and no NaN."""
    if isinstance(value, dict):
        return {key: _strict(entry) for key, entry in value.items() if key != "purpose"}
    if isinstance(value, (list, tuple)):
        return [_strict(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
