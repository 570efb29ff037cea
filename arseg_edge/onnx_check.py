"""Is an ONNX file a model whose data are all inside it? Read from the bytes, without the onnx package.

A model from elsewhere must not make ONNX Runtime open other files. Looking for ``external_data`` alone would not do:
readers of protobuf differ in what they make of bytes that no writer produces (tags and enumerations of more than
32 bits, numbers with needless bytes, two messages that merge into one), and what one drops another sees. So a model
passes only where every byte of it is what ``onnx.proto`` (up to IR version 14) allows, written as every writer writes
it; then all readers see the same. The encoding is https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from arseg_edge.errors import BundleError

DEEPEST: Final = 64
"""Messages within messages; a graph inside a graph takes three. Protobuf's readers end at 100."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIRE_TYPES: Final = {
    "int32": _VARINT, "int64": _VARINT, "uint64": _VARINT, "enum": _VARINT,
    "float": _FIXED32, "double": _FIXED64,
}  # fmt: skip
_WIDTHS: Final = {_FIXED32: 4, _FIXED64: 8}

# In one row of varints: a byte too many, more than 64 bits, or no end.
_UNFIT_VARINTS: Final = re.compile(rb"[\x80-\xff](?:\x00|\Z)|[\x80-\xff]{9}[^\x01]", re.DOTALL)

_LARGEST_ENUM: Final = {"AttributeProto.type": 14, "TensorProto.data_location": 1}

