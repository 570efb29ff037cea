"""Bundles in eight bits: what is quantised, on what, how far it agrees, and what stands in its way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from hr_alone import hr_alone
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import arseg_edge
from arseg_edge.bundle import KEYFRAME, Bundle, read_bundle
from arseg_edge.cli import cli
from arseg_edge.errors import OutputError, ParityError, SizeError, SourceError, UsageError
from arseg_edge.export import quantize_bundle
from arseg_edge.export.quantize.float_graph import folded
from arseg_edge.export.quantize.ranges import Histogram
from arseg_edge.runtime.reports.verify import verify

Streams = Callable[..., Path]


def _pictures(count: int, height: int = 96, width: int = 128) -> list[NDArray[np.uint8]]:
    """Return frames of a scene that moves to the left by two pixels a frame."""
    rng = np.random.default_rng(3)
    wide = np.kron(rng.integers(0, 256, (height // 8, (width + 2 * count) // 8 + 1, 3)), np.ones((8, 8, 1)))
    return [np.ascontiguousarray(wide[:height, 2 * each : 2 * each + width], dtype=np.uint8) for each in range(count)]


def _video(path: Path, pictures: list[NDArray[np.uint8]]) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0", "g": "250"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _video(tmp_path_factory.mktemp("video") / "drive.mp4", _pictures(40))


@pytest.fixture(scope="module")
def quantised(tiny_bundle: Path, video: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("bundle") / "tiny8.arseg"
    return quantize_bundle(tiny_bundle, calibrate=video, out=out, frames=16, agreement=80)


def test_networks_run_in_integers_and_weigh_less(quantised: Bundle, tiny_bundle: Path, tmp_path: Path) -> None:
    for member in (KEYFRAME, "nonkeyframe.onnx"):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / member)
        onnxruntime.InferenceSession(quantised.read(member), options, providers=["CPUExecutionProvider"])
        kinds = Counter(node.op_type for node in onnx.load(tmp_path / member).graph.node)
        graph = quantised.manifest.quantisation.graphs[member]  # type: ignore[union-attr]
        assert kinds["QLinearConv"] == graph.layers > 0
        weights = [
            each for each in onnx.load_from_string(quantised.read(member)).graph.initializer if each.data_type == 3
        ]
        # With eight bits two products of uint8 and int8 would not fit into 16 bits, without VNNI.
        assert max(int(np.abs(numpy_helper.to_array(each).astype(int)).max()) for each in weights if each.dims) <= 64


def test_bodies_of_operators_are_still_there(quantised: Bundle, tiny_bundle: Path) -> None:
    before = read_bundle(tiny_bundle)
    for member in (KEYFRAME, "nonkeyframe.onnx"):
        old, new = (onnx.load_from_string(each.read(member)) for each in (before, quantised))
        bodies = {each.name: each for each in new.functions}
        assert {each.removesuffix("Uint8") for each in bodies} == {each.name for each in old.functions} != set()
        assert new.metadata_props == old.metadata_props
        onnx.checker.check_model(new)
        custom, before_it = (
            [(node.op_type, list(node.attribute)) for node in model.graph.node if node.domain == "arseg"]
            for model in (new, old)
        )
        assert [(kind.removesuffix("Uint8"), attributes) for kind, attributes in custom] == before_it
        assert {kind for kind, _ in custom} <= set(bodies)


def test_the_feature_is_handed_on_as_bytes(quantised: Bundle, tiny_bundle: Path) -> None:
    """HR's bytes mean what LR's fusion takes them for: on the same scale they are HR's feature in float."""
    frame = _pictures(1)[0][None]
    keyframe = onnxruntime.InferenceSession(quantised.read(KEYFRAME), providers=["CPUExecutionProvider"])
    given = next(each for each in keyframe.get_outputs() if each.name == "feature")
    assert given.type == "tensor(uint8)"
    inputs = {"frame": frame, "labels_size": np.array(frame.shape[1:3]), "confidence_size": np.zeros(2, np.int64)}
    (stored,) = keyframe.run(["feature"], inputs)
    graph = onnx.load_from_string(quantised.read("nonkeyframe.onnx")).graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    (fusion,) = (node for node in graph.node if node.op_type == "CreffUint8")
    scale, zero_point = (constants[each] for each in fusion.input[-2:])
    wanted = onnxruntime.InferenceSession(
        read_bundle(tiny_bundle).read(KEYFRAME), providers=["CPUExecutionProvider"]
    ).run(["feature"], inputs)[0]
    found = (stored.astype(np.float32) - zero_point) * scale
    assert np.abs(found - wanted).mean() < 0.05 * np.abs(wanted).max()
    assert {each.name for each in read_bundle(quantised.path).manifest.operators} >= {"CreffUint8", "MotionWarp"}


