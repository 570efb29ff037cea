"""From a budget, in milliseconds a frame, to how far apart the frames are that networks see.

What each branch costs on a device is measured once (``runtime/costs.py``). From there on all is arithmetic: the plan
counts frames, never the clock, so that it stays as it is whatever the load.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from arseg_edge.errors import UsageError
from arseg_edge.runtime.schedule.adaptive import Intervals, default_intervals

ONLY_CUTS: Final = 1.0
"""The tolerance at which nothing but the interval, cuts and losses calls for HR: what a plan counts on."""

_LOOKS: Final = 3
"""So many looks of LR must be had for one of HR. On a motorway that the demo model was not trained for, LR on every
third frame beside HR on every twelfth agreed with HR on every frame no better than HR alone on every tenth."""

_FORM: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|fps)")


def parse_budget(text: str) -> float:
    """Return the milliseconds a frame that "40ms" or "25fps" allows.

    >>> parse_budget("25fps")
    40.0

    Raises:
        UsageError: anything else, and 0.
    """
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    value = float(match[1]) if match else 0.0
    if match is None or not 0 < value < math.inf:
        raise UsageError(
            f"budget {text!r}: must be milliseconds a frame or frames a second, more than 0, such as 40ms or 25fps"
        )
    return value if match[2] == "ms" else 1000 / value


@dataclass(frozen=True)
class Costs:
    """Milliseconds of one frame on this device; branches run one after the other."""

    every: float
    """Decoding, motion and schedule, which every frame has."""
    hr: float
    """The HR network, with its picture and labels."""
    moved: float
    """Moving the labels along."""
    lr: float | None = None
    """The LR network with its fusion, and the labels that are moved beside it; None where it was not asked for."""

    def of(self, interval: int, looks: int | None = None) -> float:
        """Return the mean of a frame with HR every ``interval``, and LR at least every ``looks`` in between."""
        seen = 1 / interval
        mean = self.every + self.hr * seen + self.moved * (1 - seen)
        if looks is not None and self.lr is not None:
            mean += (self.lr - self.moved) * max(0.0, 1 / looks - seen)
        return mean


@dataclass(frozen=True)
class Plan:
    """What a budget came to for streams of one size."""

    budget: float
    """Milliseconds a frame."""
    size: tuple[int, int]
    """(height, width) of the frames."""
    lookahead: bool
    """Whether labels come from frames behind, too."""
    costs: Costs
    interval: int
    """HR sees a frame at least every so many."""
    looks: int | None
    """In between LR sees one every so many, where anything new is to be seen; None: never."""

    @property
    def milliseconds(self) -> float:
        """What a frame takes by the costs, where the video calls for no more."""
        return self.costs.of(self.interval, self.looks)

    @property
    def met(self) -> bool:
        """Whether that is within the budget."""
        return self.milliseconds <= self.budget

    def facts(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        costs = {"every": self.costs.every, "hr": self.costs.hr, "lr": self.costs.lr, "moved": self.costs.moved}
        return {
            "milliseconds": round(self.budget, 3),
            "met": self.met,
            "reached": round(self.milliseconds, 3),
            "interval": self.interval,
            "lr_every": self.looks,
            "lookahead": self.lookahead,
            "size": list(self.size),
            "costs": {name: None if value is None else round(value, 3) for name, value in costs.items()},
        }

    def __str__(self) -> str:
        """Say it in one line."""
        looks = f", LR every {self.looks}" if self.looks is not None else ""
        costs = [f"HR {self.costs.hr:.1f}", f"moved {self.costs.moved:.1f}", f"all frames {self.costs.every:.1f}"]
        if self.costs.lr is not None:
            costs.insert(1, f"LR {self.costs.lr:.1f}")
        head = f"budget {self.budget:.4g} ms a frame"
        if not self.met:
            head += f" cannot be met, {self.milliseconds:.1f} ms are reached"
        return (
            f"{head}: HR every {self.interval} frames{looks}, by {', '.join(costs)} ms at {self.size[0]}x{self.size[1]}"
        )


def plan(budget: float, costs: Costs, longest: int, *, size: tuple[int, int], lookahead: bool) -> Plan:
    """Return the plan that sees most within a budget; where none is within it, the cheapest.

    HR comes as often as the budget allows. Without a future LR looks in between where HR alone could not keep to the
    default interval, and LR sees at least three times as many frames as HR alone would for the same time: then HR
    keeps to the bundle's own interval.

    Args:
        budget: milliseconds a frame.
        costs: on this device.
        longest: the bundle's own interval; HR alone goes to twice that at most, beyond which labels are too old.
        size: (height, width) of the frames.
        lookahead: there is a future, and labels come from there, too.
    """
    farthest = 2 * longest
    alone = next((each for each in range(1, farthest + 1) if costs.of(each) <= budget), farthest)
    if not lookahead and costs.lr is not None and alone > default_intervals(longest).one_side:
        within = (each for each in range(1, longest) if costs.of(longest, each) <= budget)
        looks = next(within, None)
        if looks is not None and _LOOKS * looks <= alone:
            return Plan(budget, size, lookahead, costs, longest, looks)
    return Plan(budget, size, lookahead, costs, alone, None)


def intervals_of(chosen: Plan) -> Intervals:
    """Return what the adaptive schedule takes of a plan."""
    return Intervals(chosen.interval, chosen.interval)
