"""The offline facade: text in, text out, over a tiny checkpoint with a tokenizer of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import unisono
from tests import checkpoints
from unisono import LLM, Completion, SamplingParams, UnisonoError
from unisono.core import derive_seed
from unisono.core.errors import (
    CheckpointError,
    ConfigError,
    ContextLengthError,
    DeviceNotFoundError,
    HelperFailedError,
    InvalidRequestError,
    ModelNotFoundError,
    RequestFailedError,
)

CORPUS = [
    "The quick brown fox. 统一的引擎，相同的答案。 naïve café 🙂",
    "def add(a, b): return a + b",
]
END_OF_TEXT, IM_START, IM_END = 0, 1, 2
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    "{% if enable_thinking is false %}no thoughts{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logits nearly flat, so that a bias decides which tokens come and a seed in what order."""
    folder = tmp_path_factory.mktemp("llm")
    checkpoints.save(checkpoints.oracle("llama", initializer_range=0.05), folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=checkpoints.VOCAB_SIZE,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return folder


@pytest.fixture(scope="module")
def shared(folder: Path) -> LLM:
    return LLM(str(folder), device="cpu", dtype="float32", kv_memory="8MiB", max_num_seqs=8)


@pytest.fixture
def llm(shared: LLM) -> Iterator[LLM]:
    """One model for all tests; each leaves nothing behind."""
    yield shared
    stats = shared.engine.stats()
    assert not shared.engine.has_work
    assert stats.num_free_blocks == stats.num_blocks - 1


GREEDY = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)


def letters(llm: LLM, text: str = "abc", **options: Any) -> SamplingParams:
    """An answer of these single letters, in an order that the seed decides."""
    bias = {llm.tokenizer.encode(letter)[0]: 100.0 for letter in text}
    defaults = {"max_tokens": 30, "seed": 5, "ignore_eos": True}
    return SamplingParams(logit_bias=bias, **{**defaults, **options})


# -- whole answers ----------------------------------------------------------------------------


def test_as_in_the_readme(folder: Path) -> None:
    from unisono import LLM, SamplingParams

    llm = LLM(str(folder))
    answers = llm.generate(["The fox", "答案"], SamplingParams(max_tokens=8, seed=7, logprobs=2))
    assert [answer.finish_reason for answer in answers] == ["length", "length"]
    assert all(len(answer.logprobs or ()) == 8 for answer in answers)
    scored = llm.generate("How likely?", SamplingParams(max_tokens=0, prompt_logprobs=3))
    assert (scored[0].prompt_logprobs or [0])[0] is None


def test_the_model_recommends_how_tokens_are_chosen(folder: Path, tmp_path: Path) -> None:
    """Greedy, where neither the call nor its parameters say anything else."""
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    (own / "generation_config.json").write_text('{"do_sample": false, "top_k": 1}')
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32", "kv_memory": "8MiB"}
    llm, open_params = LLM(str(own), **options), replace(GREEDY, temperature=None)
    (expected,) = llm.generate("The fox", GREEDY)
    hot = replace(GREEDY, temperature=3.0, seed=1)
    for params in (open_params, hot):
        assert llm.generate("The fox", params)[0].token_ids == expected.token_ids
        assert [d.token_ids for d in llm.stream("The fox", params)] == [
            [token_id] for token_id in expected.token_ids
        ]
    free = LLM(str(own), generation_config="none", **options)
    assert free.generate("The fox", hot)[0].token_ids != expected.token_ids


def test_texts_and_token_ids_are_the_same_prompts(llm: LLM) -> None:
    text = "The quick 答案 🙂"
    token_ids = llm.tokenizer.encode(text)
    (by_text,) = llm.generate(text, GREEDY)
    assert by_text.prompt_token_ids == token_ids
    assert by_text.text == llm.tokenizer.decode(by_text.token_ids)
    assert len(by_text.token_ids) == 12
    for prompts in (token_ids, tuple(token_ids), [text], [token_ids], (text,)):
        (same,) = llm.generate(prompts, GREEDY)
        assert (same.text, same.token_ids) == (by_text.text, by_text.token_ids)


def test_answers_come_in_order_of_the_prompts(llm: LLM) -> None:
    prompts: list[Any] = ["fox", [5, 6, 7], "答案", "a + b"]
    together = llm.generate(prompts, GREEDY)
    assert [answer.prompt_index for answer in together] == [0, 1, 2, 3]
    assert [a.token_ids for a in together] == [
        llm.generate(p, GREEDY)[0].token_ids for p in prompts
    ]
    assert llm.generate([], GREEDY) == []


