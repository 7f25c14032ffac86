"""``unisono run --raw`` over a SentencePiece model: the answer goes on in the prompt's text."""

from __future__ import annotations

from pathlib import Path

from tests.checkpoints import oracle, save
from tests.vocabularies import spm_llama
from unisono.cli.answering import Loaded, TimedAnswer
from unisono.core import SamplingParams
from unisono.llm import LLM


def test_a_raw_answer_keeps_its_first_space(tmp_path: Path) -> None:
    folder = save(oracle("llama", vocab_size=560), spm_llama(tmp_path))
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    llm = LLM(str(folder), device="cpu", dtype="float32", kv_memory=8 << 20)
    word = llm.tokenizer.token_id("▁the")
    assert word is not None
    params = SamplingParams(temperature=0.0, max_tokens=3, logit_bias={word: 100.0})
    raw = TimedAnswer(Loaded(None, llm, 0.0), params)
    assert (
        "".join(delta.text for delta in raw.to_prompt("Once upon"))
        == " the the the"
        == raw.whole.text
    )
    assert raw.num_prompt_tokens == len(llm.tokenizer.encode("Once upon"))
    chat = TimedAnswer(Loaded(None, llm, 0.0), params)
    deltas = chat.to_chat([{"role": "user", "content": "Hi"}])
    assert "".join(delta.text for delta in deltas) == "the the the"
    llm.close()
