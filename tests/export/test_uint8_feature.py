"""A bundle whose graphs hand the keyframe's feature on in eight bits, run as any other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from arseg_edge.bundle import KEYFRAME, Bundle, read_bundle, write_bundle
from arseg_edge.export.head import head_of
from arseg_edge.export.operators.bodies import attach_bodies
from arseg_edge.operators import CREFF, CREFF_UINT8
from arseg_edge.runtime.inference.keyframe_state import KeyframeState
from arseg_edge.runtime.inference.networks import load_networks

TINY = Path(__file__).parents[1] / "data" / "tiny.arseg"
SCALE, ZERO_POINT = "feature_scale", "feature_zero_point"


def constants(scale: float, zero_point: int) -> list[onnx.TensorProto]:
    return [
        numpy_helper.from_array(np.array(scale, np.float32), SCALE),
        numpy_helper.from_array(np.array(zero_point, np.uint8), ZERO_POINT),
    ]


def with_bytes(sound: Bundle, out: Path, feature: np.ndarray) -> Bundle:
    """Write ``sound`` with its feature in the 256 steps from the least to the greatest value of ``feature``."""
    low, high = min(0.0, float(feature.min())), max(0.0, float(feature.max()))
    scale = (high - low) / 255
    numbers = constants(scale, round(-low / scale))
    members = {name: sound.read(name) for name in sound.manifest.members}

    keyframe = onnx.load_from_string(members[KEYFRAME])
    for node in keyframe.graph.node:
        for names in (node.input, node.output):
            names[:] = ["feature_in_floats" if name == "feature" else name for name in names]
    keyframe.graph.node.append(
        helper.make_node("QuantizeLinear", ["feature_in_floats", SCALE, ZERO_POINT], ["feature"])
    )
    keyframe.graph.initializer.extend(numbers)
    (output,) = (each for each in keyframe.graph.output if each.name == "feature")
    output.type.tensor_type.elem_type = TensorProto.UINT8
    members[KEYFRAME] = keyframe.SerializeToString()

    name = sound.manifest.low_resolution(None).member
    nonkeyframe = onnx.load_from_string(members[name])
    (creff,) = (node for node in nonkeyframe.graph.node if node.op_type == CREFF)
    creff.op_type = CREFF_UINT8
    creff.input.extend([SCALE, ZERO_POINT])
    nonkeyframe.graph.initializer.extend(numbers)
    (kept,) = (each for each in nonkeyframe.graph.input if each.name == "keyframe_feature")
    kept.type.tensor_type.elem_type = TensorProto.UINT8
    del nonkeyframe.functions[:], nonkeyframe.graph.value_info[:]
    attach_bodies(nonkeyframe)
    members[name] = nonkeyframe.SerializeToString()
    return write_bundle(out, dataclasses.replace(sound.manifest, members={}), members)


@pytest.mark.parametrize("native", [True, False])
def test_labels_agree_with_those_of_floats(tmp_path: Path, native: bool) -> None:
    random = np.random.default_rng(0)
    sound = read_bundle(TINY)
    frames = random.integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    motion = (random.integers(-6, 6, (8, 12, 2)) / 8).astype(np.float32)
    networks = load_networks(sound, providers=None, threads=1, scale=None, native=native)
    _, feature = networks.run_keyframe(frames[0], (64, 96))
    assert feature is not None
    found, kept = [], []
    for bundle in (sound, with_bytes(sound, tmp_path / "bytes.arseg", feature.numpy())):
        opened = load_networks(bundle, providers=None, threads=1, scale=None, native=native)
        state = KeyframeState(opened)
        state.run_keyframe(frames[1], (64, 96))
        state.run_keyframe(frames[0], (64, 96))  # its feature goes where the first one's was
        found.append(state.run_nonkeyframe(frames[1], motion, (64, 96)).labels)
        assert isinstance(state._feature, onnxruntime.OrtValue)
        kept.append(state._feature.numpy())
    assert kept[1].dtype == np.uint8
    assert kept[1].nbytes * 4 == kept[0].nbytes
    assert (found[0] == found[1]).mean() > 0.98


def test_the_head_is_cut_out_of_a_graph_on_bytes(tmp_path: Path) -> None:
    sound = read_bundle(TINY)
    name = sound.manifest.low_resolution(None).member
    in_bytes = with_bytes(sound, tmp_path / "bytes.arseg", np.array([-1.0, 1.0], np.float32))
    heads = [head_of(onnx.load_from_string(bundle.read(name))) for bundle in (sound, in_bytes)]
    weights = [
        [numpy_helper.to_array(each).tobytes() for each in head.graph.initializer if each.name in node.input]
        for head in heads
        for node in head.graph.node
        if node.name == "last_layer"
    ]
    assert len(weights) == 2
    assert weights[0]
    assert weights[0] == weights[1]
