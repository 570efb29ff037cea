"""How well the motion of a compressed video is known: the keyframe, warped, against the decoded frame.

    python benchmarks/warp_quality.py FOLDER_OR_VIDEO ... [--size 960x720] [--streams NAME ...] [--json]

A folder of images or a video is scaled, encoded in several ways and decoded again (``--as-is``: a video is taken
as it is instead). The decoded keyframe is warped (bilinear) by the motion and compared with each decoded frame of
its interval; PSNR over RGB, mean over all frames at distances 1 to interval - 1. Every method has its keyframes at
the same frames, each ``--interval``.

    zero        the keyframe as it is
    previous    the vectors, all taken as pointing to the frame before, chained as fractions
    bitstream   the vectors alone: chained where they surely point to the frame before, otherwise resolved
    mestimate   block matching to the frame before (libavfilter), chained
    flow        optical flow to the frame before (OpenCV's DIS, medium, half size), chained
    estimate    the pictures alone, as --motion estimate
    auto        as --motion auto

Milliseconds are those of this process's thread for one frame beyond plain decoding without vectors: the tenth
percentile, since other work on the machine only adds. It runs on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from time import thread_time
from typing import Any, Final

import av
import av.filter
import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.motion.agreement import look_up, pixel_grid
from arseg_edge.runtime.motion.follow import Follower, MotionMode
from arseg_edge.runtime.motion.luma import working_luma
from arseg_edge.runtime.motion.subpixel import SubpixelChain
from arseg_edge.runtime.motion.vectors import BlockMotion, VectorRecords, block_motion
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.open_source import open_source

Image = npt.NDArray[np.uint8]
Motion = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Encoding:
    """How a stream is made."""

    codec: str
    options: dict[str, str]
    bit_rate: int | None = 3_000_000
    gop: int = 250


STREAMS: Final = {
    "h264 bf=0 refs=1": Encoding("libx264", {"bf": "0", "refs": "1"}),
    "h264 bf=0 refs=3": Encoding("libx264", {"bf": "0", "refs": "3"}),
    "h264 bf=3 refs=3 pyramid": Encoding("libx264", {"bf": "3", "refs": "3", "b-pyramid": "normal"}),
    "h264 defaults crf 23": Encoding("libx264", {"crf": "23"}, None),
    "h264 defaults crf 35": Encoding("libx264", {"crf": "35"}, None),
    "mpeg4": Encoding("mpeg4", {}),
    "hevc": Encoding("libx265", {"x265-params": "log-level=none"}),
    "vp9": Encoding("libvpx-vp9", {"deadline": "realtime", "cpu-used": "5"}),
    "av1": Encoding("libsvtav1", {"preset": "8", "svtav1-params": "pred-struct=2"}),
}


def pictures(source: Path, size: tuple[int, int] | None, count: int | None = None) -> list[Image]:
    """The first ``count`` frames in RGB, scaled to ``size`` (width, height)."""
    with open_source(source) as opened:
        frames = [frame.rgb for frame in islice(opened.frames(), count)]
    if size is None:
        return frames
    return [np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC), np.uint8) for frame in frames]


def encode(
    path: Path,
    clip: Sequence[Image],
    codec: str,
    options: dict[str, str],
    *,
    bit_rate: int | None = None,
    gop: int = 250,
) -> Path:
    """Encode at 30 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(30), options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = clip[0].shape[:2]
        stream.pix_fmt, stream.gop_size = "yuv420p", gop
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        for picture in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio in dB."""
    return float(cv2.PSNR(a, b))


def warp(keyframe: Image, motion: Motion) -> Image:
    """The keyframe as the frame shows it, bilinear, border pixels repeated."""
    return np.asarray(look_up(keyframe, pixel_grid(*keyframe.shape[:2]) + motion, cv2.INTER_LINEAR), np.uint8)


class Zero:
    """No motion."""

    def follow(self, frame: DecodedFrame, keyframe: bool) -> Motion:
        """The motion of one frame."""
        return np.zeros((frame.height, frame.width, 2), np.float32)


class Ours:
    """The package's own, with keyframes forced at the interval and nowhere else."""

    def __init__(self, mode: MotionMode) -> None:
        self._mode: MotionMode = mode

    def follow(self, frame: DecodedFrame, keyframe: bool) -> Motion | None:
        """The motion of one frame; None where there is none."""
        if keyframe:
            self._follower = Follower(sys.maxsize, "subpixel", self._mode, None)
        return self._follower.follow(frame).motion