_DECLARATIONS: Final = {
    "ModelProto": """
        1 int64 ir_version; 2 string producer_name; 3 string producer_version; 4 string domain;
        5 int64 model_version; 6 string doc_string; 7 GraphProto graph; 8 repeated OperatorSetIdProto opset_import;
        14 repeated StringStringEntryProto metadata_props; 20 repeated TrainingInfoProto training_info;
        25 repeated FunctionProto functions; 26 repeated DeviceConfigurationProto configuration""",
    "GraphProto": """
        1 repeated NodeProto node; 2 string name; 5 repeated TensorProto initializer; 10 string doc_string;
        11 repeated ValueInfoProto input; 12 repeated ValueInfoProto output; 13 repeated ValueInfoProto value_info;
        14 repeated TensorAnnotation quantization_annotation; 15 repeated SparseTensorProto sparse_initializer;
        16 repeated StringStringEntryProto metadata_props""",
    "NodeProto": """
        1 repeated string input; 2 repeated string output; 3 string name; 4 string op_type;
        5 repeated AttributeProto attribute; 6 string doc_string; 7 string domain; 8 string overload;
        9 repeated StringStringEntryProto metadata_props;
        10 repeated NodeDeviceConfigurationProto device_configurations""",
    "AttributeProto": """
        1 string name; 2 float f; 3 int64 i; 4 bytes s; 5 TensorProto t; 6 GraphProto g; 7 repeated float floats;
        8 repeated int64 ints; 9 repeated bytes strings; 10 repeated TensorProto tensors;
        11 repeated GraphProto graphs; 13 string doc_string; 14 TypeProto tp; 15 repeated TypeProto type_protos;
        20 enum type; 21 string ref_attr_name; 22 SparseTensorProto sparse_tensor;
        23 repeated SparseTensorProto sparse_tensors""",
    "TensorProto": """
        1 repeated int64 dims; 2 int32 data_type; 3 TensorProto.Segment segment; 4 repeated float float_data;
        5 repeated int32 int32_data; 6 repeated bytes string_data; 7 repeated int64 int64_data; 8 string name;
        9 bytes raw_data; 10 repeated double double_data; 11 repeated uint64 uint64_data; 12 string doc_string;
        13 repeated StringStringEntryProto external_data; 14 enum data_location;
        16 repeated StringStringEntryProto metadata_props""",
    "TensorProto.Segment": "1 int64 begin; 2 int64 end",
    "SparseTensorProto": "1 TensorProto values; 2 TensorProto indices; 3 repeated int64 dims",
    "FunctionProto": """
        1 string name; 4 repeated string input; 5 repeated string output; 6 repeated string attribute;
        7 repeated NodeProto node; 8 string doc_string; 9 repeated OperatorSetIdProto opset_import; 10 string domain;
        11 repeated AttributeProto attribute_proto; 12 repeated ValueInfoProto value_info; 13 string overload;
        14 repeated StringStringEntryProto metadata_props""",
    "TrainingInfoProto": """
        1 GraphProto initialization; 2 GraphProto algorithm; 3 repeated StringStringEntryProto initialization_binding;
        4 repeated StringStringEntryProto update_binding""",
    "OperatorSetIdProto": "1 string domain; 2 int64 version",
    "StringStringEntryProto": "1 string key; 2 string value",
    "ValueInfoProto": """
        1 string name; 2 TypeProto type; 3 string doc_string; 4 repeated StringStringEntryProto metadata_props""",
    "TensorAnnotation": "1 string tensor_name; 2 repeated StringStringEntryProto quant_parameter_tensor_names",
    "TypeProto": """
        1 oneof TypeProto.Tensor tensor_type; 4 oneof TypeProto.Sequence sequence_type;
        5 oneof TypeProto.Map map_type; 6 string denotation; 7 oneof TypeProto.Opaque opaque_type;
        8 oneof TypeProto.SparseTensor sparse_tensor_type; 9 oneof TypeProto.Optional optional_type""",
    "TypeProto.Tensor": "1 int32 elem_type; 2 TensorShapeProto shape",
    "TypeProto.SparseTensor": "1 int32 elem_type; 2 TensorShapeProto shape",
    "TypeProto.Sequence": "1 TypeProto elem_type",
    "TypeProto.Optional": "1 TypeProto elem_type",
    "TypeProto.Map": "1 int32 key_type; 2 TypeProto value_type",
    "TypeProto.Opaque": "1 string domain; 2 string name",
    "TensorShapeProto": "1 repeated TensorShapeProto.Dimension dim",
    "TensorShapeProto.Dimension": "1 oneof int64 dim_value; 2 oneof string dim_param; 3 string denotation",
    "DeviceConfigurationProto": "1 string name; 2 int32 num_devices; 3 repeated string device",
    "NodeDeviceConfigurationProto": """
        1 string configuration_id; 2 repeated ShardingSpecProto sharding_spec; 3 int32 pipeline_stage""",
    "ShardingSpecProto": """
        1 string tensor_name; 2 repeated int64 device; 3 repeated IntIntListEntryProto index_to_device_group_map;
        4 repeated ShardedDimProto sharded_dim""",
    "IntIntListEntryProto": "1 int64 key; 2 repeated int64 value",
    "ShardedDimProto": "1 int64 axis; 2 repeated SimpleShardedDimProto simple_sharding",
    "SimpleShardedDimProto": "1 oneof int64 dim_value; 2 oneof string dim_param; 3 int64 num_shards",
}


@dataclass(frozen=True)
class Field:
    """A field of a message in ``onnx.proto``; ``kind`` is a scalar's or a message's name."""

    name: str
    kind: str
    repeated: bool
    oneof: bool

    @property
    def slot(self) -> str:
        """What a message has once at most: the field, or the one of several that exclude each other."""
        return "one of several that exclude each other" if self.oneof else self.name


def _declared(declarations: str) -> dict[int, Field]:
    fields = {}
    for declaration in declarations.split(";"):
        number, *label, kind, name = declaration.split()
        fields[int(number)] = Field(name, kind, label == ["repeated"], label == ["oneof"])
    return fields


SCHEMA: Final = {message: _declared(declarations) for message, declarations in _DECLARATIONS.items()}
"""Message → field number → field."""


def check_model(model: bytes, name: str) -> None:
    """Refuse an ONNX model that points outside itself, or that readers could read differently.

    Args:
        model: the file's bytes.
        name: of the model, for messages.

    Raises:
        BundleError: a tensor keeps its data elsewhere; or the bytes are not what ``onnx.proto`` allows, each field
            and number written in the one usual way.
    """
    # ONNX Runtime takes what has these letters here for a file of its other format, whatever else it is.
    if model[4:8] == b"ORTM":
        raise BundleError(f"{name}: not an ONNX model but one in ONNX Runtime's own format: export the bundle again")
    walk = _Walk(model)
    try:
        walk.message("ModelProto", 0, len(model))
    except _OutsideError:
        raise BundleError(
            f"{name}: keeps tensor data outside the bundle ({walk.place}): export it with the data inside"
        ) from None
    except _UnfitError as reason:
        raise BundleError(f"{name}: not an ONNX model to trust ({walk.place}: {reason}): export it again") from None