def test_the_agreement_is_that_of_the_runtime(quantised: Bundle, tiny_bundle: Path, video: Path) -> None:
    """Measured by itself: the labels of both bundles on all frames of the video, not only those held back."""
    labels = []
    for path in (tiny_bundle, quantised.path):
        with arseg_edge.load(path, schedule="paper", interval=12) as segmenter:
            labels.append([(each.branch, each.labels.copy()) for each in segmenter.stream(str(video))])
    found = quantised.manifest.quantisation
    assert found is not None
    for branch, member in (("hr", KEYFRAME), ("lr", "nonkeyframe.onnx")):
        same = [np.mean(a == b) for (made, a), (_, b) in zip(*labels, strict=True) if made == branch]
        assert 100 * np.mean(same) == pytest.approx(found.graphs[member].agreement, abs=4)
        assert found.graphs[member].agreement >= 80


def test_manifest_says_on_what(quantised: Bundle) -> None:
    found = read_bundle(quantised.path).manifest.quantisation
    assert found is not None
    assert (found.sources, found.frames, found.held_back, found.wanted) == (("drive.mp4",), 16, 4, 80)
    assert 10 <= found.pairs < 16
    assert found.weight_bits == 7


@pytest.mark.parametrize("native", ["1", "0"])
def test_verify_has_values_of_its_own(quantised: Bundle, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", native)
    report = verify(quantised, providers="cpu")
    assert report.passed
    assert {finding.member for finding in report.findings} == set(quantised.manifest.members) - {"golden.npz"}


def test_hr_alone(tiny_bundle: Path, video: Path, tmp_path: Path) -> None:
    hr_alone(tiny_bundle, tmp_path / "hr.arseg")
    found = quantize_bundle(tmp_path / "hr.arseg", calibrate=video, out=tmp_path / "hr8.arseg", frames=12, agreement=80)
    assert found.manifest.quantisation is not None
    assert set(found.manifest.quantisation.graphs) == {KEYFRAME}
    assert verify(found, providers="cpu").passed


def test_layers_go_back_to_float_one_by_one(tiny_bundle: Path, video: Path, tmp_path: Path) -> None:
    """Those that are named run in float, all others in eight bits, and the agreement that was asked for holds."""
    plain = quantize_bundle(tiny_bundle, calibrate=video, out=tmp_path / "plain.arseg", frames=12, agreement=50)
    before = plain.manifest.quantisation
    assert before is not None
    assert all(graph.float_layers == () for graph in before.graphs.values())
    wanted = min(graph.agreement for graph in before.graphs.values()) + 0.02
    out = tmp_path / "better.arseg"
    better = quantize_bundle(tiny_bundle, calibrate=video, out=out, frames=12, agreement=wanted)
    after = better.manifest.quantisation
    assert after is not None
    for member, graph in after.graphs.items():
        assert graph.agreement >= wanted
        assert graph.layers + len(graph.float_layers) == before.graphs[member].layers
        content = onnx.load_from_string(better.read(member)).graph
        nodes, stored = {node.name: node for node in content.node}, {each.name for each in content.initializer}
        assert all(nodes[name].input[1] in stored for name in graph.float_layers)
        # ONNX Runtime would quantise such layers by itself, coarsely, where it may.
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / member)
        onnxruntime.InferenceSession(better.read(member), options, providers=["CPUExecutionProvider"])
        kinds = Counter(node.op_type for node in onnx.load(tmp_path / member).graph.node)
        assert kinds["QLinearConv"] == graph.layers
    assert any(graph.float_layers for graph in after.graphs.values())


def test_an_agreement_that_no_mix_reaches(tiny_bundle: Path, video: Path, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"keyframe.onnx reaches [0-9.]+ %.*--agreement.*--force"):
        quantize_bundle(tiny_bundle, calibrate=video, out=tmp_path / "no.arseg", frames=12, agreement=100)
    assert list(tmp_path.iterdir()) == []


def test_force_writes_what_was_reached(tiny_bundle: Path, video: Path, tmp_path: Path) -> None:
    found = quantize_bundle(
        tiny_bundle, calibrate=video, out=tmp_path / "8.arseg", frames=12, agreement=100, force=True
    ).manifest.quantisation
    assert found is not None
    assert found.wanted == 100
    assert all(graph.agreement < 100 or not graph.layers for graph in found.graphs.values())


@pytest.mark.parametrize(
    ("pictures", "error", "words"),
    [
        (_pictures(5), SourceError, "5 frames are too few to calibrate on"),
        ([np.zeros((96, 128, 3), np.uint8)] * 30, SourceError, "of one colour"),
    ],
)
def test_sources_that_will_not_do(
    pictures: list[NDArray[np.uint8]],
    error: type[Exception],
    words: str,
    tiny_bundle: Path,
    tmp_path: Path,
) -> None:
    source = _video(tmp_path / "bad.mp4", pictures)
    with pytest.raises(error, match=words):
        quantize_bundle(tiny_bundle, calibrate=source, out=tmp_path / "8.arseg", frames=16)
    assert not (tmp_path / "8.arseg").exists()