class Chained:
    """Vectors to the frame before, chained as fractions."""

    def __init__(self, blocks: Callable[[DecodedFrame], BlockMotion | None]) -> None:
        self._blocks, self._chain = blocks, SubpixelChain()

    def follow(self, frame: DecodedFrame, keyframe: bool) -> Motion | None:
        """The motion of one frame; None where there are no vectors."""
        blocks = self._blocks(frame)
        if keyframe or blocks is None:
            self._chain.restart(frame.height, frame.width)
            return None
        return self._chain.advance(blocks)


def previous(frame: DecodedFrame) -> BlockMotion | None:
    """All vectors of list 0, as pointing to the frame before."""
    return None if frame.vectors is None else block_motion(frame.vectors, frame.height, frame.width)


class Mestimate:
    """libavfilter's block matching to the frame before."""

    def __init__(self) -> None:
        self._before: av.VideoFrame | None = None

    def __call__(self, frame: DecodedFrame) -> BlockMotion | None:
        """The vectors of one frame."""
        picture = frame.picture
        assert isinstance(picture, av.VideoFrame)
        before, self._before = self._before or picture, picture
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 25)
        )
        graph.link_nodes(source, graph.add("mestimate", "method=epzs:mb_size=16"), graph.add("buffersink")).configure()
        # Of three pictures it compares the middle one with the first (list 0) and the last (list 1).
        for shown in (before, picture, picture):
            graph.vpush(shown)
        graph.vpull()  # the first, compared with itself
        records = graph.vpull().side_data.get("MOTION_VECTORS")
        return None if records is None else block_motion(_scaled(records.to_ndarray()), frame.height, frame.width)


def _scaled(records: VectorRecords) -> VectorRecords:
    """With the displacement from the positions: the filter leaves ``motion_scale`` undefined."""
    found = records.copy()
    found["motion_x"] = records["src_x"].astype(np.int32) - records["dst_x"]
    found["motion_y"] = records["src_y"].astype(np.int32) - records["dst_y"]
    found["motion_scale"] = 1
    # Its blocks are told by their corner.
    found["dst_x"] += 8
    found["dst_y"] += 8
    return found


class ChainedFlow:
    """Optical flow to the frame before, at half size, chained."""

    def __init__(self) -> None:
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def follow(self, frame: DecodedFrame, keyframe: bool) -> Motion | None:
        """The motion of one frame."""
        luma = working_luma(frame.picture)
        grid = pixel_grid(*luma.shape)
        if keyframe:
            self._before, self._positions = luma, grid
            return None
        no_flow: Any = None
        places = grid + np.asarray(self._search.calc(luma, self._before, no_flow), np.float32)
        self._before, self._positions = luma, look_up(self._positions, places, cv2.INTER_LINEAR)
        factor = np.array([frame.width / luma.shape[1], frame.height / luma.shape[0]], np.float32)
        motion = cv2.resize((self._positions - grid) * factor, (frame.width, frame.height))
        return np.asarray(motion, np.float32)


METHODS: Final[dict[str, Callable[[], Any]]] = {
    "zero": Zero,
    "previous": lambda: Chained(previous),
    "bitstream": lambda: Ours("bitstream"),
    "mestimate": lambda: Chained(Mestimate()),
    "flow": ChainedFlow,
    "estimate": lambda: Ours("estimate"),
    "auto": lambda: Ours("auto"),
}


@dataclass(frozen=True)
class Quality:
    """Of one method on one stream."""

    psnr: float
    """dB, mean over distances 1 to interval - 1."""
    milliseconds: float
    """A frame, for the motion alone."""


