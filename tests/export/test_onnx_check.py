"""The check of ONNX files from elsewhere, against the onnx package and ONNX Runtime."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from onnx import TensorProto, helper, numpy_helper, onnx_ml_pb2

from arseg_edge.bundle import GOLDEN, KEYFRAME, Bundle, read_bundle, write_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import BundleError
from arseg_edge.export.half_weights import store_half
from arseg_edge.onnx_bytes import matmul_model, tiny_model
from arseg_edge.onnx_check import DEEPEST, SCHEMA, check_model

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import fuzz_onnx_check


def refused(model: bytes) -> str:
    with pytest.raises(BundleError) as error:
        check_model(model, "street.onnx")
    message = str(error.value)
    assert message.startswith("street.onnx: ")
    assert "\n" not in message
    assert len(message) < 400
    return message


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


# Tensors outside


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_wherever_it_is(place: Place) -> None:
    check_model(place(tensor()).SerializeToString(), "inside")
    # Either of the two fields is enough: readers differ in which one they look at.
    only_location, only_entry = outside(), outside()
    only_location.ClearField("external_data")
    only_entry.ClearField("data_location")
    for each, field in ((outside(), "external_data"), (only_location, "data_location"), (only_entry, "external_data")):
        message = refused(place(each).SerializeToString())
        assert "keeps tensor data outside the bundle (" in message
        assert f".{field}): export it with the data inside" in message


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
        patch.setattr("arseg_edge.bundle.check_model", lambda model, name: None)
        written = write_bundle(out, dataclasses.replace(sound.manifest, members={}), members)
    with pytest.raises(
        BundleError, match=r"street\.arseg: keyframe\.onnx: keeps tensor data outside the bundle"
    ) as error:
        read_bundle(out).read(KEYFRAME)
    assert "\n" not in str(error.value)
    assert written.read(GOLDEN) == sound.read(GOLDEN)


class Aliased(fuzz_onnx_check.Odd):
    """Writes the tags of the fields that put a tensor outside with a bit above the 32 that they have."""

    def tag(self, number: int, wire: int) -> bytes:
        return self.number((number << 3 | wire) | (1 << 33 if number in (13, 14) else 0))


def test_a_tag_that_readers_in_c_cut_to_what_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.arange(4, dtype=np.float32).tofile("beside.bin")
    model = in_initializer(outside())
    model.graph.initializer[1].external_data[0].value = "beside.bin"
    parts = fuzz_onnx_check.parts_of(model.SerializeToString(), onnx.ModelProto.DESCRIPTOR)
    data = fuzz_onnx_check.encoded(parts, Aliased(fuzz_onnx_check.Chance(0), 0))
    # That the trick is one: ONNX Runtime goes after the file, and ends where it lacks the model's own path.
    with pytest.raises(Exception, match="model_path must not be empty"):
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert "graph.initializer: field " in refused(data)


@pytest.mark.parametrize("value", [1, 1 << 32 | 1, 2, 1 << 63, (1 << 64) - 1])
def test_a_location_that_is_cut_to_32_bits(value: int) -> None:
    data = in_initializer(tensor()).SerializeToString()
    parts = fuzz_onnx_check.parts_of(data, onnx.ModelProto.DESCRIPTOR)
    graph = next(part for part in parts if part.number == 7)
    assert isinstance(graph.value, list)
    weight = next(part for part in graph.value if part.number == 5)
    assert isinstance(weight.value, list)
    weight.value.append(fuzz_onnx_check.Part(14, 0, value))
    message = refused(fuzz_onnx_check.encoded(parts, fuzz_onnx_check.Odd(fuzz_onnx_check.Chance(0), 0)))
    assert "graph.initializer.data_location" in message


def test_a_node_that_names_a_file() -> None:
    node = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", embed_mode=0, ep_cache_context="a.bin")
    assert "outside the bundle (graph.node.op_type)" in refused(model_of(node).SerializeToString())


def test_a_file_of_onnxruntimes_own_format_that_is_a_model_too() -> None:
    # A producer's name of 106 bytes that begins with \0\0ORTM.
    data = b"\x12\x6a\0\0ORTM" + b"x" * 100 + tiny_model()
    assert onnx.load_from_string(data).graph.node[0].op_type == "Relu"
    with pytest.raises(Exception, match="ORT model"):
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert "in ONNX Runtime's own format" in refused(data)


# Encodings


def graph(content: bytes) -> bytes:
    return b"\x3a" + length(len(content)) + content


def length(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


NODE = b"\x0a\x08\x22\x04Relu\x1a\x00"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\xff" * 20, "model: a number that does not end"),
        (b"\x08", "ir_version: a number that does not end"),
        (b"\x08\x80", "ir_version: a number that does not end"),
        (b"\x08\x89\x00", "ir_version: a number with a byte too many"),
        (b"\x88\x00\x09", "model: a number with a byte too many"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "ir_version: a number of more than 64 bits"),
        (b"\x08" + b"\xff" * 9 + b"\x81\x00", "ir_version: a number that does not end"),
        (b"\x12\x05abc", "producer_name: ends beyond what holds it"),
        (b"\x3a\x02\x0a\x7f", "graph.node: ends beyond what holds it"),
        (b"\x3a\xff\xff\xff\xff\x0f", "graph: ends beyond what holds it"),
        (b"\x08\x09\x08\x09", "ir_version: stands there twice"),
        (graph(NODE) + graph(NODE), "graph: stands there twice"),
        (graph(b"\x0a\x06\x22\x01a\x22\x01b"), "graph.node.op_type: stands there twice"),
        (b"\x00\x00", "field 0 is unknown"),
        (b"\x4a\x00", "field 9 is unknown"),
        (b"\xf8\x07\x01", "field 127 is unknown"),
        (length(19000 << 3) + b"\x01", "field 19000 is unknown"),
        (length(1 << 32 | 7 << 3 | 2) + b"\x00", "field 536870919 is unknown"),
        (length(1 << 63 | 7 << 3 | 2) + b"\x00", "is unknown"),
        (b"\x0b\x0c", "ir_version: has wire type 3"),
        (b"\x0c", "ir_version: has wire type 4"),
        (b"\x0e", "ir_version: has wire type 6"),
        (b"\x0f", "ir_version: has wire type 7"),
        (b"\x0a\x01\x09", "ir_version: has wire type 2"),
        (b"\x0d\x09\x00\x00\x00", "ir_version: has wire type 5"),
        (b"\x38\x01", "graph: has wire type 0"),
        (b"\x3d\x00\x00\x00\x00", "graph: has wire type 5"),
        (graph(b"\x50\x01"), "graph.doc_string: has wire type 0"),
        (b"\x12\x02\xc3\x28", "producer_name: is no text in UTF-8"),
        (b"\x12\x03\xed\xa0\x80", "producer_name: is no text in UTF-8"),
        (graph(b"\x2a\x0b\x10" + b"\xff" * 9 + b"\x01"), None),
        (graph(b"\x2a\x06\x10\x81\x80\x80\x80\x10"), "graph.initializer.data_type: a number of more than 32 bits"),
        (graph(b"\x2a\x04\x0a\x02\x01\x80"), "graph.initializer.dims: has a number with a byte too many, or without"),
        (graph(b"\x2a\x05\x0a\x03\x01\x80\x00"), "graph.initializer.dims: has a number with a byte too many"),
        (graph(b"\x2a\x05\x0a\x03\x01\x80\x01"), None),
        (graph(b"\x2a\x0c\x0a\x0a" + b"\xff" * 9 + b"\x02"), "graph.initializer.dims: has a number"),
        (graph(b"\x2a\x0c\x0a\x0a" + b"\xff" * 9 + b"\x01"), None),
        (graph(b"\x2a\x04\x08\x01\x08\x02"), None),
        (graph(b"\x2a\x07\x22\x05\x00\x00\x00\x00\x00"), "graph.initializer.float_data: ends within a number"),
        (graph(b"\x2a\x04\x25\x00\x00\x00"), "graph.initializer.float_data: ends beyond what holds it"),
        (graph(b"\x0a\x05\x2a\x03\xa0\x01\x0f"), "graph.node.attribute.type: is 15, which has no meaning"),
        (graph(b"\x5a\x06\x12\x04\x0a\x00\x22\x00"), "stands there twice"),
    ],
    ids=lambda value: value[:24].hex() if isinstance(value, bytes) else "",
)
def test_what_no_writer_writes_is_refused(data: bytes, complaint: str | None) -> None:
    if complaint is None:  # its neighbour, which writers do write
        check_model(data, "sound")
        onnx.ModelProto.FromString(data)
    else:
        message = refused(data)
        assert "not an ONNX model to trust (" in message
        assert complaint in message


def nested(times: int) -> bytes:
    payload = b""
    for _ in range(times):  # graph in attribute in node in graph in …
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            payload = tag + length(len(payload)) + payload
    return graph(payload)


def test_graphs_within_graphs_end_before_any_reader_does(tiny_bundle: Path, tmp_path: Path) -> None:
    fits = (DEEPEST - 1) // 3
    check_model(nested(fits), "deep")
    onnx.ModelProto.FromString(nested(fits))
    for times in (fits + 1, 5000):
        assert "more than 64 messages within each other" in refused(nested(times))
    sound = read_bundle(tiny_bundle)
    members = {name: sound.read(name) for name in sound.manifest.members}
    with pytest.raises(BundleError, match="not an ONNX model"):
        write_bundle(tmp_path / "deep.arseg", sound.manifest, {**members, KEYFRAME: nested(5000)})


# Sound models


def messages_of(kind: Descriptor) -> Iterator[Descriptor]:
    yield kind
    for inner in kind.nested_types:
        yield from messages_of(inner)


SCALARS = {
    FieldDescriptor.TYPE_INT32: "int32", FieldDescriptor.TYPE_INT64: "int64", FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_FLOAT: "float", FieldDescriptor.TYPE_DOUBLE: "double", FieldDescriptor.TYPE_ENUM: "enum",
    FieldDescriptor.TYPE_STRING: "string", FieldDescriptor.TYPE_BYTES: "bytes",
}  # fmt: skip


def test_the_schema_is_the_onnx_packages() -> None:
    """A field that a newer onnx has is refused until it is decided upon here: see whether it can lead outside."""
    kinds = [kind for top in onnx_ml_pb2.DESCRIPTOR.message_types_by_name.values() for kind in messages_of(top)]
    theirs = {
        kind.full_name.removeprefix("onnx."): {
            field.number: (
                field.name,
                field.message_type.full_name.removeprefix("onnx.") if field.message_type else SCALARS[field.type],
                field.is_repeated,
                field.containing_oneof is not None,
            )
            for field in kind.fields
        }
        for kind in kinds
    }
    ours = {
        message: {number: (each.name, each.kind, each.repeated, each.oneof) for number, each in fields.items()}
        for message, fields in SCHEMA.items()
    }
    assert theirs == {message: ours[message] for message in theirs}
    assert set(ours) == set(theirs)


def check_bundle(bundle: Bundle) -> None:
    members = [KEYFRAME, *(branch.member for branch in bundle.manifest.scales)]
    assert len(members) > 1
    for member in members:
        data = bundle.read(member)  # checks it
        half = onnx.load_from_string(data)
        store_half(half)
        check_model(half.SerializeToString(), member)


def test_our_own_bundles_pass(tiny_bundle: Path, tiny_fixed_bundle: Path) -> None:
    for path in (tiny_bundle, tiny_fixed_bundle, demo_bundle()):
        check_bundle(read_bundle(path))


@pytest.mark.parametrize("family", ["camvid-bise18", "camvid-psp18", "cityscapes-bise18", "cityscapes-psp18"])
def test_published_families_pass(family: str, export_golden: Callable[[str], Bundle]) -> None:
    check_bundle(export_golden(family))


def test_models_made_here_pass() -> None:
    check_model(tiny_model(), "tiny")
    check_model(matmul_model(64), "matmul")


def test_a_short_fuzz() -> None:
    outcomes = list(fuzz_onnx_check.fuzz(2000, seed=1))
    assert [verdict.failure for _, _, verdict in outcomes if verdict.failure is not None] == []
    passed = {kind for kind, _, verdict in outcomes if verdict.passed}
    refusals = {kind for kind, _, verdict in outcomes if not verdict.passed}
    assert passed >= {"sound", "nested", "parts", "numbers", "bytes"}
    assert refusals >= {"outside", "nested", "parts", "numbers", "bytes"}


def test_the_fuzzer_sees_what_a_check_lets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_onnx_check, "check_model", lambda model, name: None)
    failures = [str(verdict.failure) for _, _, verdict in fuzz_onnx_check.fuzz(300, seed=1) if verdict.failure]
    for what in ("a tensor is outside", "unknown fields", "does not parse"):
        assert any(what in failure for failure in failures)
