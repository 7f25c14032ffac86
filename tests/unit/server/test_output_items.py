"""Items of a response and the events that say so, for whatever parts an answer has."""

from __future__ import annotations

import random
from typing import Any

import pytest

from unisono.server.responses.output_items import OutputItems
from unisono.text.parts import Content, Part, Reasoning, ToolCall, join

RESPONSE = "resp_" + "0" * 24


def pieces(dice: random.Random) -> list[Part]:
    """Parts of an answer in pieces, as they come: of a call first its name, then its arguments."""
    found: list[Part] = []
    num_calls = 0
    for _ in range(dice.randrange(8)):
        kind = dice.choice((Content, Reasoning, ToolCall))
        texts = ["".join(dice.choices("ab 京\n", k=dice.randrange(4))) for _ in range(3)]
        if kind is ToolCall:
            found.append(ToolCall(num_calls, f"call_{num_calls}", "f", texts[0]))
            found += [ToolCall(num_calls, arguments=text) for text in texts[1:]]
            num_calls += 1
        else:
            found += [kind(text) for text in texts]
    return found


def bare(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Kind and text of each item."""
    return [
        (
            item["type"],
            item.get("arguments", "") or "".join(p["text"] for p in item.get("content", ())),
        )
        for item in items
    ]


def replay(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items that a client puts together; checks the order of events on the way."""
    items: list[dict[str, Any]] = []
    said, has_part = "", False
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert event["output_index"] == len(items)
            assert event["item"]["status"] == "in_progress"
            items.append(event["item"])
            said, has_part = "", False
            continue
        assert event["output_index"] == len(items) - 1
        if kind == "output_item.done":
            assert event["item"]["id"] == items[-1]["id"]
            items[-1] = event["item"]
            continue
        assert event["item_id"] == items[-1]["id"]
        assert has_part or kind == "content_part.added" or "arguments" in kind
        has_part = has_part or kind == "content_part.added"
        if kind.endswith(".delta"):
            assert event["delta"]
            said += event["delta"]
        elif kind.endswith(("text.done", "arguments.done")):
            assert event.get("text", event.get("arguments")) == said
    return items


@pytest.mark.parametrize("seed", range(200))
def test_events_say_the_items(seed: int) -> None:
    parts = pieces(random.Random(seed))
    output = OutputItems(RESPONSE)
    events = [event for part in parts for event in output.push(part)]
    events += output.close()
    assert replay(events) == output.items
    whole = OutputItems(RESPONSE)
    for part in join(parts):
        whole.push(part)
    whole.close()
    assert bare(whole.items) == bare(output.items)
    assert len({item["id"] for item in output.items}) == len(output.items)
    assert all(item["status"] == "completed" for item in output.items)
