"""What a user says of a model beyond what can be seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from arseg_edge.palette import ClassSet

Layout = Literal["nchw", "nhwc"]
Resize = Literal["stretch", "letterbox"]


@dataclass(frozen=True)
class Request:
    """All of it may be None: then it is seen, read beside the model, or asked for."""

    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    scale: float | None = None
    bgr: bool | None = None
    output: str | None = None
    resize: Resize | None = None
    size: tuple[int, int] | Literal["any"] | None = None
    """(height, width) that the model sees; ``any``: each frame's own."""
    multiple: int | None = None
    antialias: bool | None = None
    fill: int | None = None
    classes: ClassSet | int | None = None
    """Their names and colours, or how many."""
    threshold: float | None = None
    """Of one channel: above it a pixel is foreground."""
    layout: Layout | None = None
    output_layout: Layout | None = None
