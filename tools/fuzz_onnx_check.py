#!/usr/bin/env python3
"""Write ONNX models as no writer would, and see that the check never passes one that a reader sees more in.

    tools/fuzz_onnx_check.py --cases 100000 --seed 0

Random models of every message and field that the onnx package knows are the start. Sound ones must pass. Damaged ones
(tensors outside the file, tags and numbers with bytes too many or of more bits than they may have, fields twice, wire
types exchanged, groups, unknown fields, cut off, bytes changed) may pass only where both of the package's readers,
protobuf's for Python and its C++ one, take them and see neither data outside nor anything unknown. Ends with 1 where
one does not.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import onnx_cpp2py_export

from arseg_edge.errors import BundleError
from arseg_edge.onnx_check import check_model

Chance = random.Random

INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}
VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = range(6)


@dataclass(frozen=True)
class Verdict:
    """What the check said of a case, and, where the readers disagree with it, why that must not be."""

    passed: bool
    failure: str | None = None


# Sound models.


def random_model(chance: Chance) -> onnx.ModelProto:
    """Return a model with random values in random fields; no tensor is outside."""
    model = onnx.ModelProto()
    _fill(model, chance, depth=0)
    return model


def _fill(message: Message, chance: Chance, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if field.name in ("external_data", "data_location") or chance.random() > 0.9 - 0.12 * depth:
            continue
        if field.message_type is None:
            values = [_scalar(field, chance) for _ in range(chance.choice((1, 2, 9)) if field.is_repeated else 1)]
            if field.is_repeated:
                getattr(message, field.name).extend(values)
            else:
                setattr(message, field.name, values[0])
        elif depth < 7:
            for _ in range(chance.choice((1, 1, 2)) if field.is_repeated else 1):
                inner = getattr(message, field.name)
                _fill(inner.add() if field.is_repeated else inner, chance, depth + 1)
                if not field.is_repeated:
                    inner.SetInParent()


def _scalar(field: FieldDescriptor, chance: Chance) -> Any:
    if field.type in INTEGERS:
        low, high = INTEGERS[field.type]
        return chance.choice((0, 1, low, high, chance.randint(low, high), chance.randint(0, 300)))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return chance.choice(field.enum_type.values).number
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return chance.choice((0.0, -1.5, float("inf")))
    text = chance.choice(("", "x", "name", "größe", "\0", "x" * 130))
    return text if field.type == FieldDescriptor.TYPE_STRING else text.encode()


def messages_of(message: Message) -> Iterator[Message]:
    """Yield a message and all inside it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from messages_of(inner)


def put_outside(model: onnx.ModelProto, chance: Chance) -> bool:
    """Let one of the model's tensors, any, keep its data elsewhere; say whether it has one."""
    tensors = [each for each in messages_of(model) if isinstance(each, onnx.TensorProto)]
    if not tensors:
        return False
    tensor = chance.choice(tensors)
    way = chance.randrange(3)
    if way != 1:
        tensor.external_data.add(key="location", value="/etc/passwd")
    if way != 2:
        tensor.data_location = onnx.TensorProto.EXTERNAL
    return True


# Encodings that no writer makes.


@dataclass
class Part:
    """A field in the encoding: a number, bytes, or the parts of a message."""

    number: int
    wire: int
    value: int | bytes | list[Part]


