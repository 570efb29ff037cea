"""An ONNX file of somebody's: read, with its external data, and refused where it cannot be what it should be."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data

from arseg_edge.errors import ModelError, reason_of
from arseg_edge.export.half_weights import halved, put_first

OLDEST_OPSET: Final = 11
LARGEST_MODEL: Final = (1 << 31) - (1 << 20)
"""Bytes that a protobuf message may have, less what the ends take."""

_KNOWN_DOMAINS: Final = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Whose operators ONNX Runtime brings along."""


@dataclass(frozen=True, eq=False)
class GivenModel:
    """A model, and the file that it came from, which sessions open: there its external data are found, too."""

    path: Path
    proto: onnx.ModelProto
    """With all data inside."""
    opset: int
    sha256: str
    """Of the file, and of those that its external data lie in."""
    halved: bool = False
    """Whether weights were brought to half precision, since they were too large for one file."""

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.path)


def read_model(path: Path, *, half_weights: bool = False) -> GivenModel:
    """Read an ONNX file.

    A model that is too large for one file gets weights in half precision, as all do with ``half_weights``.

    Raises:
        ModelError: no file, not ONNX, cut short, of an opset below 11, with operators of an unknown domain,
            with external data that are missing or outside the folder, or too large for one message.
    """
    if path.is_dir():
        raise ModelError(f"{path}: is a directory: name the .onnx file in it")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file: name an ONNX model") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}): check the file and its permissions") from None
    model = _parsed(path, data)
    opset = _opset(path, model)
    _check_domains(path, model)
    files, halve = _check_external_data(path, model, half_weights)
    _load_external_data(path, model, halve)
    return GivenModel(path, model, opset, _sha256(data, files), halve)


def _parsed(path: Path, data: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(
            f"{path}: not an ONNX model, or one cut short ({len(data)} bytes): give a .onnx file, copied whole"
        ) from None
    # Protobuf takes much for a message: what is no model has none of what each model has.
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise ModelError(
            f"{path}: not an ONNX model, or one cut short ({len(data)} bytes, {len(model.graph.node)} nodes, "
            f"{len(model.graph.output)} outputs): give a .onnx file, copied whole"
        )
    return model


def _opset(path: Path, model: onnx.ModelProto) -> int:
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if not versions:
        raise ModelError(f"{path}: names no version of the standard operators: export the model again")
    if versions[0] < OLDEST_OPSET:
        raise ModelError(
            f"{path}: opset {versions[0]}, and {OLDEST_OPSET} is the oldest that is taken: export it with a newer "
            "one, or convert it by onnx.version_converter"
        )
    return int(versions[0])


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield all nodes, those of graphs inside others too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def _check_domains(path: Path, model: onnx.ModelProto) -> None:
    own = {(each.domain, each.name) for each in model.functions}
    functions = [node for each in model.functions for node in each.node]
    for node in (*nodes_of(model.graph), *functions):
        if node.domain not in _KNOWN_DOMAINS and (node.domain, node.op_type) not in own:
            raise ModelError(
                f"{path}: operator {node.op_type} of domain {node.domain!r}, which ONNX Runtime does not bring along: "
                "export the model with standard operators, or with the operator's function inside"
            )


def _tensors_of(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for sparse in model.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    nodes = [*nodes_of(model.graph), *(node for each in model.functions for node in each.node)]
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        yield from attribute.tensors
        for inner in (attribute.g, *attribute.graphs):
            yield from inner.initializer


def _check_external_data(path: Path, model: onnx.ModelProto, half_weights: bool) -> tuple[list[Path], bool]:
    """Return the files that data lie in, and whether weights must be halved."""
    folder = path.parent.resolve()
    files: list[Path] = []
    large = 0
    for tensor in _tensors_of(model):
        if not uses_external_data(tensor):
            continue
        info = ExternalDataInfo(tensor)
        file = folder / info.location
        if not file.resolve().is_relative_to(folder) or file.is_symlink():
            raise ModelError(
                f"{path}: external data at {info.location[:200]!r}, outside the model's folder: put the data beside "
                "the model and save it anew"
            )
        if not file.is_file():
            raise ModelError(f"{path}: external data missing: no file {file}: copy it along with the model")
        there, offset = file.stat().st_size, info.offset or 0
        length = info.length or there - offset
        if offset + length > there or length < 0:
            raise ModelError(
                f"{path}: external data cut short: {file} has {there} bytes, and {tensor.name[:100]!r} ends at "
                f"{offset + length}: copy it again, whole"
            )
        large += length
        files += [] if file in files else [file]
    size, constants = model.ByteSize() + large, model.graph.initializer
    halves = sum(math.prod(each.dims) * 2 for each in constants if each.data_type == TensorProto.FLOAT)
    halve = half_weights or size > LARGEST_MODEL
    if halve and size - halves > LARGEST_MODEL:
        raise ModelError(
            f"{path}: {size / 1e9:.1f} GB with its external data, and a bundle's graph holds "
            f"{LARGEST_MODEL / 1e9:.1f} GB at most, even with weights in half precision: convert a smaller model"
        )
    return files, halve


def _load_external_data(path: Path, model: onnx.ModelProto, halve: bool) -> None:
    """Put what lies in files beside the model into it; one constant after the other, so that it is never too large."""
    casts = []
    for constant in model.graph.initializer:
        _load(path, constant)
        cast = halved(constant) if halve else None
        casts += [] if cast is None else [cast]
    put_first(model.graph, casts)
    for tensor in _tensors_of(model):
        _load(path, tensor)


def _load(path: Path, tensor: TensorProto) -> None:
    if not uses_external_data(tensor):
        return
    try:
        load_external_data_for_tensor(tensor, str(path.parent.resolve()))
    except Exception as error:  # whatever the onnx package finds wrong with it
        raise ModelError(f"{path}: external data cannot be read ({reason_of(error)}): save the model anew") from None
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _sha256(data: bytes, files: Sequence[Path]) -> str:
    digest = hashlib.sha256(data)
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()
