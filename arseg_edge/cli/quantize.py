"""``arseg-edge quantize``: a bundle whose networks run in eight bits."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import click

from arseg_edge.bundle import Bundle
from arseg_edge.cli.export import show_progress
from arseg_edge.cli.options import json_option, parse_size, print_json
from arseg_edge.errors import ModelError


@click.command(short_help="Turn a bundle into one that runs in eight bits; needs no PyTorch.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--calibrate",
    "sources",
    multiple=True,
    required=True,
    metavar="SOURCE",
    help="A video, or whatever else `run` takes, that shows what will be seen; repeat it for several.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="NAME.arseg")
@click.option(
    "--agreement",
    type=click.FloatRange(0, 100),
    help="Percent of the pixels, on frames held back, that must keep the float networks' label.  [default: 98]",
)
@click.option("--frames", type=click.IntRange(min=8), help="Frames to calibrate on, over all sources.  [default: 100]")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), help="How much of each source to read.  [default: 120]"
)
@click.option("--size", metavar="HxW", help="What the networks see frames at.  [default: the frames' size]")
@click.option("--resize", is_flag=True, help="For a bundle of fixed size: frames are resized to it.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of ONNX Runtime.  [default: the usable cores]")
@click.option("--force", is_flag=True, help="Write the best mix of layers, even if it agrees on less.")
@json_option
def quantize(
    bundle: Path,
    sources: tuple[str, ...],
    output: Path,
    agreement: float | None,
    frames: int | None,
    seconds: float | None,
    size: str | None,
    resize: bool,
    threads: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Turn BUNDLE into one that runs in eight bits: a quarter as heavy, and several times as fast on many CPUs.

    Layers that hurt stay in float, until the labels agree with those of BUNDLE. Where no mix of layers agrees far
    enough it writes nothing and exits with 6.
    """
    try:
        from arseg_edge.export.quantize import quantize_bundle as module
    except ImportError as error:
        raise ModelError(
            f'quantising needs {error.name or "onnx"}, which is not installed: pip install "arseg-edge[cpu,convert]"'
        ) from None
    result = module.quantize_bundle(
        bundle,
        calibrate=sources,
        out=output,
        agreement=module.AGREEMENT if agreement is None else agreement,
        frames=frames or module.FRAMES,
        seconds=seconds or module.SECONDS,
        size=None if size is None else parse_size(size),
        resize=resize,
        threads=threads,
        force=force,
        progress=show_progress,
    )
    if as_json:
        print_json(
            {
                "bundle": str(result.path),
                "bytes": result.path.stat().st_size,
                "bytes_before": bundle.stat().st_size,
                **dataclasses.asdict(result.manifest)["quantisation"],
            }
        )
        return
    for line in quantised_lines(result):
        click.echo(line)
    megabytes, before = (path.stat().st_size / 1e6 for path in (result.path, bundle))
    click.echo(f"{result.path}: {megabytes:.1f} MB, before {before:.1f} MB")
    click.echo(f"next: arseg-edge bench VIDEO -m {shlex.quote(str(result.path))}", err=True)


def quantised_lines(bundle: Bundle) -> list[str]:
    """Return a line for each quantised graph: how far it agrees, and what stayed float."""
    lines = []
    quantisation = bundle.manifest.quantisation
    for member, graph in {} if quantisation is None else quantisation.graphs.items():
        back = f"; in float: {', '.join(graph.float_layers)}" if graph.float_layers else ""
        lines.append(
            f"{member}: {graph.layers} layers in eight bits, ranges by {graph.method}, {graph.agreement:.2f} % of the "
            f"pixels as in float{back}"
        )
    return lines
