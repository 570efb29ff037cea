"""``arseg-edge convert``, what it reads beside a model, and what it does without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_models import CLASSES, DYNAMIC, NORMAL, ended, plain, save

import arseg_edge
from arseg_edge.bundle import read_bundle
from arseg_edge.cli import main
from arseg_edge.errors import UsageError
from arseg_edge.export import convert_onnx

FLAGS = ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--rgb")
STREET = Path(__file__).parents[2] / "samples" / "street.mp4"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended_with:
        main([str(each) for each in arguments])
    found = capsys.readouterr()
    code = ended_with.value.code
    assert isinstance(code, int)
    return code, found.out, found.err


def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, out = save(plain(), tmp_path / "model.onnx"), tmp_path / "small.arseg"
    code, printed, errors = run(capsys, "convert", path, "-o", out, *FLAGS)
    assert code == 0
    assert printed.splitlines() == [
        f"{out}: {CLASSES} classes, 0 MB, 0.000% of the labels differ",
        "it sees frames of their own size",
        "as rgb: (byte x 0.003922 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]",
        "labels are made of its output logits",
    ]
    assert f"next: arseg-edge run VIDEO -m {out}" in errors
    code, printed, _ = run(capsys, "info", out)
    assert code == 0
    assert "it sees frames of their own size" in printed
    assert "against the given model" in printed
    code, printed, _ = run(capsys, "convert", path, "-o", out, *FLAGS, "--json", "--scale", "1/255", "--classes", "5")
    facts = json.loads(printed)
    assert (code, facts["converted"]["scale"], facts["logits"]) == (0, pytest.approx(1 / 255), True)
    assert facts["classes"] == [f"class {index}" for index in range(5)]
    for command in (("verify", out), ("bench", STREET, "-m", out, "--rounds", "1", "--frames", "6", "--threads", "1")):
        assert run(capsys, *command)[0] == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give --mean and --std"),
        (("--mean", "0.5;0.5", "--std", "1", "--rgb"), "--mean '0.5;0.5': write numbers"),
        (("--scale", "1/0", "--rgb"), "--scale '1/0': write numbers"),
        ((*FLAGS, "--size", "64"), "--size '64': write HEIGHTxWIDTH, such as 720x960, or any"),
        ((*FLAGS, "--size", "64x96"), "give --resize stretch or --resize letterbox"),
    ],
)
def test_one_line_for_what_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    path = save(plain(), tmp_path / "model.onnx")
    code, _, errors = run(capsys, "convert", path, "-o", tmp_path / "small.arseg", *flags)
    assert code == 2
    (line,) = (each for each in errors.splitlines() if not each.startswith("["))
    assert message in line
    assert not (tmp_path / "small.arseg").exists()


def test_exit_codes(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from arseg_edge.export.convert.reference import Reference

    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert run(capsys, "convert", tmp_path / "broken.onnx", "-o", tmp_path / "out.arseg")[0] == 3
    monkeypatch.setattr(Reference, "labels", lambda model, frame, size: np.zeros(size, np.uint8))
    path = save(plain(), tmp_path / "model.onnx")
    assert run(capsys, "convert", path, "-o", tmp_path / "out.arseg", *FLAGS)[0] == 6
    assert not (tmp_path / "out.arseg").exists()


RULES = {
    "do_resize": True, "size": {"height": 64, "width": 96}, "resample": 2, "do_rescale": True, "rescale_factor": 0.5,
    "do_normalize": True, "image_mean": [1.0, 2.0, 3.0], "image_std": [4.0, 5.0, 6.0],
}  # fmt: skip


def test_files_of_hugging_face(tmp_path: Path) -> None:
    path = save(plain(opset=13), tmp_path / "model.onnx")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(RULES))
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {str(i): f"thing {i}" for i in range(CLASSES)}}))
    manifest = convert_onnx(path, out=tmp_path / "small.arseg").manifest
    rule = manifest.converted
    assert rule is not None
    assert (rule.size, rule.resize, rule.antialias, rule.channels) == ((64, 96), "stretch", True, "rgb")
    assert (rule.scale, rule.mean, rule.std) == (0.5, (1, 2, 3), (4, 5, 6))
    assert [each.name for each in manifest.classes] == [f"thing {i}" for i in range(CLASSES)]
    # What is given goes before what is read.
    rule = convert_onnx(
        path, out=tmp_path / "small.arseg", size="any", bgr=True, scale=1.0, antialias=False
    ).manifest.converted
    assert rule is not None
    assert (rule.size, rule.antialias, rule.channels, rule.scale) == (None, False, "bgr", 1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"size": 64}, {"size": (64, 64)}),
        ({"size": {"shortest_edge": 64}}, {"size": None}),
        ({"do_resize": False}, {"size": None, "antialias": False}),
        ({"resample": 0}, {"antialias": False}),
        ({"do_rescale": False}, {"scale": 1.0}),
        ({"do_normalize": False}, {"mean": (0.0,), "std": (1.0,)}),
        ({"do_flip_channel_order": True}, {"channels": "bgr"}),
    ],
    ids=str,
)
def test_rules_of_hugging_face(tmp_path: Path, change: dict[str, object], expected: dict[str, object]) -> None:
    path = save(plain(), tmp_path / "model.onnx")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**RULES, **change}))
    rule = convert_onnx(path, out=tmp_path / "small.arseg").manifest.converted
    assert {name: getattr(rule, name) for name in expected} == expected


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_pillow_resizes_as_the_graph_does(tmp_path: Path, opset: int) -> None:
    """The averages of Pillow's bilinear filter, here by PyTorch, which has the same."""
    import onnxruntime
    import torch
    import torch.nn.functional as F

    path = save(plain(opset=opset), tmp_path / "model.onnx")
    bundle = convert_onnx(path, out=tmp_path / "s.arseg", **NORMAL, size=(64, 96), resize="stretch", antialias=True)
    rgb = np.random.default_rng(3).integers(0, 256, (150, 260, 3), np.uint8)
    planes = torch.from_numpy(np.moveaxis(rgb, -1, 0)[None].astype(np.float32))
    seen = F.interpolate(planes, (64, 96), mode="bilinear", antialias=True).round().numpy()
    mean, std = (np.array(NORMAL[name], np.float32).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    image = ((seen / 255 - mean) / std).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits = torch.from_numpy(session.run(None, {"image": image})[0])
    expected = F.interpolate(logits, (150, 260), mode="bilinear")[0].argmax(0).numpy()
    with arseg_edge.load(bundle.path, providers="cpu", threads=1) as segmenter:
        assert np.mean(segmenter.step(rgb, keyframe=True).labels == expected) >= 0.999


def test_classes_of_the_plain_layout(tmp_path: Path) -> None:
    names = {f"thing {index}": [index, 2 * index, 3] for index in range(CLASSES)}
    (tmp_path / "dataset.yaml").write_text(f"classes: {json.dumps(names)}")
    path = save(plain(), tmp_path / "model.onnx")
    for named in (tmp_path / "dataset.yaml", str(tmp_path)):
        manifest = convert_onnx(path, out=tmp_path / "small.arseg", **NORMAL, classes=named).manifest
        assert {each.name: list(each.colour) for each in manifest.classes} == names


def test_background_and_one_class(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "road"}}))
    path = save(ended("sigmoid"), tmp_path / "model.onnx")
    manifest = convert_onnx(path, out=tmp_path / "small.arseg", **NORMAL).manifest
    assert [each.name for each in manifest.classes] == ["background", "road"]
    with pytest.raises(UsageError, match="has 2 classes, and --classes 3"):
        convert_onnx(path, out=tmp_path / "small.arseg", **NORMAL, classes=3)


def test_pytorch_is_neither_needed_nor_loaded(tmp_path: Path) -> None:
    path, out = save(plain(DYNAMIC), tmp_path / "model.onnx"), tmp_path / "small.arseg"
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["torch", "onnxscript", "safetensors"]))  # None: as if not installed
from arseg_edge.cli import main
main(["convert", {str(path)!r}, "-o", {str(out)!r}, *{FLAGS!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read_bundle(out).manifest.converted is not None
    missing = code.replace('"torch", ', '"torch", "onnx", ')
    done = subprocess.run([sys.executable, "-c", missing], capture_output=True, text=True)
    assert done.returncode == 3
    assert 'converting needs onnx, which is not installed: pip install "arseg-edge[cpu,convert]"' in done.stderr
