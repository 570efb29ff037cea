"""``export_bundle``: what is in the bundle, and what is refused before anything is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import make_tiny_bundle
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

import arseg_edge
from arseg_edge.bundle import GOLDEN, KEYFRAME, Bundle, read_bundle
from arseg_edge.errors import CheckpointError, OutputError, ParityError, SizeError, UsageError
from arseg_edge.export import export_bundle, parity
from arseg_edge.export.checkpoint import load_ar, load_hr, read_checkpoint
from arseg_edge.export.clips import structured_clip
from arseg_edge.export.families import find_family
from arseg_edge.export.parity import ExportedNetwork, compare
from arseg_edge.golden import read_golden
from arseg_edge.manifest import Operator
from arseg_edge.palette import ClassSet

FAMILY = make_tiny_bundle.FAMILY
NONKEYFRAME = "nonkeyframe.onnx"
HEADS = ("head.onnx", "head-0.3.onnx")
SIZE = (64, 96)

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def hr() -> State:
    return make_tiny_bundle.weights(0, fused=False)


@pytest.fixture(scope="module")
def lr() -> State:
    return make_tiny_bundle.weights(1, fused=True)


@pytest.fixture(scope="module")
def two_scales(hr: State, lr: State, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of a network that is in no list, for any size, with one checkpoint for two LR scales."""
    out = tmp_path_factory.mktemp("bundles") / "tiny.arseg"
    return export_bundle(FAMILY, hr=hr, lr=lr, out=out, scale=(0.5, 0.3), interval=7)


def test_own_network_becomes_a_bundle_that_runs(two_scales: Bundle) -> None:
    assert [(low.scale, low.member) for low in two_scales.manifest.scales] == [
        (0.5, NONKEYFRAME),
        (0.3, "nonkeyframe-0.3.onnx"),
    ]
    random = np.random.default_rng(0)
    for scale in (None, 0.3):
        with arseg_edge.load(two_scales.path, providers="cpu", scale=scale) as segmenter:
            for size in ((64, 96), (45, 131)):
                segmenter.reset()
                rgb = random.integers(0, 256, (*size, 3), np.uint8)
                assert segmenter.step(rgb, keyframe=True).labels.shape == size
                assert segmenter.step(rgb, motion=np.zeros((*size, 2), np.float32)).labels.shape == size


