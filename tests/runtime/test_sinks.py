"""Sinks, read back by other readers: PyAV, OpenCV, json."""

# ruff: noqa: PT012 - how a `with` block is left is what is tested here

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from arseg_edge.errors import CodecError, OutputError, SequenceError, UsageError
from arseg_edge.results import Branch, Colour
from arseg_edge.runtime.sinks import FileSink, JsonLinesSink, LabelMapSink, OverlaySink, ResultLike, Sink
from arseg_edge.runtime.sinks import overlay as overlay_module

PALETTE = [[128, 128, 128], [128, 0, 0], [0, 0, 192], [128, 64, 128]]
NAMES = ["sky", "building", "pole", "Straße"]


@dataclass(frozen=True)
class FakeSpeed:
    """Times of a frame."""

    milliseconds: Mapping[str, float]


@dataclass(frozen=True)
class FakeResult:
    """The least that a sink needs."""

    labels: npt.NDArray[np.uint8]
    rgb: npt.NDArray[np.uint8]
    index: int = 0
    pts: int = 0
    time_base: Fraction = Fraction(1, 25)
    is_keyframe: bool = True
    keyframe_reason: str | None = "interval"
    branch: Branch = "hr"
    age: int = 0
    distance: int = 0
    motion_source: str | None = None
    dropped: int = 0
    latency: float | None = None
    stream_pts: int | None = None
    sample_aspect_ratio: Fraction | None = None
    colour: Colour | None = None
    speed: FakeSpeed = field(default_factory=lambda: FakeSpeed({"decode": 1.23456, "infer": 20.0}))

    @property
    def time(self) -> float:
        return float(self.pts * self.time_base)

    @property
    def stream_time(self) -> float | None:
        return None if self.stream_pts is None else float(self.stream_pts * self.time_base)


