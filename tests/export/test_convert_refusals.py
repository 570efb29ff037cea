"""What cannot be converted, or not without being told more: one line that says what was found, and what to give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_models import CLASSES, DYNAMIC, NORMAL, Network, ended, of_bytes, plain, save

from arseg_edge.errors import ArsegError, DatasetError, ModelError, OutputError, UsageError
from arseg_edge.export import ClassSet, convert_onnx

FIXED = (1, 3, 64, 96)


def refused(model: onnx.ModelProto | Path, folder: Path, kind: type[ArsegError], **how: Any) -> str:
    """Return the message; nothing may have been written."""
    path = save(model, folder / "model.onnx") if isinstance(model, onnx.ModelProto) else model
    before = sorted(folder.iterdir())
    with pytest.raises(kind) as caught:
        convert_onnx(path, out=folder / "out.arseg", **how)
    assert type(caught.value) is kind
    assert sorted(folder.iterdir()) == before
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    return message


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\x08\x07" * 30])
def test_no_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    message = refused(path, tmp_path, ModelError, **NORMAL)
    assert "not an ONNX model, or one cut short" in message
    assert f"{len(content)} bytes" in message


def test_no_file(tmp_path: Path) -> None:
    assert "no such file: name an ONNX model" in refused(tmp_path / "none.onnx", tmp_path, ModelError, **NORMAL)
    assert "is a directory" in refused(tmp_path, tmp_path, ModelError, **NORMAL)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_cut_off(tmp_path: Path, share: float) -> None:
    whole = save(plain(), tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: int(len(whole) * share)])
    assert "cut short" in refused(tmp_path / "model.onnx", tmp_path, ModelError, **NORMAL)


def test_old_opset(tmp_path: Path) -> None:
    model = plain()
    model.opset_import[0].version = 9
    onnx.save(model, tmp_path / "model.onnx")
    message = refused(tmp_path / "model.onnx", tmp_path, ModelError, **NORMAL)
    assert "opset 9, and 11 is the oldest that is taken" in message


def test_unknown_domain(tmp_path: Path) -> None:
    model = plain()
    model.graph.node[1].domain = "mmcv"
    model.opset_import.append(helper.make_opsetid("mmcv", 1))
    onnx.save(model, tmp_path / "model.onnx")
    message = refused(tmp_path / "model.onnx", tmp_path, ModelError, **NORMAL)
    assert "operator Tanh of domain 'mmcv', which ONNX Runtime does not bring along" in message


def test_unknown_operator(tmp_path: Path) -> None:
    model = plain()
    model.graph.node[1].op_type = "Segment"
    onnx.save(model, tmp_path / "model.onnx")
    assert "does not load it" in refused(tmp_path / "model.onnx", tmp_path, ModelError, **NORMAL)


def test_classifier(tmp_path: Path) -> None:
    network = Network()
    pooled = network.node("GlobalAveragePool", [network.logits("image", "raw")], "pooled")
    network.node("Flatten", [pooled], "scores")
    network.gives("scores", rank=2)
    message = refused(network.model(DYNAMIC), tmp_path, ModelError, **NORMAL)
    assert f"not a segmentation model: it gives scores float32 [1, {CLASSES}]" in message


def detector(masks: bool) -> onnx.ModelProto:
    network = Network(classes=32)
    raw = network.logits("image", "protos")
    network.constant("shape", [1, 4, -1], np.int64)
    network.node("Reshape", [raw, "shape"], "boxes")
    network.gives("boxes", rank=3)
    if masks:
        network.gives("protos")
    return network.model(FIXED)


def test_detector(tmp_path: Path) -> None:
    message = refused(detector(False), tmp_path, ModelError, **NORMAL)
    assert "not a segmentation model: it gives boxes float32 [1, 4, 3072]" in message
    message = refused(detector(True), tmp_path, UsageError, **NORMAL)
    assert "boxes float32 [1, 4, 3072], protos float32 [1, 32, 16, 24]" in message
    assert "name the one that does by --output" in message


def test_several_outputs(tmp_path: Path) -> None:
    network = Network()
    raw = network.logits("image", "out")
    network.node("Neg", [raw], "aux")
    network.gives("out")
    network.gives("aux")
    message = refused(network.model(DYNAMIC), tmp_path, UsageError, **NORMAL)
    assert "out, aux may hold the classes of pixels: name the one that does by --output" in message
    message = refused(network.model(DYNAMIC), tmp_path, UsageError, **NORMAL, output="else")
    assert "no output 'else'; it gives out float32" in message


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ((4, 3, 64, 96), "is float [4, 3, 64, 96]: 4 pictures at once, where frames come one by one"),
        ((1, 6, 64, 96), "is float [1, 6, 64, 96]: 6 channels, where up to 4 can be made of a frame"),
        ((1, 6, "h", "w"), "6 channels, where up to 4"),
        ((1, 64, 96, 6), "6 channels, where up to 4"),
        ((3, 64, 96), "is float [3, 64, 96], not a picture of float or uint8"),
    ],
)
def test_input_that_no_frame_becomes(tmp_path: Path, axes: tuple[Any, ...], message: str) -> None:
    onnx.save(plain(axes, channels=6 if 6 in axes else 3), tmp_path / "model.onnx")
    assert message in refused(tmp_path / "model.onnx", tmp_path, ModelError, **NORMAL)


def test_input_of_whole_numbers(tmp_path: Path) -> None:
    network = Network()
    network.logits(network.node("Cast", ["image"], "values", to=TensorProto.FLOAT))
    network.gives("logits")
    message = refused(network.model(DYNAMIC, TensorProto.INT64), tmp_path, ModelError, **NORMAL)
    assert "is int64 [1, 3, height, width], not a picture" in message


def test_two_inputs(tmp_path: Path) -> None:
    model = plain()
    model.graph.input.append(helper.make_tensor_value_info("size", TensorProto.INT64, [2]))
    assert "takes 2 inputs (image float [1, 3, height, width], size int64 [2])" in refused(
        model, tmp_path, ModelError, **NORMAL
    )


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "nothing says how they are made of a picture's bytes: give --mean and --std"),
        ({"mean": 0.5, "bgr": False}, "a mean without a std: give --std, too"),
        ({"std": 0.5, "bgr": False}, "a std without a mean: give --mean, too"),
        ({"mean": (0.5, 0.5), "std": 1, "bgr": False}, "--mean 0.5,0.5: 2 numbers for 3 channels"),
        ({"scale": 1 / 255}, "nothing says whether its colours are in the order red, green, blue: give --rgb or --bgr"),
        (
            {"mean": (123.675, 116.28, 103.53), "std": (58.4, 57.1, 57.4), "bgr": False},
            "give --scale 1 if it is of values",
        ),
        ({"mean": 300, "std": 1, "scale": 1, "bgr": False}, "--mean 300: cannot be right for values 0 to 255"),
        ({"mean": -0.1, "std": 1, "bgr": False}, "--mean -0.1: cannot be right for values 0 to 1"),
        ({"mean": 0, "std": 0, "bgr": False}, "--std 0: cannot be right"),
        ({"scale": 0, "bgr": False}, "--scale 0: must be more than 0"),
        ({"mean": "0.5", "std": 1, "bgr": False}, "mean '0.5': must be a number, or one for each channel"),
        ({**NORMAL, "threshold": 0.5}, "--threshold 0.5: output logits has no single channel: leave it out"),
        ({**NORMAL, "resize": "crop"}, "resize 'crop': must be stretch or letterbox"),
        ({**NORMAL, "layout": "hwc"}, "layout 'hwc': must be nchw or nhwc"),
        ({**NORMAL, "size": (0, 5)}, "size (0, 5): must be (height, width) in whole pixels"),
        ({**NORMAL, "size": (64, 96)}, "give --resize stretch or --resize letterbox"),
        ({**NORMAL, "multiple": 0}, "multiple 0: must be a whole number from 1 to 4096"),
        ({**NORMAL, "fill": 256}, "fill 256: must be a grey level from 0 to 255"),
        ({**NORMAL, "classes": 4}, f"output logits has {CLASSES} classes, and --classes 4"),
        (
            {**NORMAL, "classes": ClassSet(("a", "b"), ((0, 0, 0), (1, 1, 1)))},
            f"has {CLASSES} classes, and --classes 2",
        ),
        ({**NORMAL, "interval": 0}, "keyframe interval 0: must be a whole number from 1"),
        ({**NORMAL, "output_layout": "nhwc"}, "which cannot be nhwc: leave --output-layout out"),
    ],
    ids=str,
)
def test_what_must_be_said_or_cannot_be(tmp_path: Path, how: dict[str, Any], message: str) -> None:
    assert message in refused(plain(), tmp_path, UsageError, **how)


@pytest.mark.parametrize("how", [{"mean": 0.5}, {"std": 0.5}, {"scale": 1 / 255}])
def test_bytes_need_no_normalisation(tmp_path: Path, how: dict[str, Any]) -> None:
    message = refused(of_bytes(), tmp_path, UsageError, bgr=False, **how)
    assert "takes bytes, which it normalises itself: leave --" in message


def test_fixed_size(tmp_path: Path) -> None:
    assert "sees pictures of 64x96" in refused(plain(FIXED), tmp_path, UsageError, **NORMAL)
    message = refused(plain(FIXED), tmp_path, UsageError, **NORMAL, size=(96, 64), resize="stretch")
    assert "size 96x64: " in message
    assert "takes 64x96 alone (height x width)" in message
    assert "takes 64x96 alone: leave it out" in refused(plain(FIXED), tmp_path, UsageError, **NORMAL, size="any")
    half = refused(plain((1, 3, 64, "w")), tmp_path, UsageError, **NORMAL)
    assert "only one side of its picture is fixed (64x?): give --size HxW" in half


def test_order_of_axes_that_cannot_be_seen(tmp_path: Path) -> None:
    assert "give --layout nchw or --layout nhwc" in refused(plain(("n", "a", "b", "c")), tmp_path, UsageError, **NORMAL)


def test_order_of_the_outputs_axes_that_cannot_be_seen(tmp_path: Path) -> None:
    model = plain((1, 3, 64, 64), classes=16)
    how = {**NORMAL, "resize": "stretch"}
    assert "give --output-layout nchw or nhwc" in refused(model, tmp_path, UsageError, **how)


def test_one_channel_of_unknown_meaning(tmp_path: Path) -> None:
    message = refused(ended("half-score"), tmp_path, UsageError, **NORMAL)
    assert "has one channel and no sigmoid at its end" in message
    assert "give --threshold (0 for logits, 0.5 for probabilities)" in message
    assert "give one between 0 and 1" in refused(ended("sigmoid"), tmp_path, UsageError, **NORMAL, threshold=2.0)


def labels_alone(largest: int) -> onnx.ModelProto:
    network = Network()
    top = network.node("ReduceMax", [network.logits("image", "raw"), network.constant("axis", [1], np.int64)], "top")
    less = network.node("Less", [top, network.constant("zero", 0, np.float32)], "less")
    whole = network.node("Cast", [less], "whole", to=TensorProto.INT32)
    network.node("Mul", [whole, network.constant("largest", largest, np.int32)], "labels")
    network.gives("labels", TensorProto.INT32)
    return network.model(DYNAMIC)


def test_labels_that_do_not_say_how_many_classes_there_are(tmp_path: Path) -> None:
    message = refused(labels_alone(1), tmp_path, UsageError, **NORMAL)
    assert "holds labels, which do not say how many classes there are: give --classes" in message
    message = refused(labels_alone(255), tmp_path, UsageError, **NORMAL, classes=2)
    assert "has labels from 0 to 255, and there are 2 classes" in message


def test_too_many_classes(tmp_path: Path) -> None:
    message = refused(plain(classes=300), tmp_path, ModelError, **NORMAL)
    assert "300 classes, and labels have 256 at most" in message


def external(folder: Path) -> Path:
    how = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 16}
    return save(plain(), folder / "model.onnx", **how)


def test_external_data_missing(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "weights.bin").unlink()
    message = refused(path, tmp_path, ModelError, **NORMAL)
    assert f"external data missing: no file {tmp_path / 'weights.bin'}: copy it along" in message


def test_external_data_cut_off(tmp_path: Path) -> None:
    path = external(tmp_path)
    data = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(data[:100])
    message = refused(path, tmp_path, ModelError, **NORMAL)
    assert "external data cut short" in message
    assert "has 100 bytes" in message


@pytest.mark.parametrize("place", ["../secret", "/etc/hostname", "sub/../../secret"])
def test_external_data_outside(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(100_000))
    path = external(folder)
    model = onnx.load(path, load_external_data=False)
    for constant in model.graph.initializer:
        for entry in constant.external_data:
            entry.value = place if entry.key == "location" else entry.value
    path.write_bytes(model.SerializeToString())
    message = refused(path, folder, ModelError, **NORMAL)
    assert f"external data at {place!r}, outside the model's folder" in message


def test_external_data_behind_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = external(folder)
    (folder / "weights.bin").rename(tmp_path / "secret")
    (folder / "weights.bin").symlink_to(tmp_path / "secret")
    assert "outside the model's folder" in refused(path, folder, ModelError, **NORMAL)


def test_files_beside_that_make_no_sense(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    assert "config.json: not JSON" in refused(plain(), tmp_path, ModelError, **NORMAL)
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "a", "2": "b"}}))
    assert "id2label does not name classes 0, 1, 2" in refused(plain(), tmp_path, ModelError, **NORMAL)
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "a", "1": "b"}}))
    assert f"has {CLASSES} classes, and config.json 2" in refused(plain(), tmp_path, UsageError, **NORMAL)
    (tmp_path / "config.json").unlink()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": ["a"], "image_std": [1]}))
    assert "image_mean is ['a'], not numbers" in refused(plain(), tmp_path, ModelError, **NORMAL)


def test_classes_that_are_not_there(tmp_path: Path) -> None:
    assert "no such file" in refused(plain(), tmp_path, UsageError, **NORMAL, classes=str(tmp_path / "none.yaml"))
    assert "must be 1 to 256" in refused(plain(), tmp_path, UsageError, **NORMAL, classes="300")
    (tmp_path / "broken.yaml").write_text("names: [a]")
    assert "it names no classes" in refused(plain(), tmp_path, DatasetError, **NORMAL, classes=tmp_path / "broken.yaml")


def test_targets(tmp_path: Path) -> None:
    path = save(plain(), tmp_path / "model.onnx")
    with pytest.raises(UsageError, match=r"ends in \.arseg: add it"):
        convert_onnx(path, out=tmp_path / "model.zip", **NORMAL)
    with pytest.raises(OutputError, match="no directory"):
        convert_onnx(path, out=tmp_path / "none" / "model.arseg", **NORMAL)


def test_model_that_runs_at_one_size_alone(tmp_path: Path) -> None:
    """Its input is said to be open, and a shape inside is not."""
    network = Network()
    raw = network.logits("image", "raw")
    network.node("Reshape", [raw, network.constant("shape", [1, CLASSES, 16, 24], np.int64)], "logits")
    network.gives("logits")
    message = refused(network.model(DYNAMIC), tmp_path, ModelError, **NORMAL)
    assert "does not run on float32 [1, 3, 256, 320]" in message
    assert "give --size HxW, a size that it takes" in message