def parts_of(data: bytes, kind: Descriptor | None) -> list[Part]:
    """Return the parts of a sound message."""
    position, parts = 0, []
    while position < len(data):
        tag, position = _read_varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, position = _read_varint(data, position)
            parts.append(Part(number, wire, value))
            continue
        length = {FIXED64: 8, FIXED32: 4}.get(wire, 0)
        if wire == BYTES:
            length, position = _read_varint(data, position)
        content = data[position : position + length]
        position += length
        field = kind.fields_by_number.get(number) if kind is not None else None
        inner = field.message_type if field is not None else None
        parts.append(Part(number, wire, content if inner is None else parts_of(content, inner)))
    return parts


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def encoded(parts: list[Part], odd: Odd) -> bytes:
    """Return the bytes of a message, some of them as ``odd`` has it."""
    out = bytearray()
    for part in parts:
        content = encoded(part.value, odd) if isinstance(part.value, list) else part.value
        out += odd.tag(part.number, part.wire)
        if isinstance(content, int):
            out += odd.number(content)
        else:
            out += odd.number(len(content)) if part.wire == BYTES else b""
            out += content
    return bytes(out)


@dataclass
class Odd:
    """Writes numbers, about ``rate`` of them in a way that no writer does."""

    chance: Chance
    rate: float

    def tag(self, number: int, wire: int) -> bytes:
        """Return a field's tag."""
        value = number << 3 | wire
        # The two fields by which a tensor is outside, often.
        if self.chance.random() < (self.rate**0.25 if number in (13, 14) else self.rate):
            # What lies above 32 bits is dropped by readers in C++, as long as it fits into five bytes.
            value |= 1 << self.chance.choice((29, 32, 33, 34, 35, 42, 63))
        return self.number(value)

    def number(self, value: int) -> bytes:
        """Return a number as a varint."""
        out = bytearray()
        if self.chance.random() < self.rate:
            value |= self.chance.choice((1 << 32, 1 << 63, 1 << 64, 1 << 69))
        longer = self.chance.randrange(1, 11) if self.chance.random() < self.rate else 0
        while value >= 0x80 or longer > 1:
            out.append(value & 0x7F | 0x80)
            value, longer = value >> 7, longer - 1
        return bytes([*out, value])


def damage_parts(parts: list[Part], chance: Chance) -> None:
    """Change one part of a message, or of one inside it."""
    here = parts
    while inner := [part.value for part in here if isinstance(part.value, list) and part.value]:
        if chance.random() < 0.3:
            break
        here = chance.choice(inner)
    kind = chance.randrange(6)
    if not here or kind == 0:  # unknown, or of another message
        part = Part(chance.randrange(1, 40), chance.randrange(8), chance.choice((0, 1, b"", b"\x08\x01", 2**63)))
        here.insert(chance.randrange(len(here) + 1), part)
    elif kind == 1:  # twice; messages merge
        here.insert(chance.randrange(len(here) + 1), chance.choice(here))
    elif kind == 2:
        chance.choice(here).number = chance.randrange(40)
    elif kind == 3:
        chance.choice(here).wire = chance.randrange(8)
    elif kind == 4:  # a tensor's data elsewhere, in a field of any message
        inside = Part(13, BYTES, [Part(1, BYTES, b"location"), Part(2, BYTES, b"/etc/passwd")])
        here.append(chance.choice((inside, Part(14, VARINT, 1), Part(14, VARINT, 1 << 32 | 1))))
    else:  # a group around the rest
        at, number = chance.randrange(len(here)), chance.randrange(1, 40)
        here.insert(at, Part(number, GROUP, b""))
        if chance.random() < 0.7:
            here.append(Part(number, GROUP_END, b""))