def test_manifest_says_what_was_exported(two_scales: Bundle) -> None:
    manifest = two_scales.manifest
    assert read_bundle(two_scales.path).manifest == manifest
    assert (manifest.format_version, manifest.family, manifest.size) == (2, "tiny", None)
    assert [(each.name, each.colour) for each in manifest.classes] == [
        ("sky", (70, 130, 180)), ("road", (128, 64, 128)), ("car", (0, 0, 142)),
    ]  # fmt: skip
    assert (manifest.smallest_size, manifest.largest_size) == ((32, 32), (8192, 8192))
    assert (manifest.normalisation.mean, manifest.normalisation.std) == (FAMILY.mean, FAMILY.std)
    assert (manifest.feature.channels, manifest.feature.stride, manifest.kernel_size) == (8, 4, 7)
    assert (manifest.interval, manifest.opset, manifest.oldest_onnxruntime) == (7, 18, "1.17")
    assert vars(manifest.motion) == {
        "unit": "cell",
        "order": "dx, dy",
        "direction": "frame to keyframe",
        "sampling": "consistent",
        "chaining": "subpixel",
    }
    names = ("Creff", "LocalAttention", "MotionWarp", "NormalizeImage", "SegmentationLabels")
    assert manifest.operators == tuple(Operator("arseg", name, 1) for name in names)
    assert {"arseg-edge", "torch", "onnx", "onnxscript"} <= manifest.tools.keys()
    assert manifest.tools["torch"] == torch.__version__
    assert (manifest.sources.hr, manifest.sources.lr) == ("", {"0.5": "", "0.3": ""})
    assert manifest.members.keys() == {KEYFRAME, NONKEYFRAME, "nonkeyframe-0.3.onnx", *HEADS, GOLDEN}
    for name, member in manifest.members.items():
        data = two_scales.read(name)
        assert (member.bytes, member.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_multiply_accumulates_are_those_of_the_layers(two_scales: Bundle) -> None:
    # By hand: two 3×3 convolutions at strides 2 and 4, the last layer, and on 3.6 million positions CReFF.
    def branch(height: int, width: int) -> int:
        half, quarter = (-(-height // 2) * -(-width // 2), -(-height // 4) * -(-width // 4))
        return half * 8 * 3 * 9 + quarter * 8 * 8 * 9

    macs, quarter = two_scales.manifest.macs, 180 * 240
    assert macs.size == (720, 960)
    assert macs.hr == branch(720, 960) + quarter * 8 * 3
    assert macs.lr == {"0.5": branch(360, 480), "0.3": branch(216, 288)}
    assert macs.creff == quarter * (3 * 9 * 8 + 2 * 49 * 8 + 8 * 3)
    assert macs.saving(0.5, 12) == pytest.approx(1 - (macs.hr + 11 * (macs.lr["0.5"] + macs.creff)) / (12 * macs.hr))


def test_parity_covers_every_graph_stage_input_and_size(two_scales: Bundle) -> None:
    stages = {KEYFRAME: ("feature", "labels")}
    stages |= dict.fromkeys((NONKEYFRAME, "nonkeyframe-0.3.onnx"), ("lr_feature", "logits", "labels"))
    stages |= dict.fromkeys(HEADS, ("labels",))
    expected = {
        (member, stage, name, size)
        for member, of_member in stages.items()
        for stage in of_member
        for name in ("random", "structured", "resized")
        for size in ((96, 128), (135, 214))
    }
    assert {(each.member, each.stage, each.input, each.size) for each in two_scales.parity} == expected
    assert len(two_scales.parity) == len(expected)
    assert max(each.error for each in two_scales.parity) < 1e-3
    assert {each.tolerance for each in two_scales.parity} == {1e-3}


def test_golden_clip_has_every_graph(two_scales: Bundle) -> None:
    clip = read_golden(two_scales.read(GOLDEN), "tiny")
    assert clip.frames.shape == (3, 96, 128, 3)
    assert not clip.motion[0].any()
    assert clip.motion[1:].any()
    assert {member: sorted(runs) for member, runs in clip.expected.items()} == {
        KEYFRAME: [0, 2],
        NONKEYFRAME: [1, 2],
        "nonkeyframe-0.3.onnx": [1, 2],
        **{head: [1, 2] for head in HEADS},
    }
    # What is expected of the last frame has labels of another size.
    for runs in clip.expected.values():
        assert {index: run.labels.shape for index, run in runs.items() if index != 2} == {min(runs): (96, 128)}
        assert runs[2].labels.shape == (145, 255)


def test_graphs_say_what_another_program_must_know(two_scales: Bundle) -> None:
    for member, scale in ((KEYFRAME, None), (NONKEYFRAME, "0.5"), ("nonkeyframe-0.3.onnx", "0.3"), (HEADS[1], "0.3")):
        model = onnx.load_from_string(two_scales.read(member))
        onnx.checker.check_model(model)
        assert model.ir_version <= 9
        assert {each.domain: each.version for each in model.opset_import} == {"": 18, "arseg": 1}
        facts = {each.key: each.value for each in model.metadata_props}
        assert facts == {
            "arseg.format_version": "2",
            "arseg.family": "tiny",
            "arseg.classes": "sky,road,car",
            "arseg.interval": "7",
            "arseg.motion": "cells of its own grid, (dx, dy), frame to keyframe",
            "arseg.lr_size": "int(height * scale), int(width * scale) of frame_size",
            "arseg.chaining": "subpixel",
            "arseg.sampling": "consistent",
            "arseg.oldest_onnxruntime": "1.17",
            **({"arseg.scale": scale} if scale else {}),
        }


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def test_graphs_take_bytes_and_give_bytes(two_scales: Bundle) -> None:
    members = (KEYFRAME, NONKEYFRAME, "head.onnx")
    key, other, head = (onnx.load_from_string(two_scales.read(name)).graph for name in members)
    assert {each.name: shape_of(each) for each in key.input} == {
        "frame": [1, "height", "width", 3],
        "labels_size": [2],
        "confidence_size": [2],
    }
    assert [each.name for each in key.output] == ["labels", "feature", "logits", "confidence"]
    assert {each.name: shape_of(each) for each in other.input} == {
        "frame": [1, "picture_height", "picture_width", 3],
        "keyframe_feature": [1, 8, "feature_height", "feature_width"],
        "motion": [1, "motion_height", "motion_width", 2],
        "frame_size": [2],
        "labels_size": [2],
        "confidence_size": [2],
    }
    assert [each.name for each in other.output] == ["labels", "logits", "lr_feature", "confidence"]
    assert {each.name: shape_of(each) for each in head.input} == {
        "lr_feature": [1, 8, "lr_feature_height", "lr_feature_width"],
        "labels_size": [2],
    }
    assert [each.name for each in head.output] == ["labels"]
    assert [node.op_type for node in head.node] == ["Conv", "SegmentationLabels"]
    assert shape_of(key.output[0]) == shape_of(other.output[0]) == [1, "labels_height", "labels_width"]
    for graph in (key, other):
        assert shape_of(graph.output[-1]) == [1, "confidence_height", "confidence_width"]
    for value in (*key.input[1:], *other.input[3:]):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.INT64
    for value in (key.input[0], key.output[0], key.output[-1], other.input[0], other.output[0], other.output[-1]):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.UINT8


def test_bundle_keeps_no_path_of_the_machine(two_scales: Bundle, tmp_path: Path) -> None:
    # The golden clip is compressed, pictures and numbers; everything else is as it is in the file.
    content = b"".join(two_scales.read(name) for name in (KEYFRAME, NONKEYFRAME)) + two_scales.path.read_bytes()
    places = [str(Path.home()) + "/", str(tmp_path.parents[1]), str(Path.cwd()), "site-packages", sys.prefix, '.py"']
    for place in places:
        assert place.encode() not in content, place


def test_same_weights_give_the_same_bytes(two_scales: Bundle, hr: State, lr: State, tmp_path: Path) -> None:
    again = export_bundle(FAMILY, hr=hr, lr=lr, out=tmp_path / "again.arseg", scale=(0.5, 0.3), interval=7)
    for name in two_scales.manifest.members:
        assert again.read(name) == two_scales.read(name), name
    assert again.path.read_bytes() == two_scales.path.read_bytes()


def test_fixed_size_from_files_for_a_family_that_is_recognised(tmp_path: Path) -> None:
    paths = {}
    for role in ("hr", "ar"):
        paths[role] = tmp_path / f"{role}.pth"
        tensors = golden.published("camvid-bise18", role)
        assert all(key.startswith("module.") for key in tensors)
        torch.save(tensors, paths[role])
    told: list[tuple[str, int, int]] = []
    bundle = export_bundle(
        None,
        hr=paths["hr"],
        lr=paths["ar"],
        out=tmp_path / "street.arseg",
        size=SIZE,
        progress=lambda *step: told.append(step),
    )
    manifest = bundle.manifest
    assert (manifest.family, manifest.size, manifest.interval) == ("camvid-bise18", SIZE, 12)
    assert (manifest.smallest_size, manifest.largest_size, manifest.macs.size) == (SIZE, SIZE, SIZE)
    assert (manifest.motion.sampling, manifest.motion.chaining) == ("published", "published")
    assert {each.size for each in bundle.parity} == {SIZE}
    digests = {role: hashlib.sha256(path.read_bytes()).hexdigest() for role, path in paths.items()}
    assert (manifest.sources.hr, manifest.sources.lr) == (digests["hr"], {"0.5": digests["ar"]})
    graph = onnx.load_from_string(bundle.read(NONKEYFRAME)).graph
    assert [shape_of(each) for each in graph.input] == [
        [1, "picture_height", "picture_width", 3],
        [1, 256, 8, 12],
        [1, "motion_height", "motion_width", 2],
        [2],
        [2],
        [2],
    ]

    # Steps are told before they begin, and the last when all is done.
    assert [done for _, done, _ in told] == list(range(len(told)))
    assert {total for *_, total in told} == {len(told) - 1}
    assert [what for what, *_ in told] == [
        "reading checkpoints",
        "counting multiply-accumulates",
        "exporting keyframe.onnx",
        "exporting nonkeyframe.onnx",
        "comparing with PyTorch on random input",
        "comparing with PyTorch on structured input",
        "comparing with PyTorch on resized input",
        "making the golden clip",
        "writing street.arseg",
        "done",
    ]


def test_picture_of_the_lr_branchs_size_is_taken_as_it_is(two_scales: Bundle, lr: State) -> None:
    height, width = 64, 96
    picture = np.random.default_rng(2).integers(0, 256, (1, 32, 48, 3), np.uint8)
    session = onnxruntime.InferenceSession(two_scales.read(NONKEYFRAME), providers=["CPUExecutionProvider"])
    feeds = {
        "frame": picture,
        "keyframe_feature": np.zeros((1, 8, 16, 24), np.float32),
        "motion": np.zeros((1, height, width, 2), np.float32),
        "frame_size": np.array([height, width]),
        "labels_size": np.array([height, width]),
        "confidence_size": np.zeros(2, np.int64),
    }
    labels, found = session.run(["labels", "lr_feature"], feeds)
    assert labels.shape == (1, height, width)
    image = (picture.transpose(0, 3, 1, 2) / 255 - np.reshape(FAMILY.mean, (3, 1, 1))) / np.reshape(
        FAMILY.std, (3, 1, 1)
    )
    with torch.no_grad():
        expected = load_ar(FAMILY, read_checkpoint(lr)).feature(torch.from_numpy(image).float())
    assert golden.relative_error(found, expected.numpy()) < 1e-5


def test_motion_on_any_grid_is_in_its_cells(two_scales: Bundle) -> None:
    """The same displacement on three grids gives the same labels, of any size that is asked for."""
    session = onnxruntime.InferenceSession(two_scales.read(NONKEYFRAME), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(3)
    (height, width), labels_size = SIZE, (131, 75)
    feeds = {
        "frame": random.integers(0, 256, (1, height, width, 3), np.uint8),
        "keyframe_feature": random.standard_normal((1, 8, 16, 24), np.float32),
        "frame_size": np.array(SIZE),
        "labels_size": np.array(labels_size),
        "confidence_size": np.zeros(2, np.int64),
    }
    found = []
    for rows, columns in (SIZE, (16, 24), (5, 40)):
        motion = np.zeros((1, rows, columns, 2), np.float32)
        motion[...] = 8 * columns / width, -4 * rows / height  # 8 pixels to the right, 4 up
        found.append(session.run(None, {**feeds, "motion": motion})[0])
        assert found[-1].shape == (1, *labels_size)
    still = session.run(None, {**feeds, "motion": np.zeros((1, 1, 1, 2), np.float32)})[0]
    assert (found[0] != still).mean() > 0.01
    for other in found[1:]:
        assert (found[0] == other).mean() > 0.999


def test_every_scale_may_have_weights_of_its_own(hr: State, lr: State, tmp_path: Path) -> None:
    other = make_tiny_bundle.weights(5, fused=True)
    bundle = export_bundle(FAMILY, hr=hr, lr={0.75: lr, 0.9: other}, out=tmp_path / "own.arseg", size=(33, 47))
    assert [low.member for low in bundle.manifest.scales] == [NONKEYFRAME, "nonkeyframe-0.9.onnx"]
    assert bundle.manifest.macs.lr.keys() == bundle.manifest.sources.lr.keys() == {"0.75", "0.9"}
    for member, state in ((NONKEYFRAME, lr), ("nonkeyframe-0.9.onnx", other)):
        kernel = state["first.weight"].numpy()
        weights = onnx.load_from_string(bundle.read(member)).graph.initializer
        assert any(np.array_equal(onnx.numpy_helper.to_array(each), kernel) for each in weights)


def test_smallest_sizes_are_as_in_pytorch(export_golden: Callable[[str], Bundle]) -> None:
    name = "camvid-bise18"
    bundle, family = export_golden(name), find_family(name)
    key = ExportedNetwork(
        KEYFRAME, bundle.read(KEYFRAME), load_hr(family, read_checkpoint(golden.published(name, "hr")))
    )
    network = load_ar(family, read_checkpoint(golden.published(name, "ar")))
    ar = ExportedNetwork(NONKEYFRAME, bundle.read(NONKEYFRAME), network, bundle.read("head.onnx"))
    clips = [structured_clip(*size) for size in (bundle.manifest.smallest_size, (32, 101), (97, 32))]
    figures = list(compare(family, key, {bundle.manifest.scales[0]: ar}, clips))
    assert len(figures) == 3 * 6
    for each in figures:
        assert each.error <= (1e-3 if each.stage == "labels" else 1e-4), each


def test_difference_from_pytorch_writes_nothing(
    hr: State, lr: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tiny.arseg"
    out.write_bytes(b"what was there before")
    monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    with pytest.raises(ParityError, match=r"onnx: \w+ differs from PyTorch by .* no bundle was written") as error:
        export_bundle(FAMILY, hr=hr, lr=lr, out=out, size=SIZE)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 6
    assert out.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [out]


def test_weights_that_the_graph_does_not_have_are_noticed(
    hr: State, lr: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = parity.resize_logits

    def tilted(logits: Tensor, size: tuple[int, int], **rule: Any) -> Tensor:
        return real(logits, size, **rule).flip(1)

    monkeypatch.setattr(parity, "resize_logits", tilted)
    with pytest.raises(ParityError, match="labels differs from PyTorch"):
        export_bundle(FAMILY, hr=hr, lr=lr, out=tmp_path / "tiny.arseg", size=SIZE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "kind", "complaint"),
    [
        ({"out": "tiny.onnx"}, UsageError, r"tiny\.onnx: a bundle's name ends in \.arseg"),
        ({"scale": 0.2}, UsageError, r"LR scale 0\.2 is outside 0\.3 … 0\.9"),
        ({"scale": 0.95}, UsageError, r"LR scale 0\.95 is outside"),
        ({"scale": float("nan")}, UsageError, "LR scale nan is outside"),
        ({"scale": ()}, UsageError, "no LR scale"),
        ({"scale": 0.123456789 + 0.3}, UsageError, "more than four digits"),
        ({"scale": "0.5"}, UsageError, "LR scale '0.5' is no number"),
        ({"scale": (0.5, None)}, UsageError, "LR scale None is no number"),
        ({"interval": 12.5}, UsageError, r"keyframe interval 12\.5 is no whole number: give one, such as 12"),
        ({"interval": True}, UsageError, "keyframe interval True is no whole number"),
        ({"interval": "12"}, UsageError, "keyframe interval '12' is no whole number"),
        ({"size": (64.5, 96)}, UsageError, r"size: side 64\.5 is no whole number"),
        ({"size": "64x96"}, UsageError, r"size '64x96' is not \(height, width\)"),
        ({"size": (64,)}, UsageError, r"size \(64,\) is not \(height, width\)"),
        ({"lr": None}, UsageError, "no LR checkpoint: give lr, or untrained"),
        ({"untrained": True}, UsageError, "untrained, and an LR checkpoint: give one of them"),
        ({"interval": 10**6}, UsageError, "keyframe interval 1000000 is above 100000"),
        ({"interval": 0}, UsageError, "keyframe interval 0 is below 1"),
        ({"family": "segformer"}, UsageError, "unknown model family 'segformer'"),
        ({"size": (16, 96)}, SizeError, "size 16x96 is outside 32 … 8192"),
        ({"size": (64, 9000)}, SizeError, "size 64x9000 is outside"),
        ({"out": "."}, (OutputError, UsageError), "name"),
        ({"out": "folder.arseg"}, OutputError, r"folder\.arseg: is a directory: name a file"),
        ({"out": "no/such/folder/tiny.arseg"}, OutputError, "no directory .*: make it first"),
        ({"hr": "none.pth"}, CheckpointError, r"none\.pth does not exist"),
        ({"lr": {0.5: {}}}, CheckpointError, "lr holds no state dict"),
        ({"hr": {"weight": torch.zeros(1)}}, CheckpointError, "hr does not fit tiny: 6 missing"),
    ],
)
def test_what_makes_no_sense_is_refused(
    hr: State,
    lr: State,
    changes: dict[str, Any],
    kind: type[Exception],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.arseg").mkdir()
    arguments: dict[str, Any] = {"family": FAMILY, "hr": hr, "lr": lr, "out": "tiny.arseg", "size": SIZE, **changes}
    with pytest.raises(kind, match=complaint) as error:
        export_bundle(arguments.pop("family"), **arguments)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.arseg"]
    assert not list((tmp_path / "folder.arseg").iterdir())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"classes": ClassSet(("a", "b\nc", "d"), ((0, 0, 0),) * 3)},
            r"ClassInfo: name is 'b\\nc', not text of 1 to 200",
        ),
        ({"classes": ClassSet(("a", "b", "\ud800"), ((0, 0, 0),) * 3)}, r"ClassInfo: name is '\\ud800', not text"),
        ({"classes": ClassSet(("a", "b", "c"), ((0, 0, 300),) * 3)}, "ClassInfo: colour is 300, not a number from 0"),
        ({"std": (0.2, 0.0, 0.2)}, "Normalisation: std is 0.0, not a number from 1e-06 to 1000"),
        ({"mean": (0.2, float("nan"), 0.2)}, "Normalisation: mean is nan, not a finite number"),
    ],
)
def test_own_family_that_no_manifest_takes_is_refused_at_once(
    hr: State, lr: State, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    family = dataclasses.replace(FAMILY, **changes)
    seen: list[str] = []
    with pytest.raises(UsageError, match=complaint):
        export_bundle(
            family, hr=hr, lr=lr, out=tmp_path / "t.arseg", progress=lambda what, done, total: seen.append(what)
        )
    assert seen == ["reading checkpoints"]


def test_own_family_that_breaks_the_protocol_is_refused(hr: State, lr: State, tmp_path: Path) -> None:
    wrong = dataclasses.replace(FAMILY, stride=8)
    with pytest.raises(UsageError, match=r"correct channels=8 or stride=8"):
        export_bundle(wrong, hr=hr, lr=lr, out=tmp_path / "tiny.arseg")


_PEAK = """
import re, sys
from pathlib import Path
import numpy, onnxruntime
from arseg_edge.bundle import read_bundle
bundle = read_bundle(sys.argv[1])
channels, height, width = map(int, sys.argv[2:])
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
options.intra_op_num_threads = 2
session = onnxruntime.InferenceSession(bundle.read("nonkeyframe.onnx"), options, providers=["CPUExecutionProvider"])
random = numpy.random.default_rng(0)
(labels,) = session.run(["labels"], {
    "frame": random.integers(0, 256, (1, 720, 960, 3), numpy.uint8),
    "keyframe_feature": random.standard_normal((1, channels, height, width), numpy.float32),
    "motion": random.standard_normal((1, 720, 960, 2), numpy.float32),
    "frame_size": numpy.array([720, 960]),
    "labels_size": numpy.array([720, 960]),
    "confidence_size": numpy.zeros(2, numpy.int64),
})
assert labels.shape == (1, 720, 960)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize(
    ("family", "feature", "gigabytes"),
    [
        ("camvid-bise18", (256, 92, 120), 1.5),
        pytest.param("camvid-psp18", (64, 720, 960), 4.0, marks=pytest.mark.long),
    ],
)
def test_whole_frame_on_function_bodies_has_bounded_memory(
    export_golden: Callable[[str], Bundle], family: str, feature: tuple[int, ...], gigabytes: float
) -> None:
    command = [sys.executable, "-c", _PEAK, str(export_golden(family).path), *map(str, feature)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < gigabytes * 1e9


def test_manifest_in_the_file_is_plain_json(two_scales: Bundle) -> None:
    with zipfile.ZipFile(two_scales.path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.namelist()[0] == "manifest.json"
        document = json.loads(archive.read("manifest.json"))
    assert document["size"] is None
    assert document["scales"] == [
        {"scale": 0.5, "member": NONKEYFRAME},
        {"scale": 0.3, "member": "nonkeyframe-0.3.onnx"},
    ]
    assert os.fspath(two_scales.path) not in json.dumps(document)