def picture(height: int, width: int, shift: int = 0) -> npt.NDArray[np.uint8]:
    """Return a smooth picture, so that lossy coding changes little, moved by ``shift`` pixels."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (128 + 60 * np.sin((x + shift) / 17), 128 + 60 * np.cos(y / 23), 90 + 0.2 * x)
    return np.clip(np.stack(channels, 2), 0, 255).astype(np.uint8)


def quarters(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return labels 0 to 3 in the four quarters."""
    y, x = np.mgrid[0:height, 0:width]
    return (2 * (y >= height // 2) + (x >= width // 2)).astype(np.uint8)


def results(
    pts: Sequence[int] = (0, 1, 2), time_base: Fraction = Fraction(1, 25), size: tuple[int, int] = (48, 64)
) -> Iterator[FakeResult]:
    """Yield a frame for each timestamp; the first is a keyframe."""
    for index, value in enumerate(pts):
        reason = "first" if index == 0 else None
        branch: Branch = "moved" if reason is None else "hr"
        labels, rgb = quarters(*size), picture(*size, index)
        yield FakeResult(labels, rgb, index, value, time_base, reason is not None, reason, branch, index)


def decoded(path: Path) -> tuple[list[Fraction], list[npt.NDArray[np.uint8]]]:
    """Return timestamps in seconds, exact, and RGB pictures of a video."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        times = [frame.pts * frame.time_base for frame in frames if frame.pts is not None]
        return times, [frame.to_ndarray(format="rgb24") for frame in frames]


# --- overlay --------------------------------------------------------------------------------------------

NTSC = Fraction(1, 30000)
TIMINGS = {
    "constant 25": (Fraction(1, 25), [0, 1, 2, 3, 4], Fraction(25)),
    "30000/1001 in 1/30000": (NTSC, [1001 * i for i in range(40)], Fraction(30000, 1001)),
    "30000/1001 in 1001/30000": (Fraction(1001, 30000), list(range(40)), Fraction(30000, 1001)),
    "variable": (Fraction(1, 90000), [0, 3003, 3004, 9009, 27000, 27001, 81000], None),
    "late start": (Fraction(1, 90000), [133 + 3003 * i for i in range(9)], Fraction(30000, 1001)),
    "microseconds": (Fraction(1, 1000000), [7 + 33366 * i + i * i % 977 for i in range(9)], None),
    "one frame": (Fraction(1, 12800), [512], Fraction(25)),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("timing", TIMINGS)
def test_overlay_keeps_timestamps_exactly(tmp_path: Path, timing: str, suffix: str) -> None:
    time_base, pts, rate = TIMINGS[timing]
    target = tmp_path / f"street{suffix}"
    with OverlaySink(target, PALETTE, rate) as sink:
        for result in results(pts, time_base):
            sink.append(result)
    times, _ = decoded(target)
    assert times == [(value - pts[0]) * time_base for value in pts]


def test_overlay_declares_the_frame_rate_and_its_own_colours(tmp_path: Path) -> None:
    target = tmp_path / "street.mp4"
    with OverlaySink(target, PALETTE, Fraction(30000, 1001)) as sink:
        for result in results([1001 * i for i in range(30)], NTSC):
            sink.append(result)
    with av.open(str(target)) as container:
        (stream,) = container.streams
        assert isinstance(stream, av.VideoStream)
        assert stream.average_rate == Fraction(30000, 1001)
        assert stream.time_base == NTSC
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        # ITU-T H.273: 1 is BT.709 in all three; limited range is libavutil's 1
        assert (context.color_primaries, context.color_trc, context.colorspace) == (1, 1, 1)
        assert context.color_range == 1


def bt709_to_rgb(yuv: av.VideoFrame) -> npt.NDArray[np.float64]:
    """Return RGB of a limited-range 4:2:0 frame by the formula of ITU-R BT.709 (item 3.2 to 3.4)."""
    planes = yuv.to_ndarray(format="yuv420p").astype(np.float64)
    height, width = yuv.height, yuv.width
    luma = (planes[:height] - 16) / 219
    chroma = planes[height:].reshape(2, height // 2, width // 2).repeat(2, 1).repeat(2, 2)
    blue, red = (chroma - 128) / 224
    r, b = luma + 1.5748 * red, luma + 1.8556 * blue
    g = (luma - 0.2126 * r - 0.0722 * b) / 0.7152
    return np.stack((r, g, b), 2) * 255


@pytest.mark.parametrize("size", [(48, 64), (241, 319), (240, 319), (241, 320), (1, 1)])
@pytest.mark.parametrize("opacity", [0.0, 0.5, 1.0])
def test_overlay_blends_and_pads_to_even_sizes(tmp_path: Path, size: tuple[int, int], opacity: float) -> None:
    height, width = size
    target = tmp_path / "street.mp4"
    with OverlaySink(target, PALETTE, opacity=opacity) as sink:
        for result in results([0], size=size):
            sink.append(result)
    with av.open(str(target)) as container:
        (frame,) = container.decode(video=0)
    assert (frame.height, frame.width) == (height + height % 2, width + width % 2)
    rgb = bt709_to_rgb(frame)
    labels = quarters(*size)
    expected = opacity * np.array(PALETTE)[labels] + (1 - opacity) * picture(*size)
    expected = np.pad(expected, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    # Lossy, and colours bleed over the edges of classes: nearly all pixels are close, and none is biased.
    error = rgb - expected
    assert np.percentile(np.abs(error), 90) < 8
    assert np.abs(np.median(error, (0, 1))).max() < 3


def test_overlay_scales_when_the_size_changes(tmp_path: Path) -> None:
    target = tmp_path / "street.mp4"
    with OverlaySink(target, PALETTE, opacity=1) as sink:
        sink.append(next(results([0], size=(48, 64))))
        sink.append(next(results([1], size=(97, 129))))
    times, pictures = decoded(target)
    assert [p.shape for p in pictures] == [(48, 64, 3)] * 2
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 8
    assert times == [0, Fraction(1, 25)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("start", [-2, 0, 25 * 20_000])
def test_overlay_begins_at_zero(tmp_path: Path, start: int, suffix: str) -> None:
    target = tmp_path / f"street{suffix}"
    with OverlaySink(target, PALETTE) as sink:
        for result in results([start + index for index in range(4)]):
            sink.append(result)
    times, _ = decoded(target)
    assert times == [Fraction(i, 25) for i in range(4)]
    if suffix != ".mkv":
        with av.open(str(target)) as container:
            assert container.start_time == 0
            assert container.duration == 160_000  # microseconds


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("unit", [10**6, 10**9, 10**12])
def test_overlay_of_fine_units_takes_long_pauses(tmp_path: Path, unit: int, suffix: str) -> None:
    # 32 bits hold 36 minutes of microseconds, and 2 seconds of nanoseconds.
    seconds = [Fraction(n, 25) for n in range(4)] + [3600 + Fraction(n, 25) for n in range(3)]
    target = tmp_path / f"street{suffix}"
    with OverlaySink(target, PALETTE, opacity=1) as sink:
        for result in results([int(second * unit) + 7 * unit for second in seconds], Fraction(1, unit)):
            sink.append(result)
    times, pictures = decoded(target)
    written = dict(zip(times, pictures, strict=True))
    assert set(seconds) <= set(times)
    # What is in between is the picture before the pause once more.
    between = set(times) - set(seconds)
    assert len(between) == (1 if suffix == ".mp4" else 0)
    for time in between:
        assert seconds[3] < time < seconds[4]
        assert np.abs(written[time].astype(int) - written[seconds[3]]).mean() < 2


def test_overlay_keeps_frames_apart_that_are_nearer_than_its_units(tmp_path: Path) -> None:
    with OverlaySink(tmp_path / "street.mp4", PALETTE) as sink:
        for result in results([0, 1, 2, 1000, 10_000], Fraction(1, 10**9)):
            sink.append(result)
    assert decoded(tmp_path / "street.mp4")[0] == [Fraction(n, 10**6) for n in (0, 1, 2, 3, 10)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("shape", [None, Fraction(1), Fraction(4, 3), Fraction(64, 45), Fraction(9, 16)])
def test_overlay_keeps_the_shape_of_the_pixels(tmp_path: Path, shape: Fraction | None, suffix: str) -> None:
    with OverlaySink(tmp_path / f"street{suffix}", PALETTE) as sink:
        for result in results():
            sink.append(dataclasses.replace(result, sample_aspect_ratio=shape))
    with av.open(str(tmp_path / f"street{suffix}")) as container:
        stream = container.streams.video[0]
        assert (stream.sample_aspect_ratio or 1) == (shape or 1)
        next(container.decode(stream))
        assert (stream.codec_context.sample_aspect_ratio or 1) == (shape or 1)


COLOURS = {
    "BT.709": (Colour(1, 1, 1), (1, 1, 1, 1), (0.2126, 0.0722)),
    "BT.709, full range": (Colour(1, 1, 1, full_range=True), (1, 1, 1, 2), (0.2126, 0.0722)),
    "BT.601, NTSC": (Colour(6, 6, 6), (6, 6, 6, 1), (0.299, 0.114)),
    "BT.601, PAL, full range": (Colour(5, 6, 5, full_range=True), (5, 6, 5, 2), (0.299, 0.114)),
    "SMPTE 240M": (Colour(7, 7, 7), (7, 7, 7, 1), (0.212, 0.087)),
    "BT.2020": (Colour(9, 14, 9), (9, 14, 9, 1), (0.2627, 0.0593)),
    "not said": (Colour(), (2, 2, 2, 1), (0.299, 0.114)),
    "RGB": (Colour(1, 13, 0, full_range=True), (1, 13, 1, 1), (0.2126, 0.0722)),
    "YCgCo": (Colour(1, 1, 8), (1, 1, 1, 1), (0.2126, 0.0722)),
    "PQ": (Colour(9, 16, 9), (1, 1, 1, 1), (0.2126, 0.0722)),
    "HLG": (Colour(9, 18, 9), (1, 1, 1, 1), (0.2126, 0.0722)),
    "arrays": (None, (1, 1, 1, 1), (0.2126, 0.0722)),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("name", COLOURS)
def test_overlay_has_the_colours_of_the_source(tmp_path: Path, name: str, suffix: str) -> None:
    colour, tags, (red, blue) = COLOURS[name]
    target = tmp_path / f"street{suffix}"
    with OverlaySink(target, PALETTE, opacity=1) as sink:
        for result in results():
            sink.append(dataclasses.replace(result, colour=colour))
    with av.open(str(target)) as container:
        frame = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        primaries, transfer, matrix = context.color_primaries, context.color_trc, context.colorspace
        assert (primaries, transfer, matrix) == tags[:3]
        assert context.color_range in {tags[3], 2 if tags[3] == 2 else 0}  # limited, where it is not said
    planes = frame.to_ndarray(format=frame.format.name).astype(np.float64)
    luma = planes[:48] if tags[3] == 2 else (planes[:48] - 16) * 255 / 219
    chroma = (planes[48:].reshape(2, 24, 32) - 128) * (255 / 254 if tags[3] == 2 else 255 / 224)
    for index, (r, g, b) in enumerate(PALETTE):
        y, x = 12 + 24 * (index // 2), 16 + 32 * (index % 2)
        want = red * r + (1 - red - blue) * g + blue * b
        assert abs(luma[y, x] - want) < 4
        assert abs(chroma[0, y // 2, x // 2] - (b - want) / (2 - 2 * blue)) < 4
        assert abs(chroma[1, y // 2, x // 2] - (r - want) / (2 - 2 * red)) < 4


def test_overlay_in_matroska_rounds_to_milliseconds(tmp_path: Path) -> None:
    with OverlaySink(tmp_path / "street.mkv", PALETTE) as sink:
        for result in results([1001 * i for i in range(20)], NTSC):
            sink.append(result)
    times, _ = decoded(tmp_path / "street.mkv")
    assert len(times) == 20
    assert all(abs(time - 1001 * i * NTSC) <= Fraction(1, 2000) for i, time in enumerate(times))


def test_overlay_without_frames_writes_nothing(tmp_path: Path) -> None:
    with OverlaySink(tmp_path / "street.mp4", PALETTE):
        pass
    assert list(tmp_path.iterdir()) == []


def test_overlay_refuses_timestamps_that_do_not_grow(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"street\.mp4': a frame at 0.2 s follows one at 0.24 s; give"),
        OverlaySink(tmp_path / "street.mp4", PALETTE) as sink,
    ):
        for result in results([4, 6, 5]):
            sink.append(result)
    assert list(tmp_path.iterdir()) == []


def test_overlay_says_when_there_is_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay_module, "H264_ENCODERS", {"no_such_encoder": {}})
    with pytest.raises(CodecError, match="no_such_encoder"):
        OverlaySink(tmp_path / "street.mp4", PALETTE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["street", "street.gif", "street.mp4.txt"])
def test_overlay_refuses_other_suffixes(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.mp4"):
        OverlaySink(tmp_path / name, PALETTE)


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_overlay_refuses_opacities_out_of_range(tmp_path: Path, opacity: float) -> None:
    with pytest.raises(UsageError, match="opacity"):
        OverlaySink(tmp_path / "street.mp4", PALETTE, opacity=opacity)


# --- label maps -----------------------------------------------------------------------------------------


def decoded_png(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return pixel values and RGB palette, both as FFmpeg's decoder has them."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == "pal8"
        values, palette = frame.to_ndarray()
        return values, palette[:, 1:]  # alpha, red, green, blue


@pytest.mark.parametrize("size", [(48, 64), (241, 319), (1, 1)])
def test_label_maps_hold_classes_and_colours(tmp_path: Path, size: tuple[int, int]) -> None:
    maps = np.random.default_rng(5).integers(0, 4, (3, *size), dtype=np.uint8)
    with LabelMapSink(tmp_path / "maps", PALETTE) as sink:
        for index, labels in enumerate(maps):
            sink.append(FakeResult(labels, picture(*size), index))
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [
        "000000.png",
        "000001.png",
        "000002.png",
    ]
    for index, labels in enumerate(maps):
        path = tmp_path / "maps" / f"{index:06d}.png"
        values, palette = decoded_png(path)
        np.testing.assert_array_equal(values, labels)
        np.testing.assert_array_equal(palette[:4], PALETTE)
        bgr = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(bgr[..., ::-1], np.array(PALETTE)[labels])


def test_label_maps_keep_labels_without_a_class(tmp_path: Path) -> None:
    labels = np.full((4, 5), 255, np.uint8)
    with LabelMapSink(tmp_path / "maps", PALETTE) as sink:
        sink.append(FakeResult(labels, picture(4, 5)))
    values, palette = decoded_png(tmp_path / "maps" / "000000.png")
    assert (values == 255).all()
    assert palette[255].tolist() == [0, 0, 0]


def test_label_maps_fill_an_empty_directory(tmp_path: Path) -> None:
    target = tmp_path / "maps"
    target.mkdir()
    identity = target.stat().st_ino
    with LabelMapSink(target, PALETTE) as sink:
        for result in results():
            sink.append(result)
        assert not (target / "000000.png").exists()
    assert sorted(path.name for path in target.iterdir()) == ["000000.png", "000001.png", "000002.png"]
    assert target.stat().st_ino == identity


def test_label_maps_refuse_a_directory_in_use(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        LabelMapSink(tmp_path / "maps", PALETTE)
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["mine.txt"]


def test_label_maps_refuse_a_file(tmp_path: Path) -> None:
    (tmp_path / "maps").write_text("keep")
    with pytest.raises(OutputError, match="not a directory"):
        LabelMapSink(tmp_path / "maps", PALETTE)


@pytest.mark.parametrize(
    "palette", [[], [1, 2, 3], [[0, 0]], [[0, 0, 256]], [[0, 0, -1]], [[0.5, 0, 0]], np.zeros((257, 3), int)]
)
def test_palettes_that_are_none_are_refused(tmp_path: Path, palette: list[list[int]]) -> None:
    for sink in (LabelMapSink, OverlaySink):
        with pytest.raises(UsageError, match="palette"):
            sink(tmp_path / "out.mp4", palette)
    assert list(tmp_path.iterdir()) == []


# --- JSON lines -----------------------------------------------------------------------------------------


def test_json_lines_say_everything_of_a_frame(tmp_path: Path) -> None:
    target = tmp_path / "frames.jsonl"
    with JsonLinesSink(target, NAMES) as sink:
        for result in results([0, 1001], NTSC):
            sink.append(result)
    first, second = (json.loads(line) for line in target.read_text("utf-8").splitlines())
    assert first == {
        "index": 0,
        "pts": 0,
        "seconds": 0.0,
        "stream_pts": None,
        "stream_seconds": None,
        "sample_aspect_ratio": None,
        "branch": "hr",
        "age": 0,
        "keyframe": True,
        "reason": "first",
        "distance": 0,
        "motion_source": None,
        "dropped": 0,
        "latency": None,
        "shares": {"sky": 0.25, "building": 0.25, "pole": 0.25, "Straße": 0.25},
        "milliseconds": {"decode": 1.235, "infer": 20.0},
    }
    assert (second["index"], second["pts"], second["keyframe"], second["reason"]) == (1, 1001, False, None)
    assert (second["branch"], second["age"]) == ("moved", 1)
    assert second["seconds"] == 1001 / 30000


def test_json_lines_say_what_became_of_a_live_source(tmp_path: Path) -> None:
    live = FakeResult(
        np.zeros((2, 2), np.uint8), picture(2, 2), distance=3, motion_source="bitstream", dropped=7, latency=0.123456
    )
    with JsonLinesSink(tmp_path / "frames.jsonl", NAMES) as sink:
        sink.append(live)
    said = json.loads((tmp_path / "frames.jsonl").read_text("utf-8"))
    facts = {name: said[name] for name in ("distance", "motion_source", "dropped", "latency")}
    assert facts == {"distance": 3, "motion_source": "bitstream", "dropped": 7, "latency": 0.1235}


def test_json_lines_count_shares(tmp_path: Path) -> None:
    labels = np.array([[0, 0, 0, 0, 0], [2, 2, 2, 3, 255]], np.uint8)
    with JsonLinesSink(tmp_path / "frames.jsonl", NAMES) as sink:
        sink.append(FakeResult(labels, picture(2, 5)))
    shares = json.loads((tmp_path / "frames.jsonl").read_text("utf-8"))["shares"]
    assert shares == {"sky": 0.5, "building": 0.0, "pole": 0.3, "Straße": 0.1}


def test_json_lines_reach_a_stream_at_once_and_leave_it_open() -> None:
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), JsonLinesSink(stream, NAMES) as sink:
        sink.append(next(results()))
        assert json.loads(stream.getvalue())["index"] == 0
        raise ZeroDivisionError
    assert not stream.closed


def test_json_lines_dash_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonLinesSink("-", NAMES) as sink:
        for result in results():
            sink.append(result)
    assert [json.loads(line)["index"] for line in capsys.readouterr().out.splitlines()] == [0, 1, 2]


class FailingStream(io.StringIO):
    """A stream that cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


def test_json_lines_let_a_closed_pipe_through() -> None:
    with (
        pytest.raises(BrokenPipeError),
        JsonLinesSink(FailingStream(BrokenPipeError(32, "Broken pipe")), NAMES) as sink,
    ):
        sink.append(next(results()))


def test_json_lines_name_the_stream_that_fails() -> None:
    stream = FailingStream(OSError(28, "No space left on device"))
    with pytest.raises(OutputError, match=r"'stream': No space left"), JsonLinesSink(stream, NAMES) as sink:
        sink.append(next(results()))


# --- whole or not at all --------------------------------------------------------------------------------

SINKS: dict[str, Callable[[Path], FileSink]] = {
    "overlay.mp4": lambda path: OverlaySink(path, PALETTE),
    "maps": lambda path: LabelMapSink(path, PALETTE),
    "frames.jsonl": lambda path: JsonLinesSink(path, NAMES),
}
FILES = [name for name in SINKS if name != "maps"]


def frames_in(path: Path) -> int:
    """Return how many frames a sink's output holds."""
    if path.is_dir():
        return len([decoded_png(entry) for entry in path.iterdir()])
    if path.suffix == ".mp4":
        return len(decoded(path)[0])
    return len([json.loads(line) for line in path.read_text("utf-8").splitlines()])


@pytest.mark.parametrize("name", SINKS)
def test_nothing_has_the_name_before_it_is_whole(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    with SINKS[name](target) as sink:
        for result in results():
            sink.append(result)
            assert not target.exists()
    assert frames_in(target) == 3
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", SINKS)
def test_an_interrupt_keeps_the_frames_so_far(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    with pytest.raises(KeyboardInterrupt), SINKS[name](target) as sink:
        for result in results(list(range(5))):
            if result.index == 3:
                raise KeyboardInterrupt
            sink.append(result)
    assert frames_in(target) == 3
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", SINKS)
@pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit])
def test_any_other_exception_leaves_nothing(tmp_path: Path, name: str, error: type[BaseException]) -> None:
    with pytest.raises(error), SINKS[name](tmp_path / name) as sink:
        for result in results():
            sink.append(result)
        raise error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_a_former_file_survives_a_failure_and_yields_to_success(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    target.write_text("former")
    with pytest.raises(ValueError, match="half way"), SINKS[name](target) as sink:
        sink.append(next(results()))
        raise ValueError("half way")
    assert target.read_text() == "former"
    with SINKS[name](target) as sink:
        for result in results():
            sink.append(result)
    assert frames_in(target) == 3
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", SINKS)
def test_close_is_enough_and_can_be_repeated(tmp_path: Path, name: str) -> None:
    sink = SINKS[name](tmp_path / name)
    for result in results():
        sink.append(result)
    sink.close()
    sink.close()
    sink.discard()
    assert frames_in(tmp_path / name) == 3
    with pytest.raises(SequenceError, match="closed"):
        sink.append(next(results()))


@pytest.mark.parametrize("name", FILES)
def test_a_symbolic_link_stays_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    real = tmp_path / "elsewhere" / name
    (tmp_path / name).symlink_to(real)
    with SINKS[name](tmp_path / name) as sink:
        for result in results():
            sink.append(result)
    assert (tmp_path / name).is_symlink()
    assert frames_in(real) == 3


@pytest.mark.parametrize("name", FILES)
def test_a_directory_in_place_of_the_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match="it is a directory"):
        SINKS[name](tmp_path / name)


@pytest.mark.parametrize("name", SINKS)
def test_a_missing_parent_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"no directory .*missing.*create it"):
        SINKS[name](tmp_path / "missing" / name)


def test_a_device_is_refused() -> None:
    with pytest.raises(OutputError, match="device"):
        JsonLinesSink("/dev/null", NAMES)


@pytest.mark.parametrize("name", SINKS)
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # Permissions do not bind the superuser, whom tests may run as.
    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=rf"{name}': Permission denied; check") as caught:
        SINKS[name](tmp_path / name)
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def small_disk() -> Iterator[None]:
    """Let no file grow beyond 4000 bytes, which fails in ``write`` as a full disk does.

    No fixture: pytest's own log, where it goes to a file, must not be under the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("frames", [1, 60])
@pytest.mark.parametrize("name", SINKS)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, name: str, frames: int) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    labels = np.ascontiguousarray(noise[..., 0])
    with (
        pytest.raises(OutputError, match=rf"{name}': File too large") as caught,
        small_disk(),
        SINKS[name](tmp_path / name) as sink,
    ):
        for index in range(frames):
            sink.append(FakeResult(labels, noise, index, index, speed=FakeSpeed({"long " * 900: 1.0})))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# --- one's own ------------------------------------------------------------------------------------------


class KeyframeCounter(Sink):
    """The example of ``Sink``'s docstring."""

    def __init__(self) -> None:
        self.keyframes = 0
        self.closed = False

    def append(self, result: ResultLike) -> None:
        self.keyframes += result.is_keyframe

    def close(self) -> None:
        self.closed = True


def test_ones_own_sink_needs_two_methods() -> None:
    with KeyframeCounter() as sink:
        for result in results():
            sink.append(result)
    assert (sink.keyframes, sink.closed) == (1, True)
    assert isinstance(sink, Sink)


def test_a_sink_need_not_inherit() -> None:
    class Duck:
        def append(self, result: ResultLike) -> None: ...

        def close(self) -> None: ...

        def __enter__(self) -> Duck:
            return self

        def __exit__(self, *_: object) -> None: ...

    assert isinstance(Duck(), Sink)
