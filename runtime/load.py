"""From a bundle's path to a segmenter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import get_args

from arseg_edge.bundle import read_bundle
from arseg_edge.errors import UsageError
from arseg_edge.runtime.inference.cpu_budget import usable_cores
from arseg_edge.runtime.inference.providers import ProviderLike
from arseg_edge.runtime.inference.sessions import load_sessions
from arseg_edge.runtime.motion.follow import MotionMode
from arseg_edge.runtime.schedule.keyframes import check_interval
from arseg_edge.runtime.segmenter import LrResize, Segmenter, Settings


def load_segmenter(
    path: str | os.PathLike[str],
    *,
    providers: ProviderLike | Sequence[ProviderLike] | None = None,
    threads: int | None = None,
    interval: int | None = None,
    scale: float | None = None,
    resize: bool = False,
    lr_resize: LrResize = "exact",
    motion: MotionMode = "auto",
) -> Segmenter:
    """Open a bundle and load its networks; see :func:`arseg_edge.load`."""
    if scale is not None and (isinstance(scale, bool) or not isinstance(scale, (int, float))):
        raise UsageError(f"scale {scale!r}: must be a number, such as 0.5")
    if lr_resize not in ("exact", "fast"):
        raise UsageError(f"lr_resize {lr_resize!r}: must be exact or fast")
    if motion not in get_args(MotionMode):
        raise UsageError(f"motion {motion!r}: must be one of {', '.join(get_args(MotionMode))}")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise UsageError(f"threads {threads!r}: must be a whole number, 1 or more")
    if interval is not None:
        check_interval(interval)
    bundle = read_bundle(os.fspath(path))
    sessions = load_sessions(bundle, providers=providers, threads=threads or usable_cores(), scale=scale)
    settings = Settings(
        interval=bundle.manifest.interval if interval is None else interval,
        resize=resize,
        lr_resize=lr_resize,
        motion=motion,
    )
    return Segmenter(bundle, sessions, settings)
