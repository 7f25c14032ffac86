"""Tokenizers converted from SentencePiece and tiktoken files, against those libraries themselves
and against transformers; and the refusals."""

from __future__ import annotations

import base64
import importlib
import json
import random
import shutil
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.vocabularies import (
    LLAMA,
    TEKKEN_PATTERN,
    UNIGRAM,
    ranks,
    sentencepiece_model,
    spm_llama,
    tekken_file,
    tiktoken_file,
    write_folder,
)
from tests.waiting import computing_at_most
from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.text import Tokenizer, tokenizer_program
from unisono.text.vocabulary.tiktoken_families import find_family

FRAGMENTS = [
    *(
        "Hello",
        " world",
        " ",
        "  ",
        "     ",
        "\n",
        "\n\n",
        "\t",
        "\r\n",
        " \n ",
        "统一的",
        "，世界",
    ),
    *(
        "café",
        "e\u0301",
        "é",
        "ก็",
        "👩‍👩‍👧‍👦",
        "🇨🇳",
        "👍🏽",
        "𠮷",
        "한국어",
        "Привет",
        "\u200b",
        "\u00a0",
    ),
    *("def f(x):\n    return x\n", "a", "aa", "==", "---", "!!!", "don't", "I'M", "'s", "McDonald"),
    *("1", "23", "1234567", "½", "³", "中文English混合", "々", "ʰ", "İ", "ﬁ", "①", "\x00", "\x1f"),
    *("\ufffd", "<0x41>", "▁", "ABC", "aBC", "\U0010ffff", "\u2028", "x_y", "<tag>", "{}"),
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=12).map("".join)
_SETTINGS = settings(max_examples=150)
SPM = ["spm_llama", "spm_legacy", "spm_gemma"]
RANKED = ["kimi", "qwen_1", "llama_3", "glm_4"]


def seeded_texts(num: int) -> list[str]:
    chosen = random.Random(7)
    return ["".join(chosen.choices(FRAGMENTS, k=chosen.randint(0, 12))) for _ in range(num)]


def is_plain(tokenizer: Tokenizer, text: str) -> bool:
    """True where the text holds no token that counts wherever it stands."""
    special = [tokenizer.token_text(token_id) for token_id in tokenizer.special_ids]
    return not any(token in text for token in [*special, "<|plugin|>", "<|tool_call_begin|>"])


class Pair:
    """Our tokenizer of a folder, and the library's own."""

    def __init__(self, ours: Tokenizer, library: Any) -> None:
        self.ours = ours
        self.library = library


@pytest.fixture(scope="module", params=SPM)
def spm(
    request: pytest.FixtureRequest,
    folders: dict[str, Path],
    tokenizers_by_style: dict[str, Tokenizer],
) -> Pair:
    return sentencepiece_pair(str(request.param), folders, tokenizers_by_style)


def sentencepiece_pair(style: str, folders: Any, tokenizers: Any) -> Pair:
    library = importlib.import_module("sentencepiece").SentencePieceProcessor(
        model_file=str(folders[style] / "tokenizer.model")
    )
    return Pair(tokenizers[style], library)


@pytest.fixture(scope="module", params=RANKED)
def ranked(request: pytest.FixtureRequest, tokenizers_by_style: dict[str, Tokenizer]) -> Pair:
    ours = tokenizers_by_style[request.param]
    names = {
        "kimi": ("TikTokenTokenizer", None),
        "qwen_1": ("QWenTokenizer", None),
        "llama_3": (None, "llama"),
        "glm_4": ("ChatGLM4Tokenizer", None),
    }
    family = find_family(*names[request.param])
    assert family is not None
    special = {ours.decode([i], skip_special_tokens=False): i for i in ours.special_ids}
    library = importlib.import_module("tiktoken").Encoding(
        request.param,
        pat_str=family.pattern,
        mergeable_ranks=ranks(),
        special_tokens=special,
    )
    return Pair(ours, library)


@_SETTINGS
@given(text=TEXTS)
def test_sentencepiece_tokens_equal_the_library(spm: Pair, text: str) -> None:
    assume(is_plain(spm.ours, text))
    ids = spm.ours.encode(text, add_special_tokens=False)
    assert ids == spm.library.encode(text)
    assert spm.ours.decode(ids) == spm.library.decode(ids)