def test_parameters_for_each_prompt(llm: LLM) -> None:
    own = [replace(GREEDY, max_tokens=3), letters(llm, "x"), replace(GREEDY, max_tokens=7)]
    done = llm.generate(["fox", "fox", "fox"], own)
    assert [len(answer.token_ids) for answer in done] == [3, 30, 7]
    assert done[1].text == "x" * 30
    with pytest.raises(InvalidRequestError, match="2 sampling parameters for 3 prompts"):
        llm.generate(["a", "b", "c"], own[:2])


@pytest.mark.parametrize("params", [{"max_tokens": 2}, [{"max_tokens": 2}], "max_tokens=2", 2])
def test_parameters_of_another_type_are_refused(llm: LLM, params: Any) -> None:
    with pytest.raises(InvalidRequestError, match="params must be SamplingParams"):
        llm.generate(["a"], params)
    with pytest.raises(InvalidRequestError, match="params must be SamplingParams"):
        llm.chat([{"role": "user", "content": "a"}], params)
    with pytest.raises(InvalidRequestError, match="params must be SamplingParams"):
        next(llm.stream("a", params))


def test_a_folder_may_be_a_path(folder: Path) -> None:
    model = LLM(folder, generation_config=folder, dtype="float32", kv_memory=1 << 20)
    model.close()


def test_several_answers(llm: LLM) -> None:
    params = letters(llm, n=4, max_tokens=20)
    done = llm.generate(["fox", "答案"], params)
    assert [(a.prompt_index, a.index) for a in done] == [(p, i) for p in (0, 1) for i in range(4)]
    assert len({answer.text for answer in done[:4]}) == 4
    assert [answer.text for answer in llm.generate(["fox", "答案"], params)] == [
        a.text for a in done
    ]
    for index, answer in enumerate(done[:4]):
        single = replace(params, n=1, seed=derive_seed(5, index))
        assert llm.generate("fox", single)[0].text == answer.text


def test_without_a_seed_answers_differ(llm: LLM) -> None:
    params = letters(llm, seed=None)
    assert len({llm.generate("fox", params)[0].text for _ in range(5)}) == 5


def test_logprobs_belong_to_the_tokens(llm: LLM) -> None:
    (done,) = llm.generate("fox", letters(llm, logprobs=2))
    assert done.logprobs is not None
    assert [entry.token_id for entry in done.logprobs] == done.token_ids
    whole = done.prompt_token_ids + done.token_ids
    (scored,) = llm.generate(whole, SamplingParams(max_tokens=0, prompt_logprobs=0))
    assert scored.prompt_logprobs is not None
    assert scored.prompt_logprobs[0] is None
    assert (scored.text, scored.token_ids, scored.finish_reason) == ("", [], "length")
    start = len(done.prompt_token_ids)
    for ours, again in zip(done.logprobs, scored.prompt_logprobs[start:], strict=True):
        assert again is not None
        assert (ours.token_id, ours.logprob) == (again.token_id, pytest.approx(again.logprob, 1e-4))


def test_the_token_that_ends_the_answer_is_not_text(llm: LLM) -> None:
    ends = replace(GREEDY, ignore_eos=False, logit_bias={IM_END: 100.0}, logprobs=0)
    (done,) = llm.generate("fox", ends)
    assert (done.text, done.token_ids, done.finish_reason, done.stop) == ("", [2], "stop", IM_END)
    assert [entry.token_id for entry in done.logprobs or ()] == [IM_END]
    letter = llm.tokenizer.encode("x")[0]
    (done,) = llm.generate("fox", letters(llm, "x", stop_token_ids=(letter,), min_tokens=0))
    assert (done.text, done.token_ids, done.stop) == ("", [letter], letter)


def test_more_prompts_than_a_server_would_queue(llm: LLM) -> None:
    done = llm.generate([[5 + i % 100] for i in range(1100)], replace(GREEDY, max_tokens=1))
    assert len(done) == 1100


# -- stop texts -------------------------------------------------------------------------------


def test_a_stop_text_over_several_tokens_ends_the_request(llm: LLM) -> None:
    (whole,) = llm.generate("fox", letters(llm))
    stop = whole.text[10:14]
    cut = whole.text.index(stop)
    before = llm.engine.stats().steps
    (done,) = llm.generate("fox", letters(llm, stop=("never", stop), logprobs=1))
    assert (done.text, done.finish_reason, done.stop) == (whole.text[:cut], "stop", stop)
    assert done.token_ids == whole.token_ids[: cut + len(stop)]
    assert len(done.logprobs or ()) == len(done.token_ids)
    assert llm.engine.stats().steps - before == cut + len(stop)


