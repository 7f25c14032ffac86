"""Plain completions, log-probabilities, and tokens."""

from __future__ import annotations

import math

from tests.clients.behaviours.listing import Api, L, S, Topic, V

TEXT = "/v1/completions"
texts = Topic("Completions")
scores = Topic("Log-probabilities")
tokens = Topic("Tokens")


@texts("an answer has id, text, finish_reason and usage", V, L, S)
def _(api: Api) -> None:
    answer = api.text(max_tokens=5)
    assert answer["id"].startswith("cmpl-")
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["choices"][0]["finish_reason"] == "length"


@texts("token ids as prompt give what their text gives", V, L, S)
def _(api: Api) -> None:
    ids = api.post("/tokenize", {"prompt": "The parcel"})["tokens"]
    assert api.text(prompt=ids)["choices"][0]["text"] == api.text()["choices"][0]["text"]


@texts("several prompts, as texts or ids, give several answers in order", V, L, S)
def _(api: Api) -> None:
    ids = api.post("/tokenize", {"prompt": "The parcel"})["tokens"]
    for prompt in (["The parcel"] * 2, [ids, ids]):
        one, two = api.text(prompt=prompt)["choices"]
        assert (one["text"], one["index"], two["index"]) == (two["text"], 0, 1)


@texts("n answers to each of several prompts follow one another", V, S)
def _(api: Api) -> None:
    choices = api.text(prompt=["a", "b"], n=2)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]


@texts("echo puts the prompt before the answer, of texts and of ids", V, S)
def _(api: Api) -> None:
    ids = api.post("/tokenize", {"prompt": "The parcel"})["tokens"]
    for prompt in ("The parcel", ids):
        assert api.text(prompt=prompt, echo=True)["choices"][0]["text"].startswith("The parcel")


@texts("echo with max_tokens 0 scores a text", V)
def _(api: Api) -> None:
    choice = api.text(echo=True, max_tokens=0, logprobs=0)["choices"][0]
    assert choice["text"] == "The parcel"
    assert choice["logprobs"]["token_logprobs"][0] is None


@texts("the answer is cut at a stop text, with others given", V, L, S)
def _(api: Api) -> None:
    whole = api.text(max_tokens=30)["choices"][0]["text"]
    letter = next(sign for sign in whole[2:] if sign.isalpha())
    cut = api.text(max_tokens=30, stop=["@@", letter])["choices"][0]["text"]
    assert cut == whole[: whole.index(letter)]


@texts("truncation_side says which end of the prompt is kept", V)
def _(api: Api) -> None:
    ids = list(range(10, 18))
    for side, kept in (("left", ids[-4:]), ("right", ids[:4])):
        fields = {"prompt": ids, "truncate_prompt_tokens": 4, "truncation_side": side}
        choice = api.text(return_token_ids=True, **fields)["choices"][0]
        assert choice["prompt_token_ids"] == kept


@texts("a suffix is filled in, or refused where the model has no marks for it", L)
def _(api: Api) -> None:
    api.refused(TEXT, {"prompt": "a", "suffix": "b"})


@texts("allowed_token_ids are the only ones that are chosen", V)
def _(api: Api) -> None:
    choice = api.text(allowed_token_ids=[70, 71], return_token_ids=True)["choices"][0]
    assert set(choice["token_ids"]) <= {70, 71}


@texts("a parallel load of requests is answered as each alone", L, V)
def _(api: Api) -> None:
    alone = [api.text(prompt=word)["choices"][0]["text"] for word in ("a", "b", "c")]
    together = api.text(prompt=["a", "b", "c"])["choices"]
    assert [choice["text"] for choice in together] == alone


texts.answered(
    "a null field is a field left out", TEXT, {"logprobs": None, "stop": None, "n": None}, V
)
texts.answered("the model may be left out", TEXT, {}, L, V)
for _says, _fields, *_peers in [
    ("an empty list as prompt is refused", {"prompt": []}, V),
    ("an empty text as prompt is refused", {"prompt": ""}, V),
    ("a prompt that is missing is refused", {"prompt": ...}, V, S),
    ("a token id outside the vocabulary is refused", {"prompt": [10**7]}, V, S),
    ("more than 20 log-probabilities are refused", {"logprobs": 21}, V),
    ("negative log-probabilities of the prompt are refused", {"prompt_logprobs": -1}, V),
    ("messages in a completion are no prompt", {"prompt": ..., "messages": []}, V),
]:
    texts.refused(_says, TEXT, _fields, *_peers)
texts.refused(
    "texts and ids in one prompt are refused", TEXT, {"prompt": [1, "a"]}, L, offered=False
)
texts.refused("best_of other than n is refused", TEXT, {"best_of": 3}, V, offered=False)


@scores("a chat without logprobs has none", V)
def _(api: Api) -> None:
    assert api.chat()["choices"][0]["logprobs"] is None


@scores("top_logprobs of 0 gives the chosen tokens alone", V)
def _(api: Api) -> None:
    content = api.chat(logprobs=True, top_logprobs=0)["choices"][0]["logprobs"]["content"]
    assert all(not item["top_logprobs"] for item in content)


@scores("top_logprobs of 5 gives five, the likeliest first, with bytes", V, L, S)
def _(api: Api) -> None:
    content = api.chat(logprobs=True, top_logprobs=5)["choices"][0]["logprobs"]["content"]
    for item in content:
        assert [len(item["top_logprobs"]), item["bytes"] is None] == [5, False]
        assert item["logprob"] == item["top_logprobs"][0]["logprob"] <= 0