def test_sentencepiece_tokens_of_many_texts_equal_the_library(spm: Pair) -> None:
    for text in seeded_texts(1000):
        assert spm.ours.encode(text, add_special_tokens=False) == spm.library.encode(text), text


def test_sentencepiece_decodes_byte_tokens_as_the_library(spm: Pair) -> None:
    """Valid UTF-8: what is not becomes U+FFFD for each byte of the run, as transformers has it."""
    library, chosen = spm.library, random.Random(3)
    kinds = (library.is_unknown, library.is_control, library.is_byte)
    spoken = [
        i
        for i in range(library.get_piece_size())
        if not any(is_kind(i) for is_kind in kinds) and "▁" not in library.id_to_piece(i)[1:]
    ]
    spoken = [i for i in spoken if spm.ours.token_id(library.id_to_piece(i)) == i]
    for text in ["👍🏽", "Ω", "ก็", "x\x00"] * 50:
        spelt = [library.piece_to_id(f"<0x{byte:02X}>") for byte in text.encode()]
        ids = [*chosen.choices(spoken, k=3), *spelt, *chosen.choices(spoken, k=2)]
        assert spm.ours.decode(ids) == library.decode(ids)


def test_unigram_finds_a_best_segmentation(
    folders: dict[str, Path], tokenizers_by_style: dict[str, Tokenizer]
) -> None:
    """The library takes another of several equally likely splits now and then, because it adds
    in single precision; nearly always, and in likelihood always, the two agree."""
    pair = sentencepiece_pair("spm_unigram", folders, tokenizers_by_style)
    library, num_equal = pair.library, 0
    texts = [text for text in seeded_texts(1000) if not text.startswith("▁")]
    for text in texts:
        ours, theirs = pair.ours.encode(text, add_special_tokens=False), library.encode(text)
        scores = [sum(map(library.get_score, ids)) for ids in (ours, theirs)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4), text
        num_equal += ours == theirs
    assert num_equal > 0.98 * len(texts)
    assert pair.ours.encode("Hello")[-1] == pair.ours.token_id("</s>")


@pytest.mark.parametrize(
    "own",
    [
        {"add_bos_token": True, "add_eos_token": True},
        {"legacy": False, "add_prefix_space": False},
        {"legacy": True, "bos_token": None, "add_bos_token": True},
        {
            "added_tokens_decoder": {
                "1": {"content": "<s>", "special": True},
                "560": {"content": "<new>", "special": True, "lstrip": True},
                "561": {"content": "<soft>", "special": False, "normalized": False},
            },
            "additional_special_tokens": ["<extra>"],
            "pad_token": "<pad>",
        },
    ],
)
def test_llama_folders_as_transformers(own: dict[str, Any], tmp_path: Path) -> None:
    """All but texts that begin with a space: transformers 5 drops one, `sentencepiece` does not."""
    transformers = importlib.import_module("transformers")
    folder = spm_llama(tmp_path)
    config = {"tokenizer_class": "LlamaTokenizer", **own}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    ours, oracle = Tokenizer.load(folder), transformers.AutoTokenizer.from_pretrained(folder)
    special = ["<s>", "</s>", "<unk>", "<new>", "<soft>", "<extra>", "<pad>"]
    chosen = random.Random(5)
    for _ in range(200):
        token_ids = [*chosen.choices(range(3, 300), k=6), *chosen.choices(range(560), k=6)]
        assert ours.decode(token_ids) == oracle.decode(token_ids, skip_special_tokens=True)
    for text in seeded_texts(150):
        parts = [text, *chosen.choices(special, k=2), text[:5], chosen.choice(special), " x"]
        whole = "x" + "".join(parts)
        token_ids = ours.encode(whole)
        if own.get("legacy") is not True:
            assert token_ids == oracle.encode(whole), whole
        for skip in (True, False):
            expected = oracle.decode(token_ids, skip_special_tokens=skip)
            assert ours.decode(token_ids, skip_special_tokens=skip) == expected
    assert ours.vocab_size == len(oracle)
    assert (ours.bos_token, ours.eos_token) == (oracle.bos_token, oracle.eos_token)


def test_legacy_puts_a_space_behind_special_tokens(tmp_path: Path) -> None:
    folder = spm_llama(tmp_path)
    library = importlib.import_module("sentencepiece").SentencePieceProcessor(
        model_file=str(folder / "tokenizer.model")
    )
    for legacy, expected in ((True, "▁The</s>▁Hello"), (False, "▁The</s>Hello")):
        config = {"tokenizer_class": "LlamaTokenizer", "legacy": legacy}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        ids = Tokenizer.load(folder).encode("The</s>Hello")
        assert "".join(map(library.id_to_piece, ids)) == expected


