"""The HR network's weights, out of a bundle: to export them again with another LR network, or to train one from them.

A bundle's graph holds them under the names of the state dict, but each batch normalisation went into the convolution
before it. It comes back as one that changes nothing but the bias, and the network as a whole computes what the bundle
does. The statistics themselves are lost: training takes those of its own data
(``arseg_edge/training/batch_statistics.py``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from arseg_edge.bundle import KEYFRAME, SUFFIX, Bundle, read_bundle
from arseg_edge.errors import CheckpointError, ParityError, UsageError
from arseg_edge.export.checkpoint import Checkpoint, CheckpointSource, completed, file_sha256, read_checkpoint
from arseg_edge.export.clips import structured_clip
from arseg_edge.export.families import Family, find_family
from arseg_edge.export.models import SegmentationNetwork
from arseg_edge.export.parity import ExportedNetwork, compare, refuse_beyond_tolerance
from arseg_edge.palette import ClassSet

_IN_GRAPH = "network."
"""In front of each weight's name (``graphs.KeyframeGraph``)."""
_PARITY_SIZE = (64, 96)
_INSTEAD = "give the HR checkpoint that it was exported from"


def is_bundle(source: object) -> bool:
    """Whether ``source`` names a bundle."""
    return isinstance(source, str | os.PathLike) and Path(source).suffix == SUFFIX


def read_hr(source: CheckpointSource, family: str | Family | None = None, name: str = "hr") -> Checkpoint:
    """Return HR's weights from a checkpoint (``read_checkpoint``) or from a bundle.

    Args:
        source: a file, a state dict, or a bundle, ``NAME.arseg``.
        family: of a bundle, where it is none that is known by name.
        name: what messages call a source that is not a file.

    Raises:
        BundleError: a bundle that is broken.
        CheckpointError: a checkpoint that cannot be read; a bundle whose graph does not hold the family's weights.
        UsageError: a bundle of a family that is not known.
    """
    if not is_bundle(source):
        return read_checkpoint(source, name)
    path = Path(cast("str | os.PathLike[str]", source))
    bundle = read_bundle(path)
    known = _family_of(bundle, family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = cast(nn.Module, known.build_hr())
    layout = network.state_dict()
    found = _weights(network, onnx.load_model_from_string(bundle.read(KEYFRAME)))
    found = completed(known, {key: value.shape for key, value in layout.items()}, found, fused=False)
    # What the graph does without, such as heads that only training has, stays at what it begins with.
    network.load_state_dict({**layout, **found})
    missing = [key for key in layout if key not in found and not key.endswith("num_batches_tracked")]
    _compare(bundle, known, network, missing)
    tensors = {key: value.clone() for key, value in network.state_dict().items()}
    return Checkpoint(path.name, tensors, file_sha256(path), known.classes)


def _family_of(bundle: Bundle, family: str | Family | None) -> Family:
    manifest = bundle.manifest
    try:
        known = find_family(family or manifest.family)
    except UsageError as error:
        if family is not None:
            raise
        raise UsageError(f"{bundle.path}: its HR network is of the {error}") from None
    classes = ClassSet(tuple(each.name for each in manifest.classes), tuple(each.colour for each in manifest.classes))
    return known if known.for_classes is None else known.for_classes(classes)


def _weights(network: nn.Module, model: onnx.ModelProto) -> dict[str, Tensor]:
    """Return the part of the network's state dict that the graph holds."""
    constants = _constants(model)
    layout = network.state_dict()
    found = {
        key: torch.from_numpy(constants[_IN_GRAPH + key])
        for key in layout
        if _IN_GRAPH + key in constants and constants[_IN_GRAPH + key].shape == tuple(layout[key].shape)
    }
    normalised = _normalisations(network)
    biases = {node.input[1]: node.input[2] for node in model.graph.node if node.op_type == "Conv" and node.input[2:]}
    for name, _ in network.named_modules(remove_duplicate=False):
        bias = constants.get(biases.get(f"{_IN_GRAPH}{name}.weight", ""))
        if bias is None:
            continue
        after = normalised.get(name)
        if f"{name}.bias" in layout:
            found[f"{name}.bias"] = torch.from_numpy(bias if after is None else np.zeros_like(bias))
        if after is not None:
            found |= _only_bias(after, cast(_BatchNorm, network.get_submodule(after)), torch.from_numpy(bias))
    return found


def _constants(model: onnx.ModelProto) -> Mapping[str, np.ndarray]:
    """Return the graph's floating-point constants by name, those stored in half precision too."""
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16)
    arrays = {
        each.name: numpy_helper.to_array(each).astype(np.float32)
        for each in model.graph.initializer
        if each.data_type in floats
    }
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    return arrays


def _only_bias(name: str, layer: _BatchNorm, bias: Tensor) -> dict[str, Tensor]:
    """Return the state of a normalisation that adds ``bias`` and does no more."""
    neutral = torch.ones_like(bias)
    return {
        f"{name}.weight": (neutral + layer.eps).sqrt(),
        f"{name}.bias": bias,
        f"{name}.running_mean": torch.zeros_like(bias),
        f"{name}.running_var": neutral,
    }


def _normalisations(network: nn.Module) -> dict[str, str]:
    """Return which batch normalisation takes each convolution's result, by their names."""
    made: list[tuple[Tensor, str]] = []
    found: dict[str, str] = {}

    def convolved(name: str, result: Tensor) -> None:
        made.append((result, name))

    def normalises(name: str, taken: Tensor) -> None:
        for result, convolution in made:
            if result is taken:
                found[convolution] = name

    hooks = []
    for name, layer in network.named_modules(remove_duplicate=False):
        if isinstance(layer, nn.Conv2d):
            hooks.append(layer.register_forward_hook(lambda _, __, result, name=name: convolved(name, result)))
        elif isinstance(layer, _BatchNorm):
            hooks.append(layer.register_forward_pre_hook(lambda _, taken, name=name: normalises(name, taken[0])))
    try:
        with torch.no_grad():
            network.eval().feature(torch.zeros(1, 3, *_PARITY_SIZE))  # type: ignore[operator]
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _compare(bundle: Bundle, family: Family, network: nn.Module, missing: list[str]) -> None:
    """Refuse weights with which PyTorch does not compute what the bundle does."""
    graph = ExportedNetwork(KEYFRAME, bundle.read(KEYFRAME), cast(SegmentationNetwork, network))
    figures = compare(family, graph, {}, [structured_clip(*(bundle.manifest.size or _PARITY_SIZE))])
    try:
        refuse_beyond_tolerance(figures)
    except ParityError:
        lacks = f", and it lacks {len(missing)} of them, {missing[0]} for one" if missing else ""
        worst = max(figure.error for figure in figures)
        raise CheckpointError(
            f"{bundle.path}: the weights in {KEYFRAME} are not those of {family.name}: with them PyTorch is off by "
            f"{worst:.1e}{lacks}: {_INSTEAD}"
        ) from None
