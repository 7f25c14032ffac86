"""A folder that appears when it is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from unisono.core.errors import ConfigError
from unisono.models.checkpoint.new_folder import check_out, unfinished


@pytest.fixture(params=["new", "empty", "link", "here"])
def out(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Places that ``check_out`` allows."""
    folder = tmp_path / "folder"
    if request.param == "new":
        return folder
    folder.mkdir()
    if request.param == "here":
        monkeypatch.chdir(folder)
        return Path()
    link = tmp_path / "link"
    link.symlink_to(folder)
    return link if request.param == "link" else folder


def test_what_is_allowed_can_be_written(out: Path) -> None:
    place = out.resolve()
    check_out(out)
    with unfinished(out, 1) as folder:
        (folder / "config.json").write_text("{}")
        assert folder.parent == place.parent
    assert [path.name for path in place.iterdir()] == ["config.json"]
    assert list(place.parent.glob(".*")) == []


def test_nothing_stays_of_what_fails(tmp_path: Path) -> None:
    def stopped(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), unfinished(tmp_path / "out", 1) as folder:
        stopped(folder)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="is not empty"):
        check_out(tmp_path)
