"""What a probe finds, against streams of known structure, PyAV's own view of them and plain NumPy."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from streams import Image, encode, panning

from arseg_edge.bundle import read_bundle
from arseg_edge.errors import CodecError, SourceError, UsageError
from arseg_edge.manifest import Manifest
from arseg_edge.runtime.read_motion import read_motion
from arseg_edge.runtime.reports.coding import Distances
from arseg_edge.runtime.reports.probe import ProbeReport, probe
from arseg_edge.runtime.reports.schedule_advice import TOLERATED, unshown_advice
from arseg_edge.schedule_choice import Option, choose_schedule

HEIGHT, WIDTH, COUNT = 96, 128, 25
PAN = (3, -2)
SETTINGS = "-c:v libx264 -bf 0 -refs 1 -g 12"

STREAMS: dict[str, dict[str, Any]] = {
    "P only": {},
    "P only, an I-frame each 8": {"gop": 8},
    "three references": {"refs": 3, "gop": 24},
    "B-frames": {"b_frames": 2, "refs": 2, "options": {"b-adapt": "0", "b-pyramid": "none"}},
    "interlaced": {"options": {"x264-params": "tff=1"}},
    "I only": {"gop": 1},
    "mpeg4": {"codec": "mpeg4"},
    "mpeg4 with B-frames": {"codec": "mpeg4", "b_frames": 2},
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none:bframes=0:keyint=12:min-keyint=12"}},
}


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return read_bundle(Path(__file__).parents[1] / "data" / "tiny.arseg").manifest


def stream(folder: Path, name: str) -> Path:
    return encode(folder / "pan.mkv", panning(COUNT, HEIGHT, WIDTH, *PAN), **STREAMS[name])


def write_images(folder: Path, pictures: list[Image]) -> Path:
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{index}.png"), picture[..., ::-1])
    return folder


# How it is coded


def decoded(path: Path) -> list[tuple[str, npt.NDArray[Any] | None]]:
    """Picture types and vectors as PyAV has them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.options = "NONE", {"flags2": "+export_mvs"}
        frames = []
        for frame in container.decode(stream):
            vectors = frame.side_data.get("MOTION_VECTORS")
            kind = av.video.frame.PictureType(frame.pict_type).name
            frames.append((kind, None if vectors is None else vectors.to_ndarray()))
    return frames


def uncovered(vectors: npt.NDArray[Any]) -> float:
    """The share of 8x8 blocks without a vector, painted pixel by pixel."""
    picture = np.zeros((HEIGHT, WIDTH), bool)
    for each in vectors:
        left, top = int(each["dst_x"]) - int(each["w"]) // 2, int(each["dst_y"]) - int(each["h"]) // 2
        picture[max(top, 0) : max(top + int(each["h"]), 0), max(left, 0) : max(left + int(each["w"]), 0)] = True
    return 1 - float(picture[4::8, 4::8].mean())


