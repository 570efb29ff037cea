"""The golden clip inside a bundle: a few frames, and what PyTorch made of them at export.

Labels are kept whole; of the larger tensors some thousand evenly spread values, with the largest magnitude
of the whole, to which errors relate. So a device can tell, without PyTorch, which stage is off.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arseg_edge.bundle import GOLDEN, KEYFRAME, Bundle
from arseg_edge.errors import BundleError, reason_of
from arseg_edge.manifest import Manifest

QUARTER = np.float32(0.25)
FORWARD = "forward"
"""The stage of parity figures that compares labels with those of a network's own ``forward``: at export alone."""
_SAMPLES = 4096
_LARGEST_BYTES = 1 << 30


@dataclass(frozen=True)
class Samples:
    """Evenly spread values of a tensor, and the largest magnitude that occurs in it."""

    values: NDArray[np.float32]
    peak: float

    def error(self, tensor: NDArray[np.float32] | NDArray[np.uint8]) -> float:
        """Return the largest difference of ``tensor`` at the same places, and of its peak, relative to the peak."""
        if tensor.dtype not in (np.float32, np.uint8):
            return float("inf")
        values = tensor.astype(np.float32, copy=False)
        found = spread(values)
        if found.shape != self.values.shape or not np.isfinite(values).all():
            return float("inf")
        largest = max(float(np.abs(found - self.values).max()), abs(float(np.abs(values).max()) - self.peak))
        return largest / max(self.peak, 1e-12)


@dataclass(frozen=True)
class Expected:
    """What one run of a graph should give: labels uint8 of the size to ask for, and other stages by name."""

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


def samples_of(tensor: NDArray[np.float32] | NDArray[np.uint8]) -> Samples:
    """Return what the golden clip keeps of ``tensor``, which is float32, or the bytes of a quantised feature."""
    values = tensor.astype(np.float32, copy=False)
    return Samples(spread(values), float(np.abs(values).max()))


def read_golden(data: bytes, name: str) -> GoldenClip:
    """Return the clip in ``data``; ``name`` is the bundle, for messages.

    Raises:
        BundleError: not such a clip, or one that unpacks to more than a gigabyte.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > _LARGEST_BYTES:
                raise ValueError("it unpacks to more than a gigabyte")
            if len({info.filename for info in infos}) < len(infos):
                raise ValueError("it has two arrays of one name")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            content = {key: arrays[key] for key in arrays.files}
        return _clip(content)
    # Whatever zipfile, zlib and NumPy's readers of headers raise on damaged bytes.
    except Exception as error:
        raise BundleError(f"{name}: the golden clip is broken ({reason_of(error)}): export the bundle again") from None


def golden_of(bundle: Bundle) -> GoldenClip:
    """Return a bundle's golden clip, checked against the manifest.

    Raises:
        BundleError: it is damaged, or not one that verifies every graph of this bundle.
    """
    clip = read_golden(bundle.read(GOLDEN), str(bundle.path))
    check_golden(clip, bundle.manifest, str(bundle.path))
    return clip


def check_golden(clip: GoldenClip, manifest: Manifest, name: str) -> None:
    """Check that a clip says of every graph of its bundle what it should give; ``name`` is the bundle, for messages.

    Every graph is expected to run on a frame at least, and there with each stage that was compared at export; the
    comparison's tolerance holds for that stage here too (:func:`tolerances`).

    Raises:
        BundleError: a graph, or a stage of one, without an expectation, or the reverse; frames of a size that the
            bundle does not take.
    """
    problem = _unlike(clip, manifest)
    if problem is not None:
        raise BundleError(f"{name}: the golden clip {problem}: export the bundle again")


def tolerances(manifest: Manifest) -> dict[tuple[str, str], float]:
    """Return for each (member, stage) that was compared at export the error that is allowed."""
    found: dict[tuple[str, str], float] = {}
    for figure in manifest.parity:
        key = figure.member, figure.stage
        found[key] = max(figure.tolerance, found.get(key, 0.0))
    return found


def _unlike(clip: GoldenClip, manifest: Manifest) -> str | None:
    """Return how a clip and its bundle do not fit, None where they do."""
    height, width = clip.frames.shape[1:3]
    limits = (manifest.size or manifest.smallest_size, manifest.size or manifest.largest_size)
    if not all(low <= side <= high for low, side, high in zip(limits[0], (height, width), limits[1], strict=True)):
        return f"has frames of {height}x{width}, which the bundle does not take"
    compared = tolerances(manifest)
    branches = {low.head: low.member for low in manifest.scales}
    graphs = [name for name in manifest.members if name.endswith(".onnx")]
    for member in sorted({*graphs, *clip.expected}, key=lambda member: (member in branches, member)):
        runs = clip.expected.get(member, {})
        if member not in graphs:
            return f"expects something of {member!r}, which the bundle lacks"
        if not runs:
            return f"expects nothing of {member}, so that it could not be verified"
        stages = {stage for each, stage in compared if each == member} - {FORWARD}
        for index, expected in runs.items():
            # The first frame is the keyframe of the others; HR may run on any.
            if index == 0 and member != KEYFRAME:
                return f"expects {member} to run on frame {index}"
            if index not in clip.expected[branches.get(member, member)]:
                return f"expects {member} to run on frame {index}, and {branches[member]} not"
            if manifest.format_version == 1 and expected.labels.shape != (height, width):
                return f"expects labels of another size of {member}, frame {index}, which bundle format 1 has not"
            for stage in sorted(stages ^ {"labels", *expected.stages}):
                has = "lacks" if stage in stages else "has"
                return f"{has} the stage {stage!r} of {member}, frame {index}, unlike the comparisons at export"
    return None


def _clip(content: dict[str, NDArray[Any]]) -> GoldenClip:
    """Return the clip of an ``.npz`` file's arrays, by name.

    Raises:
        ValueError: it makes no sense.
    """
    frames, quarters = content.pop("frames"), content.pop("motion")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}")
    if quarters.dtype != np.int16 or quarters.shape != (*frames.shape[:3], 2):
        raise ValueError(f"motion is {quarters.dtype} {quarters.shape}")
    labels: dict[tuple[str, int], NDArray[np.uint8]] = {}
    stages: dict[tuple[str, int], dict[str, Samples]] = {}
    for key, array in content.items():
        member, number, stage = key.rsplit(":", 2)
        run = member, int(number)
        if str(run[1]) != number or not 0 <= run[1] < len(frames):
            raise ValueError(f"{key[:60]!r} is for no frame")
        if stage == "labels":
            if array.dtype != np.uint8 or array.ndim != 2 or not array.size:
                raise ValueError(f"labels of {key[:60]!r} are {array.dtype} {array.shape}")
            labels[run] = array
            continue
        if array.dtype != np.float32 or array.ndim != 1 or array.size < 2 or not np.isfinite(array).all():
            raise ValueError(f"samples of {key[:60]!r} are {array.dtype} {array.shape}, or not finite")
        stages.setdefault(run, {})[stage] = Samples(array[:-1], float(array[-1]))
    for member, index in stages:
        if (member, index) not in labels:
            raise ValueError(f"no labels of {member[:40]!r} for frame {index}")
    expected: dict[str, dict[int, Expected]] = {}
    for (member, index), found in labels.items():
        expected.setdefault(member, {})[index] = Expected(found, stages.get((member, index), {}))
    return GoldenClip(frames, quarters.astype(np.float32) * QUARTER, expected)
