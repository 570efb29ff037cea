"""What is let go of when: networks, features, sources and threads, when they are closed and when they are forgotten."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from servers import udp_sender
from streams import encode, panning

import arseg_edge
from arseg_edge import Result, Segmenter, SequenceError
from arseg_edge.runtime.segmenter import Schedule
from arseg_edge.runtime.source.base import Source
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.network import NetworkSource
from arseg_edge.runtime.source.open_source import open_source

SCHEDULES: list[Schedule] = ["paper", "adaptive"]
COUNT = 25
PATIENT = 60.0
PICTURES = panning(COUNT, 64, 96, 2, 1)

Image = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("closing") / "v.ts", PICTURES, gop=5)


@pytest.fixture(params=SCHEDULES)
def segmenter(tiny_bundle: Path, request: pytest.FixtureRequest) -> Iterator[Segmenter]:
    with arseg_edge.load(tiny_bundle, threads=1, schedule=request.param) as opened:
        yield opened


def join(name: str) -> None:
    """Wait until no thread of this name is left."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(PATIENT)
            assert not thread.is_alive()


# Networks


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[onnxruntime.InferenceSession]]:
    """Every session that is opened."""
    opened = []
    real = onnxruntime.InferenceSession

    def session(*arguments: object, **options: object) -> onnxruntime.InferenceSession:
        made = real(*arguments, **options)
        opened.append(weakref.ref(made))
        return made

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return opened


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("use", ["steps", "a stream", "a stream left early"])
@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_networks_are_let_go_of(
    tiny_bundle: Path,
    clip: Path,
    schedule: Schedule,
    use: str,
    how: str,
    sessions: list[weakref.ref[onnxruntime.InferenceSession]],
) -> None:
    gc.collect()
    gc.disable()  # no cycle is needed to be found
    try:
        segmenter = arseg_edge.load(tiny_bundle, threads=1, schedule=schedule)
        result: Result | None = None
        if use == "steps":
            segmenter.step(PICTURES[0], keyframe=True)
            result = segmenter.step(PICTURES[1], motion=np.zeros((64, 96, 2), np.float32))
        elif use == "a stream":
            (*_, result) = segmenter.stream(clip)
        else:
            with segmenter.stream(clip) as stream:
                result = next(stream)
            del stream
        alive = [each for each in sessions if each() is not None]
        assert len(alive) >= 2
        if how == "closed":
            segmenter.close()
        else:
            del segmenter
        assert [each for each in sessions if each() is not None] == []
        assert result.labels.shape == (64, 96)
    finally:
        gc.enable()


_MEMORY = """
import numpy, psutil
import arseg_edge
def resident():
    return psutil.Process().memory_info().rss
picture = numpy.zeros((720, 960, 3), numpy.uint8)
segmenter = arseg_edge.load(threads=1, schedule="paper")
before = resident()
segmenter.step(picture, keyframe=True)
segmenter.step(picture, motion=numpy.zeros((720, 960, 2), numpy.float32))
stream = segmenter.stream([picture] * 2)
next(stream)
used = resident() - before
segmenter.close()
print(used, resident() - before)  # the stream is still there, but nothing that it computed with
"""


def test_memory_comes_back() -> None:
    """In a process of its own, which has nothing yet that it could use again."""
    done = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True)
    used, left = map(int, done.stdout.split())
    assert used > 50e6
    assert left < used / 3


def test_a_stream_says_that_its_segmenter_was_closed(segmenter: Segmenter, clip: Path) -> None:
    for source in (clip, iter(PICTURES)):
        stream = segmenter.stream(source)
        next(stream)
    segmenter.close()
    with pytest.raises(SequenceError, match="the segmenter is closed"):
        for _ in stream:
            pass
    join("arseg-edge decoding")


# Sources


