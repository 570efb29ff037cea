"""A bundle of format 1 as one of format 2: the same weights, in graphs that take sizes (``graph_ends.py``)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from arseg_edge.bundle import GOLDEN, KEYFRAME, SUFFIX, Bundle, check_writable, read_bundle, write_bundle
from arseg_edge.errors import BundleError, ParityError, UsageError
from arseg_edge.export.exporter import format_facts
from arseg_edge.export.families import LabelRule
from arseg_edge.export.graph_ends import (
    LOGITS,
    LR_FEATURE,
    declare_sizes,
    drop_unused,
    lr_size_nodes,
)
from arseg_edge.export.head import head_of
from arseg_edge.export.operators.bodies import attach_bodies
from arseg_edge.export.operators.segmentation_labels import (
    CONFIDENCE,
    CONFIDENCE_SIZE,
    declare_confidence,
    resize_logits,
)
from arseg_edge.export.parity import TOLERANCE, error_of, labels_sizes, refuse_beyond_tolerance, run_graph, session_of
from arseg_edge.golden import Expected, GoldenClip, read_golden, samples_of
from arseg_edge.manifest import FORMAT_VERSION, LowResolution, ParityFigure
from arseg_edge.manifest import LabelRule as ManifestRule
from arseg_edge.operators import NORMALIZE_IMAGE, SEGMENTATION_LABELS

_LOGITS_SIZE = ("logits_height", "logits_width")
_LR_FEATURE_SIZE = ("lr_feature_height", "lr_feature_width")

Arrays = Mapping[str, NDArray[Any]]


def upgrade_bundle(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> Bundle:
    """Write a bundle of format 1 as one of format 2 to ``out``, and return it.

    Nothing but the graphs' ends is changed. Both are run on the golden clip: what they give must be equal to the bit.
    Then the operators' bodies become today's, which round otherwise, within the tolerance of an export.

    Raises:
        BundleError: it cannot be read, or its graphs are not as this package exports them.
        UsageError: it is of format 2 already, or ``out`` is no bundle's name.
        ParityError: the new graphs give something else; nothing is written.
        OutputError: the bundle cannot be written.

    Example::

        upgrade_bundle("street.arseg", "street-2.arseg")
    """
    target = Path(out)
    if target.suffix != SUFFIX:
        raise UsageError(f"{target}: a bundle's name ends in {SUFFIX}: add it")
    check_writable(target)
    old = read_bundle(os.fspath(path))
    if old.manifest.format_version != 1 or old.manifest.motion is None:
        raise UsageError(f"{old.path}: is of format {old.manifest.format_version} already: use it as it is")
    scales = {branch.member: branch.scale for branch in old.manifest.scales}
    before = {member: old.read(member) for member in (KEYFRAME, *scales)}
    after = {
        member: _upgraded(model, scales.get(member), len(old.manifest.classes), f"{path}: {member}")
        for member, model in before.items()
    }
    clip = read_golden(old.read(GOLDEN), str(path))
    was = _outputs({member: _with_stages(model, member) for member, model in before.items()}, clip)
    _refuse_other(was, _outputs(after, clip), tolerance=0)
    golden = _with_labels_of_another_size(clip, was, after)
    after = {member: _with_todays_operators(model) for member, model in after.items()}
    tolerance = max(TOLERANCE, *(each.tolerance for each in old.parity))
    _refuse_other(was, _outputs(after, clip), tolerance=tolerance)
    heads = {low: head_of(onnx.load_from_string(after[low.member])).SerializeToString() for low in old.manifest.scales}
    golden, figures = _with_heads(golden, heads, after, tolerance)
    manifest = dataclasses.replace(
        old.manifest,
        format_version=FORMAT_VERSION,
        motion=dataclasses.replace(old.manifest.motion, unit="cell"),
        label_rule=ManifestRule(**_label_rule(after[KEYFRAME])),
        parity=(*old.parity, *figures),
    )
    members = {**after, **{low.head: head for low, head in heads.items()}}
    return write_bundle(target, manifest, {**members, GOLDEN: golden.to_bytes()})


def _with_stages(data: bytes, member: str) -> bytes:
    """Return a graph of format 1 that gives what one of format 2 does."""
    model = onnx.load_from_string(data)
    for name in (LOGITS,) if member == KEYFRAME else (LOGITS, LR_FEATURE):
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    return bytes(model.SerializeToString())


def _with_todays_operators(data: bytes) -> bytes:
    """Return a graph with today's bodies, that says how sure its labels are."""
    model = onnx.load_from_string(data)
    (labels,) = (node for node in model.graph.node if node.op_type == SEGMENTATION_LABELS)
    labels.input.append(CONFIDENCE_SIZE)
    labels.output.append(CONFIDENCE)
    declare_confidence(model.graph)
    del model.functions[:]
    attach_bodies(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _upgraded(data: bytes, scale: float | None, classes: int, name: str) -> bytes:
    """Return a graph with the ends of format 2; ``scale`` is that of an LR branch, None for the keyframe's."""
    model = onnx.load_from_string(data)
    graph = model.graph
    inputs = {each.name: each for each in graph.input}
    wanted = {"frame"} if scale is None else {"frame", "keyframe_feature", "motion"}
    ends = {node.op_type: node for node in graph.node if node.op_type in (NORMALIZE_IMAGE, SEGMENTATION_LABELS)}
    if inputs.keys() != wanted or len(ends) != 2:
        raise BundleError(f"{name}: is no graph of bundle format 1: export the bundle again")
    labels = ends[SEGMENTATION_LABELS]
    labels.input[1] = "labels_size"
    if not any(each.name == "align_corners" for each in labels.attribute):
        labels.attribute.append(helper.make_attribute("align_corners", 1))
    if scale is not None:
        for axis, side in zip(inputs["motion"].type.tensor_type.shape.dim[1:3], ("height", "width"), strict=True):
            axis.dim_param = f"motion_{side}"
        nodes = [*lr_size_nodes(graph, scale), *_without_motion_shape(graph, name)]
        ends[NORMALIZE_IMAGE].input[1] = "lr_size"
        rest = [*graph.node]
        del graph.node[:]
        graph.node.extend([*nodes, *rest])
    graph.output.append(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, [1, classes, *_LOGITS_SIZE]))
    if scale is not None:
        channels = inputs["keyframe_feature"].type.tensor_type.shape.dim[1].dim_value
        shape = [1, channels, *_LR_FEATURE_SIZE]
        graph.output.append(helper.make_tensor_value_info(LR_FEATURE, TensorProto.FLOAT, shape))
    declare_sizes(graph, list(graph.input), frame_size=scale is not None)
    drop_unused(graph)
    facts = {each.key: each.value for each in model.metadata_props}
    helper.set_model_props(model, {**facts, **format_facts()})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _without_motion_shape(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    """Let what was read off the motion's shape come from ``frame_size``; return the nodes that do it."""
    nodes = []
    for node in [each for each in graph.node if each.op_type == "Shape" and each.input[0] == "motion"]:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        first, last = attributes.get("start", 0) - 1, attributes.get("end", 4) - 1
        if not 0 <= first < last <= 2:
            raise BundleError(f"{name}: takes {attributes} of the motion's shape: export the bundle again")
        (value,) = node.output
        which = numpy_helper.from_array(np.arange(first, last, dtype=np.int64), f"{value}_axes")
        graph.initializer.append(which)
        nodes.append(helper.make_node("Gather", ["frame_size", which.name], [value], node.name))
        graph.node.remove(node)
    return nodes


def _outputs(models: Mapping[str, bytes], clip: GoldenClip) -> dict[tuple[str, int], Arrays]:
    """Return all stages by member and frame; labels at the frames' size, the LR branches on this keyframe's feature."""
    last, size = len(clip.frames) - 1, np.array(clip.frames.shape[1:3], np.int64)
    found: dict[tuple[str, int], Arrays] = {}
    for member, model in models.items():
        session = session_of(member, model)
        takes = {each.name for each in session.get_inputs()}
        for index in (0, last) if member == KEYFRAME else range(1, last + 1):
            inputs: dict[str, NDArray[Any]] = {
                "frame": clip.frames[index : index + 1],
                "motion": clip.motion[index : index + 1],
                "frame_size": size,
                "labels_size": size,
            }
            if member != KEYFRAME:
                inputs["keyframe_feature"] = found[KEYFRAME, 0]["feature"]
            found[member, index] = run_graph(session, **{name: inputs[name] for name in inputs if name in takes})
    return found


def _with_labels_of_another_size(
    clip: GoldenClip, outputs: Mapping[tuple[str, int], Arrays], models: Mapping[str, bytes]
) -> GoldenClip:
    """Expect of the last frame labels of another size, as PyTorch makes them from the logits."""
    expected = {member: dict(runs) for member, runs in clip.expected.items()}
    last, size = len(clip.frames) - 1, labels_sizes(clip.frames)[-1]
    for member, model in models.items():
        logits = torch.from_numpy(outputs[member, last][LOGITS])
        labels = resize_logits(logits, size, **_label_rule(model)).argmax(dim=1)[0].to(torch.uint8)
        runs = expected.setdefault(member, {})
        # HR's expectations are of the first frame alone; of the last its old graph says what the feature is.
        stages = runs[last].stages if last in runs else {"feature": samples_of(outputs[member, last]["feature"])}
        runs[last] = Expected(labels.numpy(), stages)
    return GoldenClip(clip.frames, clip.motion, expected)


def _with_heads(
    clip: GoldenClip, heads: Mapping[LowResolution, bytes], models: Mapping[str, bytes], tolerance: float
) -> tuple[GoldenClip, list[ParityFigure]]:
    """Expect of the heads what PyTorch's layer makes of the LR features; return how far ONNX Runtime is from that."""
    outputs = _outputs(models, clip)
    expected, figures = dict(clip.expected), []
    for low, head in heads.items():
        (layer,) = (node for node in onnx.load_from_string(head).graph.node if node.op_type == "Conv")
        weight, bias = (_constant(head, name) for name in layer.input[1:])
        session, runs = session_of(low.head, head), {}
        for index, wanted in clip.expected[low.member].items():
            size = wanted.labels.shape[0], wanted.labels.shape[1]
            feature = outputs[low.member, index][LR_FEATURE]
            logits = torch.nn.functional.conv2d(torch.from_numpy(feature), weight, bias)
            labels = resize_logits(logits, size, **_label_rule(head)).argmax(dim=1).to(torch.uint8).numpy()
            found = run_graph(session, lr_feature=feature, labels_size=np.array(size, np.int64))
            error = error_of("labels", labels, found["labels"])
            figures.append(ParityFigure(low.head, "labels", "golden", clip.frames.shape[1:3], error, tolerance))
            runs[index] = Expected(labels[0], {})
        expected[low.head] = runs
    refuse_beyond_tolerance(figures)
    return GoldenClip(clip.frames, clip.motion, expected), figures


def _constant(model: bytes, name: str) -> torch.Tensor:
    """Return a constant that was stored as float32, or in half precision beside a ``Cast``."""
    graph = onnx.load_from_string(model).graph
    stored = next((node.input[0] for node in graph.node if name in node.output), name)
    (found,) = (numpy_helper.to_array(each) for each in graph.initializer if each.name == stored)
    return torch.from_numpy(found.astype(np.float32))


def _refuse_other(
    was: Mapping[tuple[str, int], Arrays], now: Mapping[tuple[str, int], Arrays], *, tolerance: float
) -> None:
    for (member, index), stages in was.items():
        for stage, array in stages.items():
            error = error_of(stage, array, now[member, index][stage])
            if not error <= tolerance:
                raise ParityError(
                    f"{member}: {stage} differs by {error:.2e} after the upgrade (tolerance {tolerance:g}): "
                    "nothing was written; export it again"
                )


def _label_rule(model: bytes) -> LabelRule:
    (node,) = (each for each in onnx.load_from_string(model).graph.node if each.op_type == SEGMENTATION_LABELS)
    attributes = {each.name: each.i for each in node.attribute}
    return {"upscale": attributes["upscale"], "align_corners": attributes["align_corners"] == 1}
