"""The bodies of the custom operators, put into a model that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import onnx

from arseg_edge.export.operators.creff import body as creff_body
from arseg_edge.export.operators.creff import body_uint8 as creff_uint8_body
from arseg_edge.export.operators.local_attention import body as local_attention_body
from arseg_edge.export.operators.motion_warp import body as motion_warp_body
from arseg_edge.export.operators.motion_warp import body_uint8 as motion_warp_uint8_body
from arseg_edge.export.operators.normalize_image import body as normalize_image_body
from arseg_edge.export.operators.normalize_image import body_uint8 as normalize_image_uint8_body
from arseg_edge.export.operators.segmentation_labels import body as segmentation_labels_body
from arseg_edge.manifest import Operator
from arseg_edge.operators import (
    CREFF,
    CREFF_UINT8,
    DOMAIN,
    LOCAL_ATTENTION,
    MOTION_WARP,
    MOTION_WARP_UINT8,
    NORMALIZE_IMAGE,
    NORMALIZE_IMAGE_UINT8,
    SEGMENTATION_LABELS,
    VERSION,
)

# What an operator's body needs to know of the node's attributes and of how many outputs it has.
_BODIES: Mapping[str, Callable[[Mapping[str, Any], int], onnx.FunctionProto]] = {
    MOTION_WARP: lambda attributes, _: motion_warp_body(attributes["sampling"].decode()),
    LOCAL_ATTENTION: lambda attributes, _: local_attention_body(attributes["kernel_size"]),
    CREFF: lambda attributes, _: creff_body(),
    NORMALIZE_IMAGE: lambda attributes, _: normalize_image_body(),
    MOTION_WARP_UINT8: lambda attributes, _: motion_warp_uint8_body(),
    CREFF_UINT8: lambda attributes, _: creff_uint8_body(),
    NORMALIZE_IMAGE_UINT8: lambda attributes, _: normalize_image_uint8_body(),
    SEGMENTATION_LABELS: lambda attributes, outputs: segmentation_labels_body(
        bool(attributes.get("align_corners", 1)), confidence=outputs > 1
    ),
}


_Form = tuple[Mapping[str, Any], int]
"""A node's attributes, and how many outputs it has."""


def attach_bodies(model: onnx.ModelProto) -> None:
    """Append to ``model`` the function of every custom operator that it uses, also of those inside others.

    A function's name stands for one body, so all nodes of one operator must have equal attributes, and as many outputs.

    Raises:
        ValueError: two nodes of one operator differ in that.
    """
    seen: dict[str, _Form] = {}
    _attach(model, model.graph.node, {}, seen)
    if not any(opset.domain == DOMAIN for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, VERSION))


def operators_of(model: onnx.ModelProto) -> list[Operator]:
    """Return the custom operators that ``model`` has bodies for, sorted by name."""
    return sorted(
        (Operator(DOMAIN, function.name, VERSION) for function in model.functions),
        key=lambda operator: operator.name,
    )


def _attach(
    model: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto],
    outer: Mapping[str, Any],
    seen: dict[str, _Form],
) -> None:
    for node in nodes:
        if node.domain != DOMAIN:
            continue
        # Inside a body an attribute may stand for the outer operator's attribute.
        attributes = {
            attribute.name: outer[attribute.ref_attr_name]
            if attribute.ref_attr_name
            else onnx.helper.get_attribute_value(attribute)
            for attribute in node.attribute
        }
        form = attributes, len(node.output)
        before = seen.setdefault(node.op_type, form)
        if before[0] != attributes:
            raise ValueError(f"{node.op_type}: {attributes} beside {before[0]} in one model")
        if before != form:
            raise ValueError(f"{node.op_type}: {len(node.output)} outputs beside {before[1]} in one model")
        if any(function.name == node.op_type for function in model.functions):
            continue
        function = _BODIES[node.op_type](*form)
        model.functions.append(function)
        _attach(model, function.node, attributes, seen)
