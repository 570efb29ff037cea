"""Networks and a stream's state: where the feature lives, and what ONNX Runtime refuses."""

from __future__ import annotations

import gc
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import arseg_edge
from arseg_edge.bundle import Bundle, read_bundle, write_bundle
from arseg_edge.errors import BundleError, OperatorError, SequenceError
from arseg_edge.onnx_bytes import tiny_model
from arseg_edge.runtime.inference import native_operators
from arseg_edge.runtime.inference.keyframe_state import KeyframeState
from arseg_edge.runtime.inference.networks import Networks, load_networks
from arseg_edge.runtime.native import NativeLibraryWarning, NativeState

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
SIZE = 64, 96
STILL = np.zeros((64, 96, 2), np.float32)


def loaded(path: Path) -> Networks:
    return load_networks(read_bundle(path), providers="cpu", threads=1, scale=None)


def changed(bundle: Path, target: Path, **members: bytes) -> Bundle:
    """Write a copy in which some members, named without their suffix, are others."""
    old = read_bundle(bundle)
    content = {name: members.get(name.split(".")[0], old.read(name)) for name in old.manifest.members}
    return write_bundle(target, old.manifest, content)


def test_the_keyframes_feature_is_kept_and_let_go(tiny_bundle: Path) -> None:
    state = KeyframeState(loaded(tiny_bundle))
    with pytest.raises(RuntimeError, match="before run_keyframe"):
        state.run_nonkeyframe(PICTURE, STILL, SIZE)
    state.run_keyframe(PICTURE, SIZE)
    labels = [state.run_nonkeyframe(PICTURE, STILL, SIZE).labels for _ in range(2)]
    np.testing.assert_array_equal(*labels)
    state.forget()
    with pytest.raises(RuntimeError, match="before run_keyframe"):
        state.run_nonkeyframe(PICTURE, STILL, SIZE)


def test_states_on_the_same_networks_do_not_meet(tiny_bundle: Path) -> None:
    networks = loaded(tiny_bundle)
    pictures = PICTURE, 255 - PICTURE
    alone = []
    for picture in pictures:
        state = KeyframeState(networks)
        alone.append((state.run_keyframe(picture, SIZE).labels, state.run_nonkeyframe(PICTURE, STILL, SIZE).labels))
    states = [KeyframeState(networks) for _ in pictures]
    keys = [state.run_keyframe(picture, SIZE).labels for state, picture in zip(states, pictures, strict=True)]
    others = [state.run_nonkeyframe(PICTURE, STILL, SIZE).labels for state in states]
    for expected, key, other in zip(alone, keys, others, strict=True):
        np.testing.assert_array_equal(expected, (key, other))
    assert (others[0] != others[1]).mean() > 0.01


def test_closed_networks_let_go_of_their_sessions(tiny_bundle: Path) -> None:
    networks = loaded(tiny_bundle)
    sessions = [weakref.ref(each) for each in networks._open()]
    networks.close()
    gc.collect()
    assert [each() for each in sessions] == [None, None]
    with pytest.raises(SequenceError, match="closed"):
        networks.run_keyframe(PICTURE, SIZE)
    networks.close()


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
        networks = loaded(tiny_bundle)
    assert not networks.native
    networks.run_keyframe(PICTURE, SIZE)
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
