"""The little of ONNX's protobuf encoding that is needed where the onnx package is not.

A model that ends earlier, so that its first part can be timed, and models of one operator. What is read here has
passed ``onnx_check.py``. Field numbers are those of ``onnx.proto``; the encoding is
https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_OUTPUT = 7, 1, 12
_NODE_OPERATOR = 4
_VALUE_NAME = 1


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {position}")
        if position + length > len(data):
            raise ValueError(f"field {number} ends beyond the message at byte {position}")
        yield number, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
    raise ValueError(f"a number that does not end at byte {position}")


def _field(number: int, payload: bytes) -> bytes:
    return _encoded(number << 3 | _BYTES) + _encoded(len(payload)) + payload


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def ending_at(model: bytes, value: str, without: Collection[str]) -> bytes:
    """Return the ONNX model with the inner value as its only output, and without these operators' nodes.

    ONNX Runtime computes every node of a graph, needed or not: what comes after ``value`` must go. A bundle cannot
    hold the LR network twice only so that it can be timed alone.
    """
    out = bytearray()
    for number, content in _fields(memoryview(model)):
        if number != _MODEL_GRAPH or isinstance(content, int):
            out += _again(number, content)
            continue
        graph = bytearray()
        for inner, each in _fields(content):
            gone = inner == _GRAPH_OUTPUT or (
                inner == _GRAPH_NODE and not isinstance(each, int) and _operator(each) in without
            )
            if not gone:
                graph += _again(inner, each)
        end = _field(_GRAPH_OUTPUT, _field(_VALUE_NAME, value.encode()))
        out += _field(_MODEL_GRAPH, bytes(graph) + end)
    return bytes(out)


def _operator(node: memoryview) -> str:
    """Return the ``op_type`` of an encoded node."""
    names = (bytes(value) for field, value in _fields(node) if field == _NODE_OPERATOR and not isinstance(value, int))
    return b"".join(names).decode()


def _again(number: int, content: int | memoryview | bytes) -> bytes:
    return _number(number, content) if isinstance(content, int) else _field(number, bytes(content))


def tiny_model() -> bytes:
    """Return a model that computes ``y = Relu(x)`` for float32 [4]: enough to see whether a provider runs."""
    return _model("Relu", {"x": (4,)}, (4,))


def matmul_model(size: int) -> bytes:
    """Return a model that multiplies float32 ``a`` and ``b`` [size, size]: the rate that others are held against."""
    return _model("MatMul", {"a": (size, size), "b": (size, size)}, (size, size))


def _model(operator: str, inputs: Mapping[str, Sequence[int]], output: Sequence[int]) -> bytes:
    """Return a model of one standard operator with output ``y``."""

    def value(name: str, shape: Sequence[int]) -> bytes:
        dimensions = b"".join(_field(1, _number(1, length)) for length in shape)
        tensor = _number(1, 1) + _field(2, dimensions)
        return _field(1, name.encode()) + _field(2, _field(1, tensor))

    names = b"".join(_field(1, name.encode()) for name in inputs)
    node = names + _field(2, b"y") + _field(4, operator.encode())
    values = b"".join(_field(11, value(name, shape)) for name, shape in inputs.items())
    graph = _field(1, node) + _field(2, operator.encode()) + values + _field(12, value("y", output))
    return _number(1, 9) + _field(7, graph) + _field(8, _number(2, 18))


def _number(number: int, value: int) -> bytes:
    return _encoded(number << 3 | _VARINT) + _encoded(value)
