"""The networks' weights, out of a bundle: to export HR again with another LR network, or to train from them.

A bundle's graphs hold them under the names of the state dict, but most batch normalisations went into the convolution
before them. Such a one comes back as one that changes nothing but the bias, and the network as a whole computes what
the bundle does. The statistics themselves are lost: training takes those of its own data
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
from arseg_edge.errors import CheckpointError, UsageError
from arseg_edge.export.checkpoint import Checkpoint, CheckpointSource, completed, file_sha256, read_checkpoint
from arseg_edge.export.clips import structured_clip
from arseg_edge.export.families import Family, find_family
from arseg_edge.export.models import FusionNetwork, SegmentationNetwork
from arseg_edge.export.parity import TOLERANCE, Reference, error_of, run_graph, session_of
from arseg_edge.operators import CREFF, CREFF_UINT8, DOMAIN
from arseg_edge.palette import ClassSet

_IN_GRAPH = "network."
"""In front of each weight's name (``graphs.KeyframeGraph``)."""
NO_ONNX = "its layers are not PyTorch's, which LR and CReFF are made with: give the PyTorch weights, with --family"
"""Why a model that PyTorch does not know is of no use here, and what is."""
_NORMALISATION = ("weight", "bias", "running_mean", "running_var")
"""What ``BatchNormalization`` takes beside its input, in order."""
_PARITY_SIZE = (64, 96)
_INSTEAD = "give the checkpoint that it was exported from"


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
        return _checkpoint(source, name)
    bundle = read_bundle(Path(cast("str | os.PathLike[str]", source)))
    known = _family_of(bundle, family)
    return _read(bundle, known, KEYFRAME, fused=False)


def read_ar(source: CheckpointSource, family: str | Family | None = None, scale: float | None = None) -> Checkpoint:
    """Return the weights of LR and CReFF from a checkpoint or from a bundle, as ``read_hr`` does.

    ``scale`` is the LR scale of the bundle's network, None for its first.

    Raises:
        BundleError: a bundle that is broken, or without a network for ``scale``.
        Others: as ``read_hr``.
    """
    if not is_bundle(source):
        return _checkpoint(source, "lr")
    bundle = read_bundle(Path(cast("str | os.PathLike[str]", source)))
    return _read(bundle, _family_of(bundle, family), bundle.manifest.low_resolution(scale).member, fused=True)


def _checkpoint(source: CheckpointSource, name: str) -> Checkpoint:
    if isinstance(source, str | os.PathLike) and Path(source).suffix == ".onnx":
        raise CheckpointError(f"{source}: it is an ONNX file: {NO_ONNX}")
    return read_checkpoint(source, name)


def _read(bundle: Bundle, family: Family, member: str, *, fused: bool) -> Checkpoint:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = cast(nn.Module, family.build_ar() if fused else family.build_hr())
    layout = network.state_dict()
    found = _weights(network, onnx.load_model_from_string(bundle.read(member)))
    found = completed(family, {key: value.shape for key, value in layout.items()}, found, fused=fused)
    # What the graph does without, such as heads that only training has, stays at what it begins with.
    network.load_state_dict({**layout, **found})
    missing = [key for key in layout if key not in found and not key.endswith("num_batches_tracked")]
    _compare(bundle, family, member, network, missing)
    tensors = {key: value.clone() for key, value in network.state_dict().items()}
    return Checkpoint(bundle.path.name, tensors, file_sha256(bundle.path), family.classes)


def _family_of(bundle: Bundle, family: str | Family | None) -> Family:
    manifest = bundle.manifest
    if manifest.converted is not None:
        raise CheckpointError(f"{bundle.path}: it was converted from an ONNX file: {NO_ONNX}")
    try:
        known = find_family(family or manifest.family)
    except UsageError as error:
        if family is not None:
            raise
        raise UsageError(f"{bundle.path}: its HR network is of the {error}") from None
    classes = ClassSet(tuple(each.name for each in manifest.classes), tuple(each.colour for each in manifest.classes))
    return known if known.for_classes is None else known.for_classes(classes)


