"""``arseg-edge train``, on a small data set."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from test_stretches import encoded, scene

from arseg_edge.bundle import read_bundle
from arseg_edge.cli import main
from arseg_edge.demo import demo_bundle
from arseg_edge.training import train
from arseg_edge.training.settings import HrSettings
from arseg_edge.training.state import Row


def flags(settings: HrSettings) -> list[str]:
    """Return the flags of a quick run."""
    return [
        "--data", str(settings.data[0].path), "--interval", "4", "--variants", "2", "--validation-variants", "1",
        "--crop", "64x64", "--epochs", "2", "--batch-size", "2", "--warm-up", "2", "--average", "0.9",
        "--validate-every", "1", "--threads", "1", "--processes", "1", "--device", "cpu",
        "--cache", str(settings.cache),
    ]  # fmt: skip


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as raised:
        main([str(each) for each in arguments])
    assert isinstance(raised.value.code, int)
    return raised.value.code


def test_hr_then_lr(quick: HrSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hr, lr = tmp_path / "my runs/hr", tmp_path / "my runs/lr"
    assert run("train", "hr", "-o", hr, *flags(quick)) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{hr / 'best.pth'}: mIoU ")
    epochs = [line for line in err.splitlines() if line.startswith("epoch")]
    assert [line.split(":")[0] for line in epochs] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert err.splitlines()[-1] == f"next: arseg-edge train lr --hr '{hr / 'best.pth'}', on the same data"
    command = (hr / "command.txt").read_text()
    assert command.startswith(f"arseg-edge train hr -o '{hr}' --data ")
    # What a run was made with is what the functions make of the same settings.
    assert train.train_hr(quick, tmp_path / "api").best.read_bytes() == (hr / "best.pth").read_bytes()

    config = tmp_path / "lr.yaml"
    config.write_text("epochs: 9\nfusion_from: 1\nmotion: false\nstart: scratch\n")
    assert run("train", "lr", "-o", lr, "--hr", hr / "best.pth", "--config", config, *flags(quick), "--json") == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert facts.keys() == {"best", "miou", "epoch", "epochs", "steps", "seconds"}
    assert (facts["best"], facts["epoch"], facts["epochs"], facts["steps"]) == (str(lr / "best.pth"), 2, 2, 4)
    checkpoints = f"--hr '{hr / 'best.pth'}' --lr '{lr / 'best.pth'}'"
    assert err.splitlines()[-1] == f"next: arseg-edge export {checkpoints} -o NAME.arseg"
    written = (lr / "config.yaml").read_text()
    assert "\nmotion: false\n" in written
    assert "\nepochs: 2\n" in written


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    quick: HrSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run("train", "hr", "-o", whole, *flags(quick)) == 0
    capsys.readouterr()
    seen: list[int] = []
    original = train.run

    def press(*arguments: object) -> object:
        *others, on_step, on_row = arguments

        def pressed(done: int, total: int) -> None:
            seen.append(done)
            if seen == [1, 2, 3]:
                signal.raise_signal(signal.SIGINT)
            on_step(done, total)  # type: ignore[operator]

        return original(*others, pressed, on_row)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "run", press)
    assert run("train", "hr", "-o", parts, *flags(quick)) == 130
    assert "interrupted" in capsys.readouterr().err
    assert run("train", "hr", "-o", parts, *flags(quick)) == 0
    assert seen == [1, 2, 3, 4]
    for name in ("best.pth", "curves.csv"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_errors_are_one_line(quick: HrSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    for arguments, code, complaint in (
        (("hr", *flags(quick), "--interval", "9"), 5, "labels frame 4"),
        (("hr", *flags(quick), "--codec", "libx999"), 5, "no video encoder 'libx999'"),
        (("hr", *flags(quick), "--family", "camvid-psp18", "--loss-stride", "1"), 2, "are not those of camvid-psp18"),
        (("lr", *flags(quick), "--hr", str(tmp_path / "nowhere.pth")), 3, "nowhere.pth does not exist"),
    ):
        assert run("train", *arguments, "-o", folder) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert complaint in err
        assert err.count("\n") == 1


def test_row_is_what_progress_shows() -> None:
    """``tests/cli/test_train.py`` has a row of its own, since it does without PyTorch."""
    assert {"epoch", "losses", "measure", "score"} <= set(Row.__dataclass_fields__)


def test_lr_from_a_video_without_labels(quick: HrSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video, lr = tmp_path / "my drives/drive.mp4", tmp_path / "lr"
    video.parent.mkdir()
    encoded(video, [scene(index) for index in range(24)])
    without = flags(quick)[2:]
    assert run("train", "lr", "-o", lr, "--videos", video.parent, "--hr", demo_bundle(), *without) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{lr / 'best.pth'}: agreement ")
    assert out.endswith(f" % with HR in validation, of epoch {out.split()[-3]} of 2\n")
    assert "[1/1] videos read\n" in err
    assert "epoch 2 of 2: soft labels " in err
    assert err.splitlines()[-1] == f"next: arseg-edge export --hr {demo_bundle()} --lr {lr / 'best.pth'} -o NAME.arseg"
    assert "\nfamily: edge\n" in f"\n{(lr / 'config.yaml').read_text()}"
    # The finished run is left alone, and says the same.
    assert run("train", "lr", "-o", lr, "--videos", video.parent, "--hr", demo_bundle(), *without, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts.keys() == {"best", "agreement", "epoch", "epochs", "steps", "seconds"}
    bundle = tmp_path / "mine.arseg"
    assert run("export", "--hr", demo_bundle(), "--lr", lr / "best.pth", "-o", bundle) == 0
    assert read_bundle(bundle).manifest.family == "edge"