@pytest.mark.parametrize("name", [name for name in STREAMS if name not in ("interlaced", "hevc", "I only")])
def test_coding_is_what_pyav_says(tmp_path: Path, name: str) -> None:
    path = stream(tmp_path, name)
    frames, coding = decoded(path), probe(path).coding
    kinds = [kind for kind, _ in frames]
    assert coding.picture_types == {kind: pytest.approx(kinds.count(kind) / COUNT) for kind in set(kinds)}
    vectors = [vectors for _, vectors in frames if vectors is not None]
    sources = np.concatenate([each["source"] for each in vectors])
    assert coding.future_share == pytest.approx((sources > 0).mean())
    assert (coding.future_share > 0) == ("B-frames" in name)
    assert not coding.interlaced


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_intra_share_is_of_blocks_without_a_vector(tmp_path: Path, codec: str) -> None:
    clip = panning(COUNT, HEIGHT, WIDTH, *PAN)
    for picture, other in zip(clip[6:], panning(COUNT, HEIGHT, WIDTH, *PAN, seed=1), strict=False):
        picture[:, WIDTH // 2 :] = other[:, WIDTH // 2 :]  # half of the picture is cut to another scene
    path = encode(tmp_path / "v.mkv", clip, codec, options={"sc_threshold": "0"})
    shares = [uncovered(vectors) for _, vectors in decoded(path) if vectors is not None]
    assert max(shares) > 0.2
    assert probe(path).coding.intra_share == pytest.approx(np.mean(shares))


@pytest.mark.parametrize(
    ("name", "codec", "i_frames", "b_frames", "reordered", "references"),
    [
        ("P only", "h264", Distances(12, 12, 12), 0, False, 1),
        ("P only, an I-frame each 8", "h264", Distances(8, 8, 8), 0, False, 1),
        ("three references", "h264", Distances(24, 24, 24), 0, False, 3),
        ("B-frames", "h264", Distances(12, 12, 12), 2, True, 2),
        ("interlaced", "h264", Distances(12, 12, 12), 0, False, 1),
        ("I only", "h264", Distances(1, 1, 1), 0, False, 0),
        ("mpeg4", "mpeg4", Distances(12, 12, 12), 0, False, 1),
        ("mpeg4 with B-frames", "mpeg4", Distances(12, 12, 12), 2, True, 1),
        ("hevc", "hevc", Distances(12, 12, 12), 0, False, None),
    ],
)
def test_structure_is_what_the_encoder_was_told(
    tmp_path: Path, name: str, codec: str, i_frames: Distances, b_frames: int, reordered: bool, references: int | None
) -> None:
    report = probe(stream(tmp_path, name))
    coding = report.coding
    assert (report.codec, report.size, report.frame_rate) == (codec, (HEIGHT, WIDTH), 25)
    assert (coding.i_frames, coding.b_frames, coding.reordered) == (i_frames, b_frames, reordered)
    assert coding.references == references
    assert coding.interlaced == (name == "interlaced")
    if name in ("interlaced", "hevc", "I only"):
        assert coding.future_share is None
        assert coding.intra_share is None


def test_pictures_without_a_codec(tmp_path: Path) -> None:
    report = probe(write_images(tmp_path, panning(COUNT, HEIGHT, WIDTH, *PAN)))
    assert (report.codec, report.size, report.frames) == (None, (HEIGHT, WIDTH), COUNT)
    assert report.coding.picture_types == {"?": 1.0}
    assert (report.coding.i_frames, report.coding.references, report.coding.future_share) == (None, None, None)
    assert report.motion_sources == {"estimated": 22}
    assert report.advice.settings is None


# Motion, keyframes and what they save


@pytest.mark.parametrize(
    ("name", "sources", "keyframes"),
    [
        ("P only", {"bitstream": 22}, {"first": 1, "interval": 2}),
        ("P only, an I-frame each 8", {"bitstream": 21}, {"first": 1, "intra": 3}),
        ("B-frames", {"resolved": 22}, {"first": 1, "interval": 2}),
        ("interlaced", {"estimated": 22}, {"first": 1, "interval": 2}),
        ("hevc", {"estimated": 22}, {"first": 1, "interval": 2}),
    ],
)
def test_motion_and_keyframes(
    tmp_path: Path, manifest: Manifest, name: str, sources: dict[str, int], keyframes: dict[str, int]
) -> None:
    report = probe(stream(tmp_path, name), manifest=manifest)
    assert (report.motion_sources, report.keyframes) == (sources, keyframes)
    macs = manifest.macs
    assert report.savings is not None
    assert set(report.savings) == {"0.5", "0.3"}
    for scale, saving in report.savings.items():
        ratio = (macs.lr[scale] + macs.creff) / macs.hr
        count = sum(keyframes.values())
        assert saving.speedup == pytest.approx(COUNT / (count + (COUNT - count) * ratio))
        assert saving.bound == pytest.approx(1 / (1 - macs.saving(float(scale), 12)))


def test_without_a_bundle_no_saving_is_told() -> None:
    report = probe(panning(3, HEIGHT, WIDTH, *PAN))
    assert (report.savings, report.interval) == (None, 12)


# How good the motion is


def bilinear(picture: Image, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    x, y = np.clip(x, 0, WIDTH - 1), np.clip(y, 0, HEIGHT - 1)
    left, top = np.minimum(x.astype(int), WIDTH - 2), np.minimum(y.astype(int), HEIGHT - 2)
    right, down = (x - left)[..., None], (y - top)[..., None]
    above = picture[top, left] * (1 - right) + picture[top, left + 1] * right
    below = picture[top + 1, left] * (1 - right) + picture[top + 1, left + 1] * right
    return np.asarray(above * (1 - down) + below * down)


def psnr(shown: npt.NDArray[Any], frame: Image) -> float:
    return 10 * math.log10(255**2 / float(np.mean((shown.astype(float) - frame) ** 2)))


@pytest.mark.parametrize("name", ["P only", "B-frames", "hevc"])
def test_warp_quality_is_that_of_numpy(tmp_path: Path, name: str) -> None:
    path = stream(tmp_path, name)
    warped, still = [], []
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    keyframe = np.empty(0, np.uint8)
    for frame in read_motion(path):
        if frame.motion is None:
            keyframe = frame.rgb
            continue
        warped.append(psnr(bilinear(keyframe, x + frame.motion[..., 0], y + frame.motion[..., 1]), frame.rgb))
        still.append(psnr(keyframe, frame.rgb))
    report = probe(path)
    assert report.warp is not None
    assert report.warp.psnr == pytest.approx(np.mean(warped), abs=0.1)
    assert report.warp.still == pytest.approx(np.mean(still), abs=0.001)
    assert report.warp.gain == pytest.approx(np.mean(warped) - np.mean(still), abs=0.1)
    assert report.warp.gain > 4


def test_warp_quality_is_finite_where_nothing_moves() -> None:
    report = probe(panning(5, HEIGHT, WIDTH, 0, 0))
    assert report.warp is not None
    assert (report.warp.psnr, report.warp.still, report.warp.gain) == (60, 60, 0)


def test_no_warp_quality_where_every_frame_is_a_keyframe() -> None:
    assert probe(panning(1, HEIGHT, WIDTH, 0, 0)).warp is None


# Droppable frames, and parameters that change

STREAM_FOLDER = Path(__file__).parents[1] / "data" / "streams"


def test_droppable_frames_are_told_and_cost_nothing() -> None:
    report = probe(STREAM_FOLDER / "droppable-p.mp4", math.inf)
    coding = report.coding
    assert (coding.references, coding.droppable_share, coding.sure_share) == (1, 0.5, 1)
    assert report.motion_sources == {"bitstream": 22}
    settings, (reason,) = advice(report)
    assert settings is None
    assert reason.startswith("vectors point to the last frame that is not droppable")


def test_parameters_that_change_are_told() -> None:
    report = probe(STREAM_FOLDER / "references-change.ts", math.inf)
    assert (report.coding.references, report.coding.fewest_references) == (4, 1)
    assert report.coding.sure_share == pytest.approx(23 / 45)  # without the one at the join
    settings, reasons = advice(report)
    assert settings == SETTINGS
    assert reasons[0].startswith("up to 4 references for a part of it")


def test_frames_decoded_elsewhere_leave_open_what_their_vectors_point_to(tmp_path: Path) -> None:
    def frames() -> Any:
        with av.open(str(stream(tmp_path, "P only"))) as container:
            container.streams.video[0].codec_context.options = {"flags2": "+export_mvs"}
            yield from container.decode(video=0)

    report = probe(frames(), math.inf)
    assert (report.codec, report.coding.references, report.coding.sure_share) == (None, None, 0)
    assert report.motion_sources == {"bitstream": 22}
    settings, (reason,) = advice(report)
    assert settings == SETTINGS
    assert reason.startswith("it does not say how many references")


# How much is read


@pytest.mark.parametrize(("seconds", "frames"), [(0.4, 10), (0.41, 11), (1e-9, 1), (4, COUNT), (math.inf, COUNT)])
def test_no_more_is_read_than_asked_for(tmp_path: Path, seconds: float, frames: int) -> None:
    report = probe(encode(tmp_path / "pan.mp4", panning(COUNT, 64, 64, *PAN)), seconds)
    assert (report.frames, report.seconds) == (frames, pytest.approx((frames - 1) / 25))


def test_an_endless_source_is_left() -> None:
    picture = panning(1, 64, 64, 0, 0)[0]

    def forever() -> Any:
        while True:
            yield picture

    assert probe(forever(), 1).frames == 25


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_seconds_that_make_no_sense(seconds: float) -> None:
    with pytest.raises(UsageError, match=f"seconds {seconds}: must be more than 0"):
        probe([], seconds)


def test_errors_of_the_source_pass_through(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        probe(tmp_path / "gone.mp4")
    with pytest.raises(SourceError, match="no frames"):
        probe([])
    noise = tmp_path / "noise.h264"
    noise.write_bytes(encode(tmp_path / "v.h264", panning(1, 64, 64, 0, 0)).read_bytes()[:60])
    with pytest.raises((CodecError, SourceError)):
        probe(noise)


# Advice


def advice(report: ProbeReport) -> tuple[str | None, list[str]]:
    return report.advice.settings, list(report.advice.reasons)


@pytest.mark.parametrize("name", ["P only", "mpeg4"])
def test_nothing_would_help_where_vectors_are_sure(tmp_path: Path, name: str) -> None:
    settings, (reason,) = advice(probe(stream(tmp_path, name)))
    assert settings is None
    assert reason.startswith("vectors point to the frame before")


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("three references", SETTINGS, ["up to 3 references"]),
        ("B-frames", SETTINGS, ["B-frames"]),
        ("mpeg4 with B-frames", SETTINGS, ["B-frames"]),
        ("hevc", SETTINGS, ["hevc gives no motion vectors"]),
        ("I only", SETTINGS, ["no frame has motion vectors"]),
        ("interlaced", f"-vf bwdif {SETTINGS}", ["interlaced"]),
        ("P only, an I-frame each 8", SETTINGS, ["I-frames every 8 frames: 3 keyframes came before"]),
    ],
)
def test_what_would_serve_better(tmp_path: Path, name: str, settings: str, said: list[str]) -> None:
    found, reasons = advice(probe(stream(tmp_path, name)))
    assert found == settings
    assert len(reasons) == len(said)
    assert all(reason.startswith(start) for reason, start in zip(reasons, said, strict=True))


def test_advice_follows_the_interval(tmp_path: Path, manifest: Manifest) -> None:
    path = stream(tmp_path, "P only, an I-frame each 8")
    assert probe(path, manifest=dataclasses.replace(manifest, interval=4)).advice.settings is None
    settings = probe(path, manifest=dataclasses.replace(manifest, interval=5)).advice.settings
    assert settings == "-c:v libx264 -bf 0 -refs 1 -g 5"


@pytest.mark.parametrize("name", ["B-frames", "three references", "hevc", "P only, an I-frame each 8", "interlaced"])
def test_whoever_takes_the_advice_is_given_none_again(tmp_path: Path, name: str) -> None:
    advised = probe(stream(tmp_path, name)).advice.settings
    assert advised is not None
    words = advised.removeprefix("-vf bwdif ").split()
    options = dict(zip(words[::2], words[1::2], strict=True))
    again = encode(
        tmp_path / "again.mkv",
        panning(COUNT, HEIGHT, WIDTH, *PAN),
        options["-c:v"],
        b_frames=int(options["-bf"]),
        refs=int(options["-refs"]),
        gop=int(options["-g"]),
    )
    assert probe(again).advice.settings is None


def test_one_frame_tells_nothing_of_motion(tmp_path: Path) -> None:
    settings, (reason,) = advice(probe(encode(tmp_path / "v.mp4", panning(1, 64, 64, 0, 0))))
    assert settings is None
    assert reason.startswith("only one frame")


# What is shown by no earlier frame


def test_what_a_pan_brings_in(tmp_path: Path) -> None:
    """Of a view that pans, so many columns and rows are new; some of them look like what was there."""
    unshown = probe(stream(tmp_path, "P only")).unshown
    assert unshown is not None
    found = np.array(unshown.by_distance)
    distances = np.arange(1, len(found) + 1)
    assert len(found) == COUNT - 2  # an anchor every other interval
    new = 1 - (1 - PAN[0] * distances / WIDTH) * (1 + PAN[1] * distances / HEIGHT)
    assert np.corrcoef(found, new)[0, 1] > 0.95
    assert (found <= new + 0.02).all()
    assert found[-1] > new[-1] / 2


def test_nothing_to_follow(tmp_path: Path) -> None:
    (image,) = panning(1, HEIGHT, WIDTH, *PAN)
    assert probe([image]).unshown is None


def shares(*means: float) -> dict[int, list[float]]:
    return {distance: [0.9 * mean * TOLERATED, 1.1 * mean * TOLERATED] for distance, mean in enumerate(means, 1)}


@pytest.mark.parametrize(
    ("found", "intervals", "schedules"),
    [
        # In what is tolerated.
        (shares(0.3, 0.9, 1.1, 1.9, 2.1), (5, 3), ("adaptive", "adaptive")),
        (shares(1.5, 5.0), (2, 1), ("adaptive", "paper")),  # of half of HR's arithmetic, and of all of it
        (shares(8.0), (1, 1), ("paper", "paper")),
    ],
)
def test_what_follows_from_what_is_unshown(
    manifest: Manifest, found: dict[int, list[float]], intervals: tuple[int, int], schedules: tuple[str, str]
) -> None:
    dear = dataclasses.replace(manifest.macs, hr=1000, lr=dict.fromkeys(manifest.macs.lr, 600), creff=0)
    advice = unshown_advice(found, dataclasses.replace(manifest, macs=dear))
    assert advice is not None
    assert (advice.interval_file, advice.interval_live) == intervals
    assert (advice.file, advice.live) == schedules


def test_without_lr_there_is_no_other_schedule() -> None:
    assert choose_schedule(Option(95, 0.5), None) == "adaptive"
    assert choose_schedule(Option(85, 0.5), None) is None
    assert choose_schedule(Option(95, 0.5), Option(92, 0.4)) == "paper"
    assert choose_schedule(Option(95, 0.3), Option(92, 0.4)) == "adaptive"
    assert choose_schedule(Option(85, 0.9), Option(80, 0.4)) == "adaptive"
