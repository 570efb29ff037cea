"""``arseg-edge eval``: how accurate a model is on labelled data, by the distance from the keyframe."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arseg_edge.bundle import check_writable, read_bundle
from arseg_edge.cli.model_options import ModelOptions, model_options
from arseg_edge.cli.options import json_option, print_json, print_table
from arseg_edge.cli.schedule_table import print_schedules
from arseg_edge.errors import ModelError, ParityError, ProviderError, UsageError
from arseg_edge.schedule_choice import ADAPTIVE_FILE

if TYPE_CHECKING:
    from arseg_edge.evaluation.by_distance import EvaluationReport
    from arseg_edge.evaluation.predictor import Predictor


def _rate(text: str) -> Fraction:
    """Return frames a second, of a number or a quotient such as 30000/1001."""
    try:
        return Fraction(text)
    except ZeroDivisionError:
        raise ValueError(f"{text} divides by zero") from None


@click.command("eval", short_help="Measure a model on labelled data, by distance from the keyframe.")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--checkpoint-hr", type=click.Path(path_type=Path), help="Instead of a bundle: the HR checkpoint.")
@click.option("--checkpoint-lr", type=click.Path(path_type=Path), help="The LR + CReFF checkpoint beside it.")
@click.option("--family", help="Of the checkpoints.  [default: recognised from the weights' names]")
@click.option("--split", help="Of the data set, such as val.  [default: the layout's own]")
@click.option("--codec", default="libx264", show_default=True, help="Encoder of FFmpeg's, for pictures.")
@click.option("--bitrate", type=click.IntRange(min=1000), default=1_500_000, show_default=True, help="Bits a second.")
@click.option("--frame-rate", type=_rate, metavar="RATE", help="Frames a second.  [default: each sequence's own]")
@click.option("--shifts", type=click.IntRange(min=1), help="Alignments of the keyframes to count.  [default: all]")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N sequences.")
@click.option("--zero-motion", is_flag=True, help="Also AR with zero displacement: what the motion brings.")
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), help="Write the curves to this PNG, SVG or PDF.")
@click.option(
    "--min-miou",
    type=float,
    help="Exit with 6 where AR's mean over the distances, in percent, is below (of HR alone: the adaptive schedule's).",
)
@model_options(
    "model",
    "interval",
    "scale",
    "size",
    "resize",
    "provider",
    "threads",
    interval="Keyframe interval, 2 or more.  [default: the model's]",
    scale="LR scale.  [default: the bundle's first; 0.5 for checkpoints]",
)
@json_option
def evaluate(
    dataset: Path,
    checkpoint_hr: Path | None,
    checkpoint_lr: Path | None,
    family: str | None,
    split: str | None,
    codec: str,
    bitrate: int,
    frame_rate: Fraction | None,
    shifts: int | None,
    limit: int | None,
    zero_motion: bool,
    plot_path: Path | None,
    min_miou: float | None,
    options: ModelOptions,
    as_json: bool,
) -> None:
    """Measure a model on the labelled images and videos of DATASET: mIoU by the distance from the keyframe.

    HR on every frame, LR alone, and AR, on real bitstreams: pictures are encoded and decoded again, stills after a
    simulated camera has made clips of them, once for every alignment of the keyframes to the labels. Videos are used
    as they are. All scores are percent; mIoU is the mean over the classes that the truth has.

    Of a bundle, what each schedule brings and costs besides: HR every so many frames, or where the adaptive schedule
    wants it, and labels moved along between.
    """
    from arseg_edge.datasets import open_dataset
    from arseg_edge.datasets.encode import Encoding
    from arseg_edge.evaluation.by_distance import evaluate as measure
    from arseg_edge.evaluation.plot import check_matplotlib, plot

    options.refuse_short_interval(2)
    if plot_path is not None:
        check_matplotlib()
        check_writable(plot_path)
    if not (checkpoint_hr or checkpoint_lr or family):
        predictor: Predictor = options.predictor(read_bundle(options.bundle_path))
    elif options.model is None and checkpoint_hr is not None and checkpoint_lr is not None:
        predictor = _checkpoints(family, checkpoint_hr, checkpoint_lr, options)
    else:
        raise UsageError("name either --model, or --checkpoint-hr and --checkpoint-lr, of a --family that both have")
    report = measure(
        predictor,
        open_dataset(dataset, split),
        Encoding(codec, bitrate, options.interval or predictor.interval),
        frame_rate=frame_rate,
        shifts=shifts,
        zero_motion=zero_motion,
        limit=limit,
        adaptive_interval=options.interval,
        progress=_progress(),
    )
    if plot_path is not None:
        plot(report, plot_path)
    if as_json:
        print_json(report.as_dict())
    else:
        _print(report)
    what, found = _measured(report)
    if min_miou is not None and not found >= min_miou:
        raise ParityError(
            f"{what} has {found:.2f} mIoU, below the {min_miou:g} of --min-miou: train longer, or lower it"
        )


def _measured(report: EvaluationReport) -> tuple[str, float]:
    """Return what ``--min-miou`` is about, and how good it is."""
    if "ar" in report.methods:
        return "AR", report.methods["ar"].mean
    return next((row.title, row.score) for row in report.schedules if row.name == ADAPTIVE_FILE)


def _checkpoints(family: str | None, hr: Path, lr: Path, options: ModelOptions) -> Predictor:
    try:
        import torch

        from arseg_edge.training.checkpoint_predictor import CheckpointPredictor
    except ImportError as error:
        raise ModelError(
            f"evaluating checkpoints needs {error.name or 'torch'}, which is not installed: "
            'pip install "arseg-edge[cpu,export]"'
        ) from None
    provider = options.provider
    if provider not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--provider {provider}: PyTorch runs checkpoints, so choose auto, cpu or cuda")
    if provider == "cuda" and not torch.cuda.is_available():
        raise ProviderError("--provider cuda: this PyTorch finds no CUDA device: use --provider cpu")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    device = "cuda" if provider != "cpu" and torch.cuda.is_available() else "cpu"
    scale = 0.5 if options.scale is None else options.scale
    return CheckpointPredictor(family, hr, lr, scale, size=options.network_size, device=device)


def _progress() -> Callable[[str, int, int], None]:
    """Return what shows progress: a bar on a terminal, elsewhere a line for each tenth."""
    terminal, tenths = sys.stderr.isatty(), -1
    width = 24

    def show(what: str, done: int, total: int) -> None:
        nonlocal tenths
        if terminal:
            bar = "█" * (width * done // total) + "·" * (width - width * done // total)
            click.echo(f"\r\033[K{bar} {what}" if done < total else "\r\033[K", err=True, nl=False)
        elif 10 * done // total > tenths:
            tenths = 10 * done // total
            click.echo(f"[{done}/{total}] {what}", err=True)

    return show


def _print(report: EvaluationReport) -> None:
    from arseg_edge.evaluation.plot import NAMES

    encoding, interval = report.encoding, report.encoding.interval
    rates = ", ".join(f"{float(rate):g}" for rate in report.frame_rates)
    encoded = f"; {encoding.codec}, {encoding.bit_rate / 1e6:g} Mbit/s at {rates} frames/s" if report.encoded else ""
    lr = "HR alone" if report.scale is None else f"LR {report.scale:g}"
    click.echo(
        f"{report.model} ({lr}) on {report.dataset}: {report.sequences} sequences, interval {interval}, "
        f"{len(report.shifts)} alignments{encoded}"
    )
    click.echo()
    methods = report.methods
    names = tuple(NAMES[name] for name in methods)
    rows = [
        (str(distance), *(_cell(scores.by_distance[distance]) for scores in methods.values()))
        for distance in range(interval)
    ]
    rows += [
        (f"mean 0 to {interval - 1}", *(_cell(scores.mean) for scores in methods.values())),
        (f"mean 1 to {interval - 1}", *(_cell(scores.mean_after_keyframe) for scores in methods.values())),
        ("all frames at once", *(_cell(scores.together) for scores in methods.values())),
        ("temporal consistency", *(_cell(scores.consistency) for scores in methods.values())),
    ]
    print_table(rows, header=("mIoU at distance", *names))
    click.echo()
    rows = [
        (name, *(_cell(scores.by_class[index]) for scores in methods.values()))
        for index, name in enumerate(report.classes.names)
    ]
    print_table(rows, header=("IoU of", *names))
    if report.absent:
        click.echo(f"left out of the means, as no labelled pixel is of them: {', '.join(report.absent)}")
    if report.schedules:
        click.echo()
        print_schedules(report.schedules, "mIoU")
    if not math.isnan(report.truth_consistency):
        click.echo()
        click.echo(f"temporal consistency of the truth itself: {report.truth_consistency:.2f}")


def _cell(score: float) -> str:
    return "-" if math.isnan(score) else f"{score:.2f}"
