"""The official client, against a server with a real engine."""

from __future__ import annotations

import httpx
import openai
import pytest
from server_process import KEY, MODEL_NAME, RunningServer

USER = {"role": "user", "content": "Tell me about 北京 😀"}


def test_chat(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(
        model=MODEL_NAME, messages=[USER], max_completion_tokens=8, seed=3, user="u"
    )
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    again = api.chat.completions.create(
        model=MODEL_NAME,
        messages=[USER, answer.choices[0].message, {"role": "user", "content": "Go on."}],
        max_tokens=2,
    )
    assert again.choices


@pytest.mark.parametrize("num_answers", [1, 3])
def test_streamed_equals_whole(api: openai.OpenAI, num_answers: int) -> None:
    options = {"messages": [USER], "max_tokens": 40, "seed": 7, "n": num_answers}
    whole = api.chat.completions.create(model=MODEL_NAME, **options)
    texts, reasons, usage = [""] * num_answers, [None] * num_answers, None
    stream = api.chat.completions.create(
        model=MODEL_NAME, stream=True, stream_options={"include_usage": True}, **options
    )
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.message.content for choice in whole.choices]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert usage is not None
    assert whole.usage is not None
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_a_seed_gives_the_same_answer_and_n_gives_others(api: openai.OpenAI) -> None:
    def texts(seed: int) -> list[str | None]:
        answer = api.chat.completions.create(
            model=MODEL_NAME, messages=[USER], max_tokens=16, seed=seed, n=2
        )
        return [choice.message.content for choice in answer.choices]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)
    assert len(set(texts(1))) == 2


def test_log_probabilities(api: openai.OpenAI) -> None:
    answer = api.chat.completions.create(
        model=MODEL_NAME,
        messages=[USER],
        max_tokens=3,
        logprobs=True,
        top_logprobs=3,
        temperature=0,
    )
    found = answer.choices[0].logprobs
    assert found is not None
    assert found.content is not None
    for token in found.content:
        assert token.logprob == token.top_logprobs[0].logprob <= 0
        assert len(token.top_logprobs) == 3


def test_stop_texts(api: openai.OpenAI) -> None:
    options = {"model": MODEL_NAME, "prompt": "abc", "seed": 11, "max_tokens": 60}
    whole = api.completions.create(**options).choices[0].text
    stop = next(letter for letter in whole[5:] if letter.isascii() and letter.isprintable())
    cut = api.completions.create(stop=[stop], **options).choices[0]
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"


def test_echo_scores_a_text(api: openai.OpenAI) -> None:
    text = "The bill is due."
    scored = api.completions.create(
        model=MODEL_NAME, prompt=text, max_tokens=0, echo=True, logprobs=2
    ).choices[0]
    assert scored.text == text
    assert scored.logprobs is not None
    assert scored.logprobs.tokens == list(text)
    assert scored.logprobs.text_offset == list(range(len(text)))
    ids = [token + 0 for token in httpx_tokens(api, text)]
    answer = api.completions.create(
        model=MODEL_NAME, prompt=ids, max_tokens=1, extra_body={"prompt_logprobs": 0}
    )
    given = answer.choices[0].model_extra["prompt_logprobs"]  # type: ignore[index]
    found = [entry[str(token)]["logprob"] for token, entry in zip(ids[1:], given[1:], strict=True)]
    assert found == pytest.approx(scored.logprobs.token_logprobs[1:], abs=1e-4)


def httpx_tokens(api: openai.OpenAI, text: str) -> list[int]:
    base_url = str(api.base_url).removesuffix("/v1/")
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx.post(f"{base_url}/tokenize", json={"prompt": text}, headers=headers).json()[
        "tokens"
    ]


def test_several_prompts(api: openai.OpenAI) -> None:
    answer = api.completions.create(
        model=MODEL_NAME, prompt=["one", "two"], n=2, max_tokens=4, temperature=0, logprobs=1
    )
    texts = [choice.text for choice in answer.choices]
    assert texts[0] == texts[1]
    assert texts[2] == texts[3]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]


def test_a_cached_prompt_is_counted(api: openai.OpenAI) -> None:
    prompt = "A long beginning that two requests share, " * 4
    options = {"model": MODEL_NAME, "prompt": prompt, "max_tokens": 1}
    api.completions.create(**options)
    usage = api.completions.create(**options).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens


def test_models(api: openai.OpenAI) -> None:
    assert [model.id for model in api.models.list()] == [MODEL_NAME]
    assert api.models.retrieve(MODEL_NAME).id == MODEL_NAME


def test_errors_are_the_client_s_own(api: openai.OpenAI, server: RunningServer) -> None:
    with pytest.raises(openai.NotFoundError, match="tiny"):
        api.completions.create(model="gpt-5", prompt="a")
    with pytest.raises(openai.BadRequestError, match="context"):
        api.completions.create(model=MODEL_NAME, prompt="a" * 5000)
    with pytest.raises(openai.BadRequestError, match="supported"):
        api.chat.completions.create(model=MODEL_NAME, messages=[USER], modalities=["text", "audio"])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="wrong-key").models.list()