def test_reserved_pieces_get_the_names_of_the_config(
    tokenizers_by_style: dict[str, Tokenizer],
) -> None:
    tokenizer = tokenizers_by_style["spm_legacy"]
    assert tokenizer.token_id("<|im_start|>") == 3
    assert tokenizer.token_id("<|plugin|>") == 4
    assert tokenizer.token_id("[UNUSED_TOKEN_1]") is None
    assert (tokenizer.is_special(3), tokenizer.is_special(4)) == (True, False)
    assert 3 in tokenizer.encode("<|im_start|>user\n你好")


@_SETTINGS
@given(text=TEXTS)
def test_tiktoken_tokens_equal_the_library(ranked: Pair, text: str) -> None:
    assume(is_plain(ranked.ours, text))
    ids = ranked.ours.encode(text, add_special_tokens=False)
    assert ids == ranked.library.encode(_composed(ranked, text), disallowed_special=())
    assert ranked.ours.decode(ids) == ranked.library.decode(ids)


def _composed(ranked: Pair, text: str) -> str:
    return unicodedata.normalize("NFC", text) if ranked.library.name == "qwen_1" else text


def test_tiktoken_tokens_of_many_texts_equal_the_library(ranked: Pair) -> None:
    special = ranked.library.special_tokens_set
    chosen = random.Random(11)
    for text in seeded_texts(1500):
        whole = text + chosen.choice(sorted(special)) + text[:7]
        expected = ranked.library.encode(_composed(ranked, whole), allowed_special="all")
        assert ranked.ours.encode(whole, add_special_tokens=False) == expected, whole


def test_tiktoken_decodes_any_bytes_as_the_library(ranked: Pair) -> None:
    chosen = random.Random(3)
    for _ in range(500):
        ids = chosen.choices(range(len(ranks())), k=12)
        assert ranked.ours.decode(ids) == ranked.library.decode(ids)
        assert b"".join(ranked.ours.token_bytes(i) or b"" for i in ids) == b"".join(
            map(ranked.library.decode_single_token_bytes, ids)
        )


@pytest.mark.parametrize("style", ["llama_3", "kimi", "qwen_1"])
def test_tiktoken_as_transformers_converts(
    style: str, folders: dict[str, Path], tokenizers_by_style: dict[str, Tokenizer]
) -> None:
    module = importlib.import_module("transformers.convert_slow_tokenizer")
    names = {"kimi": "TikTokenTokenizer", "qwen_1": "QWenTokenizer", "llama_3": None}
    family = find_family(names[style], "llama")
    assert family is not None
    (path,) = (path for path in folders[style].iterdir() if path.suffix in (".model", ".tiktoken"))
    oracle = module.TikTokenConverter(vocab_file=str(path), pattern=family.pattern).converted()
    for text in seeded_texts(300):
        composed = unicodedata.normalize("NFC", text) if family.composes else text
        got = tokenizers_by_style[style].encode(text, add_special_tokens=False)
        assert got == oracle.encode(composed).ids


def test_tekken_as_transformers_and_tiktoken(
    folders: dict[str, Path], tokenizers_by_style: dict[str, Tokenizer]
) -> None:
    ours = tokenizers_by_style["tekken"]
    module = importlib.import_module("transformers.integrations.mistral.tokenizer")
    oracle = module.MistralConverter(str(folders["tekken"] / "tekken.json")).converted()
    library = importlib.import_module("tiktoken").Encoding(
        "tekken",
        pat_str=TEKKEN_PATTERN,
        mergeable_ranks=ranks(),
        special_tokens={},
    )
    chosen = random.Random(9)
    for text in seeded_texts(500):
        ids = ours.encode(text, add_special_tokens=False)
        assert ids == [12 + rank for rank in library.encode(text, disallowed_special=())]
        whole = text + chosen.choice(["[INST]", "</s>", "<SPECIAL_9>"]) + text[:6]
        assert ours.encode(whole, add_special_tokens=False) == oracle.encode(whole).ids
        assert ours.decode(ours.encode(whole)) == oracle.decode(oracle.encode(whole).ids)
    assert ours.vocab_size == len(ranks()) + 12 == oracle.get_vocab_size()
    assert ours.encode("Hi")[0] == ours.token_id("<s>") == 1
    assert (ours.bos_token, ours.eos_token) == ("<s>", "</s>")


