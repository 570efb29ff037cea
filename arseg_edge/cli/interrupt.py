"""How a command ends on Ctrl-C, SIGTERM and SIGHUP: outputs so far whole, and nothing half-written left behind.

Three things work together:

- ``ended_by_signals`` surrounds every command: a signal raises ``Interrupted`` in the main thread, which unwinds.
- ``held_interrupt`` surrounds a loop: there the signal waits for the end of the frame, or step, at hand, since an
  encoder that is cut off in the middle loses what it was writing. A second signal strikes at once.
- A thread watches over both. Python raises nothing in a main thread that sits in a library, for as long as it sits
  there; where it has not ended in time, the thread ends the outputs itself (``arseg_edge/at_stop.py``) and exits.
  Ctrl-C alone has no such limit: a person can press it again, and a step of training is worth waiting for.

A signal that is ignored when the command starts, as ``nohup`` makes it, stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, NoReturn

from arseg_edge import at_stop

SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
NOBODY_READS: Final = 141
"""What other programs end with when SIGPIPE, 13, ends them; Python ignores the signal and raises instead."""
_PATIENCE_SECONDS: Final = 3.5
"""How long SIGTERM and SIGHUP leave the main thread to end by itself."""
_PATIENCE_AFTER_SECOND: Final = 0.5
_ENDING_SECONDS: Final = 1.0
"""How long what is done from the watching thread may take."""

_struck: int | None = None
_terminals: list[int] = []
"""Standard output and error, where they led to a terminal when the command began."""


class Interrupted(KeyboardInterrupt):
    """A signal that ends the command."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def signal_that_struck() -> int | None:
    """Return the signal that has interrupted this command."""
    return _struck


def _strike(number: int, frame: FrameType | None) -> NoReturn:
    global _struck
    _struck = _struck or number
    _leave_terminal(number)
    raise Interrupted(_struck)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise ``Interrupted`` on signals that would end the process, and see to it that it does end."""
    taken = (signal.SIG_DFL, signal.default_int_handler)
    main = threading.current_thread() is threading.main_thread()
    numbers = [number for number in SIGNALS if main and signal.getsignal(number) in taken]
    if not numbers:
        yield
        return
    global _struck
    _struck = None
    _terminals[:] = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]
    before = {number: signal.signal(number, _strike) for number in numbers}
    try:
        with _watched(numbers):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held_interrupt(wake: Callable[[], None] = lambda: None) -> Iterator[Callable[[], None]]:
    """Hold signals back until the function that this yields is called; a second one strikes at once.

    ``wake`` is called at once: it ends whatever waits for data that may never come.
    """
    held: int | None = None

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal held
        if held is not None:
            _strike(held, frame)
        held = number
        _leave_terminal(number)
        wake()

    def check() -> None:
        if held is not None:
            _strike(held, None)

    main = threading.current_thread() is threading.main_thread()
    # Whoever ignores a signal, as `nohup` does, or handles it in some other way goes on doing so.
    ours = (_strike, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in SIGNALS if main and signal.getsignal(number) in ours}
    for number in before:
        signal.signal(number, hold)
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def discard_output(descriptor: int) -> None:
    """Let what is written to standard output or error from now on go nowhere: nobody reads it any more."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _leave_terminal(number: int) -> None:
    """After SIGHUP a terminal may be gone, and writing to it would be an error in the middle of ending well."""
    if number == getattr(signal, "SIGHUP", None):
        for descriptor in _terminals:
            if not os.isatty(descriptor):
                discard_output(descriptor)


@contextlib.contextmanager
def _watched(numbers: list[int]) -> Iterator[None]:
    """Have a thread wait for the signals, which Python's own handlers may see too late."""
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    previous = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(here, numbers), name="arseg-edge signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        there.close()
        thread.join()
        here.close()


def _watch(wakeups: socket.socket, numbers: list[int]) -> None:
    """Exit the process when it has been told to end and does not; return when the other end is closed."""
    first: int | None = None
    count = 0
    deadline: float | None = None
    while True:
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([wakeups], [], [], wait)
        if not ready and first is not None:
            _end(first)
        received = wakeups.recv(64) if ready else b""
        if not received:
            return
        for number in received:
            if number not in numbers:
                continue
            count += 1
            first = number if first is None else first
            if count > 2:
                os._exit(128 + first)
            patience = _PATIENCE_AFTER_SECOND if count > 1 else _PATIENCE_SECONDS
            if count > 1 or number != signal.SIGINT:
                until = time.monotonic() + patience
                deadline = until if deadline is None else min(deadline, until)


def _end(number: int) -> NoReturn:
    """Do what the main thread cannot, and exit."""
    ending = threading.Thread(target=at_stop.run_all, daemon=True)
    ending.start()
    ending.join(_ENDING_SECONDS)
    os._exit(128 + number)
