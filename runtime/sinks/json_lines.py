"""One JSON object per frame."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import cv2

from arseg_edge.results import ratio_text
from arseg_edge.runtime.sinks.file_sink import FileSink
from arseg_edge.runtime.sinks.pending import Output, PendingPath
from arseg_edge.runtime.sinks.sink import ResultLike, confidence_of, source_name


def frame_record(result: ResultLike, class_names: Sequence[str]) -> dict[str, object]:
    """Return what is said of a frame.

    ``index``; ``pts`` in the stream's time base, and ``seconds``, the steady time; ``stream_pts`` and
    ``stream_seconds``, the stream's own time, or null; ``sample_aspect_ratio``, a pixel's width to its height
    ("4:3"), or null where the source does not say; ``branch``, what made the labels, and ``age``, frames to
    the nearest one that a network saw; ``keyframe``, true or false, and ``reason``, why or null; ``distance``, frames
    since the last keyframe; ``motion_source``, where the motion came from, or null; ``dropped``, frames of a live
    source left out right before this one, and ``latency``, seconds from its arrival to its labels, or null;
    ``shares``, the fraction of the pixels by class name; ``milliseconds`` by stage. Of images also ``source``, the
    file; where it was asked for, ``confidence``, the mean over the pixels of how sure the labels are, 0 to 1.
    """
    counts = cv2.calcHist([result.labels], [0], None, [256], [0, 256]).ravel()
    shares = zip(class_names, counts.tolist(), strict=False)
    name, confidence = source_name(result), confidence_of(result)
    return {
        "index": result.index,
        **({} if name is None else {"source": name}),
        "pts": result.pts,
        "seconds": result.time,
        "stream_pts": result.stream_pts,
        "stream_seconds": result.stream_time,
        "sample_aspect_ratio": ratio_text(result.sample_aspect_ratio),
        "branch": result.branch,
        "age": result.age,
        "keyframe": result.is_keyframe,
        "reason": result.keyframe_reason,
        "distance": result.distance,
        "motion_source": result.motion_source,
        "dropped": result.dropped,
        "latency": None if result.latency is None else round(result.latency, 4),
        "shares": {name: round(count / result.labels.size, 6) for name, count in shares},
        **({} if confidence is None else {"confidence": round(float(confidence.mean()) / 255, 6)}),
        "milliseconds": {stage: round(value, 3) for stage, value in result.speed.milliseconds.items()},
    }


def _lines_of(path: Path) -> str:
    with path.open("rb") as file:
        whole = sum(line.endswith(b"\n") for line in file)
    return f"{whole} whole lines"


class JsonLinesSink(FileSink):
    """Writes ``frame_record`` of every result as one line of UTF-8.

    A file appears when it is whole. Every line is flushed: the next program in a pipe need not wait, and a process
    that is killed leaves whole lines behind. A stream stays open; if the program that reads it leaves,
    ``BrokenPipeError`` passes through.

    Args:
        output: a path, ``"-"`` for standard output, or an open text stream.
        class_names: names in the order of the labels.

    Raises:
        OutputError: the file or the stream cannot be written.
    """

    def __init__(self, output: str | os.PathLike[str] | TextIO, class_names: Sequence[str]) -> None:
        self._class_names = tuple(class_names)
        if output == "-":
            output = sys.stdout
        self._is_file = isinstance(output, (str, os.PathLike))
        if isinstance(output, (str, os.PathLike)):
            pending = PendingPath(output, state=_lines_of)
            super().__init__(pending)
            self._stream: TextIO = pending.temporary.open("w", encoding="utf-8", newline="\n")
        else:
            super().__init__(Output(getattr(output, "name", "stream")))
            self._stream = output

    def _write(self, result: ResultLike) -> None:
        record = frame_record(result, self._class_names)
        self._stream.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self._stream.flush()
        self._output.written()

    def _finish(self, *, keep: bool) -> bool:
        if self._is_file:
            self._stream.close()
        return keep
