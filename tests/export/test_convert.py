"""Models in all their forms as bundles: labels are those of the model alone, between ends of PyTorch and OpenCV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from plain_onnx import demo_network
from small_models import CLASSES, DYNAMIC, MEAN, NORMAL, STD, Network, ended, of_bytes, plain, save

import arseg_edge
from arseg_edge.bundle import KEYFRAME, Bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import BundleError, ModelError, ParityError, SizeError
from arseg_edge.export import convert_onnx
from arseg_edge.runtime.reports.verify import verify

STREET = Path(__file__).parents[2] / "samples" / "street.mp4"
FIXED = (1, 3, 64, 96)


def picture(height: int = 72, width: int = 104) -> np.ndarray:
    """A picture that is neither flat nor noise."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def labels_of(bundle: Bundle, rgb: np.ndarray) -> np.ndarray:
    with arseg_edge.load(bundle.path, providers="cpu", threads=1) as segmenter:
        return segmenter.step(rgb, keyframe=True).labels


def alone(path: Path, image: np.ndarray, output: str | None = None) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (name,) = (each.name for each in session.get_inputs())
    return np.asarray(session.run(None if output is None else [output], {name: image})[0])


def normal(rgb: np.ndarray) -> np.ndarray:
    """Return float32 NCHW."""
    values = (rgb.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(np.moveaxis(values, -1, 0)[None], np.float32)


def enlarged(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(F.interpolate(torch.from_numpy(planes), size, mode="bilinear", align_corners=False)[0].numpy())


def shrunk(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a picture of another size, of whole numbers; nothing is averaged that becomes smaller."""
    planes = torch.from_numpy(np.moveaxis(rgb, -1, 0)[None].astype(np.float32))
    resized = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)[0]
    return np.ascontiguousarray(np.moveaxis(resized.round().to(torch.uint8).numpy(), 0, -1))


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert len(np.unique(expected)) > 1
    assert np.mean(found == expected) >= 0.999


def convert(model: onnx.ModelProto, folder: Path, **how: Any) -> tuple[Bundle, Path]:
    path = save(model, folder / "model.onnx")
    bundle = convert_onnx(path, out=folder / "model.arseg", **how)
    assert max(figure.error for figure in bundle.parity) <= 1e-3
    assert {figure.stage for figure in bundle.parity} == {"labels"}
    assert verify(bundle, providers="cpu").passed
    return bundle, path


@pytest.mark.parametrize("opset", [11, 12, 13, 15, 17, 18, 21, 26])
def test_every_opset(tmp_path: Path, opset: int) -> None:
    bundle, path = convert(plain(opset=opset), tmp_path, **NORMAL)
    rgb = picture()
    same(labels_of(bundle, rgb), enlarged(alone(path, normal(rgb)), (72, 104)).argmax(0))
    assert bundle.manifest.opset == opset
    assert onnx.load_from_string(bundle.read(KEYFRAME)).opset_import[0].version == opset


ENDS = ("half", "corners", "nearest", "half-softmax", "softmax-half", "nhwc", "half-nhwc-softmax")


@pytest.mark.parametrize("size", [None, FIXED], ids=["own size", "fixed size"])
@pytest.mark.parametrize("end", ENDS)
def test_ends_of_logits(tmp_path: Path, end: str, size: tuple[int, ...] | None) -> None:
    if "nhwc-softmax" in end:
        model = ended(end.removesuffix("-softmax"), size or DYNAMIC)
    else:
        model = ended(end, size or DYNAMIC)
    bundle, path = convert(model, tmp_path, **NORMAL, **({"resize": "stretch"} if size else {}))
    rgb = picture()
    seen = rgb if size is None else shrunk(rgb, 64, 96)
    found = alone(path, normal(seen))
    planes = np.ascontiguousarray(np.moveaxis(found, 3, 1)) if "nhwc" in end else found
    expected = enlarged(planes, (72, 104)).argmax(0)
    same(labels_of(bundle, rgb), expected)
    assert bundle.manifest.label_rule is not None


@pytest.mark.parametrize("end", ["argmax", "half-argmax", "corners-argmax-bytes", "half-nhwc-argmaxlast"])
@pytest.mark.parametrize("size", [None, FIXED], ids=["own size", "fixed size"])
def test_labels_of_the_model_itself(tmp_path: Path, end: str, size: tuple[int, ...] | None) -> None:
    how = {"resize": "stretch"} if size else {}
    bundle, path = convert(ended(end, size or DYNAMIC), tmp_path, **NORMAL, **how)
    rgb = picture()
    seen = rgb if size is None else shrunk(rgb, 64, 96)
    found = torch.from_numpy(alone(path, normal(seen)).astype(np.uint8))[None]
    expected = F.interpolate(found, (72, 104), mode="nearest-exact")[0, 0].numpy()
    same(labels_of(bundle, rgb), expected)
    # The logits behind them are found, and with them how many classes there are.
    assert bundle.manifest.label_rule is not None
    assert len(bundle.manifest.classes) == CLASSES


def test_labels_without_logits_need_the_number_of_classes(tmp_path: Path) -> None:
    network = Network()
    raw = network.logits("image", "raw")
    network.constant("axis", [1], np.int64)
    top = network.node("ReduceMax", [raw, "axis"], "top", keepdims=1)
    network.node(
        "Cast",
        [network.node("Less", [top, network.constant("zero", 0, np.float32)], "less")],
        "labels",
        to=TensorProto.INT32,
    )
    network.gives("labels", TensorProto.INT32)
    bundle, _ = convert(network.model(DYNAMIC), tmp_path, **NORMAL, classes=2)
    assert bundle.manifest.label_rule is None
    with arseg_edge.load(bundle.path, providers="cpu", threads=1) as segmenter:
        results = list(segmenter.stream(str(STREET)))
    assert {result.branch for result in results} == {"hr", "moved"}


@pytest.mark.parametrize("end", ["sigmoid", "half-sigmoid", "sigmoid-half", "half-sigmoid-nhwc"])
def test_one_channel_with_a_sigmoid(tmp_path: Path, end: str) -> None:
    bundle, path = convert(ended(end), tmp_path, **NORMAL)
    rgb = picture()
    found = alone(path, normal(rgb))
    planes = np.ascontiguousarray(np.moveaxis(found, 3, 1)) if "nhwc" in end else found
    same(labels_of(bundle, rgb), (enlarged(planes, (72, 104))[0] > 0.5).astype(np.uint8))
    assert [each.name for each in bundle.manifest.classes] == ["background", "foreground"]


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_one_channel_of_logits(tmp_path: Path, threshold: float) -> None:
    bundle, path = convert(ended("half-score"), tmp_path, **NORMAL, threshold=threshold)
    rgb = picture()
    same(labels_of(bundle, rgb), (alone(path, normal(rgb))[0, 0] > threshold).astype(np.uint8))


def test_one_channel_without_an_axis(tmp_path: Path) -> None:
    bundle, path = convert(ended("half-sigmoid-squeeze", FIXED), tmp_path, **NORMAL, resize="stretch")
    rgb = picture(64, 96)
    same(labels_of(bundle, rgb), (alone(path, normal(rgb))[0] > 0.5).astype(np.uint8))


def test_bytes_and_channels_last(tmp_path: Path) -> None:
    bundle, path = convert(of_bytes(), tmp_path, bgr=True)
    rgb = picture()
    planes = np.ascontiguousarray(np.moveaxis(alone(path, rgb[None, ..., ::-1].copy()), 3, 1))
    same(labels_of(bundle, rgb), enlarged(planes, (72, 104)).argmax(0))
    assert bundle.manifest.converted is not None
    assert bundle.manifest.converted.channels == "bgr"


@pytest.mark.parametrize(("channels", "named"), [(1, "grey"), (2, "grey+alpha"), (4, "rgb+alpha")])
def test_other_numbers_of_channels(tmp_path: Path, channels: int, named: str) -> None:
    how: dict[str, Any] = {"scale": 1 / 255, **({"bgr": False} if channels > 2 else {})}
    bundle, path = convert(plain((1, channels, "h", "w"), channels=channels), tmp_path, **how)
    rgb = picture()
    colours = rgb if channels > 2 else cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None]
    opaque = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    pixels = colours if channels == 1 else np.concatenate([colours, opaque], axis=-1)
    image = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)[None].astype(np.float32) / 255)
    same(labels_of(bundle, rgb), enlarged(alone(path, image), (72, 104)).argmax(0))
    assert bundle.manifest.converted is not None
    assert bundle.manifest.converted.channels == named


def test_half_precision(tmp_path: Path) -> None:
    model = plain()
    for constant in model.graph.initializer:
        constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant).astype(np.float16), constant.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    bundle, path = convert(model, tmp_path, **NORMAL)
    rgb = picture()
    found = alone(path, normal(rgb).astype(np.float16)).astype(np.float32)
    same(labels_of(bundle, rgb), enlarged(found, (72, 104)).argmax(0))


@pytest.mark.parametrize(("size", "opset"), [((72, 104), 18), ((96, 64), 11), ((40, 200), 13)])
def test_letterbox_of_a_fixed_size(tmp_path: Path, size: tuple[int, int], opset: int) -> None:
    bundle, path = convert(plain(FIXED, opset), tmp_path, **NORMAL, resize="letterbox", fill=10)
    rgb = picture(*size)
    ratio = min(64 / size[0], 96 / size[1])
    rows, columns = (int(side * ratio + 0.5) for side in size)
    top, left = (64 - rows) // 2, (96 - columns) // 2
    whole = np.full((64, 96, 3), 10, np.uint8)
    whole[top : top + rows, left : left + columns] = shrunk(rgb, rows, columns)
    planes = enlarged(alone(path, normal(whole)), (64, 96))[:, top : top + rows, left : left + columns]
    same(labels_of(bundle, rgb), enlarged(np.ascontiguousarray(planes[None]), size).argmax(0))


def in_steps_of_8(opset: int) -> onnx.ModelProto:
    """A model of which both sides must be multiples of 8: it adds what it has at two strides."""
    network = Network(opset=opset)
    raw = network.logits("image", "raw")
    small = network.node("AveragePool", [raw], "small", kernel_shape=[2, 2], strides=[2, 2])
    network.constant("scales", [1, 1, 2, 2], np.float32)
    network.constant("roi", [], np.float32)
    again = network.node(
        "Resize",
        [small, "roi", "scales"],
        "again",
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    network.node("Add", [raw, again], "logits")
    network.gives("logits")
    return network.model(DYNAMIC)


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_multiple_is_found(tmp_path: Path, resize: Any, opset: int) -> None:
    bundle, path = convert(in_steps_of_8(opset), tmp_path, **NORMAL, resize=resize)
    rule = bundle.manifest.converted
    assert rule is not None
    assert (rule.size, rule.multiple) == (None, 8)
    rgb = picture(75, 110)
    if resize == "stretch":
        planes = alone(path, normal(shrunk(rgb, 72, 112)))
    else:
        whole = cv2.copyMakeBorder(rgb, 2, 3, 1, 1, cv2.BORDER_CONSTANT, value=(114,) * 3)
        large = enlarged(alone(path, normal(whole)), (80, 112))
        planes = np.ascontiguousarray(large[None, :, 2:77, 1:111])
    same(labels_of(bundle, rgb), enlarged(planes, (75, 110)).argmax(0))


def test_size_that_is_asked_for(tmp_path: Path) -> None:
    bundle, path = convert(plain(), tmp_path, **NORMAL, size=(64, 96), resize="stretch")
    rgb = picture()
    seen = shrunk(rgb, 64, 96)
    same(labels_of(bundle, rgb), enlarged(alone(path, normal(seen)), (72, 104)).argmax(0))
    with pytest.raises(SizeError, match="sees 64x96 alone"):
        arseg_edge.load(bundle.path, size=(32, 48))


def test_quantized_model(tmp_path: Path) -> None:
    """Weights and activations of eight bits between QuantizeLinear and DequantizeLinear."""
    network = Network(classes=CLASSES)
    constants = {each.name: numpy_helper.to_array(each) for each in network.constants}
    network.constants.clear()
    network.constant("zero", 0, np.int8)
    network.constant("wide", 6 / 127, np.float32)

    def eight(value: str) -> str:
        quantized = network.node("QuantizeLinear", [value, "wide", "zero"], f"{value}/q")
        return network.node("DequantizeLinear", [quantized, "wide", "zero"], f"{value}/dq")

    def weights(name: str) -> str:
        scale = float(np.abs(constants[name]).max()) / 127
        network.constant(f"{name}/q", np.rint(constants[name] / scale), np.int8)
        network.constant(f"{name}/scale", scale, np.float32)
        return network.node("DequantizeLinear", [f"{name}/q", f"{name}/scale", "zero"], f"{name}/dq")

    inner = network.node("Conv", [eight("image"), weights("first")], "inner", strides=[4, 4], pads=[2, 2, 2, 2])
    active = network.node("Relu", [inner], "active")
    network.node("Conv", [eight(active), weights("last")], "raw")
    network.node("Identity", [eight("raw")], "logits")
    network.gives("logits")
    bundle, path = convert(network.model(DYNAMIC), tmp_path, **NORMAL)
    rgb = picture()
    same(labels_of(bundle, rgb), enlarged(alone(path, normal(rgb)), (72, 104)).argmax(0))


def test_external_data(tmp_path: Path) -> None:
    how = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 16}
    path = save(plain(), tmp_path / "model.onnx", **how)
    assert (tmp_path / "weights.bin").stat().st_size > 1000
    bundle = convert_onnx(path, out=tmp_path / "model.arseg", **NORMAL)
    rgb = picture()
    expected = enlarged(alone(path, normal(rgb)), (72, 104)).argmax(0)
    (tmp_path / "weights.bin").unlink()
    same(labels_of(bundle, rgb), expected)


def test_model_with_a_branch_and_a_function(tmp_path: Path) -> None:
    """Graphs inside nodes use names of the outer graph, and functions their own operators."""
    model = plain()
    graph = model.graph
    inner = [
        helper.make_graph(
            [helper.make_node(operator, ["raw"], [f"{operator}_out"])],
            operator,
            [],
            [helper.make_tensor_value_info(f"{operator}_out", TensorProto.FLOAT, None)],
        )
        for operator in ("Neg", "Identity")
    ]
    graph.node[-1].output[0] = "raw"
    graph.initializer.append(numpy_helper.from_array(np.array(True), "negative"))
    graph.node.append(helper.make_node("If", ["negative"], ["branch"], then_branch=inner[0], else_branch=inner[1]))
    graph.node.append(helper.make_node("Double", ["branch"], ["logits"], domain="mine"))
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(
        helper.make_function("mine", "Double", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], opsets)
    )
    model.opset_import.append(helper.make_opsetid("mine", 1))
    bundle, path = convert(model, tmp_path, **NORMAL)
    rgb = picture()
    same(labels_of(bundle, rgb), enlarged(alone(path, normal(rgb)), (72, 104)).argmax(0))


def test_one_of_several_outputs(tmp_path: Path) -> None:
    network = Network()
    raw = network.logits("image", "raw")
    network.node("Neg", [raw], "out")
    network.gives("raw")
    network.gives("out")
    bundle, path = convert(network.model(DYNAMIC), tmp_path, **NORMAL, output="out")
    rgb = picture()
    same(labels_of(bundle, rgb), enlarged(alone(path, normal(rgb), "out"), (72, 104)).argmax(0))
    assert bundle.manifest.converted is not None
    assert bundle.manifest.converted.output == "out"


def test_vectors_beside_the_classes_of_pixels_are_no_question(tmp_path: Path) -> None:
    network = Network()
    raw = network.logits("image", "raw")
    network.node("Flatten", [network.node("GlobalAveragePool", [raw], "pooled")], "presence")
    network.gives("presence", rank=2)
    network.gives("raw")
    bundle, _ = convert(network.model(DYNAMIC), tmp_path, **NORMAL)
    assert bundle.manifest.converted is not None
    assert bundle.manifest.converted.output == "raw"


def test_names_of_open_and_symbolic_axes_do_not_matter(tmp_path: Path) -> None:
    model = plain(("batch", 3, None, None))
    bundle, _ = convert(model, tmp_path, **NORMAL)
    assert labels_of(bundle, picture(33, 47)).shape == (33, 47)


def test_all_axes_open(tmp_path: Path) -> None:
    bundle, _ = convert(plain((None, None, None, None)), tmp_path, **NORMAL, layout="nchw")
    assert labels_of(bundle, picture()).shape == (72, 104)


def test_macs(tmp_path: Path) -> None:
    bundle, _ = convert(plain(), tmp_path, **NORMAL)
    macs = bundle.manifest.macs
    cells = macs.size[0] // 4 * (macs.size[1] // 4)
    assert macs.hr == cells * (8 * 3 * 25 + CLASSES * 8)


def test_demo_network_is_as_good_as_the_demo_bundle(tmp_path: Path) -> None:
    bundle, _ = convert(demo_network(), tmp_path, **NORMAL, classes=11)
    with (
        arseg_edge.load(bundle.path, providers="cpu", threads=1) as converted,
        arseg_edge.load(demo_bundle(), providers="cpu", threads=1) as own,
    ):
        for one, other in zip(converted.stream(str(STREET)), own.stream(str(STREET)), strict=True):
            assert (one.branch, one.index) == (other.branch, other.index)
            # The demo's logits are enlarged in two steps and with corners aligned: edges lie elsewhere by a pixel.
            assert np.mean(one.labels == other.labels) > 0.97


def test_nothing_is_written_where_labels_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arseg_edge.export.convert.reference import Reference

    right = Reference.labels
    monkeypatch.setattr(Reference, "labels", lambda *given: np.roll(right(*given), 1, axis=1))
    path = save(plain(), tmp_path / "model.onnx")
    with pytest.raises(ParityError, match=r"of the labels differ from the model's own on .* nothing was written"):
        convert_onnx(path, out=tmp_path / "model.arseg", **NORMAL)
    assert not (tmp_path / "model.arseg").exists()


def large_weights(folder: Path) -> Path:
    """A model most of whose weight lies in one constant beside it."""
    network = Network()
    raw = network.logits("image", "raw")
    network.constant("large", np.arange(5000) / 5000, np.float32)
    one = network.node("Gather", ["large", network.constant("which", [1234], np.int64)], "one")
    network.node("Add", [raw, one], "logits")
    network.gives("logits")
    how = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 16}
    return save(network.model(DYNAMIC), folder / "model.onnx", **how)


def test_weights_in_half_precision(tmp_path: Path) -> None:
    path = large_weights(tmp_path)
    whole = convert_onnx(path, out=tmp_path / "whole.arseg", **NORMAL)
    half = convert_onnx(path, out=tmp_path / "half.arseg", **NORMAL, half_weights=True)
    members = [each.manifest.members[KEYFRAME].bytes for each in (whole, half)]
    assert members[0] - members[1] > 9000
    assert verify(half, providers="cpu").passed
    rgb = picture()
    same(labels_of(half, rgb), enlarged(alone(path, normal(rgb)), (72, 104)).argmax(0))
    assert whole.manifest.sources == half.manifest.sources


def test_what_is_too_large_for_one_file_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arseg_edge.export.convert import given_model

    path = large_weights(tmp_path)
    monkeypatch.setattr(given_model, "LARGEST_MODEL", 20_000)
    bundle = convert_onnx(path, out=tmp_path / "half.arseg", **NORMAL)
    assert bundle.manifest.members[KEYFRAME].bytes < 20_000
    monkeypatch.setattr(given_model, "LARGEST_MODEL", 10_000)
    with pytest.raises(ModelError, match="even with weights in half precision: convert a smaller model"):
        convert_onnx(path, out=tmp_path / "half.arseg", **NORMAL)


@pytest.mark.long
def test_more_than_2_gigabytes(tmp_path: Path) -> None:
    path = large_weights(tmp_path)
    model = onnx.load(path, load_external_data=False)
    (large,) = (each for each in model.graph.initializer if each.name == "large")
    count = 600_000_000
    large.dims[:] = [count]
    for entry in large.external_data:
        entry.value = {"location": "large.bin", "offset": "0", "length": str(4 * count)}.get(entry.key, entry.value)
    with (tmp_path / "large.bin").open("wb") as file:  # nearly all of it is a hole
        file.truncate(4 * count)
        file.seek(4 * 1234)
        file.write(np.float32(0.25).tobytes())
    path.write_bytes(model.SerializeToString())
    bundle = convert_onnx(path, out=tmp_path / "large.arseg", **NORMAL)
    assert 1e9 < bundle.manifest.members[KEYFRAME].bytes < 2**31
    rgb = picture()
    same(labels_of(bundle, rgb), enlarged(alone(path, normal(rgb)), (72, 104)).argmax(0))


def confidence_of(bundle: Bundle, rgb: np.ndarray) -> np.ndarray:
    with arseg_edge.load(bundle.path, providers="cpu", threads=1, confidence=True) as segmenter:
        found = segmenter.step(rgb, keyframe=True).confidence
    assert found is not None
    return found


def share(logits: np.ndarray) -> np.ndarray:
    """Of [n, h, w], 255 times the largest softmax probability."""
    above = logits.astype(np.float64) - logits.max(0)
    return np.asarray(255 / np.exp(above).sum(0))


@pytest.mark.parametrize("native", ["1", "0"], ids=["native", "body"])
@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 21, 26])
def test_confidence_in_every_opset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opset: int, native: str) -> None:
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", native)
    bundle, path = convert(plain(opset=opset), tmp_path, **NORMAL)
    rgb = picture()
    expected = share(enlarged(alone(path, normal(rgb)), (72, 104)))
    found = confidence_of(bundle, rgb)
    assert np.abs(found - expected).max() <= 1.1
    assert found.std() > 1
    graph = onnx.load_from_string(bundle.read(KEYFRAME)).graph
    assert (graph.input[-1].name, graph.output[-1].name) == ("confidence_size", "confidence")


def test_confidence_of_a_sigmoid(tmp_path: Path) -> None:
    bundle, path = convert(ended("half-sigmoid"), tmp_path, **NORMAL)
    rgb = picture()
    foreground = alone(path, normal(rgb))[0, 0]
    assert np.abs(confidence_of(bundle, rgb) - 255 * np.maximum(foreground, 1 - foreground)).max() <= 1.1


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("end", ["raw", "half", "half-softmax", "softmax-half", "softmax", "sigmoid", "half-sigmoid"])
def test_confidence_is_the_winners_share(tmp_path: Path, end: str, opset: int) -> None:
    bundle, path = convert(ended(end, opset=opset), tmp_path, **NORMAL)
    rgb = picture()
    planes = enlarged(alone(path, normal(rgb)), (72, 104))
    if "sigmoid" in end:
        expected = 255 * np.maximum(planes[0], 1 - planes[0])
    else:
        expected = 255 * planes.max(0) if "softmax" in end else share(planes)
    off = np.abs(confidence_of(bundle, rgb) - expected)
    # Of what the model enlarges itself before its softmax, nothing is enlarged again.
    assert off.max() <= (1.01 if end != "softmax-half" else 2)


def test_labels_alone_give_no_confidence(tmp_path: Path) -> None:
    bundle, _ = convert(ended("half-argmax"), tmp_path, **NORMAL)
    with pytest.raises(BundleError, match="does not give the confidence"):
        arseg_edge.load(bundle.path, confidence=True)
