"""A bundle's networks in ONNX Runtime: heavy, without a state of their own, for any number of streams.

ONNX Runtime's sessions may run on several threads at once. What belongs to one stream, the keyframe's feature, is in
``keyframe_state.py``.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arseg_edge.bundle import KEYFRAME, Bundle
from arseg_edge.errors import OperatorError, SequenceError, UsageError, reason_of
from arseg_edge.lr_size import lr_size
from arseg_edge.manifest import Manifest
from arseg_edge.operators import Sampling
from arseg_edge.runtime.inference.native_operators import native_operators
from arseg_edge.runtime.inference.providers import Provider, ProviderLike, first_that_loads
from arseg_edge.runtime.inference.sessions import CONFIDENCE_SIZE, open_session
from arseg_edge.runtime.labels.seen import Labels, Seen
from arseg_edge.runtime.motion.agreement import fitting, resized
from arseg_edge.runtime.motion.chain import Motion

Frame = NDArray[np.uint8]
Size = tuple[int, int]
"""(height, width)."""


NO_LR: Final = "there is no LR network beside HR: move labels along instead (branch='moved', schedule='adaptive')"

LOGITS = "logits"
"""The graphs' output of that name, [1, classes, h, w]."""

CONFIDENCE: Final = "confidence"
"""The graphs' output of that name, uint8 [1, H, W]."""


class OldFormatWarning(UserWarning):
    """A bundle of format 1 gives labels of the networks' size only: they are enlarged."""


