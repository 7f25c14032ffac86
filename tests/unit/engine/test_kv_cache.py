"""Blocks and the tokens in them: prefixes that are found again, windows that move on."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pool_invariants import check_pool
from unisono.core import CacheGroup, Request, SamplingParams
from unisono.engine.block_pool import NULL_BLOCK
from unisono.engine.kv_cache import FullPolicy, KVCache, WindowPolicy, peak_blocks
from unisono.engine.sequence import Sequence
from unisono.engine.variant import Variant

FULL = CacheGroup(kind="full", layers=(0,))
WINDOW_4 = CacheGroup(kind="window", window=4, layers=(1,))
STATE = CacheGroup(kind="state", layers=(1,))
_ids = itertools.count()


def sequence(
    *tokens: int, tenant: str = "", salt: str = "", prompt_logprobs: int | None = None
) -> Sequence:
    request = Request(
        id=str(next(_ids)),
        prompt_token_ids=tokens,
        params=SamplingParams(prompt_logprobs=prompt_logprobs),
        tenant=tenant,
        cache_salt=salt,
    )
    return Sequence(request=request, arrival=0, arrival_s=0.0, max_tokens=10)


def cache(*groups: CacheGroup, num_blocks: int = 20, prefix_cache: bool = True) -> KVCache:
    return KVCache(groups, num_blocks=num_blocks, block_size=2, prefix_cache=prefix_cache)


def compute(kv: KVCache, seq: Sequence) -> None:
    """All tokens of an opened sequence, in one step."""
    assert kv.reserve(seq, len(seq.token_ids))
    kv.publish(seq, len(seq.token_ids))
    seq.num_computed = len(seq.token_ids)


def computed(kv: KVCache, seq: Sequence) -> Sequence:
    seq.num_computed = kv.open(seq)
    compute(kv, seq)
    return seq


# -- prefixes ---------------------------------------------------------------------------------


def test_full_blocks_of_a_known_beginning_are_shared() -> None:
    kv = cache(FULL)
    first = computed(kv, sequence(1, 2, 3, 4, 5))
    second = sequence(1, 2, 3, 4, 9, 9)
    assert kv.open(second) == 4
    assert kv.tables(second) == [kv.tables(first)[0][:2]]


def test_the_last_token_is_always_computed_because_its_logits_are_wanted() -> None:
    kv = cache(FULL)
    computed(kv, sequence(1, 2, 3, 4))
    assert kv.open(sequence(1, 2, 3, 4)) == 2


def test_a_block_counts_only_behind_the_same_beginning() -> None:
    kv = cache(FULL)
    computed(kv, sequence(1, 2, 3, 4, 5))
    assert kv.open(sequence(9, 9, 3, 4, 5)) == 0


def test_tenants_share_nothing() -> None:
    kv = cache(FULL)
    computed(kv, sequence(1, 2, 3, 4, 5, tenant="north"))
    assert kv.open(sequence(1, 2, 3, 4, 5, tenant="south")) == 0
    assert kv.open(sequence(1, 2, 3, 4, 5)) == 0
    assert kv.open(sequence(1, 2, 3, 4, 5, tenant="north")) == 4


def test_salts_share_nothing() -> None:
    kv = cache(FULL)
    computed(kv, sequence(1, 2, 3, 4, 5, tenant="north", salt="a"))
    for tenant, salt in (("north", ""), ("north", "b"), ("northa", ""), ("", "northa"), ("", "a")):
        assert kv.open(sequence(1, 2, 3, 4, 5, tenant=tenant, salt=salt)) == 0
    assert kv.open(sequence(1, 2, 3, 4, 5, tenant="north", salt="a")) == 4


def test_every_field_of_a_variant_is_in_its_salt() -> None:
    others = [
        replace(Variant(), **{each.name: 1 if isinstance(each.default, int) else "1"})
        for each in fields(Variant)
    ]
    assert len({variant.salt() for variant in (Variant(), *others)}) == 1 + len(fields(Variant))


def test_answers_are_found_like_prompts() -> None:
    kv = cache(FULL)
    chat = computed(kv, sequence(1, 2, 3))
    chat.token_ids += [4, 5]
    compute(kv, chat)
    kv.close(chat)
    assert kv.open(sequence(1, 2, 3, 4, 5, 6)) == 4


def test_nothing_is_taken_over_where_prompt_logprobs_are_wanted_but_it_is_given() -> None:
    kv = cache(FULL)
    computed(kv, sequence(1, 2, 3))
    assert kv.open(sequence(1, 2, 3, prompt_logprobs=0)) == 0
    computed(kv, sequence(7, 8, 9, prompt_logprobs=0))
    assert kv.open(sequence(7, 8, 9)) == 2


def test_without_prefix_cache_nothing_is_shared() -> None:
    kv = cache(FULL, prefix_cache=False)
    computed(kv, sequence(1, 2, 3))
    assert kv.open(sequence(1, 2, 3)) == 0


def test_retracted_blocks_are_not_found() -> None:
    kv = cache(FULL)
    failed = computed(kv, sequence(1, 2, 3, 4, 5))
    kv.retract(failed)
    kv.close(failed)
    assert kv.open(sequence(1, 2, 3, 4, 5)) == 0
    check_pool(kv.pool)


def test_the_end_of_a_closed_sequence_goes_before_its_beginning() -> None:
    kv = cache(FULL, num_blocks=4)
    kv.close(computed(kv, sequence(1, 2, 3, 4, 5, 6)))
    other = computed(kv, sequence(9))
    kv.close(other)
    assert kv.open(sequence(1, 2, 3, 4, 5, 6, 7)) == 4


# -- room ---------------------------------------------------------------------------------------


def test_where_blocks_are_lacking_none_is_taken() -> None:
    kv = cache(FULL, FULL, num_blocks=6)
    seq = sequence(*range(10))
    kv.open(seq)
    assert not kv.fits(seq, chunk=10)
    assert not kv.reserve(seq, 10)
    assert kv.pool.num_free == 5
    assert kv.reserve(seq, 4)
    assert kv.pool.num_free == 1


def test_shared_blocks_are_needed_once() -> None:
    kv = cache(FULL, num_blocks=5)
    computed(kv, sequence(1, 2, 3, 4, 5))
    alike, other = sequence(1, 2, 3, 4, 6), sequence(7, 7, 7, 7, 7)
    kv.open(alike)
    kv.open(other)
    assert kv.fits(alike, chunk=10)
    assert not kv.fits(other, chunk=10)


def test_closing_gives_every_block_back() -> None:
    kv = cache(FULL, WINDOW_4, num_blocks=20)
    first = computed(kv, sequence(*range(9)))
    second = computed(kv, sequence(*range(9)))
    kv.close(first)
    kv.close(second)
    assert kv.pool.num_free == 19
    check_pool(kv.pool)


# -- windows ------------------------------------------------------------------------------------


def test_blocks_that_left_the_window_are_given_back() -> None:
    kv = cache(WINDOW_4)
    seq = computed(kv, sequence(*range(8)))
    assert kv.pool.num_free == 19 - 4
    seq.token_ids.append(8)
    assert kv.reserve(seq, 9)
    table = kv.tables(seq)[0]
    # The query at position 8 sees 5, 6, 7 and itself: the blocks of 4-5, 6-7 and 8.
    assert [block == NULL_BLOCK for block in table] == [True, True, False, False, False]
    assert kv.pool.num_free == 19 - 3


def test_a_window_goes_on_from_its_last_blocks_alone() -> None:
    kv = cache(WINDOW_4)
    seq = computed(kv, sequence(*range(8)))
    for block in kv.tables(seq)[0][:2]:
        kv.pool.unpublish(block)
    again = sequence(*range(9))
    assert kv.open(again) == 8
    assert kv.tables(again)[0][:2] == [NULL_BLOCK, NULL_BLOCK]


def test_a_state_goes_on_from_the_end_of_one_block() -> None:
    kv = cache(FULL, STATE)
    first = computed(kv, sequence(1, 2, 3, 4, 5, 6, 7))
    first.token_ids += [8, 9]
    assert kv.reserve(first, 9)
    assert kv.tables(first)[1][:3] == [NULL_BLOCK] * 3
    assert NULL_BLOCK not in kv.tables(first)[1][3:]
    second = sequence(1, 2, 3, 4, 9, 9)
    assert kv.open(second) == 4
    kept = kv.tables(second)[1]
    assert kept[0] == NULL_BLOCK
    assert kept[1] != NULL_BLOCK


def test_a_prefix_counts_as_far_as_every_group_has_it() -> None:
    kv = cache(FULL, WINDOW_4)
    seq = computed(kv, sequence(*range(8)))
    kv.pool.unpublish(kv.tables(seq)[1][2])  # positions 4 and 5 of the window
    assert kv.open(sequence(*range(9))) == 4


def test_what_one_group_lacks_may_make_another_fall_back_further() -> None:
    window_3 = CacheGroup(kind="window", window=3, layers=(1,))
    kv = cache(window_3, window_3)
    tables = kv.tables(computed(kv, sequence(*range(10))))
    kv.pool.unpublish(tables[0][3])  # the first group goes on from 10 or 6 tokens, not from 8
    kv.pool.unpublish(tables[1][4])  # the second from 8 or fewer
    assert kv.open(sequence(*range(11))) == 6


@given(data=st.data(), windows=st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_the_prefix_found_is_the_longest_that_every_group_can_go_on_from(
    data: st.DataObject, windows: list[int]
) -> None:
    groups = (FULL, *(CacheGroup(kind="window", window=w, layers=(1,)) for w in windows))
    kv = cache(*groups, num_blocks=60)
    tables = kv.tables(computed(kv, sequence(*range(20))))
    lost = data.draw(st.sets(st.tuples(st.integers(0, len(windows)), st.integers(0, 9))))
    for group, index in lost:
        kv.pool.unpublish(tables[group][index])

    def goes_on(length: int) -> bool:
        firsts = [0, *(max(0, 2 * length - window + 1) // 2 for window in windows)]
        return not any(first <= index < length for g, index in lost for first in [firsts[g]])

    again = sequence(*range(21))
    hit = max(length for length in range(11) if goes_on(length))
    assert kv.open(again) == 2 * hit
    for group, table in enumerate(kv.tables(again)):
        assert all(block in (NULL_BLOCK, tables[group][i]) for i, block in enumerate(table))
        assert len(table) == hit


SIZES = {"block_size": st.integers(1, 8), "window": st.integers(1, 25)}


@given(num_computed=st.integers(0, 60), **SIZES)
def test_a_window_keeps_exactly_what_later_queries_see(
    num_computed: int, block_size: int, window: int
) -> None:
    seen = range(max(0, num_computed - window + 1), num_computed + 1)
    first = WindowPolicy(block_size, window).first_kept(num_computed)
    assert first == seen[0] // block_size


@given(cached=st.lists(st.booleans(), max_size=12), **SIZES)
def test_the_longest_hit_is_what_trying_every_length_finds(
    cached: list[bool], block_size: int, window: int
) -> None:
    for policy in (FullPolicy(block_size), WindowPolicy(block_size, window)):
        lengths = [
            length
            for length in range(len(cached) + 1)
            if all(cached[policy.first_kept(length * block_size) : length])
        ]
        assert policy.longest_hit(cached.__getitem__, len(cached)) == max(lengths)


@settings(max_examples=60)
@given(num_tokens=st.integers(1, 60), chunk=st.integers(1, 20), data=st.data(), **SIZES)
def test_no_sequence_holds_more_than_the_peak(
    num_tokens: int, chunk: int, data: st.DataObject, block_size: int, window: int
) -> None:
    groups = (FULL, CacheGroup(kind="window", window=window, layers=(1,)))
    peak = peak_blocks(groups, block_size, num_tokens, chunk)
    kv = KVCache(groups, num_blocks=peak + 1, block_size=block_size)
    seq = sequence(*range(num_tokens))
    kv.open(seq)
    while seq.num_computed < num_tokens:
        step = data.draw(st.integers(1, chunk))
        end = min(num_tokens, seq.num_computed + step)
        assert kv.reserve(seq, end)
        seq.num_computed = end