def test_a_stop_text_of_one_leaves_the_others_alone(llm: LLM) -> None:
    whole = llm.generate(["fox", "答案"], letters(llm))
    stop = whole[0].text[3:8]
    own = [letters(llm, stop=stop), letters(llm)]
    done = llm.generate(["fox", "答案"], own)
    assert done[0].text == whole[0].text[: whole[0].text.index(stop)]
    assert done[1].text == whole[1].text


def test_what_could_have_become_a_stop_text_is_given_in_the_end(llm: LLM) -> None:
    (done,) = llm.generate("fox", letters(llm, "x", stop=("xxxxy",), max_tokens=9))
    assert (done.text, done.finish_reason, done.stop) == ("x" * 9, "length", None)


def test_min_tokens_passes_stop_texts_by(llm: LLM) -> None:
    (done,) = llm.generate("fox", letters(llm, "x", stop=("xx",), min_tokens=7))
    assert (done.finish_reason, len(done.token_ids)) == ("stop", 7)


# -- streams ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [(), ("ca", "bb")])
def test_deltas_add_up(llm: LLM, stop: tuple[str, ...]) -> None:
    params = letters(llm, stop=stop)
    (whole,) = llm.generate("fox", params)
    deltas = list(llm.stream("fox", params))
    assert "".join(delta.text for delta in deltas) == whole.text
    assert [token_id for delta in deltas for token_id in delta.token_ids] == whole.token_ids
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason == whole.finish_reason


def test_no_delta_holds_half_a_character(llm: LLM) -> None:
    emoji = llm.tokenizer.encode("ü😀")
    params = SamplingParams(
        max_tokens=40, ignore_eos=True, seed=1, logit_bias=dict.fromkeys(emoji, 100.0)
    )
    (whole,) = llm.generate("fox", params)
    assert "".join(delta.text for delta in llm.stream("fox", params)) == whole.text


def test_closing_a_stream_frees_its_blocks(llm: LLM) -> None:
    stream = llm.stream("The quick brown fox", letters(llm))
    next(stream)
    stats = llm.engine.stats()
    assert stats.num_running == 1
    assert stats.num_free_blocks < stats.num_blocks - 1
    stream.close()  # type: ignore[attr-defined]
    assert llm.engine.stats().num_running == 0


def test_streams_and_answers_side_by_side(llm: LLM) -> None:
    """Whoever steps the engine, nobody's tokens are lost."""
    params = [letters(llm, seed=seed, max_tokens=10 + 5 * seed) for seed in range(3)]
    expected = [llm.generate("fox", own)[0].text for own in params]
    first, second = llm.stream("fox", params[0]), llm.stream("fox", params[1])
    texts = [next(first).text, next(second).text]
    assert llm.generate("fox", params[2])[0].text == expected[2]
    texts[1] += "".join(delta.text for delta in second)
    texts[0] += "".join(delta.text for delta in first)
    assert texts == expected[:2]


def test_a_stream_has_one_answer(llm: LLM) -> None:
    with pytest.raises(InvalidRequestError, match="one answer"):
        list(llm.stream("fox", SamplingParams(n=2)))


# -- conversations ----------------------------------------------------------------------------

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "答案?"}]


def test_chat_is_the_rendered_prompt(llm: LLM) -> None:
    rendered = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n答案?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    (done,) = llm.chat(MESSAGES, letters(llm))
    assert done.prompt_token_ids == llm.tokenizer.encode(rendered)
    assert done.prompt_token_ids.count(IM_START) == 3
    assert done.text == llm.generate(rendered, letters(llm))[0].text
    assert "".join(delta.text for delta in llm.stream_chat(MESSAGES, letters(llm))) == done.text
    assert [answer.index for answer in llm.chat(MESSAGES, letters(llm, n=3))] == [0, 1, 2]


def test_without_parameters_an_answer_ends_with_the_context(llm: LLM) -> None:
    context = llm.engine.info.max_model_len
    prompt = [5] * (context - 6)
    (done,) = llm.generate([prompt])
    assert 1 <= len(done.token_ids) <= 6
    assert sum(len(delta.token_ids) for delta in llm.stream(prompt)) <= 6
    (chat,) = llm.chat(MESSAGES)
    assert len(chat.prompt_token_ids) + len(chat.token_ids) <= context
    with pytest.raises(ContextLengthError):
        llm.generate([[5] * context])


