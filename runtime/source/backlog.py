"""What waits to be decoded, and what of it is left out where a live source is read too slowly.

A file waits for whoever reads it; a camera does not. Where decoding, or the search for motion, takes longer than
frames take to come, packets pile up. Then:

1. Once the oldest packet has waited for more than a second (``LATE``), the next random-access point that comes in takes
   the place of all that wait: decoding goes on there, with nothing to catch up on.
2. Until one comes, packets are decoded, since what comes later is predicted from them, but their pictures are left out:
   no motion is searched, nothing is converted. That lasts until packets are decoded soon after they come in
   (``CAUGHT_UP``). One picture a second is given all the same.
3. A stream without random-access points (a picture refreshed in strips, or never) whose decoding alone is too slow is
   cut off after ten seconds (``LONGEST``), wherever it is. Its pictures are damaged until it has refreshed them all.

The first picture given after any of these is a discontinuity, and says how many were left out before it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from av.packet import Packet
from av.video.stream import VideoStream

LATE: Final = 1.0
"""Seconds after which a packet has waited for too long."""

CAUGHT_UP: Final = 0.2
"""Seconds of waiting below which nothing is left out any more."""

LONGEST: Final = 10.0
"""Seconds that a random-access point is waited for."""


@dataclass(frozen=True, eq=False)
class Waited:
    """A packet that is to be decoded now."""

    packet: Packet[VideoStream]
    skipped: int
    """Packets left out right before it: nothing that comes before it in the stream is needed, or can be had."""
    late: bool
    """What the decoder gives for it is to be left out."""


class Backlog:
    """Packets in the order in which they came in; the ``opaque`` of each is the time of that, in seconds.

    While it is not ``live``, nothing is left out.
    """

    def __init__(self) -> None:
        self.live = False
        self._waiting: deque[Packet[VideoStream]] = deque()
        self._skipped = 0
        """Left out before the first that waits."""
        self._late = False
        self._given = 0.0
        """When a packet was last taken whose picture is not left out."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, packet: Packet[VideoStream]) -> None:
        """Add the packet that just came in."""
        if self.live and self._waiting:
            age = _arrival(packet) - _arrival(self._waiting[0])
            if age > LONGEST or (age > LATE and packet.is_keyframe):
                self._skipped += len(self._waiting)
                self._waiting.clear()
        self._waiting.append(packet)

    def take(self, now: float) -> Waited:
        """Remove and return the oldest packet; there must be one."""
        packet = self._waiting.popleft()
        skipped, self._skipped = self._skipped, 0
        if self.live:
            age = now - _arrival(packet)
            self._late = age > (CAUGHT_UP if self._late else LATE)
        late = self._late and now - self._given < LATE
        if not late:
            self._given = now
        return Waited(packet, skipped, late)

    def clear(self) -> None:
        """Forget all that wait."""
        self._waiting.clear()


def _arrival(packet: Packet[VideoStream]) -> float:
    return packet.opaque if isinstance(packet.opaque, float) else 0.0
