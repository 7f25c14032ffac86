"""Chats: messages, sampling, usage, what is wrong."""

from __future__ import annotations

from tests.clients.behaviours.listing import HELLO, Api, L, S, Topic, V

CHAT = "/v1/chat/completions"
chats = Topic("Chats")


@chats("an answer has id, object, created, model, fingerprint, a role, a text and usage", V, L, S)
def _(api: Api) -> None:
    answer = api.chat(max_tokens=8)
    assert answer["id"].startswith("chatcmpl-")
    assert answer["system_fingerprint"]
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["choices"][0]["finish_reason"] == "length"
    usage = answer["usage"]
    assert usage["completion_tokens"] == 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + 8


@chats("an answer that ends by itself has finish_reason stop", V, L, S)
def _(api: Api) -> None:
    assert api.chat(max_tokens=400)["choices"][0]["finish_reason"] == "stop"


@chats("max_completion_tokens bounds the answer as max_tokens does", V, S)
def _(api: Api) -> None:
    answer = api.chat(max_tokens=..., max_completion_tokens=3)
    assert answer["usage"]["completion_tokens"] == 3


@chats("n answers have indices, and differ where tokens are drawn", V, S)
def _(api: Api) -> None:
    choices = api.chat(n=3, temperature=5, seed=1, max_tokens=16)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in choices}) > 1


@chats("the same seed gives the same answer, another seed another", L, V, S)
def _(api: Api) -> None:
    def said(seed: int) -> str:
        return api.said(temperature=1.5, seed=seed, max_tokens=24)

    assert said(1) == said(1)
    assert len({said(seed) for seed in range(4)}) > 1


@chats("temperature 0 gives the same answer every time, alone and in company", L, V)
def _(api: Api) -> None:
    alone = api.said()
    assert {choice["message"]["content"] for choice in api.chat(n=4)["choices"]} == {alone}


@chats("content as a list of text parts is content", V, L, S)
def _(api: Api) -> None:
    parts = [{"type": "text", "text": "My parcel "}, {"type": "text", "text": "is lost."}]
    assert api.chat(messages=[{"role": "user", "content": parts}])["choices"]


@chats("a conversation goes on over several turns", V, L, S)
def _(api: Api) -> None:
    first = api.chat()["choices"][0]["message"]
    assert api.said(messages=[*HELLO, first, {"role": "user", "content": "And now?"}])


@chats("continue_final_message goes on with what the assistant began", V, S, L)
def _(api: Api) -> None:
    begun = [*HELLO, {"role": "assistant", "content": '{"industry": "'}]
    fields = {"continue_final_message": True, "add_generation_prompt": False}
    assert not api.said(messages=begun, **fields).startswith("{")


@chats("usage counts cached tokens of the prompt", V, S, L)
def _(api: Api) -> None:
    long = [{"role": "user", "content": "My parcel is lost. " * 20}]
    api.chat(messages=long)
    details = api.chat(messages=long)["usage"]["prompt_tokens_details"]
    assert details["cached_tokens"] > 0


@chats("stop texts end the answer and are not part of it", V, L, S)
def _(api: Api) -> None:
    whole = api.said(max_tokens=40)
    choice = api.chat(max_tokens=40, stop=[":"])["choices"][0]
    assert choice["message"]["content"] == whole.partition(":")[0]
    assert choice["finish_reason"] == "stop"


@chats("include_stop_str_in_output keeps the stop text", V, S)
def _(api: Api) -> None:
    assert api.said(max_tokens=40, stop=":", include_stop_str_in_output=True).endswith(":")


@chats("stop_token_ids end the answer", V, S)
def _(api: Api) -> None:
    ids = api.chat(return_token_ids=True, max_tokens=12)["choices"][0]["token_ids"]
    choice = api.chat(return_token_ids=True, max_tokens=12, stop_token_ids=[ids[4]])["choices"][0]
    assert len(choice["token_ids"]) <= 5
    assert choice["finish_reason"] == "stop"


@chats("ignore_eos goes on to the limit", V, L, S)
def _(api: Api) -> None:
    assert api.chat(max_tokens=150, ignore_eos=True)["usage"]["completion_tokens"] == 150


@chats("min_tokens keeps an answer from ending early", V, S)
def _(api: Api) -> None:
    assert api.chat(max_tokens=130, min_tokens=130)["usage"]["completion_tokens"] == 130


@chats("logit_bias of -100 bans a token, of 100 forces it", V, L)
def _(api: Api) -> None:
    (token,) = api.post("/tokenize", {"prompt": "a"})["tokens"]
    forced = api.chat(logit_bias={str(token): 100}, max_tokens=3, return_token_ids=True)
    assert forced["choices"][0]["token_ids"] == [token] * 3


@chats("return_token_ids gives the ids of prompt and answer", V, S)
def _(api: Api) -> None:
    answer = api.chat(return_token_ids=True)
    assert len(answer["prompt_token_ids"]) == answer["usage"]["prompt_tokens"]
    assert len(answer["choices"][0]["token_ids"]) == 8


