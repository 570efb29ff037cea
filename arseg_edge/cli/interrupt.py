"""Ctrl-C between frames, not within one: an encoder that is cut off in the middle loses what it was writing."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def held_interrupt(wake: Callable[[], None] = lambda: None) -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the function that this yields is called; a second Ctrl-C strikes at once.

    ``wake`` is called at once: it ends whatever waits for data that may never come.
    """
    pressed = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        wake()

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    # Whoever ignores Ctrl-C, as `nohup` does, or handles it in some other way goes on doing so.
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield check
        return
    signal.signal(signal.SIGINT, hold)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
