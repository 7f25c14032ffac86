"""Makes what compare_cpu.py needs, in one folder; what is there already is left alone.

model/                  the checkpoint           gguf/              its forms for llama.cpp
llama/, openvino/       the peers' environments  openvino-int4/     its form for OpenVINO
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
LLAMA_PACKAGES = ["--no-binary=llama-cpp-python", "llama-cpp-python", "gguf"]
LLAMA_BUILDS = {
    None: "-DGGML_NATIVE=ON",
    "avx2": "-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON",
}
OPENVINO_PACKAGES = ["openvino-genai", "optimum-intel", "nncf"]
USELESS = ["torchvision"]
"""Comes along, and breaks transformers where it was built for another torch."""
INT4 = ["--weight-format", "int4", "--sym", "--group-size", "128", "--ratio", "1.0"]
"""The int4 settings that OpenVINO's documentation recommends; embedding and head become int8."""


def llama_folder(isa: str | None) -> str:
    """Name of the environment with llama.cpp for an instruction set; None: this processor's."""
    return "llama" if isa is None else f"llama-{isa}"


def prepare(home: Path, pythons: dict[str, Path], isa: str | None) -> None:
    """Raises:
    subprocess.CalledProcessError: a step failed; its own output says why.
    """
    llama_python, openvino_python = pythons["llama"], pythons["openvino"]
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "model").exists():
        run(pythons["unisono"], FOLDER.parent / "random_checkpoint.py", home / "model")
    if not imports(llama_python, "llama_cpp, gguf"):
        install(llama_python, LLAMA_PACKAGES, {"CMAKE_ARGS": LLAMA_BUILDS[isa]})
    run(llama_python, FOLDER / "make_gguf.py", home / "model", home / "gguf")
    if not imports(openvino_python, "openvino_genai, optimum.intel"):
        install(openvino_python, [*OPENVINO_PACKAGES, tested_torch()])
        run(openvino_python, "-m", "pip", "uninstall", "--yes", *USELESS)
    if not (home / "openvino-int4").exists():
        export_openvino(openvino_python, home)


def tested_torch() -> str:
    """The version that this repository is tested with."""
    constraints = (FOLDER.parents[1] / "constraints.txt").read_text()
    return next(line for line in constraints.splitlines() if line.startswith("torch=="))


def imports(python: Path, names: str) -> bool:
    if not python.exists():
        return False
    done = subprocess.run([python, "-c", f"import {names}"], capture_output=True)
    return done.returncode == 0


def install(python: Path, packages: list[str], variables: dict[str, str] | None = None) -> None:
    """Into the environment of that interpreter, made where it is not there."""
    if not python.exists():
        run(sys.executable, "-m", "venv", python.parent.parent)
    run(python, "-m", "pip", "install", *packages, variables=variables)


def export_openvino(python: Path, home: Path) -> None:
    """No tokenizer is converted: the pipeline is given token ids."""
    program, unfinished = python.parent / "optimum-cli", home / "openvino-int4.part"
    task = ["--task", "text-generation-with-past", "--disable-convert-tokenizer"]
    run(program, "export", "openvino", "-m", home / "model", *task, *INT4, unfinished)
    unfinished.rename(home / "openvino-int4")


def run(*command: str | Path, variables: dict[str, str] | None = None) -> None:
    print("+", *command, file=sys.stderr)
    environment = {**os.environ, **(variables or {})}
    subprocess.run([str(part) for part in command], check=True, env=environment, stdout=sys.stderr)
