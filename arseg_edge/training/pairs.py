"""What training sees of a labelled frame: itself and its keyframe as decoded, with the motion between them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arseg_edge.datasets import Dataset, LabelledSequence, read_image
from arseg_edge.datasets.between import frames_between
from arseg_edge.datasets.camera import simulate_clip
from arseg_edge.datasets.encode import Encoding, encode_clip
from arseg_edge.datasets.passing import Thing, cut_out, let_pass
from arseg_edge.errors import DatasetError, UsageError
from arseg_edge.runtime import read_motion
from arseg_edge.training.values import StillAt

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """A frame as decoded, and its classes."""

    image: Image
    """uint8 [H, W, 3] RGB."""
    labels: npt.NDArray[np.uint8]
    """uint8 [H, W], the class or ``IGNORED``."""


@dataclass(frozen=True, eq=False)
class Pair(LabelledFrame):
    """A labelled frame and the keyframe that it is segmented from."""

    keyframe: Image
    """uint8 [H, W, 3] RGB."""
    motion: npt.NDArray[np.float16]
    """float16 [H, W, 2], (dx, dy) in pixels from the frame to the keyframe. A sixteenth of a pixel is the worst
    rounding up to displacements of 128."""
    distance: int
    """Frames from the keyframe to this one."""


@dataclass(frozen=True)
class Item:
    """One labelled frame of a data set."""

    sequence: LabelledSequence
    index: int


def list_items(dataset: Dataset, interval: int) -> list[Item]:
    """Return the labelled frames that can have a keyframe before them.

    A still always can: the simulated camera makes a clip of it. In a sequence of frames the first one cannot.

    Raises:
        UsageError: an interval below 2.
        DatasetError: a sequence that is too short: none of its labelled frames has ``interval`` − 1 before it.
    """
    if interval < 2:
        raise UsageError(f"interval {interval}: a pair of keyframe and frame needs at least 2")
    items = []
    for sequence in dataset.sequences:
        last = max(sequence.labels)
        if not sequence.is_still and last < interval - 1:
            raise DatasetError(
                f"{sequence.labels[last]}: labels frame {last} of {sequence.name!r}, with too few before it for a "
                f"keyframe interval of {interval}: label a later frame, lower the interval, or leave the other frames "
                "out to have it treated as a still"
            )
        items += [Item(sequence, index) for index in sorted(sequence.labels) if sequence.is_still or index > 0]
    return items


def make_pair(
    dataset: Dataset,
    item: Item,
    encoding: Encoding,
    rng: np.random.Generator,
    distance: int | None = None,
    *,
    stills: StillAt = "last",
    passing: int = 0,
    neighbours: float = 0.0,
) -> Pair:
    """Encode the frames from a keyframe to the labelled one, and decode them again.

    Args:
        dataset: what the item is of, for its labels.
        item: which frame.
        encoding: how to encode; the keyframe is at most ``interval`` − 1 frames back.
        rng: draws the distance and the simulated camera.
        distance: frames to the keyframe, where it should not be drawn. A frame too near to the beginning of
            its sequence gets the largest that there is.
        stills: which frame of the clip that is made of a still is the still itself: the labelled one, or any.
        passing: the most things cut out of other stills that pass in such a clip.
        neighbours: how often a still that follows another one has that as its keyframe, instead of such a clip. The
            distance is then from the upper half of what there is: they are a second apart.

    Raises:
        DatasetError: labels of another size than the image, of unknown values, or of a frame that the video lacks;
            a still of another size than the one it follows.
        SourceError: a video that cannot be read.
        CodecError: no such encoder, or one that does not take the frames.
    """
    farthest = encoding.interval - 1 if item.sequence.is_still else min(encoding.interval - 1, item.index)
    before = dataset.before(item.sequence) if neighbours else None
    if before is not None and rng.random() >= neighbours:
        before = None
    nearest = 1 if before is None else (farthest + 1) // 2
    back = min(distance, farthest) if distance is not None else int(rng.integers(nearest, farthest + 1))
    frames = _recorded(item, back)
    path = item.sequence.labels[item.index]
    labels = dataset.read_labels(path)
    if labels.shape != frames[-1].shape[:2]:
        raise DatasetError(
            f"{path}: labels of {labels.shape[0]}×{labels.shape[1]} for a frame of "
            f"{frames[-1].shape[0]}×{frames[-1].shape[1]}: give them the size of the frame"
        )
    if before is not None:
        earlier, (still,) = next(before.read_frames()), frames
        if earlier.shape != still.shape:
            raise DatasetError(
                f"{path}: labels a still of {still.shape[0]}×{still.shape[1]}, but {before.name!r} before it has "
                f"{earlier.shape[0]}×{earlier.shape[1]}: give the stills of a drive one size"
            )
        frames = frames_between(earlier, still, back)
    elif item.sequence.is_still:
        at = int(rng.integers(back + 1)) if stills == "anywhere" else None
        simulated = simulate_clip(frames[0], back + 1, rng, at)
        things = _things_of_others(dataset, passing, rng)
        frames, labels = let_pass(simulated.frames, simulated.labels(labels), things, rng)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mkv"
        encode_clip(_even(frames), clip, replace(encoding, interval=max(encoding.interval, back + 1)))
        decoded = list(read_motion(clip, interval=back + 1, chaining="subpixel", guards=None))
    keyframe, frame = decoded[0], decoded[-1]
    assert frame.motion is not None, "only the first one is a keyframe"
    height, width = frame.rgb.shape[:2]
    return Pair(frame.rgb, labels[:height, :width], keyframe.rgb, frame.motion.astype(np.float16), back)


def _recorded(item: Item, back: int) -> Sequence[Image]:
    """Return the frames from the keyframe on, as they are on disk; of a still that one."""
    sequence = item.sequence
    if isinstance(sequence.frames, tuple):
        return [read_image(path) for path in sequence.frames[max(item.index - back, 0) : item.index + 1]]
    frames = list(islice(sequence.read_frames(), item.index - back, item.index + 1))
    if len(frames) <= back:
        raise DatasetError(
            f"{sequence.frames}: ends before frame {item.index}, which {sequence.labels[item.index]} labels: repair it "
            "or remove the label"
        )
    return frames


def _things_of_others(dataset: Dataset, most: int, rng: np.random.Generator) -> list[Thing]:
    """Cut up to ``most`` things out of stills of the data set; not every still has one."""
    if not most:
        return []
    stills = [sequence for sequence in dataset.sequences if sequence.is_still]
    things = []
    for _ in range(rng.integers(most + 1)):
        chosen = stills[rng.integers(len(stills))]
        image, labels = next(chosen.read_frames()), dataset.read_labels(chosen.labels[0])
        if labels.shape == image.shape[:2]:
            things.append(cut_out(image, labels, rng))
    return [thing for thing in things if thing is not None]


def _even(frames: Sequence[Image]) -> list[Image]:
    """Without the last row or column, where 4:2:0 video cannot have it."""
    height, width = (length - length % 2 for length in frames[0].shape[:2])
    return [frame[:height, :width] for frame in frames]