def without_special_tokens(version: str | None, **changes: Any) -> dict[str, Any]:
    config = {"pattern": TEKKEN_PATTERN, "default_num_special_tokens": 32, "version": version}
    return {"special_tokens": None, "config": {**config, **changes}}


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "v7"])
def test_early_tekken_files_list_no_special_tokens(version: str, tmp_path: Path) -> None:
    content = json.dumps(tekken_file(**without_special_tokens(version))).encode()
    tokenizer = Tokenizer.load(write_folder(tmp_path, "tekken.json", content, {}))
    assert tokenizer.encode("[INST]a[/INST]</s>")[:2] == [1, 3]
    ids = {"<unk>": 0, "[TOOL_CALLS]": 9, "[IMG]": 10, "<pad>": 11, "[TOOL_CONTENT]": 19}
    assert {token: tokenizer.token_id(token) for token in ids} == ids
    assert tokenizer.token_id("<SPECIAL_20>") == 20
    assert tokenizer.vocab_size == len(ranks()) + 2 + 32


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "not the form"),
        (b"[]", "not the form"),
        (b"[" * 100_000, "not the form"),
        (without_special_tokens("v11"), "does not list .* 'v11'"),
        (without_special_tokens(None), "does not list"),
        (without_special_tokens("v3", default_num_special_tokens=19), "more than it says"),
        ({"special_tokens": [{"rank": 1, "token_str": "<s>"}]}, "not numbered"),
        ({"special_tokens": [{"rank": "x"}]}, "not the form"),
        ({"vocab": [{"rank": 0, "token_bytes": "?"}]}, "not the form"),
        ({"vocab": [{"rank": 0, "token_bytes": "QQ=="}]}, "no token for the byte"),
        ({"vocab": [{"rank": 0, "token_bytes": "QQ=="}] * 2}, "token twice"),
        ({"config": {"pattern": "(", "default_num_special_tokens": 9}}, "cannot be used"),
        ({"config": {"pattern": 5}}, "no pattern"),
    ],
)
def test_corrupt_tekken_files(content: Any, complaint: str, tmp_path: Path) -> None:
    if isinstance(content, dict):
        content = json.dumps(tekken_file(**content)).encode()
    with pytest.raises(CheckpointError, match=complaint):
        Tokenizer.load(write_folder(tmp_path, "tekken.json", content, {}))


def test_special_tokens_of_families(tokenizers_by_style: dict[str, Tokenizer]) -> None:
    size = len(ranks())
    llama, qwen = tokenizers_by_style["llama_3"], tokenizers_by_style["qwen_1"]
    assert llama.bos_token == "<|begin_of_text|>"
    assert llama.encode("Hi")[0] == llama.token_id("<|begin_of_text|>") == size
    assert llama.token_id("<|eot_id|>") == size + 9
    assert llama.vocab_size == size + 256
    assert qwen.token_id("<|im_end|>") == size + 2
    assert qwen.vocab_size == size + 208
    assert qwen.bos_token is None
    glm, kimi = tokenizers_by_style["glm_4"], tokenizers_by_style["kimi"]
    assert glm.encode("Hi")[:2] == [size + 1, size + 2]
    assert kimi.encode("Hi") == kimi.encode("Hi", add_special_tokens=False)
    assert kimi.token_id("<|im_end|>") == size + 3
    assert kimi.token_id(f"<|reserved_token_{size + 2}|>") == size + 2
    assert kimi.decode([size + 3, size + 6, size + 5]) == "<|tool_call_begin|>"
    assert kimi.eos_token == "[EOS]"


def test_hunyuan_counts_its_ranks(tmp_path: Path) -> None:
    """Its file repeats tokens; ids are places in the file without those."""
    ordered = sorted(ranks(), key=lambda token: ranks()[token])
    lines = [base64.b64encode(token) for token in [*ordered[:300], *ordered[:3], *ordered[300:]]]
    content = b"".join(b"%s %d\n" % (line, index) for index, line in enumerate(lines))
    folder = write_folder(tmp_path, "hy.tiktoken", content, {"tokenizer_class": "HYTokenizer"})
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.token_bytes(299) == ordered[299]
    assert tokenizer.token_bytes(300) == ordered[300]
    assert tokenizer.token_id("<|eos|>") == len(ordered) + 3


