from __future__ import annotations

from pathlib import Path

import pytest

from unisono.core.errors import ConfigError
from unisono.server import Limits, ServerSettings, read_keys
from unisono.server.http.guard import KeyRing

KEY = "a-long-enough-key"


def settings(**options: object) -> ServerSettings:
    return ServerSettings(**{"model_folder": Path("/m"), "model_name": "m", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_key(host: str) -> None:
    settings(host=host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_any_other_address_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="Refusing"):
        settings(host=host)
    settings(host=host, api_keys=(KEY,))
    settings(host=host, insecure=True)


@pytest.mark.parametrize(
    "options", [{"port": -1}, {"port": 70000}, {"model_name": ""}, {"api_keys": ("short",)}]
)
def test_values_out_of_range(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        settings(**options)


@pytest.mark.parametrize("name", ["", "a b", "https://chat.example.org", "chat.example.org/v1"])
def test_an_allowed_host_is_a_name(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a host"):
        settings(allowed_hosts=(name,))
    settings(allowed_hosts=("chat.example.org", "chat.example.org:80", "[::1]", "*"))


def test_limits_are_above_zero() -> None:
    with pytest.raises(ConfigError, match="body_bytes"):
        Limits(body_bytes=0)


def test_keys_do_not_show() -> None:
    assert KEY not in repr(settings(api_keys=(KEY,)))
    assert KEY not in repr(vars(KeyRing([KEY])))


def test_keys_come_from_three_places(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\nfrom-the-file\n\nfrom-both\n")
    environment = {"UNISONO_API_KEY": "from-variable, from-both"}
    assert read_keys(("given",), file, environment) == (
        "given",
        "from-variable",
        "from-both",
        "from-the-file",
    )
    assert read_keys((), None, {}) == ()
    with pytest.raises(ConfigError, match="No such file"):
        read_keys((), tmp_path / "missing", {})


@pytest.mark.parametrize("given", [("",), (" ",), (KEY, "")])
def test_an_empty_key_does_not_open_the_server(given: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="--api-key is empty"):
        read_keys(given, None, {})


def test_a_key_with_white_space_is_refused_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# two\n\na-long-enough-key\n  another one-of-two\n")
    with pytest.raises(ConfigError, match=f"Line 4 of the key file {file}") as caught:
        read_keys((), file, {})
    assert "one-of-two" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"--api-key \(number 2\)"):
        read_keys((KEY, "two words"), None, {})
    with pytest.raises(ConfigError, match=r"UNISONO_API_KEY \(number 1\)"):
        read_keys((), None, {"UNISONO_API_KEY": "tab\there,b"})
    assert read_keys((f" {KEY} ",), None, {}) == (KEY,)


@pytest.mark.parametrize("content", ["", "\n \n", "# none yet\n"])
def test_a_file_without_keys_does_not_open_the_server(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(ConfigError, match="holds no key"):
        read_keys((), file, {})
    with pytest.raises(ConfigError, match="holds no key"):
        read_keys((KEY,), file, {})


def test_a_key_file_is_text(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(b"\xff\xfe12345678")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_keys((), file, {})


def test_a_key_ring_lets_its_keys_in() -> None:
    ring = KeyRing([KEY, "another-key"])

    def tenant(header: bytes) -> str | None:
        return ring.tenant({b"authorization": header})

    first, second = tenant(b"Bearer " + KEY.encode()), tenant(b"bearer another-key")
    assert first
    assert second
    assert first != second
    wrong = [b"Bearer ", b"Bearer wrong", b"Basic " + KEY.encode(), KEY.encode(), b""]
    wrong.append(b"Bearer " + KEY.encode() + b"x")
    assert [tenant(header) for header in wrong] == [None] * len(wrong)
    assert ring.tenant({}) is None
    assert KeyRing([]).tenant({}) == ""


def test_by_default_clients_and_proxies_close_idle_connections_first() -> None:
    assert settings().keep_alive_s > 75  # nginx's own; other proxies and pools take 5 to 60 s
