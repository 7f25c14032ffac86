"""Structured output on schemas with instances: how many are accepted, whether what is accepted is
enforced exactly, what compiling and masks cost, and whether random answers end and are valid.

``python benchmarks/structured_output.py SCHEMAS [--tokenizer FOLDER] [--sample N] [--part I/N]
[--timed N] [--runs N]``

SCHEMAS is JSON Lines, also .xz: ``name``, ``schema``, ``tests`` with ``data`` and ``valid``. Times
are of this process's own computing on one core, with the vocabulary of TOKENIZER.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np

from unisono.core.constraint import Constraint
from unisono.core.errors import InvalidRequestError
from unisono.hub.resolving import resolve_model
from unisono.text import Tokenizer
from unisono.text.grammar.compiler import GrammarCompiler
from unisono.text.grammar.matcher import ConstraintFailedError, Matcher
from unisono.text.grammar.vocabulary import Vocabulary

BYTES = Vocabulary((*(bytes([byte]) for byte in range(256)), b"<end>"), (256,))
MOST_TOKENS = 1000
MOST_SECONDS = 0.5
"""For the orders of keys of one instance."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("schemas", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="a model folder or a GGUF file")
    parser.add_argument("--timed", type=int, default=1000, help="schemas whose masks are timed")
    parser.add_argument("--runs", type=int, default=1000, help="random answers")
    parser.add_argument("--sample", type=int, help="so many of the schemas, drawn at random")
    parser.add_argument("--part", default="1/1", help="2/5: the second of five parts")
    options = parser.parse_args()
    cases = list(read_cases(options.schemas))
    random.Random(0).shuffle(cases)
    part, num_parts = map(int, options.part.split("/"))
    cases = cases[: options.sample][part - 1 :: num_parts]
    accepted = check_all(cases)
    tokenizer = Tokenizer.load(options.tokenizer or resolve_model(None))
    random.Random(1).shuffle(accepted)
    time_masks(accepted[: options.timed], tokenizer)
    run_randomly(accepted, options.runs, tokenizer)


def read_cases(path: Path) -> Iterator[dict[str, Any]]:
    open_lines: Any = lzma.open if path.suffix == ".xz" else open
    with open_lines(path, "rt") as lines:
        for line in lines:
            yield json.loads(line)


def constraint(case: dict[str, Any]) -> Constraint:
    return Constraint("schema", json.dumps(case["schema"]))


# -- exactness --------------------------------------------------------------------------------