def test_tokens_of_added_tokens_json(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path, "tokenizer.model", sentencepiece_model(**LLAMA), {"pad_token": "<pad>"}
    )
    (folder / "added_tokens.json").write_text('{"<pad>": 561, "<image>": 563}')
    tokenizer = Tokenizer.load(folder)
    assert (tokenizer.token_id("<pad>"), tokenizer.token_id("<image>")) == (561, 563)
    assert (tokenizer.is_special(561), tokenizer.is_special(563)) == (True, False)
    assert tokenizer.vocab_size == 564


def test_conversations_reach_the_special_tokens(tmp_path: Path) -> None:
    folder = spm_llama(tmp_path)
    (folder / "chat_template.jinja").write_text(
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}"
        "{% endfor %}"
    )
    tokenizer = Tokenizer.load(folder)
    ids = tokenizer.encode_chat([{"role": "user", "content": "你好 Hello"}])
    assert (ids[0], ids[-1], ids.count(1), ids.count(2)) == (1, 2, 1, 1)
    assert tokenizer.decode(ids) == "[user] 你好 Hello"


def test_code_of_the_folder_is_never_run(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["kimi"], folder)
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit('no')\n"
    for name in ("tokenization_kimi.py", "__init__.py", "tiktoken.py", "sentencepiece.py"):
        (folder / name).write_text(code)
    monkeypatch.chdir(folder)
    assert Tokenizer.load(folder).encode("Hi")
    assert not (tmp_path / "ran").exists()
    assert "tokenization_kimi" not in sys.modules


