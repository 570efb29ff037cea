"""A bundle of format 1 becomes one of format 2 that gives the same, and labels of any size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import arseg_edge
from arseg_edge.bundle import GOLDEN, KEYFRAME, Bundle, read_bundle, write_bundle
from arseg_edge.cli import main
from arseg_edge.errors import BundleError, ParityError, UsageError
from arseg_edge.export import upgrade, upgrade_bundle
from arseg_edge.golden import read_golden
from arseg_edge.runtime.reports.verify import verify

NONKEYFRAME = "nonkeyframe.onnx"
Change = Callable[[onnx.GraphProto], None]


@pytest.fixture(scope="module")
def old() -> Path:
    """``tiny.arseg`` as bundle format 1 had it."""
    return Path(__file__).parents[1] / "data" / "tiny-format1.arseg"


@pytest.fixture(scope="module")
def new(old: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return upgrade_bundle(old, tmp_path_factory.mktemp("upgraded") / "tiny.arseg")


def changed(path: Path, target: Path, member: str, change: Change) -> Path:
    """Write a copy with one graph changed."""
    bundle = read_bundle(path)
    model = onnx.load_from_string(bundle.read(member))
    change(model.graph)
    members = {name: bundle.read(name) for name in bundle.manifest.members}
    return write_bundle(target, bundle.manifest, {**members, member: model.SerializeToString()}).path


def test_it_is_what_an_export_of_today_has(new: Bundle, tiny_bundle: Path) -> None:
    """The same weights: graphs take and give the same, and do the same to any picture."""
    today = read_bundle(tiny_bundle)
    assert new.manifest.format_version == today.manifest.format_version == 2
    assert new.manifest.motion == today.manifest.motion
    assert new.manifest.parity
    for member in (KEYFRAME, NONKEYFRAME, "nonkeyframe-0.3.onnx", "head.onnx", "head-0.3.onnx"):
        found, expected = (onnx.load_from_string(bundle.read(member)) for bundle in (new, today))
        assert {each.key: each.value for each in found.metadata_props} == {
            each.key: each.value for each in expected.metadata_props
        }
        for ours, theirs in ((found.graph.input, expected.graph.input), (found.graph.output, expected.graph.output)):
            assert {each.name for each in ours} == {each.name for each in theirs}
        assert sorted(node.op_type for node in found.graph.node) == sorted(node.op_type for node in expected.graph.node)
    random = np.random.default_rng(0)
    first, second = random.integers(0, 256, (2, 150, 200, 3), np.uint8)
    motion = random.integers(-20, 20, (150, 200, 2)).astype(np.float32)
    for scale in (0.5, 0.3):
        found = []
        for path in (new.path, tiny_bundle):
            with arseg_edge.load(path, size=(64, 96), scale=scale, threads=1) as segmenter:
                found.append([segmenter.step(first).labels, segmenter.step(second, motion=motion).labels])
        np.testing.assert_array_equal(*found)


def test_its_golden_clip_expects_labels_of_another_size_too(new: Bundle, old: Path) -> None:
    outcome = verify(new, providers="cpu")
    assert outcome.passed
    clip, before = (read_golden(bundle.read(GOLDEN), "golden") for bundle in (new, read_bundle(old)))
    np.testing.assert_array_equal(clip.frames, before.frames)
    for member, runs in clip.expected.items():
        assert runs[2].labels.shape == (145, 255)
        for index, expected in before.expected.get(member, {}).items():
            assert runs[index].stages.keys() == expected.stages.keys()
            if index != 2:
                np.testing.assert_array_equal(runs[index].labels, expected.labels)


def test_the_motions_shape_read_in_parts(old: Path, tmp_path: Path) -> None:
    """What an exporter may have made of the frame's size: two axes of the motion's shape, joined."""

    def apart(graph: onnx.GraphProto) -> None:
        (shape,) = (node for node in graph.node if node.op_type == "Shape")
        (size,) = shape.output
        graph.node.remove(shape)
        nodes = [
            *(helper.make_node("Shape", ["motion"], [f"axis{axis}"], start=axis, end=axis + 1) for axis in (1, 2)),
            helper.make_node("Concat", ["axis1", "axis2"], [size], axis=0),
            # A part of the network that needs the size too.
            helper.make_node("Cast", [size], ["size_again"], to=onnx.TensorProto.INT64),
        ]
        (labels,) = (node for node in graph.node if node.op_type == "SegmentationLabels")
        labels.input[1] = "size_again"
        (resize,) = (node for node in graph.node if node.op_type == "NormalizeImage")
        assert resize.input[1] != size
        for node in reversed(nodes):
            graph.node.insert(0, node)

    path = changed(old, tmp_path / "apart.arseg", NONKEYFRAME, apart)
    bundle = upgrade_bundle(path, tmp_path / "new.arseg")
    assert verify(bundle, providers="cpu").passed
    graph = onnx.load_from_string(bundle.read(NONKEYFRAME)).graph
    assert [node.op_type for node in graph.node if "motion" in node.input] == ["Creff"]


def test_what_is_no_graph_of_format_1(old: Path, tmp_path: Path) -> None:
    def rename(graph: onnx.GraphProto) -> None:
        graph.input[0].name = "picture"

    path = changed(old, tmp_path / "odd.arseg", NONKEYFRAME, rename)
    with pytest.raises(BundleError, match=r"odd\.arseg: nonkeyframe\.onnx: is no graph of bundle format 1"):
        upgrade_bundle(path, tmp_path / "new.arseg")

    def whole_shape(graph: onnx.GraphProto) -> None:
        (shape,) = (node for node in graph.node if node.op_type == "Shape")
        shape.ClearField("attribute")

    path = changed(old, tmp_path / "whole.arseg", NONKEYFRAME, whole_shape)
    with pytest.raises(BundleError, match="of the motion's shape"):
        upgrade_bundle(path, tmp_path / "new.arseg")
    assert not (tmp_path / "new.arseg").exists()


def test_a_difference_writes_nothing(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = upgrade.lr_size_nodes
    monkeypatch.setattr(upgrade, "lr_size_nodes", lambda graph, scale: real(graph, scale * 0.9))
    with pytest.raises(
        ParityError, match=r"nonkeyframe\.onnx: .* differs by .* after the upgrade \(tolerance 0\): nothing was written"
    ):
        upgrade_bundle(old, tmp_path / "new.arseg")
    assert not list(tmp_path.iterdir())


def test_what_makes_no_sense(old: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is of format 2 already"):
        upgrade_bundle(tiny_bundle, tmp_path / "new.arseg")
    with pytest.raises(UsageError, match=r"ends in \.arseg"):
        upgrade_bundle(old, tmp_path / "new.onnx")
    assert not list(tmp_path.iterdir())


def test_on_the_command_line(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new.arseg"

    def export(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as raised:
            main(["export", "-o", str(out), *arguments])
        assert isinstance(raised.value.code, int)
        return raised.value.code, *capsys.readouterr()

    code, said, _ = export("--upgrade", str(old))
    assert code == 0
    assert "format 2" in said
    assert read_bundle(out).manifest.format_version == 2
    for arguments in (["--scale", "0.5"], ["--hr", "a.pth"], ["--half-weights"]):
        code, _, error = export("--upgrade", str(old), *arguments)
        assert (code, f"{arguments[0]} beside --upgrade" in error) == (2, True)
    code, _, error = export()
    assert code == 2
    assert "give --hr, the HR checkpoint, or a bundle to --upgrade" in error
