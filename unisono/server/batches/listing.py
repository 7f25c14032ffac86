"""Pages of OpenAI's lists: what comes behind an object, so many at most."""

from __future__ import annotations

from typing import Any

from unisono.server.api_error import bad_request

Json = dict[str, Any]


def page(items: list[Json], after: str | None, limit: int) -> Json:
    """Raises:
    ApiError: there is no object of the id ``after``.
    """
    if after is not None:
        names = [item["id"] for item in items]
        if after not in names:
            raise bad_request("after: there is no such object.", param="after")
        items = items[names.index(after) + 1 :]
    shown = items[:limit]
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    ends = {"first_id": first, "last_id": last, "has_more": len(items) > limit}
    return {"object": "list", "data": shown, **ends}
