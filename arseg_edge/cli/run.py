"""``arseg-edge run``: a video to labels."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import numpy as np

from arseg_edge.cli.interrupt import discard_output, held_interrupt
from arseg_edge.cli.model_options import ModelOptions, model_options
from arseg_edge.cli.options import json_option
from arseg_edge.cli.summary import Summary
from arseg_edge.cli.targets import check_named, check_targets, default_output
from arseg_edge.errors import SourceError, UsageError
from arseg_edge.results import Result

if TYPE_CHECKING:
    from arseg_edge.runtime.segmenter import Segmenter
    from arseg_edge.runtime.sinks import Sink
    from arseg_edge.runtime.source.open_source import Source


_LOSSES: Final = ("damaged", "missing", "skipped")


@click.command(short_help="Segment a video: overlay, label maps, JSON lines.")
@click.argument("video")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Overlay video, or picture of a single image.  "
    "[default: VIDEO's name with -labels.mp4 or .png, unless --labels or --frames is given]",
)
@click.option("--labels", type=click.Path(path_type=Path), help="Directory for label maps, palette PNGs.")
@click.option(
    "--confidence",
    is_flag=True,
    help="Say how sure the labels are: grey PNGs, 0 to 255, in the folder 'confidence' below --labels, and the mean of "
    "each frame in --frames.",
)
@click.option("--frames", help="File for one JSON object a frame, one a line; - is standard output.")
@click.option("--strict", is_flag=True, help="Stop at what is damaged, missing or not readable, with what was done.")
@click.option("--opacity", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of the overlay.")
@model_options(
    *("model", "interval", "scale", "schedule", "tolerance", "budget", "lookahead", "lr_every", "guard"),
    *("motion", "size", "resize", "provider", "threads"),
)
@json_option
def run(
    video: str,
    output: Path | None,
    labels: Path | None,
    confidence: bool,
    frames: str | None,
    strict: bool,
    opacity: float,
    options: ModelOptions,
    as_json: bool,
) -> None:
    """Segment VIDEO: a file, an image, a directory of images, a URL, /dev/video0, or - for standard input.

    Images can also be named by a pattern in quotes, as 'frames/*.png' or frames/%05d.jpg; their label maps have their
    names. Outputs appear whole, under their names, when they are done; after Ctrl-C, SIGTERM or SIGHUP, and when the
    source is lost or cannot be read any further, they hold what was done.
    """
    from arseg_edge.runtime.source.open_source import open_source

    if as_json and frames == "-":
        raise UsageError("--json and --frames - both want standard output: give --frames a file")
    if confidence and labels is None and frames is None:
        raise UsageError("--confidence has nowhere to go: give --labels or --frames with it")
    unnamed = output is None and labels is None and frames is None
    if unnamed:
        check_named(video)
    with options.load(confidence=confidence) as segmenter, open_source(video, strict=strict) as source:
        if unnamed:
            output = default_output(source)
        lines = Path(frames) if frames not in (None, "-") else None
        check_targets(source, options.bundle_path, [each for each in (output, labels, lines) if each], labels)
        targets = [str(target) for target in (output, labels, frames) if target is not None]
        if options.model is None:
            click.echo("no bundle was named: this is the demo model, for road scenes (-m names another)", err=True)
        summary = Summary(
            *(source.name, str(options.bundle_path), segmenter.provider, segmenter.native, targets),
            network_size=options.network_size or segmenter.manifest.size,
        )
        try:
            _run(segmenter, source, output, labels, frames, opacity, summary)
        except (KeyboardInterrupt, SourceError) as error:
            if isinstance(error, SourceError) and not (source.live or summary.frames):
                raise
            summary.interrupted = True
            # A video of no frames is not written.
            summary.outputs = [target for target in targets if target == "-" or Path(target).exists()]
            summary.show(as_json, to_stderr=frames == "-")
            raise
    summary.show(as_json, to_stderr=frames == "-")


def _run(
    segmenter: Segmenter,
    source: Source,
    output: Path | None,
    labels: Path | None,
    frames: str | None,
    opacity: float,
    summary: Summary,
) -> None:
    start = time.perf_counter()
    lost: SourceError | None = None
    try:
        with held_interrupt(source.interrupt) as check_interrupt, contextlib.ExitStack() as stack:
            sinks = [stack.enter_context(sink) for sink in _sinks(segmenter, source, output, labels, frames, opacity)]
            results = stack.enter_context(contextlib.closing(segmenter.stream(source)))
            try:
                for result in _with_progress(results, source.frame_count):
                    began = time.perf_counter()
                    _append(sinks, result)
                    summary.add(result, output_ms=(time.perf_counter() - began) * 1e3)
                    check_interrupt()
                    if source.strict:
                        _check_whole(source)
            except SourceError as error:
                if not summary.frames:
                    raise
                lost = error  # raised when the outputs are whole
            check_interrupt()
    finally:
        summary.seconds = time.perf_counter() - start
        summary.reconnects = source.reconnects
        summary.plan = segmenter.plans[-1] if segmenter.plans else None
        summary.incidents = {str(kind): count for kind, count in source.incidents.counts().items()}
    if lost is not None:
        raise lost


def _append(sinks: list[Sink], result: Result) -> None:
    """Hand a result to all sinks.

    Whoever reads standard output ends that output alone by leaving; the others are completed. Where there is no other,
    nothing is left to be done.
    """
    for sink in list(sinks):
        try:
            sink.append(result)
        except BrokenPipeError:
            sinks.remove(sink)
            discard_output(sys.stdout.fileno())
            if not sinks:
                raise


def _check_whole(source: Source) -> None:
    """Raise SourceError where anything of the source was lost."""
    lost = [f"{count} {kind}" for kind, count in source.incidents.counts().items() if kind in _LOSSES]
    if lost:
        raise SourceError(
            f"{source.name}: {', '.join(lost)}, and --strict stops there; repair it or run without --strict"
        )


def _sinks(
    segmenter: Segmenter,
    source: Source,
    output: Path | None,
    labels: Path | None,
    frames: str | None,
    opacity: float,
) -> Iterator[Sink]:
    from arseg_edge.runtime.sinks import JsonLinesSink, LabelMapSink, OverlayPictureSink, OverlaySink
    from arseg_edge.runtime.sinks.overlay_picture import PICTURE_SUFFIXES

    palette = np.array([each.colour for each in segmenter.classes], np.uint8)
    if output is not None and source.still and output.suffix.lower() in PICTURE_SUFFIXES:
        yield OverlayPictureSink(output, palette, opacity)
    elif output is not None:
        yield OverlaySink(output, palette, source.frame_rate, opacity)
    if labels is not None:
        yield LabelMapSink(labels, palette)
    if frames is not None:
        yield JsonLinesSink(frames, [each.name for each in segmenter.classes])


def _with_progress(results: Iterator[Result], total: int | None) -> Iterator[Result]:
    if not sys.stderr.isatty():
        yield from results
        return
    with click.progressbar(results, length=total, label="segmenting", file=sys.stderr) as bar:
        yield from bar
