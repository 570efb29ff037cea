"""Whether pictures are missing between two, by the stream's own rhythm."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Final

_REMEMBERED: Final = 16
_ENOUGH: Final = 4
"""Steps without which there is no rhythm yet."""
_STEADY: Final = 0.6
"""The share of steps that must be alike for a rhythm to show."""
_UNSTEADY: Final = 0.3
"""The share below which it is gone: where many are lost, fewer steps are alike."""
_ALIKE: Final = 0.25
"""Of the usual step."""
_LONGEST: Final = 250
"""Steps; what is further apart was joined, or paused."""


class Rhythm:
    """Takes times in the order in which they should rise evenly; a stream of uneven times has no rhythm.

    What the first few steps hid is told as soon as there is a rhythm.

    >>> rhythm = Rhythm()
    >>> [rhythm.missing(time) for time in (0, 40, 80, 121, 160, 280, 319)]
    [0, 0, 0, 0, 0, 2, 0]
    """

    def __init__(self) -> None:
        self._last: int | None = None
        self._steps: deque[int] = deque(maxlen=_REMEMBERED)
        self.gap = False
        """Some are missing right before the last time."""
        self.follows = False
        """The last time came after the one before, and not long after."""
        self._step: float | None = None
        """The usual one."""
        self._judged: float | None = None
        """The usual one by which steps were judged so far; None where they are still to be."""
        self._told = 0

    def missing(self, time: int | None) -> int:
        """How many are missing between the last one and the one at ``time``."""
        last, self._last = self._last, time
        self.gap = False
        self.follows = last is not None and time is not None and time > last
        if last is None or time is None or time <= last:
            return 0
        self._steps.append(time - last)
        usual = self._usual()
        if usual is None:
            return 0
        self.follows = time - last <= _LONGEST * usual
        self.gap = (2 - _ALIKE) * usual <= time - last <= _LONGEST * usual
        again = self._judged is None or usual < (1 - _ALIKE) * self._judged  # where many were lost, the first was wrong
        self._judged = usual
        lost = [round(step / usual) - 1 for step in self._steps if (2 - _ALIKE) * usual <= step <= _LONGEST * usual]
        told = max(0, sum(lost) - self._told) if again else lost[-1] if self.gap else 0
        self._told += told
        return told

    def interrupt(self) -> None:
        """The next time has nothing to do with the last one."""
        self._last = None

    def _usual(self) -> float | None:
        if len(self._steps) >= _ENOUGH:
            usual = statistics.median_low(self._steps)
            if self._share(usual) >= _STEADY:
                self._step = usual
            elif self._step is not None and self._share(self._step) < _UNSTEADY:
                self._step = None
        return self._step

    def _share(self, usual: float) -> float:
        return sum(abs(step - usual) <= _ALIKE * usual for step in self._steps) / len(self._steps)
