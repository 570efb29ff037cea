"""How well the motion of a compressed clip is known: the keyframe, warped, against the decoded frame.

    python benchmarks/warp_quality.py FOLDER_OR_VIDEO [--size 960x720] [--bit-rate 3000000] [--interval 12]

The pictures are scaled, encoded as H.264 without B-frames and with one reference (x264, an I-frame at each
interval), and decoded again. The decoded keyframe is warped (bilinear) by the chained motion and compared
with each decoded frame of its interval; PSNR over RGB, mean over all frames at distances 1 to interval - 1.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.motion import Chaining
from arseg_edge.runtime.motion.agreement import look_up
from arseg_edge.runtime.read_motion import read_motion
from arseg_edge.runtime.source import open_source

Image = npt.NDArray[np.uint8]


def encode(source: Path, target: Path, size: tuple[int, int], bit_rate: int, interval: int) -> None:
    """Scale and encode a folder of images or a video, at 30 frames a second."""
    with open_source(source) as opened, av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30), options={"refs": "1", "bf": "0"})
        stream.width, stream.height = size
        stream.pix_fmt, stream.bit_rate, stream.gop_size = "yuv420p", bit_rate, interval
        for frame in opened.frames():
            rgb = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_CUBIC)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(rgb, np.uint8), format="rgb24")))
        container.mux(stream.encode())


def psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio in dB."""
    return float(cv2.PSNR(a, b))


def warp(keyframe: Image, motion: npt.NDArray[np.float32]) -> Image:
    """The keyframe as the frame shows it, bilinear, border pixels repeated."""
    height, width = keyframe.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    places = motion + np.stack([x, y], axis=-1)
    return np.asarray(look_up(keyframe, places, cv2.INTER_LINEAR), np.uint8)


def measure(video: Path, interval: int, chaining: Chaining) -> Iterator[tuple[int, float, float, float]]:
    """Distance, dB warped, dB of the keyframe as it is, and milliseconds for the motion, of each frame."""
    keyframe: Image | None = None
    for frame in read_motion(video, interval, chaining):
        if frame.motion is None or keyframe is None:
            keyframe = frame.rgb
        else:
            yield (
                frame.distance,
                psnr(warp(keyframe, frame.motion), frame.rgb),
                psnr(keyframe, frame.rgb),
                frame.motion_ms,
            )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder of images or a video")
    parser.add_argument("--size", default="960x720", help="WIDTHxHEIGHT to encode at (%(default)s)")
    parser.add_argument("--bit-rate", type=int, default=3_000_000, help="bits a second (%(default)s)")
    parser.add_argument("--interval", type=int, default=12, help="keyframe interval (%(default)s)")
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))

    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "clip.mp4"
        encode(arguments.source, video, (width, height), arguments.bit_rate, arguments.interval)
        columns: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        spent: dict[str, list[float]] = defaultdict(list)
        for chaining in get_args(Chaining):
            for distance, warped, still, milliseconds in measure(video, arguments.interval, chaining):
                columns[chaining][distance].append(warped)
                spent[chaining].append(milliseconds)
                if chaining == get_args(Chaining)[0]:
                    columns["no motion"][distance].append(still)

    print("dB at distance " + "".join(f"{name:>12}" for name in columns))
    for distance in sorted(columns["no motion"]):
        print(f"{distance:14d} " + "".join(f"{np.mean(column[distance]):12.2f}" for column in columns.values()))
    means = [np.mean([value for at in column.values() for value in at]) for column in columns.values()]
    print(f"{'mean':>14} " + "".join(f"{mean:12.2f}" for mean in means))
    for name, milliseconds in spent.items():
        print(f"{name}: {np.median(milliseconds):.1f} ms a frame for vectors and chain (median)")


if __name__ == "__main__":
    main()
