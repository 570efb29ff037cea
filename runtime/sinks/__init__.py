"""Where results go: an overlay video, label maps, JSON lines, or whatever follows ``Sink``."""

from arseg_edge.runtime.sinks.file_sink import FileSink
from arseg_edge.runtime.sinks.json_lines import JsonLinesSink, frame_record
from arseg_edge.runtime.sinks.label_maps import LabelMapSink
from arseg_edge.runtime.sinks.overlay import OverlaySink
from arseg_edge.runtime.sinks.overlay_picture import OverlayPictureSink
from arseg_edge.runtime.sinks.palette import Palette
from arseg_edge.runtime.sinks.pending import Output, PendingPath
from arseg_edge.runtime.sinks.sink import ResultLike, Sink, SpeedLike

__all__ = [
    "FileSink",
    "JsonLinesSink",
    "LabelMapSink",
    "Output",
    "OverlayPictureSink",
    "OverlaySink",
    "Palette",
    "PendingPath",
    "ResultLike",
    "Sink",
    "SpeedLike",
    "frame_record",
]