class _UnfitError(Exception):
    """The bytes are not what ``onnx.proto`` allows."""


class _OutsideError(Exception):
    """Something outside the model is named."""


class _Walk:
    """The way through a model's bytes; ``place`` says how far it came."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._way: list[str] = []

    @property
    def place(self) -> str:
        return ".".join(self._way[-6:]) or "model"

    def message(self, kind: str, position: int, end: int) -> None:
        if len(self._way) > DEEPEST:
            raise _UnfitError(f"more than {DEEPEST} messages within each other")
        fields, seen = SCHEMA[kind], set[str]()
        while position < end:
            tag, position = self._varint(position, end)
            field = fields.get(tag >> 3)
            if field is None:
                raise _UnfitError(f"field {tag >> 3} is unknown")
            self._way.append(field.name)
            if not field.repeated:
                if field.slot in seen:
                    raise _UnfitError("stands there twice")
                seen.add(field.slot)
            position = self._value(kind, field, tag & 7, position, end)
            self._way.pop()

    def _value(self, message: str, field: Field, wire: int, position: int, end: int) -> int:
        """Check one field's value; return where it ends."""
        scalar = _WIRE_TYPES.get(field.kind)
        if wire != (_BYTES if scalar is None else scalar) and not (field.repeated and wire == _BYTES):
            raise _UnfitError(f"has wire type {wire}")
        if message == "TensorProto" and field.name == "external_data":
            raise _OutsideError
        if wire == _VARINT:
            value, position = self._varint(position, end)
            self._check_number(message, field, value)
            return position
        if wire in _WIDTHS:
            return self._within(position + _WIDTHS[wire], end)
        length, position = self._varint(position, end)
        end = self._within(position + length, end)
        if field.kind in SCHEMA:
            self.message(field.kind, position, end)
        elif field.kind == "string":
            self._check_text(message, field, position, end)
        elif scalar is not None:
            self._check_packed(scalar, position, end)
        return end

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Return the number at ``position``, and where it ends."""
        data, value = self._data, 0
        for index in range(position, min(position + 10, end)):
            byte = data[index]
            value |= (byte & 0x7F) << 7 * (index - position)
            if byte < 0x80:
                if byte == 0 and index > position:
                    raise _UnfitError("a number with a byte too many")
                if value >> 64:
                    raise _UnfitError("a number of more than 64 bits")
                return value, index + 1
        raise _UnfitError("a number that does not end")

    def _within(self, position: int, end: int) -> int:
        if position > end:
            raise _UnfitError("ends beyond what holds it")
        return position

    def _check_number(self, message: str, field: Field, value: int) -> None:
        # Readers keep 32 bits of these; a negative int32 is written with 64.
        if field.kind == "int32" and (1 << 31) <= value < (1 << 64) - (1 << 31):
            raise _UnfitError("a number of more than 32 bits")
        if field.kind == "enum":
            if value > _LARGEST_ENUM[f"{message}.{field.name}"]:
                raise _UnfitError(f"is {value}, which has no meaning")
            if field.name == "data_location" and value:
                raise _OutsideError

    def _check_text(self, message: str, field: Field, position: int, end: int) -> None:
        text = self._data[position:end]
        try:
            text.decode()
        except UnicodeDecodeError:
            raise _UnfitError("is no text in UTF-8") from None
        # The one operator whose attribute can name a file that an execution provider opens.
        if message == "NodeProto" and field.name == "op_type" and text == b"EPContext":
            raise _OutsideError

    def _check_packed(self, wire: int, position: int, end: int) -> None:
        if wire in _WIDTHS:
            if (end - position) % _WIDTHS[wire]:
                raise _UnfitError("ends within a number")
        elif _UNFIT_VARINTS.search(memoryview(self._data)[position:end]):
            raise _UnfitError("has a number with a byte too many, or without an end")
