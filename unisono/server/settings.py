"""Settings of a server: flat, frozen, validated once."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from unisono.core.config import EngineConfig
from unisono.core.errors import ConfigError
from unisono.core.model_role import ModelRole
from unisono.core.sampling_defaults import SamplingDefaults
from unisono.server.adapter_settings import check_adapters

KEY_VARIABLE = "UNISONO_API_KEY"
_MAX_KEY_BYTES = 1 << 20
_MIN_KEY_LENGTH = 8


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one request.

    Args:
        header_bytes: request line and headers.
        body_bytes: request body, also when it comes in chunks.
        bodies_bytes: of all bodies that are arriving or not yet tokenized.
        json_depth: nesting of arrays and objects in a body.
        messages: messages in a chat.
        prompts: prompts in one completions request.
        n: answers to one prompt.
        answers: prompts times answers of one request.
        inputs: texts that one request lets be embedded or scored.
        vector_bytes: of their vectors, as numbers of four bytes.
        max_tokens: tokens of one answer; ``None`` leaves it to the model's context.
        logprob_entries: log-probabilities of prompt tokens in one request.
        in_flight: HTTP requests being answered at the same time.
        connections: open connections, where the process may have so many descriptors.
        stored_responses, stored_bytes: responses that are kept for later turns, of all tenants.
        file_bytes, files_bytes: of an uploaded file, and of all that are kept.
        files: files, and batches, of one tenant.
        batch_lines: requests of one batch.
        header_timeout_s: for a client to send its headers.
        body_timeout_s: for a client to send its body.
        write_timeout_s: for a client to read what was written to it.
    """

    header_bytes: int = 16 * 2**10
    body_bytes: int = 8 * 2**20
    bodies_bytes: int = 128 * 2**20
    json_depth: int = 64
    messages: int = 4096
    prompts: int = 256
    n: int = 32
    answers: int = 512
    inputs: int = 2048
    vector_bytes: int = 32 * 2**20
    max_tokens: int | None = None
    logprob_entries: int = 1 << 20
    in_flight: int = 2048
    connections: int = 4096
    stored_responses: int = 10_000
    stored_bytes: int = 256 * 2**20
    file_bytes: int = 100 * 2**20
    files_bytes: int = 4 * 2**30
    files: int = 1000
    batch_lines: int = 50_000
    header_timeout_s: float = 15.0
    body_timeout_s: float = 60.0
    write_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and value <= 0:
                raise ConfigError(f"The limit {item.name} must be above 0, not {value}.")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Args:
        model_folder: the checkpoint.
        model_name: what clients call it.
        model_aliases: other names that clients may use.
        model_root: what it was before it was given a name: an id of a hub, or a folder's name.
        host, port: where to listen; port 0 takes a free one.
        api_keys: keys that are let in; empty lets everyone in, on a loopback address only.
        adapters: names of adapters, as clients call them, and their folders.
        adapters_dir: the folder whose adapters the operator may load while the server runs; None:
            none.
        tool_format: how the model writes tool calls; ``auto`` finds it from the chat template.
        role: what the model is for, as its folder or the operator says.
        sampling_defaults: what holds for requests that do not say otherwise.
        store: file in which responses are kept; without one they are kept in memory.
        batch_dir: folder of uploaded files and batches; without one there are none.
        strict: refuse requests with fields that nobody knows, instead of ignoring these.
        cors_origins: origins of web pages that may use the server, beside those of this machine;
            ``*`` lets all.
        allowed_hosts: names that a server without keys is reached by, beside its address.
        keep_alive_s: how long a connection without a request stays open.
        insecure: listen on other addresses without a key all the same.
        drain_timeout_s: how long running requests may go on after SIGTERM.
        restart_wait_s: how long a request waits for an engine that is being restarted.
        watchdog_s: an engine with work that shows no life for this long is restarted;
            a long step that computes is life.

    Raises:
        ConfigError: a value out of range, or an address that is open to everyone.
    """

    model_folder: Path
    model_name: str
    model_aliases: tuple[str, ...] = ()
    model_root: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    engine: EngineConfig = field(default_factory=EngineConfig)
    limits: Limits = field(default_factory=Limits)
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    sampling_defaults: SamplingDefaults = field(default_factory=SamplingDefaults)
    role: ModelRole = field(default_factory=ModelRole)
    adapters: tuple[tuple[str, Path], ...] = ()
    adapters_dir: Path | None = None
    tool_format: str = "auto"
    insecure: bool = False
    store: Path | None = None
    batch_dir: Path | None = None
    strict: bool = False
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    keep_alive_s: float = 120.0
    drain_timeout_s: float = 30.0
    restart_wait_s: float = 30.0
    watchdog_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"The port must be 0 to 65535, not {self.port}.")
        if not self.model_name:
            raise ConfigError("The model needs a name that clients can use.")
        for name in ("drain_timeout_s", "restart_wait_s", "keep_alive_s"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative.")
        if self.watchdog_s <= 0:
            raise ConfigError(f"The watchdog's seconds must be above 0, not {self.watchdog_s:g}.")
        check_adapters(self.adapters, self.adapters_dir, self.model_names)
        for origin in self.cors_origins:
            _check_origin(origin)
        for name in self.allowed_hosts:
            _check_host_name(name)
        if any(len(key) < _MIN_KEY_LENGTH for key in self.api_keys):
            raise ConfigError(
                f"An API key has at least {_MIN_KEY_LENGTH} characters.",
                hint='Make one with: python -c "import secrets; print(secrets.token_urlsafe(32))"',
            )
        if not (self.api_keys or self.insecure or is_loopback(self.host)):
            raise ConfigError(
                f"Refusing to serve everyone who reaches {self.host}: there is no API key.",
                hint=f"Give --api-key or set {KEY_VARIABLE}; to serve openly, pass --insecure.",
            )

    @property
    def model_names(self) -> tuple[str, ...]:
        """The served name, then its aliases."""
        return (self.model_name, *self.model_aliases)


def _check_origin(origin: str) -> None:
    scheme, separator, place = origin.partition("://")
    if origin in ("*", "null") or (scheme and separator and place and "/" not in place):
        return
    raise ConfigError(
        f"{origin!r} is no origin of a web page.",
        hint="Write it as browsers do, such as https://chat.example.org, or * for all.",
    )


def _check_host_name(name: str) -> None:
    if name and "/" not in name and not any(sign.isspace() for sign in name):
        return
    raise ConfigError(
        f"{name!r} is no name of a host.",
        hint="Write it as in the Host header, such as chat.example.org, or * for all.",
    )


def is_loopback(host: str) -> bool:
    """True where only this machine reaches the address or name."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return is_address(host) and ipaddress.ip_address(host).is_loopback


