"""The command line: a client of the public API, one file a command.

Data goes to standard output, progress and logs to standard error. Exit codes: 0 success, 1 failure, 2 usage,
3 model or operator, 4 provider, 5 source or codec, 6 parity or threshold not met, 130 interrupted.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Sequence

import click

from arseg_edge import __version__
from arseg_edge.cli.bench import bench
from arseg_edge.cli.compare import compare
from arseg_edge.cli.doctor import doctor
from arseg_edge.cli.evaluate import evaluate
from arseg_edge.cli.export import export
from arseg_edge.cli.info import info
from arseg_edge.cli.probe import probe
from arseg_edge.cli.run import run
from arseg_edge.cli.train import train
from arseg_edge.cli.verify import verify
from arseg_edge.errors import ArsegError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="arseg-edge")
def cli() -> None:
    """Segment compressed video cheaply: AR-Seg with ONNX Runtime."""


for command in (export, run, bench, evaluate, compare, train, info, verify, probe, doctor):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    warnings.showwarning = _show_warning
    try:
        code = cli.main(args=arguments, prog_name="arseg-edge", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.ClickException as error:
        from arseg_edge.runtime.source.location import shown_in

        message = io.StringIO()
        error.show(message)
        # An argument too many can be an address with a password.
        click.echo(shown_in(message.getvalue()), err=True, nl=False)
        code = error.exit_code
    except ArsegError as error:
        click.echo(f"error: {' '.join(str(error).split())}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:
        # Whoever read our output has left; Python must not try to flush to it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    click.echo(f"warning: {message}", err=True)
