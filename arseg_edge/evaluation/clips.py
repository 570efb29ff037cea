"""From a labelled sequence to decoded frames with motion, for every alignment of the keyframes to the labels.

Pictures are encoded: for a shift of s the first s are left out, so that the stream's intra frames and the keyframes
fall together. A still becomes a clip by the simulated camera, and is its last frame. A video is used as it is: for a
shift of s its frame s is the first keyframe, and its own intra frames are keyframes wherever they are.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from arseg_edge.datasets.camera import simulate_clip
from arseg_edge.datasets.encode import Encoding, encode_clip
from arseg_edge.datasets.sequence import LabelledSequence, read_image
from arseg_edge.errors import DatasetError, SourceError
from arseg_edge.evaluation.predictor import Frame
from arseg_edge.operators import Chaining
from arseg_edge.runtime.frames_in_step import Decoded, frames_in_step
from arseg_edge.runtime.read_motion import MotionFrame
from arseg_edge.runtime.schedule.adaptive import TiedFrame
from arseg_edge.runtime.source.base import Source
from arseg_edge.runtime.source.open_source import open_source


@dataclass(frozen=True, eq=False)
class Clip:
    """A sequence, ready to be read at any alignment of the keyframes."""

    sequence: LabelledSequence
    content: Sequence[Path | Frame] | Path
    """Pictures, or their files; or a video."""
    labels: Mapping[int, Path]
    """Frame index → label image."""
    simulated: bool
    """Whether only the last frame was ever seen by a camera."""
    encoding: Encoding

    def frames(self, shift: int, chaining: Chaining) -> Generator[tuple[int, MotionFrame, TiedFrame], None, None]:
        """Yield the frames from ``shift`` on: the index in the clip, motion to the keyframe, the tie to the one before.

        Raises:
            DatasetError: an image cannot be read; the video is shorter than the interval, or than its labels say.
            SourceError: the video cannot be read, or the encoder lost frames.
        """
        interval = self.encoding.interval
        if isinstance(self.content, Path):
            count = shift
            with open_source(self.content) as source:
                for frame, tied in frames_in_step(From(source, shift), interval, chaining, guards=None):
                    count = frame.index + 1
                    yield frame.index, frame, tied
            check_length(self.sequence.name, count, interval)
            self.sequence.check_indices(count)
            return
        pictures = self.content[shift:]
        count = 0
        with tempfile.TemporaryDirectory(prefix="arseg-edge-") as folder:
            path = Path(folder) / "clip.mkv"
            encode_clip(map(_picture, pictures), path, self.encoding)
            with open_source(path) as source:
                for frame, tied in frames_in_step(source, interval, chaining, guards=None):
                    count += 1
                    yield shift + frame.index, frame, tied
        if count != len(pictures):
            raise SourceError(
                f"sequence {self.sequence.name}: {count} of {len(pictures)} frames came back from "
                f"{self.encoding.codec}: choose another codec"
            )


def open_clip(sequence: LabelledSequence, encoding: Encoding) -> Clip:
    """Return the clip of a sequence; a still gets a camera that depends on its name alone.

    Raises ``DatasetError`` where a still cannot be read.
    """
    if isinstance(sequence.frames, Path):
        return Clip(sequence, sequence.frames, sequence.labels, False, encoding)
    if not sequence.is_still:
        return Clip(sequence, sequence.frames, sequence.labels, False, encoding)
    rng = np.random.default_rng(zlib.crc32(sequence.name.encode()))
    pictures = simulate_clip(read_image(sequence.frames[0]), encoding.interval, rng).frames
    return Clip(sequence, pictures, {encoding.interval - 1: sequence.labels[0]}, True, encoding)


def check_length(name: str, count: int, interval: int) -> None:
    """Raise DatasetError where a sequence is too short for every distance from a keyframe to occur."""
    if count < interval:
        raise DatasetError(
            f"sequence {name}: {count} frames are fewer than the interval of {interval}: "
            "leave it out, or choose a smaller interval"
        )


def _picture(content: Path | Frame) -> Frame:
    return read_image(content) if isinstance(content, Path) else content


class From(Decoded):
    """A source without its first frames."""

    def __init__(self, source: Source, first: int) -> None:
        super().__init__(source, islice(source.frames(), first, None))