def is_address(host: str) -> bool:
    """True for an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def read_keys(
    given: tuple[str, ...] = (),
    key_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Keys from options, from the environment (comma-separated) and from a file (one a line).

    Raises:
        ConfigError: a given key is empty; the file cannot be read, holds no key, or is too large
            to be one of keys.
    """
    if not all(key.strip() for key in given):
        raise ConfigError(
            "The value of --api-key is empty.",
            hint="Is a variable of the shell unset? Leave the option out to serve without a key.",
        )
    environment = os.environ if environment is None else environment
    keys = {f"A value of --api-key (number {i})": key for i, key in enumerate(given, 1)}
    from_environment = environment.get(KEY_VARIABLE, "").split(",")
    keys |= {f"A key in {KEY_VARIABLE} (number {i})": k for i, k in enumerate(from_environment, 1)}
    if key_file is not None:
        listed = {
            f"Line {number} of the key file {key_file}": line
            for number, line in enumerate(_lines(key_file), 1)
            if not line.lstrip().startswith("#")
        }
        if not any(line.strip() for line in listed.values()):
            raise ConfigError(
                f"The key file {key_file} holds no key.",
                hint="Write one key a line, or leave the option out to serve without a key.",
            )
        keys |= listed
    for place, key in keys.items():
        if len(key.split()) > 1:
            raise ConfigError(
                f"{place} has white space in it: no client can send such a key.",
                hint="Write one key a line, or repeat --api-key; comments begin with #.",
            )
    return tuple(dict.fromkeys(key.strip() for key in keys.values() if key.strip()))


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_KEY_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ConfigError(
            f"The key file {path} is not UTF-8 text.", hint="It holds one key a line."
        ) from error
    if len(content) > _MAX_KEY_BYTES:
        raise ConfigError(
            f"The key file {path} is larger than {_MAX_KEY_BYTES} bytes.",
            hint="It holds one key a line.",
        )
    return text.splitlines()
