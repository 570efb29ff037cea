"""The protobuf that is read and written without the onnx package, against the onnx package."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from arseg_edge.bundle import GOLDEN, KEYFRAME, read_bundle, write_bundle
from arseg_edge.errors import BundleError
from arseg_edge.onnx_bytes import ending_at, has_external_data, matmul_model, tiny_model, with_outputs


def session(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def tensor(name: str = "weight") -> onnx.TensorProto:
    return numpy_helper.from_array(np.arange(4, dtype=np.float32), name)


def outside(name: str = "weight") -> onnx.TensorProto:
    """Return a tensor whose data is in another file."""
    found = tensor(name)
    found.ClearField("raw_data")
    found.data_location = TensorProto.EXTERNAL
    entry = found.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return found


def model_of(*nodes: onnx.NodeProto, initializer: tuple[onnx.TensorProto, ...] = ()) -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph(list(nodes), "graph", [value], [result], list(initializer))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def in_initializer(weight: onnx.TensorProto) -> onnx.ModelProto:
    return model_of(helper.make_node("Add", ["x", "weight"], ["y"]), initializer=(tensor("other"), weight))


def in_attribute(weight: onnx.TensorProto) -> onnx.ModelProto:
    return model_of(
        helper.make_node("Constant", [], ["weight"], value=weight), helper.make_node("Add", ["x", "weight"], ["y"])
    )


def in_list_attribute(weight: onnx.TensorProto) -> onnx.ModelProto:
    node = helper.make_node("Add", ["x", "x"], ["y"])
    node.attribute.append(helper.make_attribute("many", [tensor(), weight]))
    return model_of(node)


def in_sparse_initializer(weight: onnx.TensorProto) -> onnx.ModelProto:
    model = model_of(helper.make_node("Add", ["x", "x"], ["y"]))
    model.graph.sparse_initializer.add().values.CopyFrom(weight)
    return model


def in_sparse_attribute(weight: onnx.TensorProto) -> onnx.ModelProto:
    sparse = onnx.SparseTensorProto()
    sparse.indices.CopyFrom(weight)
    return model_of(helper.make_node("Constant", [], ["y"], sparse_value=sparse))


def in_subgraph(weight: onnx.TensorProto) -> onnx.ModelProto:
    inner, other = in_attribute(weight).graph, in_attribute(tensor()).graph
    outer = model_of(helper.make_node("If", ["condition"], ["y"], then_branch=other, else_branch=inner)).graph
    return model_of(helper.make_node("If", ["condition"], ["y"], then_branch=outer, else_branch=other))


def in_function(weight: onnx.TensorProto) -> onnx.ModelProto:
    model = model_of(helper.make_node("Custom", ["x"], ["y"], domain="own"))
    nodes = list(in_attribute(weight).graph.node)
    model.functions.append(helper.make_function("own", "Custom", ["x"], ["y"], nodes, [helper.make_opsetid("", 18)]))
    return model


def in_function_default(weight: onnx.TensorProto) -> onnx.ModelProto:
    model = in_function(tensor())
    model.functions[0].attribute_proto.append(helper.make_attribute("default", weight))
    return model


def in_training(weight: onnx.TensorProto) -> onnx.ModelProto:
    model = in_initializer(tensor())
    model.training_info.add().initialization.CopyFrom(in_initializer(weight).graph)
    return model


PLACES = [
    in_initializer, in_attribute, in_list_attribute, in_sparse_initializer, in_sparse_attribute, in_subgraph,
    in_function, in_function_default, in_training,
]  # fmt: skip
Place = Callable[[onnx.TensorProto], onnx.ModelProto]


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_wherever_it_is(place: Place) -> None:
    assert not has_external_data(place(tensor()).SerializeToString())
    assert has_external_data(place(outside()).SerializeToString())
    # Either of the two fields is enough: readers differ in which one they look at.
    only_location, only_entry = outside(), outside()
    only_location.ClearField("external_data")
    only_entry.ClearField("data_location")
    assert has_external_data(place(only_location).SerializeToString())
    assert has_external_data(place(only_entry).SerializeToString())


@pytest.mark.parametrize("place", PLACES)
def test_bundle_with_external_data_is_neither_written_nor_read(
    place: Place, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = read_bundle(tiny_bundle)
    members = {name: sound.read(name) for name in sound.manifest.members}
    members[KEYFRAME] = place(outside()).SerializeToString()
    out = tmp_path / "street.arseg"
    with pytest.raises(BundleError, match=r"keyframe\.onnx: keeps tensor data outside the bundle"):
        write_bundle(out, sound.manifest, members)
    assert not out.exists()

    with monkeypatch.context() as patch:
        patch.setattr("arseg_edge.bundle._refuse_external_data", lambda model, name: None)
        written = write_bundle(out, dataclasses.replace(sound.manifest, members={}), members)
    with pytest.raises(
        BundleError, match=r"street\.arseg: keyframe\.onnx: keeps tensor data outside the bundle"
    ) as error:
        read_bundle(out).read(KEYFRAME)
    assert "\n" not in str(error.value)
    assert written.read(GOLDEN) == sound.read(GOLDEN)


def test_real_models_keep_their_data_inside(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    for member in (KEYFRAME, *(branch.member for branch in bundle.manifest.scales)):
        assert not has_external_data(bundle.read(member))


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x0a\x05abc", b"\x3a\x80", b"\x0b", b"\x3a\x02\x0a\x7f"])
def test_what_is_no_protobuf_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="byte"):
        has_external_data(data)


def test_deeply_nested_graphs_end_in_an_error_not_a_crash(tiny_bundle: Path, tmp_path: Path) -> None:
    payload = b""
    for _ in range(5000):  # graph in attribute in node in graph in …
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            payload = tag + length(len(payload)) + payload
    data = b"\x3a" + length(len(payload)) + payload
    with pytest.raises(RecursionError):
        has_external_data(data)
    sound = read_bundle(tiny_bundle)
    members = {name: sound.read(name) for name in sound.manifest.members}
    with pytest.raises(BundleError, match="not an ONNX model"):
        write_bundle(tmp_path / "deep.arseg", sound.manifest, {**members, KEYFRAME: data})


def length(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def test_inner_values_become_outputs(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    model = bundle.read("nonkeyframe.onnx")
    more = with_outputs(model, ["lr_feature", "logits"])
    parsed = onnx.load_from_string(more)
    assert [output.name for output in parsed.graph.output] == ["labels", "lr_feature", "logits"]
    del parsed.graph.output[1:]
    assert parsed == onnx.load_from_string(model)
    random = np.random.default_rng(0)
    feeds = {
        "frame": random.integers(0, 256, (1, 40, 56, 3), np.uint8),
        "keyframe_feature": random.standard_normal((1, 8, 10, 14), np.float32),
        "motion": np.zeros((1, 40, 56, 2), np.float32),
    }
    labels, lr_feature, logits = session(more).run(None, feeds)
    assert lr_feature.shape == (1, 8, 5, 7)
    assert logits.shape == (1, 3, 10, 14)
    np.testing.assert_array_equal(labels, session(model).run(None, feeds)[0])
    assert with_outputs(model, []) == model + b"\x3a\x00"
    assert onnx.load_from_string(with_outputs(model, [])) == onnx.load_from_string(model)


def test_tiny_model_is_a_model() -> None:
    model = onnx.load_from_string(tiny_model())
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 9
    x = np.array([-1, 0, 2, -np.inf], np.float32)
    np.testing.assert_array_equal(session(tiny_model()).run(None, {"x": x})[0], [0, 0, 2, 0])


def test_matmul_model_multiplies() -> None:
    onnx.checker.check_model(onnx.load_from_string(matmul_model(200)), full_check=True)
    a, b = np.random.default_rng(0).standard_normal((2, 200, 200), np.float32)
    np.testing.assert_allclose(session(matmul_model(200)).run(None, {"a": a, "b": b})[0], a @ b, atol=1e-4)


def test_a_model_that_ends_at_an_inner_value(tiny_bundle: Path) -> None:
    model = read_bundle(tiny_bundle).read("nonkeyframe.onnx")
    short = ending_at(model, "lr_feature", without=("Creff", "SegmentationLabels"))
    parsed, whole = onnx.load_from_string(short), onnx.load_from_string(model)
    assert [node.op_type for node in parsed.graph.node] == [
        node.op_type for node in whole.graph.node if node.op_type not in ("Creff", "SegmentationLabels")
    ]
    assert parsed.graph.initializer == whole.graph.initializer
    inputs = {
        "frame": np.full((1, 64, 96, 3), 90, np.uint8),
        "keyframe_feature": np.zeros((1, 8, 16, 24), np.float32),
        "motion": np.zeros((1, 64, 96, 2), np.float32),
    }
    (found,) = session(short).run(None, inputs)
    _, expected = session(with_outputs(model, ["lr_feature"])).run(None, inputs)
    np.testing.assert_array_equal(found, expected)
