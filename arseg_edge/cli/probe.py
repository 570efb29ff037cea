"""``arseg-edge probe``: what a stream is made of, and what would suit better."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from arseg_edge.bundle import read_bundle
from arseg_edge.cli.model_options import ModelOptions, model_options
from arseg_edge.cli.options import json_option, print_json, print_table

if TYPE_CHECKING:
    from arseg_edge.runtime.reports.coding import Coding, Distances
    from arseg_edge.runtime.reports.probe import ProbeReport


@click.command(short_help="Say how well a video suits, and which settings would suit better.")
@click.argument("video")
@model_options("model", model="A bundle, for its interval and its arithmetic.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=4.0,
    show_default=True,
    help="How much of VIDEO to read.",
)
@json_option
def probe(video: str, options: ModelOptions, seconds: float, as_json: bool) -> None:
    """Look at the first seconds of VIDEO: how it is coded, which motion would be used, and how good that is.

    VIDEO is whatever `run` takes. "Warped keyframe" is the PSNR of the last keyframe's picture, warped by the motion,
    against each frame. The schedule is advised by how much of a frame is shown by no earlier one; `compare` asks the
    networks. The speed-up is arithmetic, from the bundle's multiply-accumulates; `bench` measures seconds.
    """
    from arseg_edge.runtime.reports.probe import probe as probe_stream

    manifest = None if options.model is None else read_bundle(options.model).manifest
    report = probe_stream(video, seconds, manifest)
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    print_table(_facts(report))
    click.echo()
    _print_schedules(report)
    click.echo()
    advice = report.advice
    if advice.settings is None:
        click.echo(f"no other encoder settings would serve better: {advice.reasons[0]}")
        return
    click.echo(f"encoder settings that would serve better: {advice.settings}")
    for reason in advice.reasons:
        click.echo(f"  {reason}")


def _facts(report: ProbeReport) -> list[tuple[str, ...]]:
    every = sum(report.keyframes.values())
    rows: list[tuple[str, ...]] = [
        ("codec", report.codec or "none"),
        ("size (height x width)", "{}x{}".format(*report.size)),
        ("pixels (width:height)", report.sample_aspect_ratio or "not said, so square"),
        ("frames a second", "not said" if report.frame_rate is None else f"{report.frame_rate:g}"),
        ("read", f"{report.frames} frames over {report.seconds:.2f} s"),
        *_coding(report.coding),
        ("motion", _counts(report.motion_sources) or "none used"),
        ("keyframes", f"{every} ({_counts(report.keyframes)}) at interval {report.interval}"),
    ]
    if report.incidents:
        rows.append(("not as it should be", _counts(report.incidents)))
    if (warp := report.warp) is not None:
        gain = f"{warp.gain:+.2f} dB over no motion ({warp.still:.2f} dB)"
        rows.append(("warped keyframe", f"{warp.psnr:.2f} dB, {gain}"))
    if report.unshown is not None:
        shares = report.unshown.by_distance
        # The next frame, and each half of the intervals that were looked at.
        places = sorted({1, (len(shares) + 1) // 2, len(shares)})
        said = ", ".join(f"{shares[place - 1]:.1%} at {_frames(place)}" for place in places)
        rows.append(("shown by no earlier frame", said))
    for scale, saving in (report.savings or {}).items():
        bound = f"{saving.bound:.2f} with keyframes by the interval alone"
        rows.append((f"speed-up with LR {scale}", f"{saving.speedup:.2f} in arithmetic, not in seconds; {bound}"))
    return rows


def _print_schedules(report: ProbeReport) -> None:
    """Say which schedule is to be taken, of what no earlier frame shows."""
    unshown = report.unshown
    if unshown is None:
        click.echo("for a video like this take --interval 1: none of its frames can be followed to another")
        return
    for source, schedule, interval in (
        ("a file", unshown.file, unshown.interval_file),
        ("a live source", unshown.live, unshown.interval_live),
    ):
        if interval > 1:
            seen = f"enough of each frame is shown with HR every {interval}"
        else:
            seen = "even the next frame shows too much that is new"
        if schedule is None:
            click.echo(f"for {source} like this take --interval 1: {seen}")
        else:
            click.echo(f"for {source} like this take --schedule {schedule}: {seen}")


def _frames(count: int) -> str:
    return f"{count} frame" if count == 1 else f"{count} frames"


def _coding(coding: Coding) -> list[tuple[str, ...]]:
    shares = ", ".join(f"{kind} {share:.1%}" for kind, share in coding.picture_types.items())
    return [
        ("picture types", shares),
        ("I-frames apart", _distances(coding.i_frames)),
        ("B-frames", f"up to {coding.b_frames} in a row" if coding.b_frames else "none"),
        ("references", _references(coding)),
        ("droppable frames", f"{coding.droppable_share:.1%}" if coding.droppable_share else "none"),
        ("frames with sure vectors", _share(coding.sure_share)),
        ("vectors of list 1 (future)", _share(coding.future_share)),
        ("intra blocks", _share(coding.intra_share)),
        ("interlaced", "yes" if coding.interlaced else "no"),
    ]


def _references(coding: Coding) -> str:
    most = {None: "not said", 0: "none"}.get(coding.references, f"up to {coding.references}")
    if coding.fewest_references == coding.references:
        return most
    return f"{most}, from {coding.fewest_references} on: the stream's parameters change"


def _distances(apart: Distances | None) -> str:
    if apart is None:
        return "fewer than two read"
    return f"{apart.shortest} to {apart.longest} frames, median {apart.median:g}"


def _share(share: float | None) -> str:
    return "no vectors" if share is None else f"{share:.1%}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
