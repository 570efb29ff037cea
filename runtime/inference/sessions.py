"""The two networks of a bundle in ONNX Runtime, and the keyframe's feature between them.

The feature stays where the provider computed it, as an ``OrtValue``: it is neither copied nor looked at
between frames. Labels are written straight into the array that the caller gets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arseg_edge.bundle import KEYFRAME, Bundle
from arseg_edge.errors import ArsegError, OperatorError
from arseg_edge.runtime.inference.native_operators import native_operators
from arseg_edge.runtime.inference.providers import Provider, ProviderLike, first_that_loads

Frame = NDArray[np.uint8]
Labels = NDArray[np.uint8]
Motion = NDArray[np.float32]


@dataclass
class Sessions:
    """A bundle's keyframe and non-keyframe sessions on one provider; one thread at a time."""

    provider: Provider
    native: bool
    scale: float
    """Of the LR branch."""
    _keyframe: onnxruntime.InferenceSession
    _nonkeyframe: onnxruntime.InferenceSession
    _feature: onnxruntime.OrtValue | None = None
    _size: tuple[int, int] | None = None

    @property
    def has_keyframe(self) -> bool:
        """Whether a keyframe's feature is there for other frames to use."""
        return self._feature is not None

    def forget(self) -> None:
        """Let go of the keyframe's feature."""
        self._feature = None

    def run_keyframe(self, frame: Frame) -> Labels:
        """Return the labels uint8 [H, W] of ``frame`` uint8 [H, W, 3], and keep its feature.

        Raises:
            OperatorError: ONNX Runtime fails; then there is no keyframe.
        """
        size = frame.shape[0], frame.shape[1]
        feature, self._feature = self._feature, None
        if self._size != size:
            feature, self._size = None, size
        binding = self._keyframe.io_binding()
        batch = _batch(frame)
        with _as_operator_error(KEYFRAME):
            binding.bind_cpu_input("frame", batch)
            labels = _bind_labels(binding, size)
            if feature is None:
                binding.bind_output("feature", self.provider.device, self.provider.device_id)
            else:
                # The last keyframe's place: of the same shape, and needed no longer.
                binding.bind_ortvalue_output("feature", feature)
            self._keyframe.run_with_iobinding(binding)
        self._feature = binding.get_outputs()[1]
        return labels

    def run_nonkeyframe(self, frame: Frame, motion: Motion) -> Labels:
        """Return the labels uint8 [H, W] of ``frame``.

        Args:
            frame: uint8 [H, W, 3], or already of the LR branch's size.
            motion: float32 [H, W, 2], pixels to the last keyframe.

        Raises:
            OperatorError: ONNX Runtime fails.
        """
        if self._feature is None:
            raise RuntimeError("run_nonkeyframe before run_keyframe")
        binding = self._nonkeyframe.io_binding()
        # Bound arrays are used where they are and not held: they must outlive the run.
        batch, motions = _batch(frame), np.ascontiguousarray(motion, np.float32)[None]
        with _as_operator_error("nonkeyframe.onnx"):
            binding.bind_cpu_input("frame", batch)
            binding.bind_ortvalue_input("keyframe_feature", self._feature)
            binding.bind_cpu_input("motion", motions)
            labels = _bind_labels(binding, motion.shape[:2])
            self._nonkeyframe.run_with_iobinding(binding)
        return labels


def load_sessions(
    bundle: Bundle,
    *,
    providers: ProviderLike | Sequence[ProviderLike] | None,
    threads: int,
    scale: float | None,
    native: bool = True,
) -> Sessions:
    """Load a bundle's sessions on the first provider that works.

    ``native`` allows the native library, where it is there and ``ARSEG_EDGE_NATIVE`` does not forbid it.

    Raises:
        ProviderError: none does.
        OperatorError: ONNX Runtime does not take a graph.
        BundleError: a member is damaged, or there is no branch for ``scale``.
    """
    keyframe = bundle.read(KEYFRAME)
    low = bundle.manifest.low_resolution(scale)
    member = low.member
    nonkeyframe = bundle.read(member)

    def load(provider: Provider) -> Sessions:
        library = native_operators(provider) if native else None
        return Sessions(
            provider,
            library is not None,
            low.scale,
            open_session(keyframe, provider, threads, f"{bundle.path}: {KEYFRAME}", library),
            open_session(nonkeyframe, provider, threads, f"{bundle.path}: {member}", library),
        )

    return first_that_loads(providers, load)[1]


def open_session(
    model: bytes,
    provider: Provider,
    threads: int,
    name: str,
    library: object | None,
    options: onnxruntime.SessionOptions | None = None,
) -> onnxruntime.InferenceSession:
    """Return a session for ``model``, with the native ``library`` and further ``options`` if they are given.

    ``library`` is what ``native_operators`` gave for this provider, which ONNX Runtime is known to take.

    Raises:
        ProviderError: the provider does not load.
        OperatorError: ONNX Runtime does not take the graph.
    """
    options = options or onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # The decoder shares the cores: threads that spin between operators would take its time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A planned block would come on top of what the arena keeps from the first, unplanned run.
    options.enable_mem_pattern = False
    if library is not None:
        options.register_custom_ops_library(str(library))
    try:
        return provider.session(model, options)
    except ArsegError:
        raise
    except Exception as error:
        raise OperatorError(
            f"{name}: ONNX Runtime {onnxruntime.__version__} does not load it ({_short(error)}): "
            "update onnxruntime, or export the bundle again"
        ) from error


def _batch(frame: Frame) -> Frame:
    return np.ascontiguousarray(frame)[None]


def _bind_labels(binding: onnxruntime.IOBinding, size: tuple[int, ...]) -> Labels:
    labels = np.empty((1, *size), np.uint8)
    binding.bind_output("labels", "cpu", 0, np.uint8, labels.shape, labels.ctypes.data)
    first: Labels = labels[0]
    return first


@contextlib.contextmanager
def _as_operator_error(member: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise OperatorError(
            f"{member}: ONNX Runtime failed ({_short(error)}): try `arseg-edge verify` on this bundle"
        ) from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
