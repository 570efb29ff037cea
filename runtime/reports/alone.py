"""Single sessions on fixed inputs, without a pipeline around them."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arseg_edge.bundle import KEYFRAME, Bundle
from arseg_edge.manifest import MotionRule
from arseg_edge.onnx_bytes import ending_at, matmul_model
from arseg_edge.runtime.inference.native_operators import native_operators
from arseg_edge.runtime.inference.networks import LOGITS
from arseg_edge.runtime.inference.providers import CPU, Provider
from arseg_edge.runtime.inference.sessions import feeds_of, open_session
from arseg_edge.runtime.motion.agreement import fitting, resized
from arseg_edge.runtime.motion.chain import Motion
from arseg_edge.runtime.motion.step import blocks_of
from arseg_edge.runtime.read_motion import MotionFrame
from arseg_edge.runtime.source.resizing import resized_picture

MATMUL_SIZE: Final = 1024

_TIMED: Final = ("NormalizeImage", "NormalizeImageUint8", "Creff", "CreffUint8", "SegmentationLabels")


class Alone:
    """The sessions of one bundle, and a multiplication of matrices."""

    def __init__(self, bundle: Bundle, threads: int, frames: Sequence[MotionFrame], size: tuple[int, int]) -> None:
        """``size``: what the networks see the frames at; labels have the frames' own."""
        provider = Provider(CPU)
        library = native_operators(provider)
        self._hr = open_session(bundle.read(KEYFRAME), provider, threads, KEYFRAME, library)
        self._matmul = open_session(matmul_model(MATMUL_SIZE), provider, threads, "matmul", None)
        rng = np.random.default_rng(0)
        self._matrix = rng.random((MATMUL_SIZE, MATMUL_SIZE), np.float32)
        first, last = (np.ascontiguousarray(resized_picture(frames[at].rgb, size))[None] for at in (0, -1))
        sizes: dict[str, NDArray[np.generic]] = {
            "frame_size": np.array(size, np.int64),
            "labels_size": np.array(frames[0].rgb.shape[:2], np.int64),
        }
        self._key = feeds_of(self._hr, {"frame": first, **sizes})
        self.between: AloneBetween | None = None
        """The sessions of LR; None where there are none."""
        if bundle.manifest.motion is not None:
            # Where nothing can be followed, none: how long a network takes hangs on the size of motion alone.
            none = np.zeros((*size, 2), np.float32)
            motion = next((frame.motion for frame in reversed(frames) if frame.motion is not None), none)
            feature = self._hr.run(["feature"], self._key)[0]
            inputs = {"frame": last, "keyframe_feature": feature, **sizes}
            self.between = AloneBetween(bundle, bundle.manifest.motion, threads, motion, size, inputs, library)

    def hr(self) -> None:
        """Run the HR network for its labels."""
        self._hr.run(["labels"], self._key)

    def logits(self) -> NDArray[np.float32] | None:
        """Return the first frame's, [h, w, classes], where the bundle gives them."""
        if LOGITS not in [each.name for each in self._hr.get_outputs()]:
            return None
        return np.ascontiguousarray(np.moveaxis(self._hr.run([LOGITS], self._key)[0][0], 0, -1))

    def sgemm(self) -> None:
        """Multiply two matrices on the same threads."""
        self._matmul.run(None, {"a": self._matrix, "b": self._matrix})


class AloneBetween:
    """What runs between keyframes: the first LR network of a bundle, with its fusion and without."""

    def __init__(
        self,
        bundle: Bundle,
        rule: MotionRule,
        threads: int,
        motion: Motion,
        size: tuple[int, int],
        inputs: Mapping[str, NDArray[np.generic]],
        library: Path | None,
    ) -> None:
        """``motion`` float32 [H, W, 2] in pixels; ``inputs`` are all others of the graph, at ``size``."""
        self._threads, self._library = threads, library
        self._nonkeyframe = bundle.read(bundle.manifest.low_resolution(None).member)
        provider = Provider(CPU)
        self._ar = open_session(self._nonkeyframe, provider, threads, "nonkeyframe.onnx", library)
        lr = ending_at(self._nonkeyframe, "lr_feature", without=("Creff", "CreffUint8", "SegmentationLabels"))
        self._lr = open_session(lr, provider, threads, "nonkeyframe.onnx", library)
        # A graph that takes sizes takes motion on the grid of blocks that the adaptive schedule has.
        grid = blocks_of(*size) if "frame_size" in [each.name for each in self._ar.get_inputs()] else size
        cells = np.ascontiguousarray(fitting(resized(motion, *grid), size, rule.sampling))[None]
        self._inputs = feeds_of(self._ar, {**inputs, "motion": cells})

    def lr_frame(self) -> None:
        """Run everything that a frame between keyframes takes."""
        self._ar.run(["labels"], self._inputs)

    def lr_network(self) -> None:
        """Run the LR network up to its feature, and no more."""
        self._lr.run(None, self._inputs)

    def operators(self, runs: int = 5) -> dict[str, float]:
        """Return median milliseconds of each custom operator in an AR frame, by ONNX Runtime's profiler."""
        with tempfile.TemporaryDirectory() as folder:
            options = onnxruntime.SessionOptions()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = open_session(
                self._nonkeyframe, Provider(CPU), self._threads, "nonkeyframe.onnx", self._library, options
            )
            for _ in range(runs):
                session.run(None, self._inputs)
            events = json.loads(Path(session.end_profiling()).read_text())
        durations: dict[str, list[float]] = {}
        for event in events:
            operator = event.get("args", {}).get("op_name", "")
            if event["name"].endswith("_kernel_time") and operator in _TIMED:
                durations.setdefault(operator, []).append(event["dur"] / 1e3)
        return {operator: statistics.median(values) for operator, values in durations.items()}