def damage_bytes(data: bytes, chance: Chance) -> bytes:
    """Change, remove or insert some bytes, or cut the end off."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(out) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            del out[at:]
        elif kind == 1:
            out[at:at] = chance.randbytes(chance.randint(1, 4))
        elif kind == 2:
            del out[at : at + chance.randint(1, 4)]
        elif at < len(out):
            out[at] = chance.randrange(256)
    return bytes(out)


def nested(chance: Chance) -> bytes:
    """Return graphs inside graphs, or types inside types, about as deep as readers go."""
    data = b""
    tags = chance.choice(((b"\x32", b"\x2a", b"\x0a"), (b"\x0a", b"\x22")))
    for _ in range(chance.randint(10, 130) // len(tags)):
        for tag in tags:
            data = tag + Odd(chance, 0).number(len(data)) + data
    return b"\x3a" + Odd(chance, 0).number(len(data)) + data


# The judgement.


def outside_or_unknown(model: Message) -> str | None:
    """Return what a parsed model has that none in a bundle may have."""
    for message in messages_of(model):
        if len(UnknownFieldSet(message)):
            return f"{message.DESCRIPTOR.name} has unknown fields"
        if isinstance(message, onnx.TensorProto) and (message.external_data or message.data_location):
            return "a tensor is outside"
        if isinstance(message, onnx.NodeProto) and message.op_type == "EPContext":
            return "a node names a file"
    return None


def judge(data: bytes) -> Verdict:
    """Compare the check with what the readers see."""
    try:
        check_model(data, "model")
    except BundleError as error:
        message = str(error)
        return Verdict(False, None if "\n" not in message and len(message) < 400 else f"message {message!r}")
    except Exception as error:
        return Verdict(False, f"the check ends with {type(error).__name__}: {error}")
    try:
        seen = outside_or_unknown(onnx.ModelProto.FromString(data))
    except (DecodeError, UnicodeDecodeError) as error:
        return Verdict(True, f"does not parse: {error}")
    if seen is None:
        seen = _seen_by_cpp(data)
    return Verdict(True, seen)


def _seen_by_cpp(data: bytes) -> str | None:
    """Return what the C++ reader sees that must not be there: the inliner, told to inline nothing, gives it back."""
    try:
        read = onnx_cpp2py_export.inliner.inline_selected_functions(data, [], False)
    except Exception as error:
        # Other complaints are about what the functions mean.
        return f"C++ does not read it: {error}" if "Unable to parse" in str(error) else None
    return outside_or_unknown(onnx.ModelProto.FromString(read))


def make(chance: Chance) -> tuple[str, bytes, bool | None]:
    """Return a case: its kind, the bytes, and whether the check must pass it, where that is known."""
    kind = chance.choice(("sound", "outside", "numbers", "numbers", "parts", "parts", "parts", "bytes", "nested"))
    if kind == "nested":
        return kind, nested(chance), None
    model = random_model(chance)
    if kind == "sound":
        return kind, model.SerializeToString(), True
    has_tensor = put_outside(model, chance) if kind == "outside" or chance.random() < 0.3 else False
    data = model.SerializeToString()
    if kind == "outside":
        return kind, data, not has_tensor
    if kind == "bytes":
        return kind, damage_bytes(data, chance), None
    parts = parts_of(data, onnx.ModelProto.DESCRIPTOR)
    if kind == "parts":
        for _ in range(chance.choice((1, 1, 2, 4))):
            damage_parts(parts, chance)
    return kind, encoded(parts, Odd(chance, chance.choice((0.0005, 0.005)) if kind == "numbers" else 0)), None


def fuzz(cases: int, seed: int) -> Iterator[tuple[str, bytes, Verdict]]:
    """Make and judge so many cases."""
    for number in range(cases):
        kind, data, expected = make(Chance(f"{seed}:{number}"))
        verdict = judge(data)
        if expected is not None and verdict.failure is None and verdict.passed != expected:
            verdict = Verdict(verdict.passed, "sound, and refused" if expected else "outside, and passed")
        yield kind, data, verdict


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table: Counter[tuple[str, str]] = Counter()
    failures = 0
    for number, (kind, data, verdict) in enumerate(fuzz(arguments.cases, arguments.seed)):
        table[kind, "passed" if verdict.passed else "refused"] += 1
        if verdict.failure is not None:
            failures += 1
            print(f"case {number} ({kind}): {verdict.failure}: {data[:200].hex()}", file=sys.stderr)
    for (kind, outcome), count in sorted(table.items()):
        print(f"{kind:10}{outcome:10}{count}")
    print(f"{table.total()} models, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