@chats("truncate_prompt_tokens cuts the prompt", V)
def _(api: Api) -> None:
    assert api.chat(truncate_prompt_tokens=4)["usage"]["prompt_tokens"] == 4


@chats("chat_template_kwargs reach the template", V, S, L)
def _(api: Api) -> None:
    plain = api.chat()["usage"]["prompt_tokens"]
    kwargs = {"enable_thinking": True}
    assert api.chat(chat_template_kwargs=kwargs)["usage"]["prompt_tokens"] > plain


for _says, _fields, *_peers in [
    ("text as response_format is no constraint", {"response_format": {"type": "text"}}, V),
    ("unknown fields of a message are left alone", {"messages": [{**HELLO[0], "x": 1}]}, V),
    ("unknown fields of the body are left alone", {"some_field": 1}, V, S),
    ("penalties are taken", {"frequency_penalty": 1.0, "presence_penalty": -1}, S, V),
    (
        "repetition_penalty, top_k and min_p are taken",
        {"repetition_penalty": 1.2, "top_k": 5, "min_p": 0.1},
        V,
        S,
    ),
    (
        "a developer message is taken",
        {"messages": [{"role": "developer", "content": "a"}, *HELLO]},
        V,
    ),
    (
        "a system message in parts is taken",
        {"messages": [{"role": "system", "content": [{"type": "text", "text": "a"}]}, *HELLO]},
        V,
    ),
    ("tool_choice null is none given", {"tool_choice": None}, V),
    (
        "metadata, user, store and service_tier are taken",
        {"metadata": {"a": "b"}, "user": "u", "store": False, "service_tier": "auto"},
        V,
        S,
    ),
    ("a negative seed of 64 bits is taken", {"seed": -(2**62)}, V),
    ("priority and cache_salt are taken", {"priority": 3, "cache_salt": "a"}, V),
]:
    chats.answered(_says, CHAT, _fields, *_peers)
for _says, _fields, *_peers in [
    ("messages that are missing are refused", {"messages": ...}, L, V),
    ("messages that are a text are refused", {"messages": "string"}, L),
    ("an empty list of messages is refused", {"messages": []}, V, S),
    ("a message that is a number is refused", {"messages": [123]}, L),
    ("a message without a role is refused", {"messages": [{}]}, L),
    ("a role that is a number is refused", {"messages": [{"role": 123, "content": "a"}]}, L),
    ("content that is a number is refused", {"messages": [{"role": "user", "content": 5}]}, L),
    ("temperature below 0 is refused", {"temperature": -1}, V),
    ("top_p above 1 is refused", {"top_p": 1.5}, V),
    ("max_tokens of 0 is refused", {"max_tokens": 0}, S, V),
    ("negative max_tokens are refused", {"max_tokens": -1}, S, V),
    ("a seed beyond 64 bits is refused", {"seed": 2**64}, V),
    ("logit_bias of no token id is refused", {"logit_bias": {"a": 1}}, V),
    ("logit_bias of a token outside the vocabulary is refused", {"logit_bias": {"99999999": 1}}, V),
    ("stop_token_ids that are no ids are refused", {"stop_token_ids": ["a"]}, V),
    (
        "a prompt that is longer than the context is refused",
        {"messages": [{"role": "user", "content": "parcel " * 3000}]},
        V,
        L,
        S,
    ),
    ("max_tokens beyond the context are refused with the numbers", {"max_tokens": 10**6}, S, V),
    ("another model's name is refused", {"model": "other"}, V, S),
    ("a body that is a field of the wrong type names the field", {"temperature": "hot"}, V, S),
    ("truncate_prompt_tokens below -1 is refused", {"truncate_prompt_tokens": -5}, V),
]:
    chats.refused(_says, CHAT, _fields, *_peers)
for _says, _fields, *_peers in [
    (
        "images are refused by name",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
                }
            ]
        },
        V,
        L,
    ),
    (
        "audio is refused by name",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
                    ],
                }
            ]
        },
        V,
        L,
    ),
    ("echo of a chat is refused", {"echo": True}, V),
    ("bad_words are refused", {"bad_words": ["a"]}, V),
    ("beam search is refused", {"use_beam_search": True, "n": 2}, V),
    ("prompt embeddings are refused", {"prompt_embeds": "abc"}, V),
    ("hidden states are refused", {"return_hidden_states": True}, S),
    ("a template of the client is refused", {"chat_template": "{{ messages }}"}, V),
    ("logit processors of the client are refused", {"logits_processors": ["a.b"]}, V),
    ("mirostat is refused", {"mirostat": 2}, L),
    ("log-probabilities of chosen tokens are refused", {"logprob_token_ids": [1]}, V),
]:
    chats.refused(_says, CHAT, _fields, *_peers, offered=False)
