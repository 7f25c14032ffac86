"""A model as GGUF: one file, or the numbered files that it was split into."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from unisono.core.errors import CheckpointError, ModelNotFoundError
from unisono.gguf.header import Header, TensorInfo, read_header
from unisono.gguf.metadata import Metadata

_SPLIT = re.compile(r"(?P<name>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
_MAX_SPLITS = 4096
_PROJECTOR = "mmproj"
"""Begins the names of files with the image encoder of a model, which lie beside the model's."""


def is_gguf(path: Path) -> bool:
    """Returns whether a path is to be read as GGUF, by its name."""
    return path.suffix == ".gguf" and not path.is_dir()


def model_files(path: Path) -> list[Path]:
    """All files of the model of which ``path`` is one.

    Raises:
        CheckpointError: some of them are missing.
    """
    match = _SPLIT.fullmatch(path.name)
    if match is None:
        return [path]
    count = int(match["count"])
    if not 0 < count <= _MAX_SPLITS:
        raise CheckpointError(f"{path.name} is one of {count} files, which cannot be.")
    names = [f"{match['name']}-{index + 1:05}-of-{count:05}.gguf" for index in range(count)]
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{path.parent} lacks {missing[0]}{more}, a part of the model.",
            hint="Put all of its files into one folder.",
        )
    return [path.parent / name for name in names]


def only_model_of(folder: Path) -> Path | None:
    """The first file of the one model that a folder holds as GGUF; None where it holds none.

    Raises:
        ModelNotFoundError: it holds several.
    """
    models: dict[str, Path] = {}
    for path in sorted(folder.glob("*.gguf")):
        if not path.name.startswith(_PROJECTOR) and path.is_file():
            match = _SPLIT.fullmatch(path.name)
            models.setdefault(match["name"] if match else path.name, path)
    if len(models) > 1:
        names = [path.name for path in models.values()]
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise ModelNotFoundError(
            f"{folder} holds {len(names)} models: {shown}.",
            hint=f"Name one of them: {folder / names[0]}.",
        )
    return next(iter(models.values()), None)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """The headers of a model's files, merged."""

    paths: list[Path]
    metadata: Metadata
    """Metadata of the first file, which has all that is not about tensors."""
    tensors: dict[str, TensorInfo]

    @classmethod
    def read(cls, path: Path) -> GgufFile:
        """The model of which ``path`` is a file.

        Raises:
            CheckpointError: a file is missing, damaged or of another model.
            UnsupportedModelError: a version or a type of tensors that is not known.
        """
        paths = model_files(path)
        headers = [read_header(each) for each in paths]
        tensors: dict[str, TensorInfo] = {}
        for index, (each, header) in enumerate(zip(paths, headers, strict=True)):
            if len(paths) > 1:
                _check_split(each, header, index, len(paths))
            twice = tensors.keys() & header.tensors.keys()
            if twice:
                raise CheckpointError(f"{each.name} holds {min(twice):.80} again.")
            tensors |= header.tensors
        return cls(paths, Metadata(headers[0].values, paths[0].name), tensors)


def _check_split(path: Path, header: Header, index: int, count: int) -> None:
    values = Metadata(header.values, path.name)
    found = values.integer("split.no", -1), values.integer("split.count", -1)
    if found != (index, count):
        raise CheckpointError(
            f"{path.name} says of itself that it is file {found[0]} (from 0) of {found[1]}.",
            hint="Its name and its content do not go together: fetch all files again.",
        )
