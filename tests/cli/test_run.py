"""``arseg-edge run``: what it writes, where, and what it says of it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from clips import INTERVAL
from command_line import FRAMES, Command

import arseg_edge
from arseg_edge.runtime.inference.providers import CUDA
from arseg_edge.runtime.source import video
from arseg_edge.runtime.source.track import read_packets


def video_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        return [float(frame.pts * frame.time_base) for frame in container.decode(stream)]


def test_all_outputs(arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    overlay, maps, lines = tmp_path / "overlay.mp4", tmp_path / "maps", tmp_path / "frames.jsonl"
    done = arseg("run", clip, "-m", tiny_bundle, "-o", overlay, "--labels", maps, "--frames", lines)
    assert done.code == 0
    assert done.err == ""
    assert f"{FRAMES} frames in" in done.out
    assert "keyframes (first 1, interval 1" in done.out
    assert [line.removeprefix("wrote ") for line in done.out.splitlines()[5:]] == [
        str(overlay),
        str(maps),
        str(lines),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames.jsonl", "maps", "overlay.mp4"]

    assert video_times(overlay) == video_times(clip)
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    pngs = sorted(maps.iterdir())
    with arseg_edge.load(tiny_bundle) as segmenter:
        results = list(segmenter.stream(clip))
        colours = np.array([each.colour for each in segmenter.classes], np.uint8)
    for result, record, png in zip(results, records, pngs, strict=True):
        assert (record["index"], record["pts"], record["seconds"]) == (result.index, result.pts, result.time)
        assert (record["keyframe"], record["reason"]) == (result.is_keyframe, result.keyframe_reason)
        assert list(record["shares"]) == ["sky", "road", "car"]
        shares = np.bincount(result.labels.ravel(), minlength=3) / result.labels.size
        np.testing.assert_allclose(list(record["shares"].values()), shares, atol=2e-6)
        assert set(record["milliseconds"]) == set(result.speed.milliseconds)
        picture = cv2.cvtColor(cv2.imread(str(png)), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(picture, colours[result.labels])


def test_json(arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.mkv"
    options = ("--schedule", "paper", "--interval", "5", "--scale", "0.3")
    done = arseg("run", clip, "-m", tiny_bundle, "-o", overlay, "--json", *options)
    assert done.code == 0
    facts = done.json
    assert facts["frames"] == FRAMES
    assert facts["keyframes"] == sum(facts["keyframe_reasons"].values()) == 4  # 0, 5, 10 and the intra frame 12
    assert facts["keyframe_reasons"] == {"first": 1, "interval": 2, "intra": 1}
    assert facts["motion_sources"] == {"bitstream": FRAMES - 4}
    assert facts["branches"] == {"hr": 4, "lr": FRAMES - 4}
    assert facts["outputs"] == [str(overlay)]
    assert facts["provider"].endswith("ExecutionProvider")
    assert facts["interrupted"] is False
    assert {"decode", "hr", "lr", "output"} <= set(facts["milliseconds"])
    assert facts["frames_per_second"] > 0


def test_the_overlay_is_named_after_the_video(
    arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert arseg("run", clip, "-m", tiny_bundle).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["street-labels.mp4"]


def test_a_directory_of_images(
    arseg: Command, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "walk"
    images.mkdir()
    for number in range(3):
        cv2.imwrite(str(images / f"{number}.png"), np.full((64, 96, 3), 40 * number, np.uint8))
    monkeypatch.chdir(images)
    assert arseg("run", ".", "-m", tiny_bundle).code == 0
    assert len(video_times(images / "walk-labels.mp4")) == 3


def write_images(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((64, 96, 3), 20 * number, np.uint8))


@pytest.mark.parametrize(
    ("images", "maps"),
    [
        (["a.jpg", "b 1.png", "c.tif"], ["a.png", "b 1.png", "c.png"]),
        (["a.jpg", "a.png", "b.png", "a.bmp"], ["a.bmp.png", "a.jpg.png", "a.png.png", "b.png"]),
        (["l/1.png", "r/1.png", "r/2.png"], ["l/1.png", "r/1.png", "r/2.png"]),
    ],
)
def test_label_maps_and_lines_have_the_names_of_images(
    arseg: Command, tiny_bundle: Path, tmp_path: Path, images: list[str], maps: list[str]
) -> None:
    write_images(tmp_path / "walk", images)
    pattern = tmp_path / "walk" / ("*/*" if "/" in images[0] else "*")
    lines, labels = tmp_path / "f.jsonl", tmp_path / "maps"
    assert arseg("run", pattern, "-m", tiny_bundle, "--frames", lines, "--labels", labels).code == 0
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert sorted(record["source"] for record in records) == sorted(images)
    assert sorted(path.relative_to(labels).as_posix() for path in labels.rglob("*.png")) == maps
    with arseg_edge.load(tiny_bundle) as segmenter:
        colours = np.array([each.colour for each in segmenter.classes], np.uint8)
        for result in segmenter.stream(pattern):
            assert result.source_name in images
            full, plain = labels / f"{result.source_name}.png", (labels / str(result.source_name)).with_suffix(".png")
            png = cv2.cvtColor(cv2.imread(str(full if full.exists() else plain)), cv2.COLOR_BGR2RGB)
            np.testing.assert_array_equal(png, colours[result.labels])


def test_lines_of_a_video_have_no_source(arseg: Command, tiny_bundle: Path, clip: Path) -> None:
    assert "source" not in json.loads(arseg("run", clip, "-m", tiny_bundle, "--frames", "-").out.splitlines()[0])


def test_an_image_gives_an_image(
    arseg: Command, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, ["street.1.jpg"])
    monkeypatch.chdir(tmp_path)
    assert arseg("run", "street.1.jpg", "-m", tiny_bundle, "--opacity", "1").code == 0
    with arseg_edge.load(tiny_bundle) as segmenter:
        colours = np.array([each.colour for each in segmenter.classes], np.uint8)
        (result,) = segmenter.stream(tmp_path / "street.1.jpg")
    overlay = cv2.cvtColor(cv2.imread("street.1-labels.png"), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(overlay, colours[result.labels])
    assert arseg("run", "street.1.jpg", "-m", tiny_bundle, "-o", "still.mp4").code == 0
    assert len(video_times(Path("still.mp4"))) == 1
    assert arseg("run", "street.1.jpg", "-m", tiny_bundle, "-o", "still.webp", "--opacity", "0").code == 0
    assert cv2.PSNR(cv2.imread("still.webp"), cv2.imread("street.1.jpg")) > 40
    assert arseg("run", tmp_path, "-m", tiny_bundle, "-o", "all.png").code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "still.mp4",
        "still.webp",
        "street.1-labels.png",
        "street.1.jpg",
    ]


@pytest.mark.parametrize("pattern", ["%02d.png", "*.png"])
def test_the_overlay_of_a_pattern_is_named_after_its_directory(
    arseg: Command, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    write_images(tmp_path / "walk", ["01.png", "02.png", "10.png"])
    monkeypatch.chdir(tmp_path)
    assert arseg("run", f"walk/{pattern}", "-m", tiny_bundle).code == 0
    assert len(video_times(tmp_path / "walk-labels.mp4")) == 3


def test_an_overlay_of_a_long_name(
    arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    video = Path("ä" * 125 + "x.mp4")  # 255 bytes, all that a name may have
    video.symlink_to(clip)
    assert arseg("run", video, "-m", tiny_bundle).code == 0
    assert arseg("run", clip, "-m", tiny_bundle, "-o", "y" * 251 + ".mp4", "--labels", "z" * 255).code == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {video.name, "ä" * 122 + "-labels.mp4", "y" * 251 + ".mp4", "z" * 255}


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """Five images of which the third cannot be read."""
    write_images(tmp_path / "walk", [f"{number}.png" for number in range(5)])
    (tmp_path / "walk" / "2.png").write_bytes(b"no picture")
    return tmp_path / "walk"


def test_an_image_that_cannot_be_read_is_counted(
    arseg: Command, tiny_bundle: Path, spoilt: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overlay, lines = tmp_path / "o.mp4", tmp_path / "f.jsonl"
    arguments = ["run", spoilt, "-m", tiny_bundle, "-o", overlay, "--frames", lines]
    done = arseg(*arguments, "--json")
    assert done.code == 0
    assert (done.json["frames"], done.json["incidents"]) == (4, {"skipped": 1})
    assert ["2.png: not an image" in message for message in caplog.messages] == [True]
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [record["reason"] for record in records] == ["first", None, "discontinuity", None]
    assert len(video_times(overlay)) == 4
    assert "1 file skipped" in arseg(*arguments).out


def test_opencv_says_nothing_of_its_own(tiny_bundle: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "walk", ["0.tif", "1.tif"])
    whole = (tmp_path / "walk" / "1.tif").read_bytes()
    (tmp_path / "walk" / "1.tif").write_bytes(whole[: len(whole) // 2])
    command = [sys.executable, "-m", "arseg_edge", "run", str(tmp_path / "walk"), "-m", str(tiny_bundle)]
    done = subprocess.run([*command, "--labels", str(tmp_path / "maps")], capture_output=True, text=True)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert "1.tif: not an image" in line


def test_strict_stops_and_keeps_what_was_done(arseg: Command, tiny_bundle: Path, spoilt: Path, tmp_path: Path) -> None:
    overlay, lines = tmp_path / "o.mp4", tmp_path / "f.jsonl"
    done = arseg("run", spoilt, "-m", tiny_bundle, "-o", overlay, "--frames", lines, "--strict")
    assert done.code == 5
    assert "2.png: not an image" in done.err.splitlines()[-1]
    assert len(lines.read_text().splitlines()) == len(video_times(overlay)) == 2
    assert f"wrote {overlay}" in done.out


def test_strict_stops_at_a_damaged_video(arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    with av.open(str(clip)) as before, av.open(str(tmp_path / "damaged.mp4"), "w") as after:
        copy = after.add_stream_from_template(before.streams.video[0])
        for number, packet in enumerate(before.demux(video=0)):
            if packet.dts is not None:
                data = bytes(packet)
                damaged = (
                    av.Packet(data[: len(data) // 2] + bytes(len(data) - len(data) // 2)) if number == 5 else packet
                )
                damaged.pts, damaged.dts, damaged.time_base = packet.pts, packet.dts, packet.time_base
                damaged.stream = copy
                after.mux(damaged)
    arguments = ["run", tmp_path / "damaged.mp4", "-m", tiny_bundle, "-o", tmp_path / "o.mp4"]
    whole = arseg(*arguments, "--json")
    assert whole.code == 0
    assert whole.json["incidents"]
    done = arseg(*arguments, "--strict")
    assert done.code == 5
    assert "--strict stops there" in done.err.splitlines()[-1]
    assert 0 < len(video_times(tmp_path / "o.mp4")) <= whole.json["frames"]


def test_a_video_that_cannot_be_read_to_its_end_fails_when_its_outputs_are_whole(
    arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(container: Any, stream: Any) -> Iterator[Any]:
        if container not in begun:
            begun.append(container)
            yield from islice(read_packets(container, stream), 5)
        raise av.error.InvalidDataError(1094995529, "Invalid data found when processing input")

    begun: list[Any] = []
    monkeypatch.setattr(video, "read_packets", damaged)
    overlay, lines = tmp_path / "o.mp4", tmp_path / "f.jsonl"
    done = arseg("run", clip, "-m", tiny_bundle, "-o", overlay, "--frames", lines)
    assert done.code == 5
    assert f"{clip}: damaged, and nothing could be read in {video.LONGEST_GAP} attempts" in done.err.splitlines()[-1]
    assert len(lines.read_text().splitlines()) == len(video_times(overlay)) == 5
    assert f"wrote {overlay}" in done.out


def test_frames_on_standard_output(arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    done = arseg("run", clip, "-m", tiny_bundle, "--frames", "-")
    assert done.code == 0
    assert [json.loads(line)["index"] for line in done.out.splitlines()] == list(range(FRAMES))
    assert f"{FRAMES} frames" in done.err  # the summary makes room for the data
    assert "wrote" not in done.err


def test_frames_alone_write_no_overlay(
    arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert arseg("run", clip, "-m", tiny_bundle, "--frames", "frames.jsonl").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["frames.jsonl"]


def test_a_bundle_of_one_size(arseg: Command, tiny_fixed_bundle: Path, clip: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    assert arseg("run", clip, "-m", tiny_fixed_bundle, "--resize", "--labels", maps).code == 0
    assert cv2.imread(str(next(maps.iterdir()))).shape == (360, 480, 3)


@pytest.mark.parametrize("opacity", ["0", "1"])
def test_opacity(arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path, opacity: str) -> None:
    overlay = tmp_path / "overlay.mp4"
    assert arseg("run", clip, "-m", tiny_bundle, "-o", overlay, "--opacity", opacity).code == 0
    with av.open(str(overlay)) as shown, av.open(str(clip)) as plain:
        pictures = [next(each.decode(video=0)).to_ndarray(format="rgb24") for each in (shown, plain)]
    assert (cv2.PSNR(*pictures) > 30) == (opacity == "0")


def test_progress_goes_to_a_terminal_only(
    arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    done = arseg("run", clip, "-m", tiny_bundle, "--json", "-o", tmp_path / "overlay.mp4")
    assert done.json["frames"] == FRAMES
    assert "segmenting" in terminal.getvalue()


def test_a_provider_with_options(arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    provider = "CPUExecutionProvider:arena_extend_strategy=kSameAsRequested"
    done = arseg("run", clip, "-m", tiny_bundle, "--provider", provider, "--json", "-o", tmp_path / "overlay.mp4")
    assert done.json["provider"] == "CPUExecutionProvider"


def test_a_fall_back_is_told(
    arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    real = onnxruntime.InferenceSession

    def session(model: bytes, options: Any = None, providers: Any = ()) -> Any:
        if any(CUDA in each for each in providers):
            raise RuntimeError("CUDAExecutionProvider: no driver")
        return real(model, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    arguments = ("run", clip, "-m", tiny_bundle, "-o", tmp_path / "overlay.mp4", "--json")
    done = arseg(*arguments)
    assert done.json["provider"] == "CPUExecutionProvider"
    assert done.err.startswith("warning: provider CUDAExecutionProvider cannot be used")
    assert len(done.err.splitlines()) == 1
    asked = arseg(*arguments, "--provider", "cuda")
    assert asked.code == 4
    assert asked.err.startswith("error: CUDAExecutionProvider does not load")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--schedule", "paper"], [0, INTERVAL]),
        (["--tolerance", "1"], [0, 8]),
        (["--tolerance", "1", "--no-lookahead"], [0, 6, 12]),
        (["--tolerance", "1", "--no-lookahead", "--lr-every", "3"], [0, INTERVAL]),
        (["--tolerance", "1", "--interval", "10"], [0, 10]),
    ],
)
def test_keyframes_follow_the_interval_of_the_bundle(
    arseg: Command, tiny_bundle: Path, clip: Path, options: list[str], expected: list[int]
) -> None:
    done = arseg("run", clip, "-m", tiny_bundle, "--frames", "-", *options)
    keys = [record["index"] for record in map(json.loads, done.out.splitlines()) if record["keyframe"]]
    assert keys == expected


def test_guards(arseg: Command, tiny_bundle: Path, clip: Path) -> None:
    def keyframes(*options: str) -> int:
        done = arseg("run", clip, "-m", tiny_bundle, "--schedule", "paper", "--frames", "-", *options)
        assert done.code == 0
        return sum(json.loads(line)["keyframe"] for line in done.out.splitlines())

    assert keyframes("--guard", "mismatch=0") == FRAMES
    assert keyframes("--guard", "off") == keyframes("--guard", "mismatch=1", "--guard", "cut=1") < FRAMES


@pytest.mark.parametrize(
    ("guards", "message"),
    [
        (["mismatch"], "--guard 'mismatch': write NAME=SHARE with intra, mismatch or cut"),
        (["blur=0.5"], "--guard 'blur=0.5'"),
        (["cut=much"], "--guard 'cut=much'"),
        (["cut=2"], "guard cut 2.0: must be a share"),
        (["cut=nan"], "guard cut nan: must be a share"),
        (["off", "cut=1"], "--guard 'off'"),
    ],
)
def test_guards_that_are_none(arseg: Command, tiny_bundle: Path, clip: Path, guards: list[str], message: str) -> None:
    options = [each for guard in guards for each in ("--guard", guard)]
    done = arseg("run", clip, "-m", tiny_bundle, "--schedule", "paper", "--frames", "-", *options)
    assert done.code == 2
    assert message in done.err


def test_guards_are_of_one_schedule(arseg: Command, tiny_bundle: Path, clip: Path) -> None:
    done = arseg("run", clip, "-m", tiny_bundle, "--schedule", "adaptive", "--frames", "-", "--guard", "cut=1")
    assert done.code == 2
    assert "the adaptive schedule has none but its tolerance" in done.err