class Networks:
    """A bundle's HR network, and one LR network with its fusion where there is one, on one provider."""

    def __init__(
        self,
        manifest: Manifest,
        provider: Provider,
        scale: float | None,
        keyframe: onnxruntime.InferenceSession,
        nonkeyframe: onnxruntime.InferenceSession | None,
        *,
        native: bool,
    ) -> None:
        """Take sessions that were opened on ``provider``; ``scale`` is that of the LR branch, None for HR alone."""
        self.provider = provider
        self.native = native
        """Whether the custom operators run in the native library."""
        self.scale = scale
        self._sized = manifest.format_version >= 2
        self._gives_logits = manifest.label_rule is not None
        self._sampling: Sampling = "consistent" if manifest.motion is None else manifest.motion.sampling
        self._sessions: tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession | None] | None
        self._sessions = keyframe, nonkeyframe
        self._warned = False
        opened = [each for each in (keyframe, nonkeyframe) if each is not None]
        takes = [any(each.name == CONFIDENCE_SIZE for each in session.get_inputs()) for session in opened]
        self.gives_confidence = all(takes)
        """Whether the graphs say how sure their labels are."""

    @property
    def has_lr(self) -> bool:
        """Whether there is an LR network."""
        return self.scale is not None

    @property
    def takes_any_grid(self) -> bool:
        """Whether LR takes motion on any grid over the picture as it is."""
        return self._sized and self._sampling == "consistent"

    def lr_size(self, frame_size: Size) -> Size:
        """Return the size that the LR network runs at beside a keyframe of ``frame_size``.

        Raises:
            UsageError: there is none.
        """
        if self.scale is None:
            raise UsageError(NO_LR)
        return lr_size(*frame_size, self.scale)

    def run_keyframe(
        self,
        frame: Frame,
        labels_size: Size,
        place: onnxruntime.OrtValue | None = None,
        *,
        logits: bool = False,
        confidence: bool = False,
    ) -> tuple[Seen, onnxruntime.OrtValue | None]:
        """Return the labels, uint8 of ``labels_size``, and the feature of ``frame`` uint8 [H, W, 3].

        With ``logits`` they come too, where the bundle gives them, and so does ``confidence``. The feature, which only
        LR needs, is None where there is no LR. It stays where the provider computed it: in ``place``, if that is given,
        which is the feature of another frame of this size that is needed no longer.

        Raises:
            OperatorError: ONNX Runtime fails.
            SequenceError: the networks were closed.
        """
        session = self._open()[0]
        binding = session.io_binding()
        batch, size = _batch(frame), _size(labels_size)
        with _as_operator_error(KEYFRAME):
            # Bound arrays are used where they are and not held: they must outlive the run.
            binding.bind_cpu_input("frame", batch)
            if self._sized:
                binding.bind_cpu_input("labels_size", size)
            labels = _bind_bytes(binding, "labels", labels_size if self._sized else frame.shape[:2])
            if self.has_lr and place is None:
                binding.bind_output("feature", self.provider.device, self.provider.device_id)
            elif self.has_lr:
                binding.bind_ortvalue_output("feature", place)
            if logits := logits and self._gives_logits:
                binding.bind_output(LOGITS, "cpu")
            asked = self._ask_confidence(binding, labels_size, confidence)
            session.run_with_iobinding(binding)
        outputs = binding.get_outputs()
        found = _logits(outputs[2 if self.has_lr else 1]) if logits else None
        seen = Seen(self._enlarged(labels, labels_size), found, asked.confidence)
        return seen, outputs[1] if self.has_lr else None

    def run_nonkeyframe(
        self,
        frame: Frame,
        feature: onnxruntime.OrtValue,
        motion: Motion,
        frame_size: Size,
        labels_size: Size,
        *,
        logits: bool = False,
        confidence: bool = False,
    ) -> Seen:
        """Return the labels, uint8 of ``labels_size``, of a frame after a keyframe.

        Args:
            frame: uint8 [H, W, 3], or already of the LR network's size.
            feature: of the keyframe.
            motion: float32 [a, b, 2], to that keyframe, on any grid over the picture, in cells of that grid.
            frame_size: the (H, W) that the keyframe's network ran at.
            labels_size: (height, width).
            logits: give them too, where the bundle does.
            confidence: the same.

        Raises: as ``run_keyframe``, and UsageError where there is no LR network.
        """
        session = self._open()[1]
        if session is None:
            raise UsageError(NO_LR)
        binding = session.io_binding()
        batch, motions = _batch(frame), np.ascontiguousarray(self._fitting(motion, frame_size))[None]
        sizes = {"frame_size": _size(frame_size), "labels_size": _size(labels_size)} if self._sized else {}
        with _as_operator_error("nonkeyframe.onnx"):
            binding.bind_cpu_input("frame", batch)
            binding.bind_ortvalue_input("keyframe_feature", feature)
            binding.bind_cpu_input("motion", motions)
            for name, size in sizes.items():
                binding.bind_cpu_input(name, size)
            labels = _bind_bytes(binding, "labels", labels_size if self._sized else frame_size)
            if logits := logits and self._gives_logits:
                binding.bind_output(LOGITS, "cpu")
            asked = self._ask_confidence(binding, labels_size, confidence)
            session.run_with_iobinding(binding)
        found = _logits(binding.get_outputs()[1]) if logits else None
        return Seen(self._enlarged(labels, labels_size), found, asked.confidence)

    def _ask_confidence(self, binding: onnxruntime.IOBinding, labels_size: Size, wanted: bool) -> _Asked:
        """Bind what is asked for, where the graph can be asked."""
        if not self.gives_confidence:
            return _Asked(None, None)
        size = _size(labels_size if wanted else (0, 0))
        binding.bind_cpu_input(CONFIDENCE_SIZE, size)
        return _Asked(size, _bind_bytes(binding, CONFIDENCE, labels_size) if wanted else None)

    def close(self) -> None:
        """Let go of the sessions, and with them of their memory; safe to call twice."""
        self._sessions = None

    def _open(self) -> tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession | None]:
        if self._sessions is None:
            raise SequenceError("the segmenter is closed: load the bundle again")
        return self._sessions

    def _fitting(self, motion: Motion, frame_size: Size) -> Motion:
        """Return ``motion`` on a grid that the graph takes; one of format 1 reads the frame's size off it."""
        if self._sized:
            return fitting(motion, frame_size, self._sampling)
        return motion if motion.shape[:2] == frame_size else resized(motion, *frame_size)

    def _enlarged(self, labels: Labels, size: Size) -> Labels:
        """Return labels of ``size``, which a graph of format 1 does not make."""
        if labels.shape == size:
            return labels
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"a bundle of format 1 gives labels of {labels.shape[0]}x{labels.shape[1]}; enlarged to "
                f"{size[0]}x{size[1]} their edges show steps: renew the bundle by `arseg-edge export --upgrade`",
                OldFormatWarning,
                stacklevel=2,
            )
        return np.asarray(cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def load_networks(
    bundle: Bundle,
    *,
    providers: ProviderLike | Sequence[ProviderLike] | None,
    threads: int,
    scale: float | None,
    native: bool = True,
) -> Networks:
    """Load a bundle's networks on the first provider that works.

    ``native`` allows the native library, where it is there and ``ARSEG_EDGE_NATIVE`` does not forbid it.

    Raises:
        ProviderError: none does.
        OperatorError: ONNX Runtime does not take a graph.
        BundleError: a member is damaged, or there is no branch for ``scale``.
    """
    keyframe = bundle.read(KEYFRAME)
    low = bundle.manifest.low_resolution(scale) if bundle.manifest.has_lr or scale is not None else None
    nonkeyframe = None if low is None else bundle.read(low.member)

    def load(provider: Provider) -> Networks:
        library = native_operators(provider) if native else None

        def opened(model: bytes, member: str) -> onnxruntime.InferenceSession:
            return open_session(model, provider, threads, f"{bundle.path}: {member}", library)

        return Networks(
            bundle.manifest,
            provider,
            None if low is None else low.scale,
            opened(keyframe, KEYFRAME),
            None if low is None or nonkeyframe is None else opened(nonkeyframe, low.member),
            native=library is not None,
        )

    return first_that_loads(providers, load)[1]


def _logits(value: onnxruntime.OrtValue) -> NDArray[np.float32]:
    """Return [h, w, classes] of [1, classes, h, w]: who looks one place up wants all classes of it."""
    return np.ascontiguousarray(np.moveaxis(value.numpy()[0], 0, -1))


def _batch(frame: Frame) -> Frame:
    return np.ascontiguousarray(frame)[None]


def _size(size: Size) -> NDArray[np.int64]:
    return np.array(size, np.int64)


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is bound for the confidence, and must outlive the run."""

    size: NDArray[np.int64] | None
    confidence: NDArray[np.uint8] | None


def _bind_bytes(binding: onnxruntime.IOBinding, name: str, size: Sequence[int]) -> NDArray[np.uint8]:
    """Let an output be written straight into the array [H, W] that is returned."""
    values = np.empty((1, *size), np.uint8)
    binding.bind_output(name, "cpu", 0, np.uint8, values.shape, values.ctypes.data)
    first: NDArray[np.uint8] = values[0]
    return first


@contextlib.contextmanager
def _as_operator_error(member: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise OperatorError(
            f"{member}: ONNX Runtime failed ({reason_of(error)}): try `arseg-edge verify` on this bundle"
        ) from error
