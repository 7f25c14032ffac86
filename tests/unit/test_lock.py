"""The lock files hold what pyproject.toml and constraints.txt ask for, on every Python."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# A peer whose build the user chooses: its version is pinned, its files are not.
PEER = "torch"
HASH = r"--hash=sha256:[0-9a-f]{64}"


def lines(*paths: str) -> list[Requirement]:
    texts = "\n".join((ROOT / path).read_text("utf-8") for path in paths).splitlines()
    return [Requirement(text) for text in texts if text and not text.startswith("#")]


def asked_for(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = list(project["dependencies"])
    for extra in extras:
        names += project["optional-dependencies"][extra]
    return [*map(Requirement, names), *lines("requirements/build.in")]


LOCKS = {
    "demo": asked_for(),
    "native": lines("requirements/build-native.in"),
    "clients": lines("requirements/clients.in"),
    "client-frameworks": lines("requirements/client-frameworks.in"),
    "wheels": lines(*(f"requirements/{name}.in" for name in ("build", "build-native", "wheels"))),
    "test": [*asked_for("test", "dev"), *lines("requirements/build-native.in")],
}


def entries(name: str) -> list[str]:
    """One locked package a line, its hashes behind it."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text("utf-8")
    return text.replace("\\\n", " ").splitlines()


def version(name: str, python: str, locked: list[Requirement]) -> str | None:
    environment = {"python_version": python, "python_full_version": f"{python}.5"}
    found = [
        entry.specifier
        for entry in locked
        if entry.name == name and (not entry.marker or entry.marker.evaluate(environment))
    ]
    assert len(found) <= 1, f"{name} has several versions on Python {python}"
    return str(found[0]).removeprefix("==") if found else None


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_everything_asked_for_is_locked_at_a_version_that_is_allowed(
    name: str, python: str
) -> None:
    locked = [Requirement(entry.partition(" --hash")[0]) for entry in entries(name)]
    environment = {"python_version": python, "python_full_version": f"{python}.5"}
    for wanted in [*LOCKS[name], *lines("constraints.txt")]:
        if wanted.name == PEER or (wanted.marker and not wanted.marker.evaluate(environment)):
            continue
        found = version(wanted.name.replace("_", "-"), python, locked)
        if wanted in LOCKS[name]:
            assert found, f"{wanted.name} is not in requirements/{name}.lock: run make lock"
        assert found is None or wanted.specifier.contains(found), f"{wanted}: run make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_every_file_has_a_hash_and_no_place(name: str) -> None:
    for entry in entries(name):
        requirement, *hashes = re.split(r"\s+(?=--hash)", entry.strip())
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.+]+", requirement.partition(" ;")[0])
        assert hashes
        assert all(re.fullmatch(HASH, one) for one in hashes)
        assert "/" not in entry


def test_the_demo_installs_what_is_tested() -> None:
    demo, native, tests = (
        {re.sub(r"( ;.*?)?\s+(?=--hash)", " ", entry) for entry in entries(name)}
        for name in ("demo", "native", "test")
    )
    assert demo | native <= tests, "run make lock"