def test_pictures_that_never_follow_each_other(tiny_bundle: Path, tmp_path: Path) -> None:
    import cv2

    folder = tmp_path / "stills"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for number in range(14):
        picture = np.kron(rng.integers(0, 256, (12, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:03d}.png"), picture)
    with pytest.raises(SourceError, match="follow a keyframe, too few to calibrate LR"):
        quantize_bundle(tiny_bundle, calibrate=folder, out=tmp_path / "8.arseg", frames=16)
    hr_alone(tiny_bundle, tmp_path / "hr.arseg")
    assert quantize_bundle(
        tmp_path / "hr.arseg", calibrate=folder, out=tmp_path / "8.arseg", frames=10, agreement=50
    ).manifest.quantisation


def test_frames_of_another_size(tiny_fixed_bundle: Path, video: Path, tmp_path: Path) -> None:
    with pytest.raises(SizeError, match="resize"):
        quantize_bundle(tiny_fixed_bundle, calibrate=video, out=tmp_path / "8.arseg", frames=16)
    found = quantize_bundle(
        tiny_fixed_bundle, calibrate=video, out=tmp_path / "8.arseg", frames=16, agreement=50, resize=True
    )
    assert verify(found, providers="cpu").passed


def test_a_bundle_that_is_quantised_already(quantised: Bundle, video: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is quantised already"):
        quantize_bundle(quantised.path, calibrate=video, out=tmp_path / "8.arseg")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"out": "8.onnx"}, "ends in .arseg"),
        ({"calibrate": []}, "no source"),
        ({"agreement": 101}, "percent"),
        ({"frames": 3}, "8 or more"),
        ({"seconds": 0}, "more than 0"),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: dict[str, Any], words: str, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        quantize_bundle(tiny_bundle, **{"calibrate": "drive.mp4", "out": "8.arseg", **arguments})


def test_output_that_cannot_be_written(tiny_bundle: Path, video: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        quantize_bundle(tiny_bundle, calibrate=video, out=tmp_path / "no" / "8.arseg")


def test_command(tiny_bundle: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "8.arseg"
    arguments = [str(tiny_bundle), "--calibrate", str(video), "-o", str(out), "--frames", "12", "--agreement", "80"]
    result = CliRunner().invoke(cli, ["quantize", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["bytes"] == out.stat().st_size < found["bytes_before"]
    assert found["graphs"][KEYFRAME]["agreement"] >= 80
    shown = CliRunner().invoke(cli, ["info", str(out)]).stdout
    assert "calibrated on 12 frames" in shown
    assert "against the quantised graphs computed in float" in shown


def test_histogram_has_the_extremes_of_all_and_grows_with_them() -> None:
    rng = np.random.default_rng(0)
    histogram = Histogram()
    parts = [rng.normal(0, scale, 20_000).astype(np.float32) for scale in (1, 3, 40)]
    for part in parts:
        histogram.add(part)
    values = np.concatenate(parts)
    assert histogram.range("minmax") == (values.min(), values.max())
    assert histogram.counts.sum() == values.size
    low, high = histogram.range("percentile")
    bin_width = 2 * histogram.limit / histogram.counts.size
    assert low == pytest.approx(np.quantile(values, 1e-4), abs=2 * bin_width)
    assert high == pytest.approx(np.quantile(values, 1 - 1e-4), abs=2 * bin_width)


def test_least_error_cuts_an_outlier_off() -> None:
    rng = np.random.default_rng(1)
    values = np.append(np.abs(rng.normal(0, 1, 30_000)), 30).astype(np.float32)
    histogram = Histogram()
    histogram.add(values)

    def error(highest: float) -> float:
        step = highest / 255
        return float(np.square(np.clip(np.rint(values / step), 0, 255) * step - values).mean())

    low, high = histogram.range("mse")
    assert low == pytest.approx(0, abs=0.1)
    assert error(high) < error(30.0)
    # No share of the range that could have been chosen is better by much.
    assert error(high) <= 1.05 * min(error(30.0 * share) for share in np.linspace(0.2, 1, 81))


def test_what_has_no_eight_bit_form_gets_one() -> None:
    """A PReLU of one slope and a mean over the picture become operators that ONNX Runtime has in integers."""
    rng = np.random.default_rng(2)
    constants = {
        "weight": rng.normal(0, 1, (4, 3, 3, 3)).astype(np.float32),
        "slope": np.array([[[0.25]]], np.float32),
        "axes": np.array([-2, -1], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["a", "slope"], ["b"]),
        helper.make_node("ReduceMean", ["b", "axes"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 1, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    new = folded(model, "model")
    assert [node.op_type for node in new.graph.node] == ["Conv", "LeakyRelu", "GlobalAveragePool"]
    x = rng.normal(0, 1, (1, 3, 8, 9)).astype(np.float32)
    old_y, new_y = (
        onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
        for each in (model, new)
    )
    np.testing.assert_allclose(new_y[0], old_y[0], rtol=1e-5, atol=1e-6)