def measure(video: Path, interval: int, count: int | None, methods: Sequence[str]) -> dict[str, Quality]:
    """All methods on a stream, frame by frame in turn; a method without motion for a frame is left out."""
    at_work = {name: METHODS[name]() for name in methods}
    db: dict[str, list[float]] = {name: [] for name in methods}
    spent: dict[str, list[float]] = {name: [] for name in methods}
    keyframe = np.empty(0, np.uint8)
    with open_source(video) as source:
        for frame in islice(source.frames(), count):
            is_keyframe = frame.index % interval == 0
            if is_keyframe:
                keyframe = frame.rgb
            for name, method in at_work.items():
                start = thread_time()
                motion = method.follow(frame, is_keyframe)
                milliseconds = (thread_time() - start) * 1e3
                if is_keyframe or motion is None:
                    continue
                spent[name].append(milliseconds)
                db[name].append(psnr(warp(keyframe, motion), frame.rgb))
    full = len(db["zero"])
    # An I-frame has no vectors; a method that gives up oftener has no figure.
    return {
        name: Quality(float(np.mean(values)), float(np.percentile(spent[name], 10)))
        for name, values in db.items()
        if len(values) > 0.9 * full
    }


def decoding(video: Path, count: int | None) -> tuple[float, float]:
    """Milliseconds a frame to decode, without and with motion vectors; the lesser of two runs each."""

    def run(options: dict[str, str]) -> float:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.options = "SLICE", options
            start = thread_time()
            frames = sum(1 for _ in islice(container.decode(stream), count))
            return (thread_time() - start) * 1e3 / frames

    plain, exporting = zip(*((run({}), run({"flags2": "+export_mvs"})) for _ in range(2)), strict=True)
    return min(plain), min(exporting)


def videos(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """The streams to measure, one after the other, with a name for each."""
    for source in arguments.source:
        if arguments.as_is:
            yield source.name, source
            continue
        size = None if arguments.size is None else tuple(int(side) for side in arguments.size.split("x"))
        clip = pictures(source, size, arguments.frames)
        for name in arguments.streams:
            how = STREAMS[name]
            path = folder / "clip.mkv"
            encode(path, clip, how.codec, how.options, bit_rate=how.bit_rate, gop=how.gop)
            yield f"{source.name}, {name}", path


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="+", help="folders of images or videos")
    parser.add_argument("--as-is", action="store_true", help="videos as they are, not encoded anew")
    parser.add_argument("--size", help="WIDTHxHEIGHT to encode at (default: the source's own)")
    parser.add_argument("--frames", type=int, help="take the first so many frames only")
    parser.add_argument("--interval", type=int, default=12, help="keyframe interval (%(default)s)")
    parser.add_argument("--streams", nargs="+", choices=list(STREAMS), default=list(STREAMS), metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="NAME")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    methods = ["zero", *(name for name in arguments.methods if name != "zero")]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    av.logging.set_level(av.logging.ERROR)

    report = {}
    print(f"{'dB over zero (ms)':42}" + "".join(f"{name:>15}" for name in methods) + "   ms vectors", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        for name, video in videos(arguments, Path(folder)):
            found = measure(video, arguments.interval, arguments.frames, methods)
            plain, exporting = decoding(video, arguments.frames)
            report[name] = {
                **{method: {"psnr": value.psnr, "ms": value.milliseconds} for method, value in found.items()},
                "decoding": {"ms": plain, "ms_with_vectors": exporting},
            }
            if not arguments.json:
                zero = found["zero"].psnr
                cells = [f"{zero:15.2f}"]
                cells += [
                    f"{found[method].psnr - zero:+8.2f} ({found[method].milliseconds:4.1f})"
                    if method in found
                    else " " * 15
                    for method in methods[1:]
                ]
                print(f"{name:42}" + "".join(cells) + f"{exporting - plain:10.2f}", flush=True)
    if arguments.json:
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
