"""The names that people rely on. A change here is a change for them: say it in the changelog."""

from __future__ import annotations

import inspect

import pytest

import arseg_edge
import arseg_edge.bundle
import arseg_edge.runtime
from arseg_edge import errors


def test_package() -> None:
    assert set(arseg_edge.__all__) == {
        "ArsegError", "Bundle", "BundleError", "CheckpointError", "CodecError", "DatasetError", "FrameError", "Guards",
        "ModelError", "OperatorError", "OutputError", "ParityError", "ProviderError", "Result", "Segmenter",
        "SequenceError", "SizeError", "SourceError", "Speed", "TrainingError", "UsageError", "load",
    }  # fmt: skip
    assert arseg_edge.__version__.count(".") == 2


def test_names_for_annotations_are_the_classes_themselves() -> None:
    assert arseg_edge.Segmenter is arseg_edge.runtime.Segmenter
    assert arseg_edge.Bundle is arseg_edge.bundle.Bundle
    assert set(arseg_edge.__all__) <= set(dir(arseg_edge))
    with pytest.raises(AttributeError, match="no attribute 'segmenter'"):
        arseg_edge.segmenter  # noqa: B018


def test_runtime() -> None:
    assert set(arseg_edge.runtime.__all__) == {"MotionFrame", "Segmenter", "read_motion"}


def test_every_public_name_is_there_and_documented() -> None:
    for module in (arseg_edge, arseg_edge.runtime):
        assert list(module.__all__) == sorted(module.__all__)
        for name in module.__all__:
            assert inspect.getdoc(getattr(module, name)), name


def parameters(function: object) -> list[str]:
    assert callable(function)
    return list(inspect.signature(function).parameters)


def test_parameters() -> None:
    assert parameters(arseg_edge.load)[:4] == ["path", "providers", "threads", "interval"]
    assert inspect.signature(arseg_edge.load).parameters["path"].default is None
    segmenter = arseg_edge.runtime.Segmenter
    assert {"stream", "step", "reset", "close"} <= set(dir(segmenter))
    assert {"rgb", "keyframe", "motion"} <= set(parameters(segmenter.step))
    assert parameters(arseg_edge.runtime.read_motion)[:2] == ["source", "interval"]
    assert inspect.signature(arseg_edge.runtime.read_motion).parameters["interval"].default == 12


def test_exit_codes() -> None:
    codes = {name: getattr(errors, name).exit_code for name in arseg_edge.__all__ if name.endswith("Error")}
    assert codes == {
        "ArsegError": 1, "OutputError": 1, "TrainingError": 1,
        "UsageError": 2, "FrameError": 2, "SequenceError": 2,
        "ModelError": 3, "BundleError": 3, "CheckpointError": 3, "SizeError": 3, "OperatorError": 3,
        "ProviderError": 4, "SourceError": 5, "CodecError": 5, "DatasetError": 5, "ParityError": 6,
    }  # fmt: skip
    assert all(issubclass(getattr(errors, name), errors.ArsegError) for name in codes)
    builtins = {"BundleError": ValueError, "FrameError": TypeError, "SourceError": OSError, "OutputError": OSError}
    assert all(issubclass(getattr(errors, name), kind) for name, kind in builtins.items())
