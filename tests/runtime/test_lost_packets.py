"""Streams of which packets are lost: every picture that decodes comes out, and nothing is lost in silence."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from servers import http_server
from streams import change_packets, encode, panning

from arseg_edge.runtime.read_motion import MotionFrame, motion_frames, read_motion
from arseg_edge.runtime.source.incidents import Incident
from arseg_edge.runtime.source.network import NetworkSource
from arseg_edge.runtime.source.open_source import Source, open_source
from arseg_edge.runtime.source.rhythm import Rhythm

COUNT = 96
CODECS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "h264": ("libx264", "mp4", {}),
    "h264 with B-frames": ("libx264", "ts", {"b_frames": 2, "refs": 3}),
    "hevc": ("libx265", "mkv", {}),
    "vp9": ("libvpx-vp9", "webm", {"options": {"deadline": "realtime", "cpu-used": "8"}}),
    "av1": ("libsvtav1", "mkv", {"options": {"preset": "12", "svtav1-params": "lp=1"}}),
    "mpeg2": ("mpeg2video", "ts", {"b_frames": 2}),
    "mpeg4": ("mpeg4", "mkv", {}),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder, made = tmp_path_factory.mktemp("whole"), dict[str, Path]()

    def make(name: str) -> Path:
        if name not in made:
            codec, suffix, settings = CODECS[name]
            path = folder / f"{name}.{suffix}"
            made[name] = encode(path, panning(COUNT, 96, 128, 2, 1), codec, gop=24, **settings)
        return made[name]

    return make


def with_losses(path: Path, target: Path, share: float) -> tuple[Path, list[int]]:
    """A copy without so many of the packets between the first and the last."""
    with av.open(str(path)) as container:
        packets = sum(1 for packet in container.demux(video=0) if packet.size)
    lost = sorted(random.Random(7).sample(range(1, packets - 1), round(share * packets)))
    return change_packets(path, target, dict.fromkeys(lost)), lost


def without_length(path: Path, target: Path) -> Path:
    """A copy in a Matroska file that is written as one goes, as live ones are."""
    with av.open(str(path)) as before, av.open(str(target), "w", options={"live": "1"}) as after:
        stream = before.streams.video[0]
        copy = after.add_stream_from_template(stream, opaque=True)
        for packet in before.demux(stream):
            if packet.size:
                packet.stream = copy
                after.mux(packet)
    return target


def plainly_decoded(path: Path) -> int:
    """Pictures that the decoder gives when it is told to keep back none."""
    count = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.options = "SLICE", {"flags": "+output_corrupt"}
        for packet in container.demux(stream):
            try:
                count += len(stream.codec_context.decode(packet))
            except av.error.FFmpegError:
                continue
    return count


def by_ffmpeg(path: Path) -> int:
    """Pictures that FFmpeg's tool gives."""
    program = shutil.which("ffprobe")
    if program is None:
        if os.environ.get("ARSEG_EDGE_REQUIRE_FFMPEG") == "1":
            pytest.fail("needs the ffprobe program")
        pytest.skip("needs the ffprobe program")
    command = [program, "-v", "quiet", "-count_frames", "-select_streams", "v:0", "-show_entries"]
    command += ["stream=nb_read_frames", "-of", "csv=p=0", str(path)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0].strip(","))


def check(source: Source, frames: list[MotionFrame], expected: int, lost: int) -> dict[Incident, int]:
    assert len(frames) == expected > COUNT / 4
    assert (np.diff([frame.pts for frame in frames]) > 0).all()
    counts = source.incidents.counts()
    damaged = [frame for frame in frames if frame.decoded.corrupt]
    assert counts.get("damaged", 0) == len(damaged)
    assert all(frame.keyframe_reason in ("corrupt", "first") for frame in damaged)
    if lost:
        broken = {"corrupt", "discontinuity", "lost-reference"}
        assert broken & {frame.keyframe_reason for frame in frames}
        # What a decoder keeps for itself at the very end is not told apart from what was never there.
        assert counts["missing"] == pytest.approx(COUNT - expected, abs=2)
    else:
        assert counts == {}
    return counts


@pytest.mark.parametrize("share", [0, 0.01, 0.08, 0.2])
@pytest.mark.parametrize("name", list(CODECS))
def test_a_file_with_lost_packets(tmp_path: Path, whole: Callable[[str], Path], name: str, share: float) -> None:
    path, lost = with_losses(whole(name), tmp_path / whole(name).name, share)
    with open_source(path) as source:
        frames = list(motion_frames(source))
        check(source, frames, plainly_decoded(path), len(lost))
    if name != "av1":  # its decoder is not FFmpeg's own, and gives up more in some versions than in others
        assert len(frames) >= by_ffmpeg(path)


