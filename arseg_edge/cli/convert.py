"""``arseg-edge convert``: a finished ONNX model to a bundle."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from arseg_edge.cli.export import show_progress
from arseg_edge.cli.options import json_option, parse_size, print_json
from arseg_edge.errors import ModelError, UsageError
from arseg_edge.manifest import ConvertedInput


def _number(flag: str, text: str) -> float:
    """Return a number, or the quotient of two, such as 1/255."""
    above, slash, below = text.partition("/")
    try:
        return float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{flag} {text!r}: write numbers, such as 0.5 or 1/255, with commas between several") from None


def _numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    return None if text is None else tuple(_number(flag, each) for each in text.split(","))


@click.command(short_help="Turn a finished ONNX model into a bundle; needs no PyTorch.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="NAME.arseg")
@click.option("--mean", metavar="R,G,B", help="Of the training, of values 0 to 1; with --scale 1, of values 0 to 255.")
@click.option("--std", metavar="R,G,B", help="The standard deviation likewise.")
@click.option("--scale", metavar="NUMBER", help="By which bytes are multiplied first.  [default: 1/255]")
@click.option("--rgb/--bgr", "rgb", default=None, help="The order of the channels.")
@click.option("--output", metavar="NAME", help="The output that holds the classes of pixels, of several.")
@click.option(
    "--resize",
    type=click.Choice(["stretch", "letterbox"]),
    help="How frames become pictures of the model's size: with other proportions, or with a border.",
)
@click.option(
    "--size",
    metavar="HxW|any",
    help="What the model sees, if it takes several; any: the frames' own size.  "
    "[default: its own, that of preprocessor_config.json, or any]",
)
@click.option("--multiple", type=int, help="Of which both sides must be multiples.  [default: it is tried]")
@click.option("--antialias/--no-antialias", default=None, help="Average what is made smaller, as Pillow does.")
@click.option("--fill", type=int, help="Grey level of a letterbox's border.  [default: 114]")
@click.option("--classes", metavar="FILE|NUMBER", help="YAML of the plain data layout that names them, or how many.")
@click.option("--threshold", type=float, help="Of one channel: above it a pixel is foreground.")
@click.option("--layout", type=click.Choice(["nchw", "nhwc"]), help="Axes of the input, where that cannot be seen.")
@click.option("--output-layout", type=click.Choice(["nchw", "nhwc"]), help="Axes of the output likewise.")
@click.option("--interval", type=int, default=12, show_default=True, help="Recommended keyframe interval.")
@click.option("--half-weights", is_flag=True, help="Store weights in half precision: half the size.")
@json_option
def convert(
    model: Path,
    out: Path,
    mean: str | None,
    std: str | None,
    scale: str | None,
    rgb: bool | None,
    output: str | None,
    resize: str | None,
    size: str | None,
    multiple: int | None,
    antialias: bool | None,
    fill: int | None,
    classes: str | None,
    threshold: float | None,
    layout: str | None,
    output_layout: str | None,
    interval: int,
    half_weights: bool,
    as_json: bool,
) -> None:
    """Turn MODEL, a segmentation network in ONNX, into a bundle with HR alone.

    What can be seen of the model is seen, and what preprocessor_config.json and config.json beside it say is taken; all
    else must be given, and the message says what. The bundle's labels are compared with the model's own on images;
    where more than one in a thousand differs, nothing is written, and the command exits with 6.
    """
    try:
        from arseg_edge.export.convert.convert_onnx import convert_onnx
    except ImportError as error:
        raise ModelError(
            f'converting needs {error.name or "onnx"}, which is not installed: pip install "arseg-edge[cpu,convert]"'
        ) from None
    bundle = convert_onnx(
        model,
        out=out,
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        scale=None if scale is None else _number("--scale", scale),
        bgr=None if rgb is None else not rgb,
        output=output,
        resize=resize,  # type: ignore[arg-type]  # click has checked it
        size="any" if size == "any" else None if size is None else parse_size(size, ", or any"),
        multiple=multiple,
        antialias=antialias,
        fill=fill,
        classes=classes,
        threshold=threshold,
        layout=layout,  # type: ignore[arg-type]
        output_layout=output_layout,  # type: ignore[arg-type]
        interval=interval,
        half_weights=half_weights,
        progress=show_progress,
    )
    manifest = bundle.manifest
    rule = manifest.converted
    assert rule is not None
    worst = max(figure.error for figure in bundle.parity)
    if as_json:
        print_json(
            {
                "bundle": str(bundle.path),
                "bytes": bundle.path.stat().st_size,
                "classes": [each.name for each in manifest.classes],
                "converted": vars(rule),
                "logits": manifest.label_rule is not None,
                "largest_error": worst,
                "parity": [vars(figure) for figure in bundle.parity],
            }
        )
        return
    megabytes = bundle.path.stat().st_size / 1e6
    click.echo(f"{bundle.path}: {len(manifest.classes)} classes, {megabytes:.0f} MB, {worst:.3%} of the labels differ")
    for line in taken(rule):
        click.echo(line)
    click.echo(f"next: arseg-edge run VIDEO -m {shlex.quote(str(bundle.path))}", err=True)


def taken(rule: ConvertedInput) -> tuple[str, ...]:
    """Return what the model takes, for people: nothing of it is to be taken in silence."""
    size = "of their own size" if rule.multiple == 1 else f"with sides that are multiples of {rule.multiple}"
    if rule.size is not None:
        size = "of {}x{}".format(*rule.size)
    how = "" if rule.size is None and rule.multiple == 1 else f", {rule.resize}{', antialiased' * rule.antialias}"
    if rule.resize == "letterbox" and how:
        how += f" with grey {rule.fill}"
    mean, std = (", ".join(f"{each:.4g}" for each in values) for values in (rule.mean, rule.std))
    numbers = (
        "bytes"
        if rule.scale == 1 and not any(rule.mean) and set(rule.std) == {1.0}
        else (f"(byte x {rule.scale:.4g} - [{mean}]) / [{std}]")
    )
    return (
        f"it sees frames {size}{how}",
        f"as {rule.channels}: {numbers}",
        f"labels are made of its output {rule.output}",
    )
