"""The part of ModelScope's public HTTP API that a download needs.

Reads ``MODELSCOPE_ENDPOINT`` and ``MODELSCOPE_API_TOKEN``, as the official client does.
"""

from __future__ import annotations

import os
from urllib.parse import quote, quote_plus

from unisono.core.errors import ModelError
from unisono.hub.addresses import check_endpoint
from unisono.hub.http import TransferError, bearer, read_json
from unisono.hub.listing import RemoteFile, wanted_files

__all__ = ["file_url", "list_files", "secret_headers"]

_DEFAULT_ENDPOINT = "https://www.modelscope.cn"
_MAX_LISTING_BYTES = 16 << 20


def list_files(repo_id: str, revision: str) -> list[RemoteFile]:
    """The files that are wanted, in order of their names.

    Raises:
        TransferError: no answer, or a refusal.
        ModelError: an answer that is not ModelScope's.
        CheckpointError: a name, size or hash that is none.
    """
    query = f"Revision={quote_plus(revision)}&Recursive=True"
    url = f"{_endpoint()}/api/v1/models/{quote(repo_id)}/repo/files?{query}"
    try:
        answer, _ = read_json(url, secret_headers(), _MAX_LISTING_BYTES)
        if answer.get("Success") is False:
            raise TransferError(str(answer.get("Message") or "refused"), 404)
        entries = [entry for entry in answer["Data"]["Files"] if entry.get("Type") != "tree"]
        listed = [(entry["Path"], entry["Size"], entry.get("Sha256")) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{_endpoint()} did not answer like ModelScope.", hint="Check MODELSCOPE_ENDPOINT."
        ) from error
    return wanted_files(listed)


def file_url(repo_id: str, revision: str, path: str) -> str:
    query = f"Revision={quote_plus(revision)}&FilePath={quote_plus(path)}"
    return f"{_endpoint()}/api/v1/models/{quote(repo_id)}/repo?{query}"


def _endpoint() -> str:
    variable = (
        "MODELSCOPE_ENDPOINT" if os.environ.get("MODELSCOPE_ENDPOINT") else "MODELSCOPE_DOMAIN"
    )
    address = (os.environ.get(variable) or _DEFAULT_ENDPOINT).strip()
    return check_endpoint(address if "://" in address else f"https://{address}", variable)


def secret_headers() -> dict[str, str]:
    token = os.environ.get("MODELSCOPE_API_TOKEN")
    shown = bearer(token, "MODELSCOPE_API_TOKEN")
    return {**shown, "Cookie": f"m_session_id={token}"} if shown else {}
