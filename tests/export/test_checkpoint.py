"""Checkpoints: every published layout loads, everything else is refused in one line."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import make_tiny_bundle
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from arseg_edge.errors import CheckpointError
from arseg_edge.export.checkpoint import (
    Checkpoint,
    load_ar,
    load_hr,
    read_checkpoint,
    recognise_family,
)
from arseg_edge.export.families import find_family

BISE = "camvid-bise18"


def state(family: str, role: str) -> dict[str, Tensor]:
    """Return the golden weights without ``module.``."""
    return {key.removeprefix("module."): value for key, value in golden.published(family, role).items()}


def weights_of(network: object) -> dict[str, Tensor]:
    assert isinstance(network, nn.Module)
    return network.state_dict()


def checkpoint(family: str, role: str) -> Checkpoint:
    return read_checkpoint(golden.published(family, role), f"{role}.pth")


@pytest.mark.parametrize("name", golden.FAMILIES)
def test_family_is_recognised_from_the_keys(name: str) -> None:
    assert recognise_family(checkpoint(name, "hr"), checkpoint(name, "ar")).name == name


def save_pth(content: Any, path: Path) -> Path:
    torch.save(content, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def save_old_pth(content: Any, path: Path) -> Path:
    torch.save(content, path.with_suffix(".pt"), _use_new_zipfile_serialization=False)
    return path.with_suffix(".pt")


def save_safetensors(content: dict[str, Tensor], path: Path) -> Path:
    safetensors.torch.save_file(content, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


@pytest.mark.parametrize("save", [save_pth, save_old_pth, save_safetensors])
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_file_gives_the_weights(save: Callable[..., Path], prefix: str, tmp_path: Path) -> None:
    expected = state(BISE, "ar")
    path = save({prefix + key: value for key, value in expected.items()}, tmp_path / "ar")
    found = read_checkpoint(path)
    assert found.name == path.name
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert repr(found) == f"Checkpoint({path.name!r}, 236 tensors)"
    loaded = weights_of(load_ar(find_family(BISE), found))
    assert loaded.keys() == expected.keys()
    assert torch.equal(loaded["fuse_attention.hr_key_conv.weight"], expected["fuse_attention.hr_key_conv.weight"])
    assert torch.equal(loaded["cp.resnet.layer4.1.bn2.running_var"], expected["cp.resnet.layer4.1.bn2.running_var"])


def test_state_dict_may_be_wrapped_half_precision_or_numpy() -> None:
    arrays = golden.weights(BISE, "hr")
    wrapped = read_checkpoint({"epoch": 3, "state_dict": arrays})
    assert wrapped.sha256 is None
    half = {key: value.astype(np.float16) for key, value in arrays.items() if value.dtype == np.float32}
    found = read_checkpoint({**arrays, **half})
    for loaded in (load_hr(find_family(BISE), wrapped), load_hr(find_family(BISE), found)):
        kernel = weights_of(loaded)["sp.conv1.conv.weight"]
        assert kernel.dtype == torch.float32
        np.testing.assert_allclose(kernel, arrays["module.sp.conv1.conv.weight"], rtol=1e-3, atol=1e-6)


TINY = make_tiny_bundle.FAMILY


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model.module.", "model._orig_mod."],
)
def test_prefixes_of_wrappers_are_left_out(prefix: str) -> None:
    for fused, load in ((False, load_hr), (True, load_ar)):
        expected = make_tiny_bundle.weights(0, fused=fused)
        wrapped = read_checkpoint({prefix + key: value for key, value in expected.items()})
        loaded = weights_of(load(TINY, wrapped))
        assert all(torch.equal(loaded[key], value) for key, value in expected.items())
        assert loaded.keys() == expected.keys()


def test_a_compiled_part_and_averaged_weights_load() -> None:
    expected = make_tiny_bundle.weights(0, fused=False)
    compiled = {key.replace("first.", "first._orig_mod."): value for key, value in expected.items()}
    averaged = {"n_averaged": torch.tensor(7), **{f"module.{key}": value for key, value in expected.items()}}
    for state_dict in (compiled, averaged):
        loaded = weights_of(load_hr(TINY, read_checkpoint(state_dict)))
        assert all(torch.equal(loaded[key], value) for key, value in expected.items())


class Holder(nn.Module):
    """A network that keeps another under the name of a wrapper."""

    def __init__(self) -> None:
        super().__init__()
        self.model = make_tiny_bundle.Tiny()
        self.final_conv = self.model.final_conv
        del self.model.final_conv

    def feature(self, image: Tensor) -> Tensor:
        return self.model.feature(image)


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_a_wrappers_name_may_be_the_networks_own(prefix: str) -> None:
    family = dataclasses.replace(TINY, network=Holder)
    expected = weights_of(Holder())
    assert {"model.first.weight", "final_conv.weight"} <= expected.keys()
    loaded = weights_of(load_hr(family, read_checkpoint({prefix + key: value for key, value in expected.items()})))
    assert all(torch.equal(loaded[key], value) for key, value in expected.items())


OPTIMISER = {"state": {0: {"step": torch.zeros(1), "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", "ema", "params", "weights"])
def test_a_state_dict_is_found_under_any_key(key: str, tmp_path: Path) -> None:
    expected = make_tiny_bundle.weights(0, fused=False)
    content = {"epoch": 3, key: expected, "optimizer": OPTIMISER, "step": torch.tensor(4)}
    found = read_checkpoint(save_pth(content, tmp_path / "run"))
    assert found.name == ("run.pth" if key == "state_dict" else f"run.pth:{key}")
    assert torch.equal(found.tensors["first.weight"], expected["first.weight"])
    assert found.tensors.keys() == expected.keys()


def test_of_several_state_dicts_one_is_to_be_named(tmp_path: Path) -> None:
    one, other = make_tiny_bundle.weights(0, fused=False), make_tiny_bundle.weights(1, fused=False)
    content = {"model": one, "ema": {"decay": 0.9, "shadow": other}, "optimizer": OPTIMISER}
    path = save_pth(content, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"holds several state dicts \(model, ema\.shadow\): name one, as run"):
        read_checkpoint(path)
    for key, expected in (("model", one), ("ema.shadow", other)):
        found = read_checkpoint(f"{path}:{key}")
        assert torch.equal(found.tensors["first.weight"], expected["first.weight"])
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match=r"has no state dict under 'net': it has model, ema\.shadow"):
        read_checkpoint(f"{path}:net")
    # The usual name is the one that is meant.
    found = read_checkpoint({"state_dict": one, "state_dict_ema": other})
    assert torch.equal(found.tensors["first.weight"], one["first.weight"])


def drop(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    rest = {key: value for key, value in tensors.items() if not key.startswith(prefix)}
    assert len(rest) < len(tensors)
    return rest


@pytest.mark.parametrize(
    ("name", "dropped", "present"),
    [
        ("cityscapes-psp18", "final_conv.", "cls.4."),
        ("cityscapes-psp18", "cls.4.", "final_conv."),
        (BISE, "final_conv.", "conv_out.conv_out."),
        (BISE, "conv_out.conv_out.", "final_conv."),
        (BISE, "feat_conv_out.", "conv_out.conv."),
        (BISE, "conv_out.conv.", "feat_conv_out."),
    ],
)
def test_one_name_of_a_shared_layer_stands_for_both(name: str, dropped: str, present: str) -> None:
    tensors = drop(state(name, "hr"), dropped)
    loaded = weights_of(load_hr(find_family(name), read_checkpoint(tensors)))
    used = {key: value for key, value in tensors.items() if key.startswith(present)}
    assert used
    for key, value in used.items():
        assert torch.equal(loaded[key], value)
        assert torch.equal(loaded[dropped + key.removeprefix(present)], value)


def test_keyframe_checkpoint_may_lack_fusion_and_last_layer() -> None:
    name = "cityscapes-psp18"
    bare = drop(drop(state(name, "hr"), "fuse_attention."), "final_conv.")
    hr = read_checkpoint(bare)
    assert recognise_family(hr, checkpoint(name, "ar")).name == name
    assert torch.equal(weights_of(load_hr(find_family(name), hr))["final_conv.weight"], bare["cls.4.weight"])
    with pytest.raises(CheckpointError, match=r"6 missing \(fuse_attention"):
        load_ar(find_family(name), read_checkpoint(drop(state(name, "ar"), "fuse_attention.")))


def test_mismatch_names_missing_unexpected_and_misshapen_keys() -> None:
    tensors = drop(state(BISE, "hr"), "sp.conv1.")
    tensors["extra.weight"] = torch.zeros(1)
    tensors["ffm.conv.weight"] = torch.zeros(256, 128, 1, 1)
    with pytest.raises(CheckpointError) as error:
        load_hr(find_family(BISE), read_checkpoint(tensors, "street.pth"))
    message = str(error.value)
    assert message == (
        "street.pth does not fit camvid-bise18: "
        "6 missing (sp.conv1.conv.weight, sp.conv1.bn.weight, sp.conv1.bn.bias, …), "
        "1 unexpected (extra.weight), "
        "1 of another shape (ffm.conv.weight (256, 128, 1, 1) for (256, 256, 1, 1)): "
        "give this family's HR (keyframe) checkpoint"
    )


def test_no_message_grows_with_the_checkpoint() -> None:
    tensors = {f"{'x' * 190}{index}": torch.zeros(1) for index in range(2000)}
    with pytest.raises(CheckpointError) as error:
        recognise_family(read_checkpoint(tensors, "a.pth"), read_checkpoint(tensors, "b.pth"))
    assert "2000 unexpected" in str(error.value)
    assert len(str(error.value)) < 3000
    assert "\n" not in str(error.value)


def test_files_of_two_families_are_told_apart() -> None:
    with pytest.raises(CheckpointError, match=r"for c\w+-bise18, the nearest, \w+\.pth has \d of another shape \("):
        recognise_family(checkpoint("cityscapes-bise18", "hr"), checkpoint(BISE, "ar"))


def test_swapped_files_are_noticed() -> None:
    with pytest.raises(CheckpointError, match=r"ar\.pth and hr\.pth are swapped"):
        recognise_family(checkpoint(BISE, "ar"), checkpoint(BISE, "hr"))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save_pth({"weight": Evil()}, tmp_path / "evil")
    with pytest.raises(CheckpointError, match=r"evil\.pth holds \w+\.mkdir beside tensors"):
        read_checkpoint(path)
    assert not (tmp_path / "evil").exists()
    with pytest.raises(CheckpointError, match=r"holds torch\.nn\.modules\.linear\.Linear beside tensors"):
        read_checkpoint(save_pth(nn.Linear(2, 2), tmp_path / "module"))


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def overwritten(content: bytes) -> bytes:
    return content[:70] + b"\xff" * 40 + content[110:]


@pytest.mark.parametrize("damage", [truncated, overwritten, lambda _: b"", lambda _: b"garbage" * 50])
@pytest.mark.parametrize("save", [save_pth, save_old_pth, save_safetensors])
def test_damaged_file_is_refused(save: Callable[..., Path], damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = save({"weight": torch.rand(500)}, tmp_path / "broken")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"broken\.\w+ (is not a readable checkpoint|holds)") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({}, "holds no state dict but an empty dict"),
        ([1, 2], "holds no state dict but list"),
        ({"epoch": 3, "optimizer": OPTIMISER}, r"no state dict under any of its keys \(epoch, optimizer\)"),
        ({"_orig_mod.weight": torch.zeros(1), "weight": torch.zeros(1)}, "has weight twice, with and without"),
        ({"weight": "red"}, "weight is str, not numbers"),
        ({"weight": torch.zeros(2, dtype=torch.complex64)}, r"weight is torch\.complex64, not numbers"),
        ({"weight": torch.tensor([1.0, float("nan")])}, "weight has values that are NaN or infinite"),
        ({"module.weight": torch.tensor(float("inf"))}, "weight has values that are NaN or infinite"),
        ({"weight": torch.tensor(1e300, dtype=torch.float64)}, "weight has values that are NaN or infinite"),
        ({"a\nb": torch.zeros(1)}, r"'a\\nb'… is no parameter's name"),
        ({"x" * 5000: torch.zeros(1)}, "is no parameter's name"),
        ({"module.weight": torch.zeros(1), "weight": torch.zeros(1)}, "has weight twice"),
    ],
)
def test_unfit_content_is_refused(content: Any, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"^odd\.pth.*{complaint}"):
        read_checkpoint(save_pth(content, tmp_path / "odd"))


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pth does not exist: give a \.pth"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="is a folder: give a"):
        read_checkpoint(tmp_path)
