"""The export side's names that people rely on."""

from __future__ import annotations

import inspect

import arseg_edge.export


def test_names_and_parameters() -> None:
    assert set(arseg_edge.export.__all__) == {
        "ClassSet",
        "Family",
        "convert_onnx",
        "export_bundle",
        "family_from_module",
        "quantize_bundle",
        "register_family",
        "upgrade_bundle",
    }
    parameters = inspect.signature(arseg_edge.export.export_bundle).parameters
    assert {name: each.default for name, each in parameters.items() if each.default is not each.empty} == {
        "lr": None,
        "size": None,
        "scale": 0.5,
        "interval": 12,
        "untrained": False,
        "half_weights": False,
        "progress": None,
    }
    assert list(parameters)[:4] == ["family", "hr", "lr", "out"]
    parameters = inspect.signature(arseg_edge.export.convert_onnx).parameters
    assert list(parameters)[:2] == ["path", "out"]
    assert {
        each.default for name, each in list(parameters.items())[2:] if name not in ("interval", "half_weights")
    } == {None}
    parameters = inspect.signature(arseg_edge.export.quantize_bundle).parameters
    assert {name: each.default for name, each in parameters.items() if each.default is not each.empty} == {
        "agreement": 98.0,
        "frames": 100,
        "seconds": 120.0,
        "size": None,
        "resize": False,
        "threads": None,
        "force": False,
        "progress": None,
    }
    for name in arseg_edge.export.__all__:
        assert inspect.getdoc(getattr(arseg_edge.export, name)), name
