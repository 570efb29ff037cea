"""What a run comes to; it stays as small for a week of video as for a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from arseg_edge.cli.options import print_json
from arseg_edge.results import Result

if TYPE_CHECKING:
    from arseg_edge.runtime.schedule.budget import Plan

_INCIDENTS: Final = {
    "missing": ("picture missing", "pictures missing"),
    "damaged": ("picture damaged", "pictures damaged"),
    "skipped": ("file skipped", "files skipped"),
    "joined": ("jump in time closed up", "jumps in time closed up"),
    "outliers": ("time stamp replaced", "time stamps replaced"),
    "hidden": ("picture hidden by the container", "pictures hidden by the container"),
    "turned": ("picture turned", "pictures turned"),
    "tone-mapped": ("picture brought from HDR to SDR", "pictures brought from HDR to SDR"),
    "resized": ("change of the picture's size", "changes of the picture's size"),
}
"""What is said of one, and of several, of each kind (``runtime/source/incidents.py``), in this order."""


@dataclass
class Summary:
    """Counts the frames of a run and adds up where their time went."""

    video: str
    model: str
    provider: str
    native: bool
    outputs: list[str]
    frames: int = 0
    dropped: int = 0
    reconnects: int = 0
    incidents: dict[str, int] = field(default_factory=dict)
    """What was not as it should be in the source (``runtime/source/incidents.py``)."""
    branches: Counter[str] = field(default_factory=Counter)
    """What made the labels: ``hr``, ``lr`` or ``moved``."""
    keyframes: Counter[str] = field(default_factory=Counter)
    motion_sources: Counter[str] = field(default_factory=Counter)
    milliseconds: dict[str, float] = field(default_factory=dict)
    """Of all frames together, by stage."""
    occasions: Counter[str] = field(default_factory=Counter)
    """How many frames had the stage."""
    latency: float = 0.0
    """Seconds, of all frames of a live source together."""
    seconds: float = 0.0
    interrupted: bool = False
    plan: Plan | None = None
    """What the budget came to; None where there is none."""
    network_size: tuple[int, int] | None = None
    """(height, width) that the networks run at; None where that is each frame's own."""
    resized: int = 0
    """Frames of another size than that."""

    def add(self, result: Result, output_ms: float) -> None:
        """Count one frame, with the milliseconds that the sinks took for it."""
        self.frames += 1
        self.dropped += result.dropped
        self.latency += result.latency or 0.0
        self.resized += self.network_size not in (None, result.labels.shape)
        self.branches[result.branch] += 1
        if result.keyframe_reason is not None:
            self.keyframes[result.keyframe_reason] += 1
        if result.motion_source is not None:
            self.motion_sources[result.motion_source] += 1
        for stage, value in {**result.speed.milliseconds, "output": output_ms}.items():
            self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + value
            self.occasions[stage] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the summary for ``--json``; milliseconds are means over the frames that had the stage."""
        return {
            "video": self.video,
            "model": self.model,
            "frames": self.frames,
            "dropped": self.dropped,
            "reconnects": self.reconnects,
            "incidents": self.incidents,
            "network_size": self.network_size,
            "resized": self.resized,
            "budget": None if self.plan is None else self.plan.facts(),
            "branches": dict(self.branches),
            "keyframes": sum(self.keyframes.values()),
            "keyframe_reasons": dict(self.keyframes),
            "motion_sources": dict(self.motion_sources),
            "milliseconds": {
                stage: round(total / self.occasions[stage], 3) for stage, total in self.milliseconds.items()
            },
            "latency": round(self.latency / self.frames, 4) if self.latency else None,
            "seconds": round(self.seconds, 3),
            "frames_per_second": round(self.frames / self.seconds, 3) if self.seconds else None,
            "provider": self.provider,
            "native": self.native,
            "outputs": self.outputs,
            "interrupted": self.interrupted,
        }

    def show(self, as_json: bool, *, to_stderr: bool) -> None:
        """Print the summary, where standard output is data to standard error."""
        facts = self.as_dict()
        if as_json:
            print_json(facts)
            return
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in facts["milliseconds"].items())
        rate = facts["frames_per_second"] or 0.0
        operators = "native operators" if self.native else "function bodies"
        lines = [
            f"{self.frames} frames{' (interrupted)' if self.interrupted else ''} in {self.seconds:.1f} s, "
            f"{rate:.1f} frames/s on {self.provider}, {operators}",
            f"labels: {_counts(self.branches)}" if self.branches else "no labels",
            f"{facts['keyframes']} keyframes ({_counts(self.keyframes)})" if self.keyframes else "no keyframes",
            f"motion: {_counts(self.motion_sources)}" if self.motion_sources else "no motion used",
            f"mean milliseconds: {stages}",
        ]
        if self.plan is not None:
            lines.append(str(self.plan))
        if self.latency:
            lines.append(
                f"live: {self.dropped} frames dropped, {self.reconnects} reconnects, "
                f"mean latency {facts['latency'] * 1e3:.0f} ms"
            )
        if self.resized and self.network_size:
            height, width = self.network_size
            lines.append(f"{_numbered(self.resized, 'frame', 'frames')} resized to {height}x{width} for the networks")
        if self.incidents:
            lines.append(f"not as it should be: {_incidents(self.incidents)}")
        lines += [f"wrote {target}" for target in self.outputs if target != "-"]
        for line in lines:
            click.echo(line, err=to_stderr)


def _incidents(counts: Mapping[str, int]) -> str:
    """Return what happened as a person would say it."""
    known = [_numbered(counts[kind], *said) for kind, said in _INCIDENTS.items() if kind in counts]
    return ", ".join([*known, *(f"{count} {kind}" for kind, count in counts.items() if kind not in _INCIDENTS)])


def _numbered(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
