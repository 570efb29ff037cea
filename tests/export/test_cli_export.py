"""``arseg-edge export`` and the sample that exports, from checkpoints on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import golden
import make_tiny_bundle
import pytest
import torch
from clips import STREET, street_clip

from arseg_edge.bundle import read_bundle
from arseg_edge.cli import main
from arseg_edge.export import families, parity
from arseg_edge.export.parity import HALF_TOLERANCE
from arseg_edge.runtime.reports.verify import verify

Exported = tuple[int, str, str]
Export = Callable[..., Exported]


@pytest.fixture
def export(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Export:
    """Run the command on the tiny network's checkpoints; return exit code, output and errors."""
    monkeypatch.setitem(families._FAMILIES, "tiny", make_tiny_bundle.FAMILY)
    for name, fused in (("hr", False), ("lr", True)):
        torch.save(make_tiny_bundle.weights(int(fused), fused=fused), tmp_path / f"{name}.pth")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Exported:
        with pytest.raises(SystemExit) as raised:
            main(["export", "--hr", "hr.pth", "--family", "tiny", *arguments])
        assert isinstance(raised.value.code, int)
        return raised.value.code, *capsys.readouterr()

    return run


def test_a_bundle_from_checkpoints(export: Export, tmp_path: Path) -> None:
    code, out, err = export("--lr", "lr.pth", "-o", "my street.arseg", "--size", "64x96", "--interval", "6")
    assert code == 0
    assert out.startswith("my street.arseg: tiny, ")
    assert err.splitlines()[-1] == "next: arseg-edge run VIDEO -m 'my street.arseg'"
    done = [line.split("]")[0].strip("[").split("/") for line in err.splitlines()[:-1]]
    assert [int(step) for step, _ in done] == list(range(len(done)))
    assert {int(total) for _, total in done} == {len(done) - 1}
    bundle = read_bundle(tmp_path / "my street.arseg")
    assert (bundle.manifest.size, bundle.manifest.interval) == ((64, 96), 6)
    assert verify(bundle).passed


def test_a_first_trial_without_an_lr_checkpoint(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ownnet.py").write_text("import make_tiny_bundle\nTINY = make_tiny_bundle.FAMILY\n")
    monkeypatch.syspath_prepend(str(Path(make_tiny_bundle.__file__).parent))
    own = ["--family", "ownnet:TINY"]
    code, _, err = export("--untrained", "-o", "t.arseg", "--size", "64x96", "--scale", "0.5", "--scale", "0.3", *own)
    assert code == 0, err
    assert "LR is not trained" in err
    bundle = read_bundle(tmp_path / "t.arseg")
    assert bundle.manifest.family == "tiny"
    assert [branch.scale for branch in bundle.manifest.scales] == [0.5, 0.3]
    assert bundle.manifest.sources.lr == {"0.5": "", "0.3": ""}
    assert verify(bundle).passed


def test_half_weights(export: Export, tmp_path: Path) -> None:
    code, _, _ = export("--lr", "lr.pth", "-o", "half.arseg", "--size", "64x96", "--half-weights")
    assert code == 0
    assert {figure.tolerance for figure in read_bundle(tmp_path / "half.arseg").parity} == {HALF_TOLERANCE}


def test_several_scales_as_json(export: Export, tmp_path: Path) -> None:
    scales = ("--scale", "0.5", "--scale", "0.3")
    code, out, _ = export("--lr", "lr.pth", "--lr", "lr.pth", *scales, "-o", "t.arseg", "--size", "64x96", "--json")
    assert code == 0
    facts = json.loads(out)
    bundle = read_bundle(tmp_path / "t.arseg")
    assert [branch.scale for branch in bundle.manifest.scales] == [0.5, 0.3]
    assert facts["family"] == "tiny"
    assert facts["bytes"] == (tmp_path / "t.arseg").stat().st_size
    assert facts["largest_error"] == max(figure["error"] for figure in facts["parity"])
    assert facts["largest_error"] == max(figure.error for figure in bundle.parity)


def test_beyond_the_tolerance_nothing_is_written(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "TOLERANCE", 0.0)
    before = sorted(tmp_path.iterdir())
    code, out, err = export("--lr", "lr.pth", "-o", "t.arseg", "--size", "64x96")
    assert (code, out) == (6, "")
    assert err.splitlines()[-1].startswith("error: ")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("code", "said", "arguments"),
    [
        (3, "none.pth", ["--lr", "none.pth", "-o", "t.arseg"]),
        (3, "lr", ["--lr", "hr.pth", "-o", "t.arseg"]),
        (2, "--untrained", ["-o", "t.arseg"]),
        (2, "--untrained", ["--lr", "lr.pth", "--untrained", "-o", "t.arseg"]),
        (2, "no.such.module", ["--lr", "lr.pth", "-o", "t.arseg", "--family", "no.such.module:F"]),
        (2, "dream", ["--lr", "lr.pth", "-o", "t.arseg", "--family", "dream"]),
        (2, "720 960", ["--lr", "lr.pth", "-o", "t.arseg", "--size", "720 960"]),
        (3, "8x8", ["--lr", "lr.pth", "-o", "t.arseg", "--size", "8x8"]),
        (2, "1.5", ["--lr", "lr.pth", "-o", "t.arseg", "--scale", "1.5"]),
        (2, "interval", ["--lr", "lr.pth", "-o", "t.arseg", "--interval", "0"]),
        (2, ".arseg", ["--lr", "lr.pth", "-o", "t.zip"]),
        (1, "none", ["--lr", "lr.pth", "-o", "none/t.arseg"]),
    ],
)
def test_bad_input(export: Export, tmp_path: Path, code: int, said: str, arguments: list[str]) -> None:
    before = sorted(tmp_path.iterdir())
    found, out, err = export(*arguments)
    assert (found, out) == (code, ""), err
    errors = [line for line in err.splitlines() if not line.startswith("[")]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert said in errors[0]
    assert sorted(tmp_path.iterdir()) == before


def test_the_sample_on_a_published_checkpoint_and_the_run_without_pytorch(tmp_path: Path) -> None:
    for name, role in (("hr", "hr"), ("lr", "ar")):
        torch.save(golden.published("camvid-bise18", role), tmp_path / f"{name}.pth")
    script, bundle = STREET.parent / "export_checkpoints.py", tmp_path / "street.arseg"
    arguments = ["hr.pth", "lr.pth", bundle.name, "--size", "64", "96"]
    done = subprocess.run(
        [sys.executable, str(script), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = read_bundle(bundle).parity
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [[each.member, each.stage] for each in figures]

    without = (
        "import sys; sys.modules.update(torch=None, onnx=None, onnxscript=None); "
        "from arseg_edge.cli import main; main(sys.argv[1:])"
    )
    clip = street_clip(tmp_path / "clip.mp4", 5)
    arguments = ["run", str(clip), "-m", bundle.name, "--resize", "-o", "overlay.mp4", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", without, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["frames"], facts["keyframes"]) == (5, 1)