def _weights(network: nn.Module, model: onnx.ModelProto) -> dict[str, Tensor]:
    """Return the part of the network's state dict that the graph holds.

    Equal constants have one name in a graph: those of normalisations and of the fusion are found by what takes them.
    """
    constants = {name: torch.from_numpy(value) for name, value in _constants(model).items()}
    layout = network.state_dict()
    found = {key: constants[_IN_GRAPH + key] for key in layout if _IN_GRAPH + key in constants}
    nodes = {node.input[1]: node for node in model.graph.node if node.op_type == "Conv"}
    after = {node.input[0]: node for node in model.graph.node if node.op_type == "BatchNormalization"}
    normalised = _normalisations(network)
    for name, _ in network.named_modules(remove_duplicate=False):
        node = nodes.get(f"{_IN_GRAPH}{name}.weight")
        if node is None:
            continue
        bias = constants.get(node.input[2]) if node.input[2:] else None
        following, normalisation = normalised.get(name), after.get(node.output[0])
        if following is not None and normalisation is not None:
            keys = (f"{following}.{key}" for key in _NORMALISATION)
            found |= {key: constants[each] for key, each in zip(keys, normalisation.input[1:], strict=True)}
        elif following is not None and bias is not None:
            found |= _only_bias(following, cast(_BatchNorm, network.get_submodule(following)), bias)
            bias = torch.zeros_like(bias)
        if f"{name}.bias" in layout and bias is not None:
            found[f"{name}.bias"] = bias
    for node in model.graph.node:
        if node.domain == DOMAIN and node.op_type in (CREFF, CREFF_UINT8):
            layers = ("lr_query_conv", "hr_key_conv", "hr_value_conv")
            keys = (f"fuse_attention.{layer}.{key}" for layer in layers for key in ("weight", "bias"))
            found |= {key: constants[each] for key, each in zip(keys, node.input[3:9], strict=True)}
    return {key: value for key, value in found.items() if key in layout and value.shape == layout[key].shape}


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


def _compare(bundle: Bundle, family: Family, member: str, network: nn.Module, missing: list[str]) -> None:
    """Refuse weights with which PyTorch does not compute what the bundle does."""
    clip = structured_clip(*(bundle.manifest.size or _PARITY_SIZE))
    size = np.array(clip.frames.shape[1:3], np.int64)
    graph = session_of(member, bundle.read(member))
    reference = Reference(family, cast(SegmentationNetwork, network))
    if member == KEYFRAME:
        expected = reference.keyframe(clip.frames[0], tuple(size))
        found = run_graph(graph, frame=clip.frames[:1], labels_size=size)
    else:
        (low,) = (each for each in bundle.manifest.scales if each.member == member)
        feature = run_graph(session_of(KEYFRAME, bundle.read(KEYFRAME)), frame=clip.frames[:1], labels_size=size)[
            "feature"
        ]
        frame, motion = clip.frames[-1], clip.motion[-1]
        inputs = {"frame": frame[None], "keyframe_feature": feature, "motion": motion[None]}
        found = run_graph(graph, **inputs, frame_size=size, labels_size=size)
        fits = feature.shape[1] == family.channels
        expected = (
            reference.nonkeyframe(
                cast(FusionNetwork, network), low.scale, frame, torch.from_numpy(feature), motion, tuple(size)
            )
            if fits
            else {"lr_feature": torch.zeros(0)}
        )
    # A bundle with HR alone does not give its feature.
    worst = max(error_of(stage, value.numpy(), found[stage]) for stage, value in expected.items() if stage in found)
    if not worst <= TOLERANCE:
        lacks = f", and it lacks {len(missing)} of them, {missing[0]} for one" if missing else ""
        raise CheckpointError(
            f"{bundle.path}: the weights in {member} are not those of {family.name}: with them PyTorch is off by "
            f"{worst:.1e}{lacks}: {_INSTEAD}"
        )
