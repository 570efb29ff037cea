"""Sessions: where the feature lives, and what ONNX Runtime refuses."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import arseg_edge
from arseg_edge.bundle import Bundle, read_bundle, write_bundle
from arseg_edge.errors import BundleError, OperatorError
from arseg_edge.onnx_bytes import tiny_model
from arseg_edge.runtime.inference import native_operators
from arseg_edge.runtime.inference.sessions import Sessions, load_sessions
from arseg_edge.runtime.native import NativeLibraryWarning, NativeState

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
STILL = np.zeros((64, 96, 2), np.float32)


def loaded(path: Path) -> Sessions:
    return load_sessions(read_bundle(path), providers="cpu", threads=1, scale=None)


def changed(bundle: Path, target: Path, **members: bytes) -> Bundle:
    """Write a copy in which some members, named without their suffix, are others."""
    old = read_bundle(bundle)
    content = {name: members.get(name.split(".")[0], old.read(name)) for name in old.manifest.members}
    return write_bundle(target, old.manifest, content)


def test_the_keyframes_feature_is_kept_and_let_go(tiny_bundle: Path) -> None:
    sessions = loaded(tiny_bundle)
    assert not sessions.has_keyframe
    sessions.run_keyframe(PICTURE)
    assert sessions.has_keyframe
    labels = [sessions.run_nonkeyframe(PICTURE, STILL) for _ in range(2)]
    np.testing.assert_array_equal(*labels)
    sessions.forget()
    assert not sessions.has_keyframe


def test_a_graph_that_onnxruntime_does_not_take(tiny_bundle: Path, tmp_path: Path) -> None:
    # A sound protobuf message that is no model.
    path = changed(tiny_bundle, tmp_path / "empty.arseg", keyframe=b"\x08\x09").path
    with pytest.raises(OperatorError, match=r"keyframe\.onnx: ONNX Runtime .* does not load it") as raised:
        loaded(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_graph_of_other_inputs(tiny_bundle: Path, tmp_path: Path) -> None:
    path = changed(tiny_bundle, tmp_path / "relu.arseg", keyframe=tiny_model()).path
    with arseg_edge.load(path) as segmenter, pytest.raises(OperatorError, match=r"keyframe\.onnx") as raised:
        segmenter.step(PICTURE)
    assert "\n" not in str(raised.value)


def test_damage_is_found_when_loading(tiny_bundle: Path, tmp_path: Path) -> None:
    data = bytearray(tiny_bundle.read_bytes())
    at = data.index(read_bundle(tiny_bundle).read("nonkeyframe.onnx"))
    data[at + 5000] ^= 1
    path = tmp_path / "damaged.arseg"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"nonkeyframe\.onnx"):
        arseg_edge.load(path)


def test_a_library_that_onnxruntime_does_not_take(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "libarseg_ops.so"
    library.write_bytes(b"no library")
    monkeypatch.setattr(native_operators, "library_path", lambda: library)
    monkeypatch.setattr(native_operators, "state", lambda: NativeState(library, True, "", "avx2"))
    with pytest.warns(NativeLibraryWarning, match=r"libarseg_ops\.so is not used.*refused by ONNX Runtime") as caught:
        sessions = loaded(tiny_bundle)
    assert not sessions.native
    sessions.run_keyframe(PICTURE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not loaded(tiny_bundle).native  # once is enough
    assert len(caught) == 1
    found = native_operators.operators_state()
    assert (found.path, found.enabled, found.simd) == (library, False, None)
    assert "refused by ONNX Runtime" in found.reason


def test_the_native_library_can_be_turned_off(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", "0")
    assert not loaded(tiny_bundle).native


def test_threads_reach_onnxruntime(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    real = onnxruntime.InferenceSession

    def session(model: bytes, options: onnxruntime.SessionOptions, **rest: Any) -> onnxruntime.InferenceSession:
        threads.append(options.intra_op_num_threads)
        return real(model, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    arseg_edge.load(tiny_bundle, threads=3).close()
    assert set(threads) == {3}
