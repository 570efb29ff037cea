"""The golden clip inside a bundle: a few frames, and what PyTorch made of them at export.

Labels are kept whole; of the larger tensors some thousand evenly spread values, with the largest magnitude
of the whole, to which errors relate. So a device can tell, without PyTorch, which stage is off.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arseg_edge.errors import BundleError

QUARTER = np.float32(0.25)
_SAMPLES = 4096
_LARGEST_BYTES = 1 << 30


@dataclass(frozen=True)
class Samples:
    """Evenly spread values of a tensor, and the largest magnitude that occurs in it."""

    values: NDArray[np.float32]
    peak: float

    def error(self, tensor: NDArray[np.float32]) -> float:
        """Return the largest difference of ``tensor`` at the same places, relative to the peak."""
        found = spread(tensor)
        if found.shape != self.values.shape or not np.isfinite(found).all():
            return float("inf")
        return float(np.abs(found - self.values).max() / max(self.peak, 1e-12))


@dataclass(frozen=True)
class Expected:
    """What one run of a graph should give: labels uint8 [H, W], and other stages by name."""

    labels: NDArray[np.uint8]
    stages: Mapping[str, Samples]


@dataclass(frozen=True)
class GoldenClip:
    """``frames`` uint8 [T, H, W, 3], the first a keyframe; ``motion`` float32 [T, H, W, 2], pixels to it.

    ``expected`` has, for each member of the bundle, one entry for each frame that it is for, by its index.
    """

    frames: NDArray[np.uint8]
    motion: NDArray[np.float32]
    expected: Mapping[str, Mapping[int, Expected]]

    def to_bytes(self) -> bytes:
        """Return the clip as the bytes of an ``.npz`` file; motion is kept in whole quarter pixels."""
        arrays: dict[str, NDArray[np.generic]] = {
            "frames": self.frames,
            "motion": np.rint(self.motion / QUARTER).astype(np.int16),
        }
        for member, runs in self.expected.items():
            for index, expected in runs.items():
                arrays[f"{member}:{index}:labels"] = expected.labels
                for stage, samples in expected.stages.items():
                    arrays[f"{member}:{index}:{stage}"] = np.append(samples.values, np.float32(samples.peak))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()


def spread(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return some thousand values of ``tensor``, evenly spread over it."""
    flat = tensor.reshape(-1)
    # A whole step would meet the same columns again and again where it divides the width.
    return flat[np.linspace(0, flat.size - 1, min(_SAMPLES, flat.size)).astype(np.int64)]


def samples_of(tensor: NDArray[np.float32]) -> Samples:
    """Return what the golden clip keeps of ``tensor``."""
    return Samples(spread(tensor), float(np.abs(tensor).max()))


def read_golden(data: bytes, name: str) -> GoldenClip:
    """Return the clip in ``data``; ``name`` is the bundle, for messages.

    Raises:
        BundleError: not such a clip, or one that unpacks to more than a gigabyte.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > _LARGEST_BYTES:
                raise ValueError("it unpacks to more than a gigabyte")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            content = {key: arrays[key] for key in arrays.files}
        frames, motion = content.pop("frames"), content.pop("motion").astype(np.float32) * QUARTER
        labels: dict[tuple[str, int], NDArray[np.uint8]] = {}
        stages: dict[tuple[str, int], dict[str, Samples]] = {}
        for key, array in content.items():
            member, index, stage = key.rsplit(":", 2)
            if stage == "labels":
                labels[member, int(index)] = array
            else:
                stages.setdefault((member, int(index)), {})[stage] = Samples(array[:-1], float(array[-1]))
        _check_clip(frames, motion, labels)
    except (
        *(ValueError, TypeError, LookupError, OSError, EOFError, RuntimeError, MemoryError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"{name}: the golden clip is broken ({reason}): export the bundle again") from None
    expected: dict[str, dict[int, Expected]] = {}
    for (member, index), found in labels.items():
        expected.setdefault(member, {})[index] = Expected(found, stages.get((member, index), {}))
    return GoldenClip(frames, motion, expected)


def _check_clip(
    frames: NDArray[np.uint8], motion: NDArray[np.float32], labels: Mapping[tuple[str, int], NDArray[np.uint8]]
) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}")
    if motion.shape != (*frames.shape[:3], 2) or not np.isfinite(motion).all():
        raise ValueError(f"motion is {motion.shape}, or has values that are not finite")
    for (member, index), each in labels.items():
        if each.dtype != np.uint8 or each.shape != frames.shape[1:3] or not 0 <= index < len(frames):
            raise ValueError(f"labels of {member[:40]} for frame {index} are {each.dtype} {each.shape}")