class Watched(Source):
    """Frames without end, and who closed it."""

    name = "watched"

    def __init__(self) -> None:
        self.closed_by: list[threading.Thread] = []
        self.calls: list[str] = []
        self.going_on = threading.Event()
        self.going_on.set()

    def frames(self) -> Iterator[DecodedFrame]:
        index = 0
        while True:
            self.going_on.wait(PATIENT)
            if self.calls and self.calls[-1] == "interrupt":
                return
            yield DecodedFrame(index, index, self.time_base, PICTURES[index % COUNT])
            index += 1

    def interrupt(self) -> None:
        self.calls.append("interrupt")
        self.going_on.set()

    def resume(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self.closed_by.append(threading.current_thread())


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """What ``watched`` as a source is."""
    source = Watched()
    monkeypatch.setattr("arseg_edge.runtime.segmenter.open_source", lambda *_, **__: source)
    return source


def test_a_forgotten_stream_is_not_waited_for(segmenter: Segmenter, watched: Watched) -> None:
    stream = segmenter.stream("watched")
    next(stream)
    watched.going_on.clear()
    del stream
    join("arseg-edge decoding")
    (closer,) = watched.closed_by
    assert closer.name == "arseg-edge decoding"


def test_a_stream_collected_on_its_own_thread(
    segmenter: Segmenter, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[object] = []
    collectors: list[threading.Thread] = []
    problems: list[object] = []
    monkeypatch.setattr(threading, "excepthook", problems.append)
    monkeypatch.setattr("sys.unraisablehook", problems.append)

    class Let:
        """Says where it is collected."""

        def __del__(self) -> None:
            collectors.append(threading.current_thread())

    forgotten = threading.Event()
    waits: list[float | None] = []

    def wait(timeout: float | None = None) -> bool:
        waits.append(timeout)
        if len(waits) > 1:
            assert forgotten.wait(PATIENT)
            kept.clear()
        return True

    monkeypatch.setattr(watched, "going_on", SimpleNamespace(wait=wait, set=lambda: None))
    stream = segmenter.stream("watched")
    stream.let = Let()  # type: ignore[attr-defined]
    next(stream)
    kept.append(stream)
    del stream
    forgotten.set()
    join("arseg-edge decoding")
    assert problems == []
    assert [thread.name for thread in collectors] == ["arseg-edge decoding"]
    assert [thread.name for thread in watched.closed_by] == ["arseg-edge decoding"]


def test_a_source_that_was_never_read_is_closed(segmenter: Segmenter, watched: Watched) -> None:
    segmenter.stream("watched").close()
    segmenter.stream("watched")  # and forgotten
    assert len(watched.closed_by) == 2


def test_a_source_of_the_caller_can_be_read_on(segmenter: Segmenter) -> None:
    watched = Watched()
    for leave in ("close", "forget", "unused"):
        stream = segmenter.stream(watched)
        if leave != "unused":
            next(stream)
        if leave == "close":
            stream.close()
        del stream
        join("arseg-edge decoding")
        assert watched.calls[-1] == "resume"
    assert watched.closed_by == []


def test_a_camera_of_the_caller_stays_connected(segmenter: Segmenter, clip: Path) -> None:
    sending = threading.Event()
    sending.set()
    with udp_sender(clip.read_bytes(), sending=sending) as address, NetworkSource(address, timeout=PATIENT) as source:
        connection = source._connection
        for _ in range(3):
            with segmenter.stream(source) as stream:
                assert next(stream).labels.shape == (64, 96)
                assert next(stream).latency is not None
        assert source._connection is connection
        assert source.reconnects == 0


# Results


@pytest.mark.parametrize("how", ["detach", "pickle"])
def test_results_without_their_pictures(segmenter: Segmenter, clip: Path, how: str) -> None:
    for result in segmenter.stream(clip):
        vectors = weakref.ref(result.picture)
        kept = result.detach() if how == "detach" else pickle.loads(pickle.dumps(result))
        np.testing.assert_array_equal(kept.labels, result.labels)
        for name in ("index", "pts", "time", "stream_time", "time_base", "is_keyframe", "keyframe_reason", "distance"):
            assert getattr(kept, name) == getattr(result, name)
        for name in ("branch", "age", "motion_source", "speed", "dropped", "latency", "colour", "sample_aspect_ratio"):
            assert getattr(kept, name) == getattr(result, name)
        assert repr(kept) == repr(result)
        with pytest.raises(SequenceError, match="take its rgb before that"):
            kept.rgb  # noqa: B018
        assert result.rgb.shape == (64, 96, 3)
    index = result.index
    stream = None
    del result, stream
    gc.collect()
    assert vectors() is None
    assert kept.index == index


def test_steps_can_be_pickled_and_copied(segmenter: Segmenter) -> None:
    result = segmenter.step(PICTURES[0], keyframe=True)
    assert len(pickle.dumps(result)) < result.labels.nbytes + 2000
    np.testing.assert_array_equal(copy.copy(result).rgb, PICTURES[0])


# What falls behind


class Camera(Watched):
    """A live source of which frames come faster than anything can be done with them."""

    live = True

    def __init__(self) -> None:
        super().__init__()
        self.converted: list[int] = []

    def frames(self) -> Iterator[DecodedFrame]:
        for frame in super().frames():
            yield Counted(frame.index, frame.pts, frame.time_base, frame.picture, camera=self)


class Counted(DecodedFrame):
    """Says when it becomes RGB."""

    def __init__(self, *arguments: object, camera: Camera) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        object.__setattr__(self, "camera", camera)

    @property
    def rgb(self) -> Image:  # type: ignore[override]
        self.camera.converted.append(self.index)  # type: ignore[attr-defined]
        assert isinstance(self.picture, np.ndarray)
        return self.picture


def test_frames_that_are_dropped_are_not_converted(segmenter: Segmenter) -> None:
    camera = Camera()
    results: list[Result] = []
    with segmenter.stream(camera) as stream:
        for result in stream:
            results.append(result)
            if len(results) >= 20 and sum(each.dropped for each in results) > 10:
                break
    seen = {each.index for each in results}
    assert set(camera.converted) <= seen | {results[-1].index}
    assert sum(each.dropped for each in results) + len(results) == results[-1].index + 1


def test_a_file_named_as_a_pipe_is_not_looked_ahead_in(tiny_bundle: Path, clip: Path) -> None:
    with open_source(clip) as source:
        assert source.at_hand
    with clip.open("rb"), NetworkSource(f"file://{clip}") as piped:
        assert not piped.at_hand