@scores("tokens of a chat, put together, are its text", L)
def _(api: Api) -> None:
    choice = api.chat(logprobs=True)["choices"][0]
    parts = [item["token"] for item in choice["logprobs"]["content"]]
    assert "".join(parts) == choice["message"]["content"]


@scores("a streamed chat has the same ones as a whole", L, S)
def _(api: Api) -> None:
    whole = api.chat(logprobs=True)["choices"][0]["logprobs"]["content"]
    streamed = [
        item
        for chunk in api.chunks(logprobs=True)
        for item in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
    ]
    assert [item["token"] for item in streamed] == [item["token"] for item in whole]


@scores("a completion with logprobs 0 has the chosen token", V)
def _(api: Api) -> None:
    found = api.text(logprobs=0)["choices"][0]["logprobs"]
    assert len(found["token_logprobs"]) == 8


@scores("a completion with logprobs 5 has five or six a token, and offsets", V, S)
def _(api: Api) -> None:
    found = api.text(logprobs=5)["choices"][0]["logprobs"]
    assert all(5 <= len(top) <= 6 for top in found["top_logprobs"])
    assert found["text_offset"] == sorted(found["text_offset"])


@scores("echo gives those of the prompt, the first of them null", V, S)
def _(api: Api) -> None:
    found = api.text(echo=True, logprobs=1)["choices"][0]["logprobs"]
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    assert len(found["tokens"]) > 8


@scores("prompt_logprobs of chats and completions", V)
def _(api: Api) -> None:
    assert api.chat(prompt_logprobs=1)["prompt_logprobs"][1]
    assert api.text(prompt_logprobs=0)["choices"][0]["prompt_logprobs"][0] is None


@scores("under a constraint every log-probability is a number", V)
def _(api: Api) -> None:
    asked = {"structured_outputs": {"choice": ["yes", "no"]}, "logprobs": True, "top_logprobs": 5}
    for item in api.chat(**asked)["choices"][0]["logprobs"]["content"]:
        assert all(math.isfinite(top["logprob"]) for top in item["top_logprobs"])


@scores("return_tokens_as_token_ids names tokens by id", V)
def _(api: Api) -> None:
    found = api.text(logprobs=1, return_tokens_as_token_ids=True)["choices"][0]["logprobs"]
    assert all(token.startswith("token_id:") for token in found["tokens"])


CHAT = "/v1/chat/completions"
scores.refused("top_logprobs without logprobs are refused", CHAT, {"top_logprobs": 2}, V)
scores.refused("21 top_logprobs are refused", CHAT, {"logprobs": True, "top_logprobs": 21}, V)
scores.refused(
    "prompt_logprobs in a stream are refused", CHAT, {"prompt_logprobs": 1, "stream": True}, V
)


@tokens("tokenize and detokenize are inverse", V, L)
def _(api: Api) -> None:
    text = "A string with unicode 媽 and emoji 🤗"
    found = api.post("/tokenize", {"prompt": text, "add_special_tokens": False})
    assert found["count"] == len(found["tokens"])
    assert api.post("/detokenize", {"tokens": found["tokens"]})["prompt"] == text


@tokens("a conversation is tokenized as a chat sees it", V)
def _(api: Api) -> None:
    messages = [{"role": "user", "content": "My parcel is lost."}]
    count = api.post("/tokenize", {"messages": messages})["count"]
    assert count == api.chat(messages=messages)["usage"]["prompt_tokens"]


@tokens("add_generation_prompt and continue_final_message change the tokens", V)
def _(api: Api) -> None:
    messages = [{"role": "assistant", "content": "a"}]
    ends = (
        {},
        {"add_generation_prompt": False},
        {"continue_final_message": True, "add_generation_prompt": False},
    )
    counts = [api.post("/tokenize", {"messages": messages, **end})["count"] for end in ends]
    assert counts[0] > counts[1] > counts[2]


@tokens("tools are part of the tokens of a conversation", V)
def _(api: Api) -> None:
    body = {"messages": [{"role": "user", "content": "a"}]}
    tool = {"type": "function", "function": {"name": "f"}}
    assert (
        api.post("/tokenize", {**body, "tools": [tool]})["count"]
        > api.post("/tokenize", body)["count"]
    )


@tokens("return_token_strs gives the pieces", V, L)
def _(api: Api) -> None:
    found = api.post("/tokenize", {"prompt": "a parcel", "return_token_strs": True})
    assert len(found["token_strs"]) == found["count"]


@tokens("max_model_len is said", V, S)
def _(api: Api) -> None:
    assert api.post("/tokenize", {"prompt": "a"})["max_model_len"] == 2048


@tokens("the tokenizer says its template and its last token", V)
def _(api: Api) -> None:
    assert api.client.get("/tokenizer_info").json()["eos_token"] == "<|im_end|>"


tokens.refused("neither text nor conversation is refused", "/tokenize", {}, V)
tokens.refused("a negative id is refused", "/detokenize", {"tokens": [-1]}, V)
tokens.refused("an id outside the vocabulary is refused", "/detokenize", {"tokens": [10**6]}, V)
tokens.refused(
    "llama.cpp's field content is refused", "/tokenize", {"content": "a"}, L, offered=False
)
