"""Bad input ends in one line, the right exit code, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import sound, street_clip
from command_line import Command

TINY = Path(__file__).parents[1] / "data" / "tiny.arseg"
FIXED = Path(__file__).parents[1] / "data" / "tiny-64x96.arseg"


def assert_refused(arseg: Command, code: int, said: str, *arguments: str | Path) -> None:
    """Check the exit code, that there is one line, and that it says this."""
    done = arseg(*arguments)
    assert done.code == code, done.err
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert said in lines[0]


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def made(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    return path


def holding_a_file(folder: Path) -> Path:
    path = made(folder, "full")
    written(path, "notes.txt", b"mine")
    return path


# Sources


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "none.mp4", "none.mp4"),
        (lambda folder: written(folder, "notes.mp4", b"not a video at all\n" * 50), "not a video"),
        (lambda folder: written(folder, "empty.mp4", b""), "not a video"),
        (lambda folder: sound(folder / "sound.wav"), "no video stream"),
        (lambda folder: street_clip(folder / "header.avi", 0), "no frames"),
        (lambda folder: written(folder, "file", b"") / "video.mp4", "Not a directory"),
        (lambda folder: made(folder, "images"), "no images"),
        (lambda folder: written(made(folder, "broken"), "0.png", b"no picture").parent, "not an image"),
        (lambda folder: "nothing://here", "nothing://here"),
    ],
)
def test_sources(arseg: Command, tmp_path: Path, make: Callable[[Path], str | Path], said: str) -> None:
    video = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    outputs = ["-o", tmp_path / "o.mp4", "--labels", tmp_path / "maps", "--frames", tmp_path / "o.jsonl"]
    assert_refused(arseg, 5, said, "run", video, "-m", TINY, *outputs)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_video_that_may_not_be_read(arseg: Command, clip: Path, tmp_path: Path) -> None:
    video = tmp_path / "secret.mp4"
    shutil.copy(clip, video)
    video.chmod(0)
    assert_refused(arseg, 5, "secret.mp4", "run", video, "-m", TINY, "-o", tmp_path / "o.mp4")


def test_a_size_that_the_bundle_does_not_take(arseg: Command, clip: Path, tmp_path: Path) -> None:
    assert_refused(arseg, 3, "360x480", "run", clip, "-m", FIXED, "-o", tmp_path / "o.mp4")
    assert not list(tmp_path.iterdir())


# Outputs


@pytest.mark.parametrize(
    ("option", "make", "said"),
    [
        ("-o", lambda folder: made(folder, "videos.mp4"), "it is a directory"),
        ("-o", lambda folder: folder / "none" / "o.mp4", "there is no directory"),
        ("-o", lambda folder: written(folder, "file", b"") / "o.mp4", "there is no directory"),
        ("--labels", holding_a_file, "not empty"),
        ("--labels", lambda folder: written(folder, "file", b""), "not a directory"),
        ("--labels", lambda folder: folder / "none" / "maps", "there is no directory"),
        ("--frames", lambda folder: made(folder, "lines"), "it is a directory"),
        ("--frames", lambda folder: folder / "none" / "o.jsonl", "there is no directory"),
    ],
)
def test_outputs(
    arseg: Command, clip: Path, tmp_path: Path, option: str, make: Callable[[Path], Path], said: str
) -> None:
    target = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    # The others are opened too, and must be taken back.
    others = {"-o": tmp_path / "o.mkv", "--labels": tmp_path / "m", "--frames": tmp_path / "f"}
    arguments = [item for pair in {**others, option: target}.items() for item in pair]
    assert_refused(arseg, 1, said, "run", clip, "-m", TINY, *arguments)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc, where not even root can make files")
@pytest.mark.parametrize(("option", "name"), [("-o", "o.mp4"), ("--labels", "maps"), ("--frames", "o.jsonl")])
def test_where_nothing_can_be_written(arseg: Command, clip: Path, option: str, name: str) -> None:
    assert_refused(arseg, 1, f"/proc/{name}", "run", clip, "-m", TINY, option, f"/proc/{name}")


def test_a_video_is_not_written_over_itself(arseg: Command, clip: Path, tmp_path: Path) -> None:
    video = tmp_path / "street.mp4"
    shutil.copy(clip, video)
    assert_refused(arseg, 2, "the video itself", "run", video, "-m", TINY, "-o", video.parent / "." / video.name)
    assert video.read_bytes() == clip.read_bytes()


OTHER_NAMES: dict[str, Callable[[Path], str | Path]] = {
    "dots": lambda video: video.parent / "." / video.name,
    "symbolic link": lambda video: linked(video, Path.symlink_to),
    "hard link": lambda video: linked(video, Path.hardlink_to),
}


def linked(video: Path, make: Callable[[Path, Path], None]) -> Path:
    make(video.with_name("link.mp4"), video)
    return video.with_name("link.mp4")


@pytest.mark.parametrize("option", ["-o", "--frames"])
@pytest.mark.parametrize("name", OTHER_NAMES)
@pytest.mark.parametrize("as_url", [False, True])
def test_no_name_of_the_video_is_written(
    arseg: Command, clip: Path, tmp_path: Path, option: str, name: str, as_url: bool
) -> None:
    video = tmp_path / "own 1.mp4"
    shutil.copy(clip, video)
    target = OTHER_NAMES[name](video)
    source = f"file://{tmp_path}/own%201.mp4" if as_url else video
    before = sorted(tmp_path.iterdir())
    assert_refused(arseg, 2, "the video itself", "run", source, "-m", TINY, option, target)
    assert sorted(tmp_path.iterdir()) == before
    assert video.read_bytes() == clip.read_bytes()


def test_standard_input_is_not_written(clip: Path, tmp_path: Path) -> None:
    video = tmp_path / "own.mp4"
    shutil.copy(clip, video)
    with video.open("rb") as stdin:
        command = [sys.executable, "-m", "arseg_edge", "run", "-", "-m", str(TINY), "-o", str(video)]
        done = subprocess.run(command, stdin=stdin, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is the video itself" in done.stderr
    assert video.read_bytes() == clip.read_bytes()


def test_images_and_bundles_are_not_written(arseg: Command, tmp_path: Path) -> None:
    images = made(tmp_path, "images")
    for number in range(2):
        cv2.imwrite(str(images / f"{number}.png"), np.zeros((64, 96, 3), np.uint8))
    (tmp_path / "same").symlink_to(images)
    bundle = tmp_path / "tiny.arseg"
    shutil.copy(TINY, bundle)
    before = {path: path.read_bytes() for path in (*images.iterdir(), bundle)}
    for source in (images, images / "*.png", images / "%d.png"):
        assert_refused(arseg, 2, "an image of the source", "run", source, "-m", bundle, "--frames", images / "1.png")
        assert_refused(arseg, 2, "holds the images of the source", "run", source, "-m", bundle, "--labels", images)
        where = tmp_path / "same"
        assert_refused(arseg, 2, "holds the images of the source", "run", source, "-m", bundle, "--labels", where)
        assert_refused(arseg, 2, "is the bundle", "run", source, "-m", bundle, "--frames", bundle)
    single = images / "0.png"
    assert_refused(arseg, 2, "the video itself", "run", single, "-m", bundle, "-o", single)
    assert {path: path.read_bytes() for path in (*images.iterdir(), bundle)} == before


def test_two_outputs_by_two_names(arseg: Command, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to("b.mp4")
    names = ["-o", tmp_path / "a.mp4", "--frames", tmp_path / "b.mp4"]
    assert_refused(arseg, 2, "two outputs", "run", clip, "-m", TINY, *names)
    maps = made(tmp_path, "maps")
    inside = ["--labels", maps, "--frames", maps / "frames.jsonl"]
    assert_refused(arseg, 2, "lies in the directory for label maps", "run", clip, "-m", TINY, *inside)


def test_two_outputs_of_one_name(arseg: Command, clip: Path, tmp_path: Path) -> None:
    same = tmp_path / "o.mp4"
    assert_refused(arseg, 2, "two outputs", "run", clip, "-m", TINY, "-o", same, "--frames", same)


def test_an_error_in_the_middle_leaves_nothing(arseg: Command, tmp_path: Path) -> None:
    images = made(tmp_path, "images")
    for number, size in enumerate(((64, 96), (64, 96), (8, 8))):
        cv2.imwrite(str(images / f"{number}.png"), np.zeros((*size, 3), np.uint8))
    outputs = ["-o", tmp_path / "o.mp4", "--labels", tmp_path / "maps", "--frames", tmp_path / "o.jsonl"]
    assert_refused(arseg, 3, "8x8", "run", images, "-m", TINY, *outputs)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


# Models, providers and usage


def broken_bundles(folder: Path) -> dict[str, Path]:
    data = TINY.read_bytes()
    return {
        "no such file": folder / "none.arseg",
        "not a bundle": written(folder, "notes.arseg", b"not a bundle"),
        "cut short": written(folder, "cut.arseg", data[: len(data) // 2]),
        "directory": made(folder, "folder.arseg"),
    }


@pytest.mark.parametrize("said", ["no such file", "not a bundle", "cut short", "directory"])
@pytest.mark.parametrize("command", ["run", "info", "verify"])
def test_bundles(arseg: Command, clip: Path, tmp_path: Path, command: str, said: str) -> None:
    bundle = broken_bundles(tmp_path)[said]
    arguments = ["run", clip, "-o", tmp_path / "o.mp4", "-m", bundle] if command == "run" else [command, bundle]
    assert_refused(arseg, 3, said, *arguments)
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize("command", ["run", "verify"])
def test_providers(arseg: Command, clip: Path, tmp_path: Path, command: str) -> None:
    arguments = ["run", clip, "-o", tmp_path / "o.mp4", "-m", TINY] if command == "run" else [command, TINY]
    assert_refused(arseg, 4, "CPUExecutionProvider", *arguments, "--provider", "tpu")
    assert_refused(arseg, 2, "key=value", *arguments, "--provider", "cpu:fast")


@pytest.mark.parametrize(
    ("code", "said", "arguments"),
    [
        (2, "interval 0", ["--interval", "0"]),
        (3, "0.5, 0.3", ["--scale", "0.7"]),
        (2, "both want standard output", ["--json", "--frames", "-"]),
        (2, ".mp4", ["-o", "o.gif"]),
    ],
)
def test_arguments(
    arseg: Command,
    clip: Path,
    tmp_path: Path,
    code: int,
    said: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(arseg, code, said, "run", clip, "-m", TINY, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "-m", "street.arseg"],
        ["bench"],
        ["run", "street.mp4", "-m", "street.arseg", "--opacity", "2"],
        ["run", "street.mp4", "-m", "street.arseg", "--threads", "0"],
        ["run", "street.mp4", "-m", "street.arseg", "--interval", "often"],
        ["walk"],
        ["--fast"],
        ["info", "street.arseg", "other.arseg"],
    ],
)
def test_usage(arseg: Command, arguments: list[str]) -> None:
    done = arseg(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Error: " in done.err
    assert "Traceback" not in done.err
