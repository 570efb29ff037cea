"""The golden clip: what it keeps, and what is refused."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arseg_edge.bundle import GOLDEN, read_bundle
from arseg_edge.errors import BundleError
from arseg_edge.golden import Expected, GoldenClip, Samples, read_golden, samples_of, spread

Arrays = dict[str, np.ndarray[Any, Any]]


def clip() -> GoldenClip:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (3, 16, 24, 3), np.uint8)
    motion = random.integers(-300, 300, (3, 16, 24, 2)).astype(np.float32) / 4
    labels = [random.integers(0, 5, (16, 24), np.uint8) for _ in range(3)]
    stages = {"feature": samples_of(random.standard_normal((1, 8, 40, 60)).astype(np.float32))}
    return GoldenClip(
        frames,
        motion,
        {
            "keyframe.onnx": {0: Expected(labels[0], stages)},
            "nonkeyframe.onnx": {1: Expected(labels[1], {}), 2: Expected(labels[2], stages)},
        },
    )


def arrays(clip: GoldenClip) -> Arrays:
    with np.load(io.BytesIO(clip.to_bytes())) as file:
        return dict(file)


def test_clip_comes_back_as_it_was() -> None:
    before = clip()
    after = read_golden(before.to_bytes(), "street.arseg")
    np.testing.assert_array_equal(after.frames, before.frames)
    np.testing.assert_array_equal(after.motion, before.motion)  # quarter pixels are kept exactly
    assert after.motion.dtype == np.float32
    assert {member: list(runs) for member, runs in after.expected.items()} == {
        "keyframe.onnx": [0],
        "nonkeyframe.onnx": [1, 2],
    }
    for member, runs in before.expected.items():
        for index, expected in runs.items():
            found = after.expected[member][index]
            np.testing.assert_array_equal(found.labels, expected.labels)
            assert found.stages.keys() == expected.stages.keys()
            for stage, samples in expected.stages.items():
                np.testing.assert_array_equal(found.stages[stage].values, samples.values)
                assert found.stages[stage].peak == samples.peak


def test_samples_are_spread_over_the_tensor() -> None:
    tensor = np.arange(100_000, dtype=np.float32).reshape(1, 10, 100, 100)
    values = spread(tensor)
    assert values.shape == (4096,)
    assert (values[0], values[-1]) == (0, 99_999)
    steps = np.diff(values)
    assert steps.min() >= 24
    assert steps.max() <= 25
    np.testing.assert_array_equal(spread(tensor[:, :1, :5, :5]), tensor[:, :1, :5, :5].ravel())


def test_error_relates_to_the_largest_magnitude() -> None:
    tensor = np.linspace(-8, 4, 50, dtype=np.float32)
    samples = samples_of(tensor)
    assert samples.peak == 8
    assert samples.error(tensor) == 0
    changed = tensor.copy()
    changed[7] += 0.5
    assert samples.error(changed) == pytest.approx(0.5 / 8)
    for value in (np.nan, np.inf):
        changed[7] = value
        assert samples.error(changed) == np.inf
    assert samples.error(tensor[:-1]) == np.inf
    assert samples.error(tensor.astype(np.float64)) == np.inf
    assert Samples(samples.values, 16.0).error(tensor) == pytest.approx(0.5)
    assert Samples(np.zeros(3, np.float32), 0.0).error(np.zeros(3, np.float32)) == 0


def test_bundles_clip_is_a_keyframe_and_what_follows(tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    found = read_golden(bundle.read(GOLDEN), "tiny.arseg")
    assert found.frames.shape[0] == 3
    branches = bundle.manifest.scales
    assert set(found.expected) == {"keyframe.onnx", *(b.member for b in branches), *(b.head for b in branches)}
    assert set(found.expected["keyframe.onnx"][0].stages) == {"feature"}
    assert set(found.expected["nonkeyframe.onnx"][1].stages) == {"lr_feature", "logits"}
    classes = len(bundle.manifest.classes)
    assert all(run.labels.max() < classes for runs in found.expected.values() for run in runs.values())


def packed(content: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **content)
    return buffer.getvalue()


def without(content: Arrays, key: str) -> Arrays:
    return {name: array for name, array in content.items() if name != key}


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": np.zeros((3, 16, 24), np.uint8)},
        {"frames": np.zeros((3, 16, 24, 3), np.float32)},
        {"frames": np.zeros((0, 16, 24, 3), np.uint8), "motion": np.zeros((0, 16, 24, 2), np.int16)},
        {"frames": np.array([{"a": 1}], dtype=object)},
        {"motion": np.zeros((3, 16, 24, 3), np.int16)},
        {"motion": np.zeros((2, 16, 24, 2), np.int16)},
        {"motion": np.full((3, 16, 24, 2), np.nan)},
        {"motion": np.array(["text"])},
        {"keyframe.onnx:0:labels": np.zeros((16, 24), np.int64)},
        {"keyframe.onnx:0:labels": np.zeros((1, 16, 24), np.uint8)},
        {"keyframe.onnx:0:labels": np.zeros((0, 24), np.uint8)},
        {"keyframe.onnx:7:labels": np.zeros((16, 24), np.uint8)},
        {"keyframe.onnx:-1:labels": np.zeros((16, 24), np.uint8)},
        {"keyframe.onnx:first:labels": np.zeros((16, 24), np.uint8)},
        {"keyframe.onnx:0:feature": np.float32(3)},
        {"keyframe.onnx:0:feature": np.zeros((3, 3), np.float32)},
        {"keyframe.onnx:0:feature": np.zeros(0, np.float32)},
        {"keyframe.onnx:0:feature": np.zeros(1, np.float32)},
        {"keyframe.onnx:0:feature": np.zeros(4, np.float64)},
        {"keyframe.onnx:0:feature": np.array(["1.0", "2.0"])},
        {"keyframe.onnx:0:feature": np.array([1, np.inf], np.float32)},
        {"keyframe.onnx:0:feature": np.array([np.nan, 1], np.float32)},
        {"keyframe.onnx:1:feature": np.zeros(4, np.float32)},
        {"keyframe.onnx:00:labels": np.zeros((16, 24), np.uint8)},
        {"keyframe.onnx:+1:labels": np.zeros((16, 24), np.uint8)},
        {"keyframe.onnx:\u0661:labels": np.zeros((16, 24), np.uint8)},
        {"nothing": np.zeros(3)},
    ],
    ids=lambda changes: ",".join(f"{key}={array.dtype}{array.shape}" for key, array in changes.items()),
)
def test_clip_that_makes_no_sense_is_refused(changes: Arrays) -> None:
    with pytest.raises(BundleError, match=r"^street\.arseg: the golden clip is broken \(.*\): export") as error:
        read_golden(packed({**arrays(clip()), **changes}), "street.arseg")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["frames", "motion"])
def test_missing_part_is_refused(key: str) -> None:
    with pytest.raises(BundleError, match=f"broken .*{key}"):
        read_golden(packed(without(arrays(clip()), key)), "street.arseg")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused() -> None:
    buffer = io.BytesIO(clip().to_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("frames.npy", archive.read("frames.npy"))
    with pytest.raises(BundleError, match="two arrays of one name"):
        read_golden(buffer.getvalue(), "street.arseg")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 3), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|u1', 'fortran_order': False, ",
        "(" * 300,
        "x" * 20_000,
        "{'descr': '|u1\x1b[2J\xff\x02\x85'}",
    ],
    ids=lambda header: header[-30:],
)
def test_array_with_a_header_that_lies_is_refused(header: str) -> None:
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("latin1")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("frames.npy", array)
    with pytest.raises(BundleError, match=r"^street\.arseg: the golden clip is broken \(.*\): export") as error:
        read_golden(buffer.getvalue(), "street.arseg")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


def test_damaged_bytes_are_refused() -> None:
    whole = clip().to_bytes()
    random = np.random.default_rng(0)
    refusals = 0
    for _ in range(200):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 3):
            damaged[at] = random.integers(256)
        try:
            read_golden(bytes(damaged), "street.arseg")
        except BundleError:
            refusals += 1
    assert refusals > 100
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        with pytest.raises(BundleError, match="broken"):
            read_golden(whole[:length], "street.arseg")


def test_archive_that_unpacks_to_gigabytes_is_refused_unread() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("frames.npy", bytes(1 << 20))
    bomb = bytearray(buffer.getvalue())
    # What the table of contents says counts: a real one would take its time to pack here.
    (contents,) = struct.unpack_from("<I", bomb, len(bomb) - 22 + 16)
    struct.pack_into("<I", bomb, contents + 24, (1 << 30) + 1)
    with pytest.raises(BundleError, match="unpacks to more than a gigabyte"):
        read_golden(bytes(bomb), "street.arseg")
