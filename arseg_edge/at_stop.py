"""What must still be done when a process is told to stop and its main thread cannot do it in time.

Usually the interrupt unwinds the main thread, and every ``with`` block ends what it holds. But a thread that sits in
a network's run, or reads from a server that does not answer, sees no interrupt for as long as that takes. Then the
command line (``arseg_edge/cli/interrupt.py``) does from another thread what is registered here, and exits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

_actions: dict[object, Callable[[], object]] = {}
_lock = threading.RLock()  # a signal may strike while it is held, and do what is registered


def always(action: Callable[[], object]) -> None:
    """Register an action for as long as the process lives."""
    with _lock:
        _actions[object()] = action


@contextlib.contextmanager
def during(action: Callable[[], object]) -> Iterator[None]:
    """Register an action for the time of the ``with`` block.

    >>> with during(lambda: print("the file is removed")):
    ...     run_all()
    the file is removed
    >>> run_all()
    """
    key = object()
    with _lock:
        _actions[key] = action
    try:
        yield
    finally:
        with _lock:
            _actions.pop(key, None)


def run_all() -> None:
    """Do all that is registered, the latest first; what fails does not keep the others from being done."""
    with _lock:
        actions = list(_actions.values())
    for action in reversed(actions):
        with contextlib.suppress(Exception):
            action()