def test_neither_library_is_needed(folders: dict[str, Path]) -> None:
    code = (
        "import sys\n"
        "for name in ('sentencepiece', 'tiktoken', 'google.protobuf', 'torch', 'transformers'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\nfrom unisono.text import Tokenizer\n"
        "for folder in sys.argv[1:]:\n    assert Tokenizer.load(Path(folder)).encode('Hi')\n"
    )
    paths = [str(folders[style]) for style in ("spm_llama", "kimi")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"model_type": "word", "byte_fallback": False}, "neither unigram nor BPE"),
        ({"model_type": "char", "byte_fallback": False}, "neither unigram nor BPE"),
        ({**LLAMA, "treat_whitespace_as_suffix": True}, "in front of words"),
    ],
)
def test_models_of_other_kinds_are_refused(
    options: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    content = sentencepiece_model(**options)
    with pytest.raises(UnsupportedModelError, match=complaint) as caught:
        Tokenizer.load(write_folder(tmp_path, "tokenizer.model", content, {}))
    assert "tokenizer.json" in str(caught.value)


def test_corrupt_sentencepiece_files(tmp_path: Path) -> None:
    good = sentencepiece_model(**LLAMA)
    chosen = random.Random(1)
    cuts = [good[: chosen.randrange(len(good))] for _ in range(20)]
    noise = [chosen.randbytes(200) for _ in range(50)]
    flips = []
    for _ in range(50):
        flipped = bytearray(good)
        flipped[chosen.randrange(len(good))] ^= 1 << chosen.randrange(8)
        flips.append(bytes(flipped))
    for content in (b"", b"\x00", b"\xff" * 30, b"not a model at all", good[:-1]):
        folder = write_folder(tmp_path, "tokenizer.model", content, {})
        with pytest.raises(CheckpointError, match=r"tokenizer\.model cannot be used: it is no"):
            Tokenizer.load(folder)
    outcomes = Counter(
        encoded(write_folder(tmp_path, "tokenizer.model", content, {}), "Hello 世界")
        for content in (*cuts, *noise, *flips)
    )
    assert outcomes["CheckpointError"] > 50
    assert outcomes["="]  # what is left may be a model still


def encoded(folder: Path, text: str) -> str:
    """The result for a text where the tokenizer runs in this process: ``=``, ``!`` where it broke
    down over it, or the error of its files."""
    greeting, answer = tokenizer_program.start({"folder": str(folder)})
    if answer is None:
        return str(json.loads(greeting)["error"])
    return answer(b"s" + text.encode())[:1].decode()


def test_a_table_of_characters_that_breaks_the_native_package(tmp_path: Path) -> None:
    """It panics, now while it loads and now over a text; both are errors like any other."""
    good = sentencepiece_model(**UNIGRAM)
    table = next(value for value in _messages(good) if len(value) > 100_000)
    chosen, outcomes = random.Random(2), set()
    for _ in range(60):
        wrong = bytearray(table)
        wrong[chosen.choice((0, chosen.randrange(4, 600)))] = chosen.randrange(256)
        content = good.replace(table, bytes(wrong))
        text = "Hello ﬁ ① ｶﾞ ㍿ Å ½ e\u0301 統一 \t\n <x> 12 ​ª é\u3000"
        outcomes.add(encoded(write_folder(tmp_path, "tokenizer.model", content, {}), text))
    assert outcomes >= {"CheckpointError", "!"}


def _messages(content: bytes) -> list[bytes]:
    from unisono.text.vocabulary.sentencepiece_model import _read_fields

    inner = [value for number, value in _read_fields(content) if number == 3]
    return [value for part in inner for _, value in _read_fields(part) if isinstance(value, bytes)]


def test_corrupt_tiktoken_files(tmp_path: Path) -> None:
    good = tiktoken_file(ranks())
    lines = good.splitlines(keepends=True)
    wrong = {
        "is not a token": [b"%%% 3\n", b"QQ==\n", b"QQ== x\n", b"QQ== 1 2\n", b"\xff\n"],
        "impossible": [b"QQ== 99999999999\n", b" 5\n", b"QQ== -1\n"],
        "one rank": [b"IP8K/w== 5\n"],
        "repeats": [b"QQ== 7777\n"],
    }
    for complaint, ends in wrong.items():
        for end in ends:
            folder = write_folder(tmp_path, "qwen.tiktoken", good + end, {}, "qwen")
            with pytest.raises(CheckpointError, match=f"{complaint}|is not a token"):
                Tokenizer.load(folder)
    folder = write_folder(tmp_path, "qwen.tiktoken", b"".join(lines[1:]), {}, "qwen")
    with pytest.raises(CheckpointError, match="no token for the byte"):
        Tokenizer.load(folder)


def field(number: int, content: bytes) -> bytes:
    """Bytes of one field of a protocol buffer."""
    size, length = bytearray(), len(content)
    while length > 0x7F:
        size.append(0x80 | (length & 0x7F))
        length >>= 7
    return bytes([number << 3 | 2, *size, length]) + content


@pytest.mark.parametrize(
    ("pieces", "complaint"),
    [
        ([b"a" * 3_000_000], "more than 1024 letters"),
        ([b"%07d" % index + b"x" * 1000 for index in range(17_000)], "all have too many"),
        ([b"a", b"b", b"a"], "a piece twice"),
        ([b"\xff"], "no SentencePiece model"),
    ],
)
def test_pieces_that_no_model_has(pieces: list[bytes], complaint: str, tmp_path: Path) -> None:
    """Refused at once: merging would take hours."""
    listed = b"".join(field(1, field(1, text)) for text in [b"<unk>", *pieces])
    content = listed + field(2, b"\x18\x02")
    with computing_at_most(30), pytest.raises(CheckpointError, match=complaint):
        Tokenizer.load(write_folder(tmp_path, "tokenizer.model", content, {}))


def test_a_token_that_no_vocabulary_has(tmp_path: Path) -> None:
    content = tiktoken_file({**ranks(), b"x" * 3_000_000: 600})
    with pytest.raises(CheckpointError, match="more than 1024 letters"):
        Tokenizer.load(write_folder(tmp_path, "qwen.tiktoken", content, {}, "qwen"))


def test_families_that_are_not_known_are_refused(tmp_path: Path) -> None:
    config = {"tokenizer_class": "NewTokenizer"}
    folder = write_folder(tmp_path, "x.tiktoken", tiktoken_file(ranks()), config, "new")
    with pytest.raises(UnsupportedModelError, match=r"only in the checkpoint's code.*NewTokenizer"):
        Tokenizer.load(folder)


@pytest.mark.parametrize(
    "declared",
    [
        {"999999999": {"content": "<far>", "special": True}},
        {"700": {"content": "<twice>"}, "701": {"content": "<twice>"}},
        {"700": {"content": "Hello"}},
        {"700": "text"},
        {"-5": {"content": "<below>"}},
    ],
)
def test_ids_that_cannot_be_are_refused(declared: dict[str, Any], tmp_path: Path) -> None:
    config = {"added_tokens_decoder": declared}
    folder = write_folder(tmp_path, "tokenizer.model", tiktoken_file(ranks()), config)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json"):
        Tokenizer.load(folder)
