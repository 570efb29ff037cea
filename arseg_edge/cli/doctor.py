"""``arseg-edge doctor``: what works on this device."""

from __future__ import annotations

import dataclasses

import click

from arseg_edge.cli.options import json_option, print_json, print_table
from arseg_edge.errors import ProviderError


@click.command(short_help="Show what works on this device, and what to install.")
@json_option
def doctor(as_json: bool) -> None:
    """Show versions, providers (each runs a tiny model), the native library, codecs, and what to install."""
    from arseg_edge.runtime.reports.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        facts = dataclasses.asdict(diagnosis)
        facts["native"]["path"] = None if diagnosis.native.path is None else str(diagnosis.native.path)
        print_json(facts)
    else:
        native = diagnosis.native
        rows = [*diagnosis.versions.items(), ("usable cores", str(diagnosis.cores))]
        for check in diagnosis.providers:
            rows.append((check.name, "works" if check.works else f"fails: {check.reason}"))
        rows.append(("native operators", f"on ({native.simd})" if native.enabled else f"off: {native.reason}"))
        rows.extend((f"{codec} decoder", state) for codec, state in diagnosis.decoders.items())
        rows.append(("H.264 encoder", diagnosis.h264_encoder or "missing"))
        print_table(rows)
        for advice in diagnosis.advice:
            click.echo(f"advice: {advice}")
    if not any(check.works for check in diagnosis.providers):
        raise ProviderError("no execution provider works here: see the advice above")
