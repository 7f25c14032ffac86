"""The part of the Hugging Face hub's public HTTP API that a download needs.

``huggingface_hub`` says where the hub is and which token to show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urljoin

from unisono.core.errors import ConfigError, ModelError
from unisono.hub.addresses import check_endpoint, origin, refusal
from unisono.hub.http import bearer, read_json

_MAX_ANSWER_BYTES = 16 << 20
_MAX_PAGES = 100
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NEXT_PAGE = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)


def is_commit(text: Any) -> bool:
    """Returns whether it is a commit's full id, and so a plain name."""
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None


def find_commit(repo_id: str, revision: str, headers: Mapping[str, str]) -> str:
    """The commit to which a branch or tag points now.

    Raises:
        TransferError: no answer, or a refusal.
        ModelError: an answer that is not the hub's.
    """
    if is_commit(revision):
        return revision
    url = f"{_endpoint()}/api/models/{quote(repo_id)}/revision/{quote(revision, safe='')}"
    commit = _field(_answer(url, headers)[0], "sha")
    if not is_commit(commit):
        raise _not_the_hub(f"it says that {revision!r} is commit {commit!r:.80}")
    return str(commit)


def list_entries(
    repo_id: str, commit: str, headers: Mapping[str, str]
) -> list[tuple[Any, Any, Any]]:
    """Path, size and hash of every file, as the hub says them.

    Raises:
        TransferError, ModelError: as ``find_commit``.
    """
    url = f"{_endpoint()}/api/models/{quote(repo_id)}/tree/{commit}?recursive=true"
    return [
        (_field(entry, "path"), *_content(entry))
        for page in _pages(url, headers)
        for entry in page
        if _field(entry, "type") != "directory"
    ]


def _content(entry: Any) -> tuple[Any, Any]:
    """Size and hash; of a large file not those of what git keeps in its place."""
    large = entry.get("lfs")
    own = entry if large is None else large
    return _field(own, "size"), _field(own, "oid")


def _pages(url: str, headers: Mapping[str, str]) -> Iterator[list[Any]]:
    for _ in range(_MAX_PAGES):
        page, answered = _answer(url, headers)
        if not isinstance(page, list):
            raise _not_the_hub("its listing is none")
        yield page
        match = _NEXT_PAGE.search(answered.get("Link", ""))
        if match is None:
            return
        url = _further(url, match[1])
    raise _not_the_hub(f"its listing has more than {_MAX_PAGES} pages")


def _further(url: str, link: str) -> str:
    """URL of the next page of a listing; a page at another host is refused."""
    try:
        target = urljoin(url, link)
        stays = refusal(target) is None and origin(target) == origin(url)
    except ValueError:
        stays = False
    if not stays:
        raise _not_the_hub(f"its listing goes on at {link!r:.200}")
    return target


def _answer(url: str, headers: Mapping[str, str]) -> tuple[Any, Any]:
    try:
        return read_json(url, headers, _MAX_ANSWER_BYTES)
    except ValueError as error:
        raise _not_the_hub(str(error)) from error


def _field(entry: Any, name: str) -> Any:
    if not isinstance(entry, dict):
        raise _not_the_hub(f"{entry!r:.80} is no object")
    return entry.get(name)


def _not_the_hub(reason: str) -> ModelError:
    return ModelError(
        f"{_endpoint()} does not answer like the Hugging Face hub: {reason}.",
        hint="Check HF_ENDPOINT.",
    )


def resolve_url(repo_id: str, commit: str, path: str) -> str:
    """URL of a file's content."""
    return f"{_endpoint()}/{quote(repo_id)}/resolve/{commit}/{quote(path)}"


def secret_headers() -> dict[str, str]:
    """HTTP headers with the user's token; empty where there is none.

    Raises:
        ConfigError: it cannot be read, or cannot be one.
    """
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return {}
    try:
        token = get_token()
    except NotADirectoryError:
        token = None
    except Exception as error:  # a file that cannot be read, a login service that does not answer
        raise ConfigError(
            f"The Hugging Face token cannot be read ({type(error).__name__}: {error}).",
            hint="Set HF_TOKEN, or log in again with `hf auth login`.",
        ) from error
    return bearer(token, "HF_TOKEN")


def _endpoint() -> str:
    from huggingface_hub import constants

    return check_endpoint(constants.ENDPOINT, "HF_ENDPOINT")