def test_chat_passes_tools_and_switches_to_the_template(llm: LLM) -> None:
    tools = [{"type": "function", "function": {"name": "look"}}]
    options = {"tools": tools, "template_kwargs": {"enable_thinking": False}}
    (done,) = llm.chat(MESSAGES, letters(llm), **options)
    prompt = llm.tokenizer.decode(done.prompt_token_ids, skip_special_tokens=False)
    assert prompt.endswith('"look"}}]<|im_start|>assistant\nno thoughts')
    streamed = "".join(delta.text for delta in llm.stream_chat(MESSAGES, letters(llm), **options))
    assert streamed == done.text


# -- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (list(range(3, 300)), ContextLengthError),
        ([5, checkpoints.VOCAB_SIZE], InvalidRequestError),
        ([5, -1], InvalidRequestError),
        ([5, 1.5], InvalidRequestError),
        ([5, "a"], InvalidRequestError),
        ([], InvalidRequestError),
        ("", InvalidRequestError),
        ("\ud800", InvalidRequestError),
        (None, InvalidRequestError),
    ],
)
def test_a_bad_prompt_is_refused_before_anything_runs(llm: LLM, bad: Any, error: Any) -> None:
    before = llm.engine.stats()
    with pytest.raises(error):
        llm.generate(["fox", bad, "fox"], replace(GREEDY, n=2, temperature=1.0))
    after = llm.engine.stats()
    assert (after.steps, after.num_waiting) == (before.steps, 0)
    assert len(llm.generate("fox", GREEDY)[0].token_ids) == 12


def test_a_request_that_fails_takes_the_call_with_it(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(batch: Any) -> Any:
        raise RuntimeError("the device is lost")

    with monkeypatch.context() as patch:
        patch.setattr(llm.engine.runner, "run", run)
        with pytest.raises(RequestFailedError, match="the device is lost"):
            llm.generate(["fox", "答案"], GREEDY)
        with pytest.raises(RequestFailedError, match="the device is lost"):
            list(llm.stream("fox", GREEDY))
    assert len(llm.generate("fox", GREEDY)[0].token_ids) == 12


def test_an_answer_that_cannot_begin_leaves_nothing_in_the_engine(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise HelperFailedError("The tokenizer's process was killed.")

    with monkeypatch.context() as patch:
        patch.setattr(llm.tokenizer, "first_piece", fail)
        with pytest.raises(HelperFailedError):
            llm.generate("fox", GREEDY)
    assert not llm.engine.has_work
    assert len(llm.generate("fox", GREEDY)[0].token_ids) == 12


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"model": "/nowhere/at/all"}, ModelNotFoundError, "/nowhere/at/all"),
        ({"device": "sundial"}, DeviceNotFoundError, "cpu"),
        ({"dtype": "float8"}, ConfigError, "bfloat16"),
        ({"kv_memory": "much"}, ConfigError, "2GiB"),
        ({"max_model_len": 300}, ConfigError, "256"),
        ({"revision": "main"}, ConfigError, "revision"),
    ],
)
def test_what_cannot_be_loaded(folder: Path, options: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        LLM(**{"model": str(folder), **options})
    assert isinstance(caught.value, UnisonoError)


def test_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    checkpoints.save(checkpoints.oracle("llama"), tmp_path)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        LLM(str(tmp_path))


# -- the package ------------------------------------------------------------------------------


def test_importing_unisono_imports_no_torch() -> None:
    code = (
        "import sys, unisono; unisono.SamplingParams(); "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_is_what_it_says() -> None:
    assert sorted(unisono.__all__) == [
        "Completion",
        "LLM",
        "SamplingParams",
        "UnisonoError",
        "__version__",
    ]
    assert unisono.Completion is Completion
    with pytest.raises(AttributeError, match="no attribute 'Llm'"):
        unisono.Llm  # noqa: B018


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((5,), "A model is named by a text or a path, not by 5"),
        ((None, "cpu"), "config must be an EngineConfig"),
        ({"revision": 5}, "A revision is named by a text"),
        ({"generation_config": {}}, "generation configuration is named by a text"),
        ({"foo": 1}, "no option 'foo'"),
        ({"kv_memory": []}, "kv_memory must be a whole number or None"),
    ],
)
def test_arguments_of_another_kind_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LLM(**given) if isinstance(given, dict) else LLM(*given)