@pytest.mark.parametrize("share", [0, 0.01, 0.08, 0.2])
@pytest.mark.parametrize("name", list(CODECS))
def test_a_live_source_with_lost_packets(tmp_path: Path, whole: Callable[[str], Path], name: str, share: float) -> None:
    suffix = ".ts" if name.startswith(("h264", "mpeg2")) else ".mkv"
    path, lost = with_losses(whole(name), tmp_path / f"v{suffix}", share)
    if suffix == ".mkv":
        path = without_length(path, tmp_path / "live.mkv")
    expected, content = plainly_decoded(path), path.read_bytes()

    def answer(request: Any) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(content)

    with http_server(answer) as address, NetworkSource(f"{address}/v{suffix}", timeout=10, pauses=(0.01,)) as source:
        assert source.live
        reading = motion_frames(source)
        frames = list(islice(reading, expected))
        reading.close()
        check(source, frames, expected, len(lost))


# What was predicted from what


def test_vectors_over_a_lost_packet_are_not_chained(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", panning(12, 96, 128, 2, 1), gop=250)
    lossy = change_packets(path, tmp_path / "l.mp4", {5: None})
    reasons = [frame.keyframe_reason for frame in read_motion(lossy, motion="bitstream")]
    assert reasons == ["first", None, None, None, None, "discontinuity", *[None] * 5]


DROPPABLE = Path(__file__).parents[1] / "data" / "streams" / "droppable-p.mp4"


def test_a_lost_reference_is_missed_by_all_that_follow_it(tmp_path: Path) -> None:
    # 4 is a reference, of 5 (which is droppable) and of 6.
    lossy = change_packets(DROPPABLE, tmp_path / "l.mp4", {4: None})
    with open_source(lossy) as source:
        frames = list(motion_frames(source, interval=100, motion="bitstream"))
        assert source.incidents.counts()["missing"] == 1
    assert [frame.keyframe_reason for frame in frames[:8]] == [
        *("first", None, None, None),
        *("discontinuity", "lost-reference", None, None),
    ]


def test_a_lost_droppable_picture_breaks_no_reference(tmp_path: Path) -> None:
    lossy = change_packets(DROPPABLE, tmp_path / "l.mp4", {7: None})
    with open_source(lossy) as source:
        frames = list(motion_frames(source, interval=100, motion="bitstream"))
        assert source.incidents.counts() == {"missing": 1}
    assert [frame.index for frame in frames if frame.is_keyframe] == [0, 7]
    assert frames[7].keyframe_reason == "discontinuity"
    assert [frame.decoded.reference for frame in frames[7:11]] == [1, 1, 2, 1]


def test_times_of_h264_that_pause_are_no_loss(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", panning(20, 96, 128, 2, 1), gop=250)
    with av.open(str(path)) as before, av.open(str(tmp_path / "p.mp4"), "w") as after:
        copy = after.add_stream_from_template(before.streams.video[0])
        for number, packet in enumerate(each for each in before.demux(video=0) if each.size):
            step = packet.duration or 0
            packet.pts = packet.dts = number * step + (step * 5 if number >= 12 else 0)
            packet.stream = copy
            after.mux(packet)
    with open_source(tmp_path / "p.mp4") as source:
        frames = list(motion_frames(source))
        assert source.incidents.counts() == {}
    assert [frame.index for frame in frames if frame.is_keyframe] == [0, 12]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_parts_of_a_packet_that_are_lost(tmp_path: Path, codec: str) -> None:
    """MPEG-TS counts its packets of 188 bytes; without one in the middle of a picture that picture is damaged."""
    path = encode(tmp_path / "v.ts", panning(14, 96, 128, 2, 1), codec, gop=250)
    content = path.read_bytes()
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    assert places[6] is not None
    start = places[6] + 2 * 188
    path.write_bytes(content[:start] + content[start + 188 :])
    with open_source(path) as source:
        frames = list(motion_frames(source, interval=100))
        assert source.incidents.counts() == {"damaged": 1}
    assert {"corrupt", "discontinuity"} & {frame.keyframe_reason for frame in frames[5:8]}


def test_a_join_is_no_damage(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.ts", panning(14, 96, 128, 2, 1), gop=250)
    path.write_bytes(path.read_bytes() * 2)
    with open_source(path) as source:
        list(source.frames())
        assert source.incidents.counts() == {"joined": 1}


# Rhythm


@pytest.mark.parametrize(
    ("steps", "missing"),
    [
        ([1] * 8, 0),
        ([1, 1, 1, 1, 2, 1, 1, 4, 1], 4),
        ([2, 1, 1, 1, 1], 1),  # told as soon as there is a rhythm
        ([1, 2, 1, 2, 2, 3, *[1] * 8], 5),  # where many are lost, the first rhythm is a wrong one
        ([1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 3.1, 1.0], 2),  # a camera's clock
        ([1, 1, 1, 1, 400, 1, 1], 0),  # joined, or paused
        ([1, 5, 2, 9, 3, 1, 7, 4], 0),  # no rhythm
        ([1, 1.5] * 6, 0),  # film on television
        ([1, 1, 1, 1, -30, 1, 1, 2], 1),
    ],
)
def test_rhythm(steps: list[float], missing: int) -> None:
    rhythm, time, found = Rhythm(), 0.0, 0
    rhythm.missing(0)
    for step in steps:
        time += step * 1000
        found += rhythm.missing(round(time))
    assert found == missing


def test_rhythm_of_no_times() -> None:
    rhythm = Rhythm()
    assert [rhythm.missing(None) for _ in range(8)] == [0] * 8
