"""``info``, ``verify`` and ``doctor``, to read and as JSON; ``--help``."""

from __future__ import annotations

import builtins
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from command_line import Command

from arseg_edge import __version__
from arseg_edge.bundle import KEYFRAME, read_bundle, write_bundle
from arseg_edge.runtime.reports import doctor as doctor_module
from arseg_edge.runtime.reports.doctor import ProviderCheck

# One that runs nothing itself, but calls services on Azure, is none of this device's.
WORKING = [name for name in onnxruntime.get_available_providers() if name != "AzureExecutionProvider"]


@pytest.fixture
def spoilt_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Two members changed places, under checksums that fit: sound to read, wrong to run."""
    bundle = read_bundle(tiny_bundle)
    first, second = (branch.member for branch in bundle.manifest.scales)
    swapped = {first: bundle.read(second), second: bundle.read(first)}
    content = {name: swapped.get(name, bundle.read(name)) for name in bundle.manifest.members}
    return write_bundle(tmp_path / "spoilt.arseg", bundle.manifest, content).path


# info


def test_info(arseg: Command, tiny_bundle: Path) -> None:
    done = arseg("info", tiny_bundle)
    assert (done.code, done.err) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in done.out.splitlines() if line.startswith(("family", "classes")))
    assert facts == {"family": "tiny", "classes": "sky, road, car"}
    manifest = read_bundle(tiny_bundle).manifest
    for text in (
        "any, 32x32 to 8192x8192",
        "0.5 (nonkeyframe.onnx), 0.3 (nonkeyframe-0.3.onnx)",
        "subpixel chaining",
        "ONNX Runtime 1.17",
        f"{manifest.macs.hr / 1e9:.2f}",
        f"LR 0.5 at interval 12 saves {manifest.macs.saving(0.5, 12):.1%}",
        f"LR 0.3 at interval 12 saves {manifest.macs.saving(0.3, 12):.1%}",
        "67 %",
    ):
        assert text in done.out


def test_info_of_an_older_format(arseg: Command, tiny_bundle: Path) -> None:
    def line(path: Path) -> str:
        return next(line for line in arseg("info", path).out.splitlines() if line.startswith("bundle format"))

    assert line(tiny_bundle).split()[2:] == ["2"]
    old = line(tiny_bundle.with_name("tiny-format1.arseg"))
    assert old.endswith(" 1, the one of today is 2 (arseg-edge export --upgrade)")


def test_info_of_one_size(arseg: Command, tiny_fixed_bundle: Path) -> None:
    (line,) = [line for line in arseg("info", tiny_fixed_bundle).out.splitlines() if line.startswith("size")]
    assert line.endswith(" 64x96")


def test_info_as_json(arseg: Command, tiny_bundle: Path) -> None:
    facts = arseg("info", tiny_bundle, "--json").json
    macs = facts["macs"]
    assert facts["family"] == "tiny"
    assert [branch["scale"] for branch in facts["scales"]] == [0.5, 0.3]
    for scale in ("0.5", "0.3"):
        spent = macs["hr"] + 11 * (macs["lr"][scale] + macs["creff"])
        assert facts["saving"][scale] == pytest.approx(1 - spent / (12 * macs["hr"]))


def with_flipped_bit(bundle: Path, member: str, copy: Path) -> Path:
    """Return a copy of the bundle in which one bit in the middle of a member is another one."""
    with zipfile.ZipFile(bundle) as archive:
        info = archive.getinfo(member)
        with archive.open(info) as file:
            content = file.read()
    data = bytearray(bundle.read_bytes())
    data[data.index(content) + len(content) // 2] ^= 1
    copy.write_bytes(data)
    return copy


@pytest.mark.parametrize("member", ["golden.npz", "keyframe.onnx", "nonkeyframe-0.3.onnx"])
def test_info_says_what_is_damaged(arseg: Command, tiny_bundle: Path, tmp_path: Path, member: str) -> None:
    damaged = with_flipped_bit(tiny_bundle, member, tmp_path / "damaged.arseg")
    done = arseg("info", damaged)
    assert done.code == 3
    said = [line.split()[0] for line in done.out.splitlines() if line.endswith(" MB, damaged")]
    assert said == [member]
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert member in line
    done = arseg("info", damaged, "--json")
    assert (done.code, list(done.json["damaged"])) == (3, [member])
    assert arseg("info", tiny_bundle, "--json").json["damaged"] == {}


def test_info_looks_into_the_golden_clip(arseg: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    content = {name: bundle.read(name) for name in bundle.manifest.members}
    path = write_bundle(tmp_path / "b.arseg", bundle.manifest, {**content, "golden.npz": b"no clip"}).path
    done = arseg("info", path)
    assert done.code == 3
    assert "golden clip is broken" in done.err


# verify


def test_verify(arseg: Command, tiny_bundle: Path) -> None:
    done = arseg("verify", tiny_bundle, "--provider", "cpu", "--threads", "1")
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()[2:-1]]
    assert {row[0] for row in rows} == {
        KEYFRAME,
        "nonkeyframe.onnx",
        "nonkeyframe-0.3.onnx",
        "head.onnx",
        "head-0.3.onnx",
    }
    assert {row[4] for row in rows} == {"ok"}
    assert done.out.splitlines()[-1].startswith("on CPUExecutionProvider, ")


def test_verify_names_what_is_off(arseg: Command, spoilt_bundle: Path) -> None:
    done = arseg("verify", spoilt_bundle)
    assert done.code == 6
    off = {line.split()[0] for line in done.out.splitlines() if line.endswith("OFF")}
    assert off == {"nonkeyframe.onnx", "nonkeyframe-0.3.onnx"}
    (line,) = done.err.splitlines()
    assert line.startswith(f"error: {spoilt_bundle}: off on this device: lr_feature in nonkeyframe.onnx")


def test_verify_as_json(arseg: Command, tiny_bundle: Path, spoilt_bundle: Path) -> None:
    good, bad = arseg("verify", tiny_bundle, "--json"), arseg("verify", spoilt_bundle, "--json")
    assert (good.code, bad.code) == (0, 6)
    assert (good.json["passed"], bad.json["passed"]) == (True, False)
    assert good.json["blame"] is None
    assert "nonkeyframe.onnx" in bad.json["blame"]
    assert {"member", "frame", "stage", "error", "tolerance"} == set(good.json["findings"][0])


def test_errors_that_are_no_numbers_are_still_json(
    arseg: Command, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arseg_edge.golden import Samples

    monkeypatch.setattr(Samples, "error", lambda self, tensor: float("inf"))
    done = arseg("verify", tiny_bundle, "--json")
    assert done.code == 6
    assert {finding["error"] for finding in done.json["findings"] if finding["stage"] != "labels"} == {None}


# doctor


def test_doctor(arseg: Command) -> None:
    done = arseg("doctor")
    assert (done.code, done.err) == (0, "")
    for text in (__version__, onnxruntime.__version__, "h264 decoder", "native operators"):
        assert text in done.out
    for provider in WORKING:
        assert provider in done.out
    assert "Azure" not in done.out


def test_doctor_as_json(arseg: Command) -> None:
    facts = arseg("doctor", "--json").json
    assert [check["name"] for check in facts["providers"]][: len(WORKING)] == WORKING
    assert facts["versions"]["arseg-edge"] == __version__
    assert set(facts["native"]) == {"path", "enabled", "reason", "simd"}


def test_doctor_with_no_provider_that_works(arseg: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "check_provider", lambda name: ProviderCheck(name, False, "broken"))
    done = arseg("doctor")
    assert done.code == 4
    assert "fails: broken" in done.out
    assert "advice: no provider works" in done.out
    assert done.err.splitlines() == ["error: no execution provider works here: see the advice above"]


# Without onnxruntime, and help


@pytest.fixture
def without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def import_(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "onnxruntime":
            raise ModuleNotFoundError(f"No module named {name!r}", name="onnxruntime")
        return real(name, *rest)

    for name in [name for name in sys.modules if name.startswith("arseg_edge.runtime")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", import_)


@pytest.mark.usefixtures("without_onnxruntime")
@pytest.mark.parametrize("command", ["run", "verify", "doctor"])
def test_without_onnxruntime(arseg: Command, tiny_bundle: Path, command: str) -> None:
    arguments = {"run": ["v.mp4", "-m", tiny_bundle], "verify": [tiny_bundle], "doctor": []}
    done = arseg(command, *arguments[command])
    assert done.code == 4
    (line,) = done.err.splitlines()
    assert line.startswith("error: onnxruntime is not installed")
    assert "arseg-edge[cpu]" in line


@pytest.mark.usefixtures("without_onnxruntime")
def test_info_needs_no_onnxruntime(arseg: Command, tiny_bundle: Path) -> None:
    assert arseg("info", tiny_bundle).code == 0


@pytest.mark.parametrize("command", [[], ["export"], ["run"], ["info"], ["verify"], ["bench"], ["probe"], ["doctor"]])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(arseg: Command, command: list[str], flag: str) -> None:
    done = arseg(*command, flag)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: {' '.join(['arseg-edge', *command])} ")
    assert max(map(len, done.out.splitlines())) <= 100


def test_the_command_list_says_whole_sentences(arseg: Command) -> None:
    _, _, commands = arseg("--help").out.partition("Commands:\n")
    said = dict(line.split(maxsplit=1) for line in commands.splitlines())
    assert {"bench", "compare", "doctor", "eval", "export", "info", "probe", "run", "train", "verify"} <= set(said)
    for sentence in said.values():
        assert sentence.endswith(".")
        assert not sentence.endswith("..")


def test_version(arseg: Command) -> None:
    assert arseg("--version").out == f"arseg-edge, version {__version__}\n"


def test_export_needs_pytorch(arseg: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arseg_edge.export", None)
    done = arseg("export", "--hr", "hr.pth", "--lr", "lr.pth", "-o", "street.arseg")
    assert done.code == 3
    (line,) = done.err.splitlines()
    assert "arseg-edge[cpu,export]" in line


@pytest.mark.parametrize(
    "arguments", [["--lr", "b", "--scale", "0.5", "--scale", "0.3", "--scale", "0.7"], ["--scale", "0.5"] * 2]
)
def test_scales_that_fit_no_checkpoints(arseg: Command, arguments: list[str]) -> None:
    done = arseg("export", "--hr", "hr.pth", "--lr", "lr.pth", "-o", "street.arseg", *arguments)
    assert done.code == 2
    assert done.err.startswith("error: ")
