"""What was not as it should be in a source, counted, so that a run can tell a person all of it at its end."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Literal

Incident = Literal[
    "damaged",  # pictures that the decoder had to conceal parts of
    "missing",  # pictures that never came: lost on the way, or undecodable
    "joined",  # places where time jumped for good and was closed up
    "outliers",  # timestamps that were wrong and were replaced
    "skipped",  # files that could not be read and were left out
    "hidden",  # pictures that the container says not to show
    "turned",  # pictures shown as their rotation says
    "tone-mapped",  # pictures in PQ or HLG (HDR), shown as SDR
    "resized",  # pictures whose size is not that of the one before
]


class Incidents:
    """Counts by kind; any thread may note and read.

    >>> incidents = Incidents()
    >>> incidents.note("missing", 3); incidents.note("joined")
    >>> incidents.counts()
    {'missing': 3, 'joined': 1}
    """

    def __init__(self) -> None:
        self._counts: Counter[Incident] = Counter()
        self._lock = threading.Lock()

    def note(self, kind: Incident, count: int = 1) -> None:
        """Count ``count`` more of a kind."""
        with self._lock:
            self._counts[kind] += count

    def counts(self) -> dict[Incident, int]:
        """How many there were of each kind that there was."""
        with self._lock:
            return {kind: count for kind, count in self._counts.items() if count}
