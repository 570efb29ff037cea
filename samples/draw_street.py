"""Draw a street as seen from a moving car, with the exact class of every pixel.

    python draw_street.py                      # street.mp4 and street-labels.npz beside this script
    python draw_street.py --seed 7 --frames 48 --height 720 --width 960 --output /tmp

Every seed is another street: layout, colours, light, haze and traffic differ. The labels are CamVid's
eleven classes; no edge is blended, so that each pixel has one class.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange
from street.canvas import Image
from street.scene import Street

FRAME_RATE = 24
BT709 = 1  # in ITU-T H.273, for primaries, transfer and matrix alike
INTERVAL = 12  # frames from one intra frame to the next, the paper's group of pictures


def draw_street(seed: int = 3, frames: int = 96, size: tuple[int, int] = (360, 480)) -> Iterator[tuple[Image, Image]]:
    """Yield the frames of a street: the picture, uint8 [H, W, 3] RGB, and its labels, uint8 [H, W].

    Args:
        seed: which street.
        frames: how many frames, at 24 a second.
        size: height and width in pixels, both even for a video.
    """
    street = Street(seed, frames / FRAME_RATE)
    for index in range(frames):
        yield street.frame(index / FRAME_RATE, size)


def write_street(directory: Path, seed: int, frames: int, size: tuple[int, int], quality: int) -> None:
    """Write ``street.mp4`` and ``street-labels.npz`` (one array, ``labels``, uint8 [frames, H, W]).

    The video is H.264 whose every frame refers to the one before alone (no B-frames, one reference), so
    that its motion vectors always say where a block was one frame earlier.
    """
    labels = np.empty((frames, *size), np.uint8)
    with av.open(str(directory / "street.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.time_base = Fraction(1, FRAME_RATE)
        codec.color_primaries = codec.color_trc = codec.colorspace = BT709
        codec.color_range = ColorRange.MPEG
        stream.options = {
            "preset": "slow",
            "crf": str(quality),
            "x264-params": f"bframes=0:ref=1:keyint={INTERVAL}:min-keyint={INTERVAL}:scenecut=0:threads=1",
        }
        for index, (rgb, labels[index]) in enumerate(draw_street(seed, frames, size)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            frame.pts, frame.time_base = index, Fraction(1, FRAME_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    np.savez_compressed(directory / "street-labels.npz", labels=labels)


def main() -> None:
    """Write the video and its labels."""
    parser = argparse.ArgumentParser(description="Draw a street and its labels.")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--quality", type=int, default=27, help="x264's crf; lower is better and larger")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="an existing directory")
    given = parser.parse_args()
    write_street(given.output, given.seed, given.frames, (given.height, given.width), given.quality)


if __name__ == "__main__":
    main()
