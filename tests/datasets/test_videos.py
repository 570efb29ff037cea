"""Finding videos without labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from arseg_edge.datasets.videos import find_videos
from arseg_edge.errors import DatasetError


def test_folder_with_subfolders_in_natural_order(tmp_path: Path) -> None:
    for name in ("drive10.mp4", "drive2.MKV", "b/one.ts", "b/notes.txt", ".hidden.mp4", ".trash/old.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_videos(tmp_path)]
    assert found == ["b/one.ts", "drive2.MKV", "drive10.mp4"]


def test_a_file_may_be_called_anything(tmp_path: Path) -> None:
    (tmp_path / "recording").touch()
    assert find_videos(tmp_path / "recording") == (tmp_path / "recording",)


def test_nothing_to_find(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere: no such file or folder: give a video, or a folder"):
        find_videos(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=f"{tmp_path}: the folder is empty: put videos there"):
        find_videos(tmp_path)
    for name in ("1.png", "2.png", "README"):
        (tmp_path / name).touch()
    with pytest.raises(DatasetError, match=r"no video in it, only files of other kinds \(\.png, README\): put videos"):
        find_videos(tmp_path)
