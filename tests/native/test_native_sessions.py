"""How the library behaves in sessions: several threads, several sizes, several sessions, and where it is found."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import twins
from onnx import TensorProto
from operator_session import operator_session, require_library
from test_creff import random_inputs

import arseg_edge
from arseg_edge.runtime import native


def test_one_session_run_from_two_threads_at_once(random: np.random.Generator) -> None:
    shapes = [(1, 9, 4, 6, 10, 13, 21, 52, 84), (1, 33, 5, 20, 12, 41, 50, 41, 50)]
    inputs = [random_inputs(random, shape) for shape in shapes]
    session = operator_session("Creff", dict.fromkeys(inputs[0], TensorProto.FLOAT), sampling="published")
    expected = [twins.creff(**each, sampling="published", kernel_size=7) for each in inputs]

    def run_often(which: int) -> float:
        results = [session.run(None, inputs[which])[0] for _ in range(25)]
        return max(float(np.abs(result - expected[which]).max()) for result in results)

    with ThreadPoolExecutor(2) as pool:
        worst = list(pool.map(run_often, (0, 1)))
    assert max(worst) < 1e-4


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_does_not_change_the_result(threads: int, random: np.random.Generator) -> None:
    inputs = random_inputs(random, (1, 16, 5, 40, 30, 90, 70, 90, 70))
    one = operator_session("Creff", dict.fromkeys(inputs, TensorProto.FLOAT), threads=1, sampling="consistent")
    many = operator_session("Creff", dict.fromkeys(inputs, TensorProto.FLOAT), threads=threads, sampling="consistent")
    np.testing.assert_array_equal(one.run(None, inputs)[0], many.run(None, inputs)[0])


def test_the_shape_of_the_output_is_inferred() -> None:
    inputs = dict.fromkeys(("feature", "motion"), TensorProto.FLOAT)
    session = operator_session("MotionWarp", inputs, shape=(1, 7, "h", 12), sampling="published")
    assert session.get_outputs()[0].shape == [1, 7, "h", 12]


def test_registering_in_many_sessions() -> None:
    for _ in range(3):
        options = ort.SessionOptions()
        options.register_custom_ops_library(str(require_library()))


def test_the_library_is_found_and_described() -> None:
    state = native.state()
    assert state.enabled
    assert state.path == native.library_path() == require_library()
    assert state.simd in ("baseline", "avx2", "avx512")
    assert state.reason == ""


def test_the_environment_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", "0")
    assert native.library_path() is None
    state = native.state()
    assert not state.enabled
    assert state.path is not None
    assert "ARSEG_EDGE_NATIVE=0" in state.reason


def test_a_missing_library_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_find", lambda: None)
    assert native.library_path() is None
    state = native.state()
    assert (state.path, state.enabled, state.simd) == (None, False, None)
    assert "compiler" in state.reason


def write_broken(folder: Path) -> Path:
    broken = folder / require_library().name
    broken.write_bytes(b"not a library")
    return broken


def write_stale(folder: Path) -> Path:
    """The library as a build of other sources would be: it says another interface number, or none."""
    stale = folder / require_library().name
    stale.write_bytes(require_library().read_bytes().replace(b"arseg_interface\0", b"arseg_different\0"))
    return stale


@pytest.mark.parametrize(
    ("write", "reason"), [(write_broken, "does not load"), (write_stale, "was built from other sources")]
)
def test_a_library_that_is_not_fit_for_use_is_done_without_and_told_once(
    write: Callable[[Path], Path],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_bundle: Path,
) -> None:
    path = write(tmp_path)
    monkeypatch.setattr(native, "_find", lambda: path)
    state = native.state()
    assert (state.path, state.enabled, state.simd) == (path, False, None)
    assert state.reason.startswith(reason)
    with pytest.warns(native.NativeLibraryWarning, match=f"{path} is not used.* it {reason}.*again") as caught:
        segmenter = arseg_edge.load(tiny_bundle, providers="cpu")
    assert len(caught) == 1
    with warnings.catch_warnings(), segmenter:
        warnings.simplefilter("error")  # motion does not tell it again
        assert not segmenter.native
        assert segmenter.step(np.zeros((64, 96, 3), np.uint8)).labels.shape == (64, 96)
        assert native.library() is None


def test_a_simd_level_that_cannot_run_is_told_and_the_bodies_serve(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    monkeypatch.setenv("ARSEG_EDGE_SIMD", "mmx")
    native.warn_once.cache_clear()
    with pytest.warns(native.NativeLibraryWarning, match="it is told to use ARSEG_EDGE_SIMD=mmx.*unset it"):
        segmenter = arseg_edge.load(tiny_bundle, providers="cpu")
    assert not segmenter.native
    segmenter.close()


def test_the_librarys_interface_is_that_of_the_sources() -> None:
    header = (Path(__file__).parents[2] / "runtime" / "native" / "interface.h").read_text()
    assert f"kInterface = {native.INTERFACE};" in header
    library = native.library()
    assert library is not None
    assert library.arseg_interface() == native.INTERFACE