def check_all(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases whose schema is accepted."""
    compiler = GrammarCompiler(lambda: BYTES, 257, [256])
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    accepted = []
    for case in cases:
        try:
            compiler.matcher(constraint(case))
        except InvalidRequestError as error:
            refused[error.message] += 1
            continue
        accepted.append(case)
        for test in case["tests"]:
            says = verdict(lambda case=case: compiler.matcher(constraint(case)), test["data"])  # type: ignore[misc]
            counts[f"{'valid' if test['valid'] else 'invalid'}: {says}"] += 1
    print(f"accepted {len(accepted)} of {len(cases)}: {len(accepted) / len(cases):.2%}")
    for name, count in sorted(counts.items()):
        print(f"  {name}: {count}")
    for name, count in refused.most_common(12):
        print(f"  refused {count}: {name}")
    return accepted


def verdict(make: Callable[[], Matcher], value: Any) -> str:
    """``accepted`` as written, ``in another order`` of keys, ``rejected``, or ``not found out``."""
    if takes(make(), dumps(value)):
        return "accepted"
    try:
        return "in another order" if Orders(make).any(value) else "rejected"
    except TimeoutError:
        return "not found out"


def takes(matcher: Matcher, text: bytes) -> bool:
    try:
        matcher.advance(list(text))
    except ConstraintFailedError:
        return False
    return matcher.may_end


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Orders:
    """Looks for an order of keys in which a value is accepted; an integer may lose its ``.0``."""

    def __init__(self, make: Callable[[], Matcher]) -> None:
        self._make = make
        self._until_s = time.thread_time() + MOST_SECONDS

    def any(self, value: Any) -> bool:
        return any(matcher.may_end for matcher in self._behind(value, self._make(), b""))

    def _go(self, matcher: Matcher, text: bytes) -> Iterator[Matcher]:
        """The state behind more text, where there is one."""
        if time.thread_time() > self._until_s:
            raise TimeoutError
        behind = matcher.copy()
        try:
            behind.advance(list(text))
        except ConstraintFailedError:
            return
        yield behind

    def _behind(self, value: Any, matcher: Matcher, before: bytes) -> Iterator[Matcher]:
        """States behind ``before`` and the value."""
        if isinstance(value, dict):
            yield from self._objects(list(value.items()), matcher, before + b"{")
        elif isinstance(value, list):
            yield from self._lists(value, matcher, before + b"[")
        else:
            whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
            for one in [value, int(value)] if whole else [value]:
                yield from self._go(matcher, before + dumps(one))

    def _objects(self, left: list[Any], matcher: Matcher, before: bytes) -> Iterator[Matcher]:
        if not left:
            yield from self._go(matcher, before + b"}")
        for at, (key, value) in enumerate(left):
            for begun in self._go(matcher, before + dumps(key) + b":"):
                for behind in self._behind(value, begun, b""):
                    yield from self._objects(left[:at] + left[at + 1 :], behind, b",")

    def _lists(self, left: list[Any], matcher: Matcher, before: bytes) -> Iterator[Matcher]:
        if not left:
            yield from self._go(matcher, before + b"]")
            return
        for behind in self._behind(left[0], matcher, before):
            yield from self._lists(left[1:], behind, b",")


# -- times ------------------------------------------------------------------------------------


class Masks:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self.vocabulary = Vocabulary.of(tokenizer)
        self.size = len(self.vocabulary.tokens)
        self.end = tokenizer.token_id(tokenizer.eos_token or "") or 0
        self.compiler = GrammarCompiler(lambda: self.vocabulary, self.size, [self.end])
        self._words = np.zeros(-(-self.size // 32), np.uint32)

    def fill(self, matcher: Matcher, room: int | None = None) -> np.ndarray[Any, Any]:
        """The mask of the next token, in words."""
        matcher.fill(self._words.ctypes.data, room)
        return self._words

    def allowed(self) -> np.ndarray[Any, Any]:
        bits = np.unpackbits(self._words.view(np.uint8), bitorder="little")[: self.size]
        return np.flatnonzero(bits)


def time_masks(cases: list[dict[str, Any]], tokenizer: Tokenizer) -> None:
    masks = Masks(tokenizer)
    masks.compiler.matcher(Constraint("schema", "{}"))
    compiling: list[float] = []
    masking: list[float] = []
    for case in cases:
        began = time.thread_time()
        masks.compiler.matcher(constraint(case))
        compiling.append(time.thread_time() - began)
        for test in case["tests"]:
            if test["valid"]:
                text = dumps(test["data"]).decode()
                ids = tokenizer.encode(text, add_special_tokens=False)
                masking += mask_times(masks, masks.compiler.matcher(constraint(case)), ids)
    print(f"vocabulary of {masks.size} tokens, {len(cases)} schemas")
    print(f"  compile: {summary(compiling)}")
    print(f"  mask: {summary(masking)}")


def mask_times(masks: Masks, matcher: Matcher, ids: list[int]) -> list[float]:
    times = []
    for token_id in ids:
        began = time.thread_time()
        words = masks.fill(matcher)
        times.append(time.thread_time() - began)
        if not words[token_id // 32] >> token_id % 32 & 1:
            break  # keys in another order
        matcher.advance([token_id])
    return times


def summary(times: list[float]) -> str:
    micros = np.array(times) * 1e6
    points = ", ".join(f"p{p:g} {np.percentile(micros, p):.0f}" for p in (50, 99, 99.9, 100))
    return f"{len(times)}, mean {micros.mean():.1f} us, {points}"


# -- answers ----------------------------------------------------------------------------------


def run_randomly(cases: list[dict[str, Any]], num_runs: int, tokenizer: Tokenizer) -> None:
    """Each step takes the likeliest of random logits: any allowed token with the same chance."""
    masks, counts = Masks(tokenizer), Counter[str]()
    for run in range(num_runs):
        case = cases[run % len(cases)]
        try:
            ids = answer(masks, masks.compiler.matcher(constraint(case)), random.Random(run))
        except ConstraintFailedError as error:
            counts["failed"] += 1
            print(f"  failed: {case['name']}: {error}")
            continue
        if ids is None:
            counts["did not end"] += 1
            print(f"  did not end: {case['name']}")
            continue
        text = b"".join(masks.vocabulary.tokens[token_id] for token_id in ids)
        validator = jsonschema_rs.validator_for(case["schema"], validate_formats=True)
        is_valid = validator.is_valid(json.loads(text))
        counts["valid" if is_valid else "invalid"] += 1
        if not is_valid:
            print(f"  invalid: {case['name']}: {text[:300]!r}")
    print(f"random answers: {dict(counts)}")


def answer(masks: Masks, matcher: Matcher, choice: random.Random) -> list[int] | None:
    ids: list[int] = []
    while len(ids) < MOST_TOKENS:
        masks.fill(matcher, MOST_TOKENS - len(ids))
        token_id = int(choice.choice(masks.allowed()))
        if token_id == masks.end:
            return ids
        matcher.advance([token_id])
        ids.append(token_id)
    return None


if __name__ == "__main__":
    main()
