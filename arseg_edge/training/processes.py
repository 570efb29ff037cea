"""Work spread over processes that end with the one that they work for."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from types import FrameType
from typing import NoReturn, TypeVar

from arseg_edge import at_stop

Job = TypeVar("Job")
Done = TypeVar("Done")


def spread(
    work: Callable[[Job], Done], jobs: Sequence[Job], processes: int, at_once: int = 1
) -> Generator[Done, None, None]:
    """Yield what ``work`` makes of each job, in their order; whoever stops early closes this.

    Args:
        work: can be pickled.
        jobs: likewise.
        processes: how many work at a time; 1 for this one alone.
        at_once: jobs that a process is given at a time.
    """
    if processes <= 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    # Fork would copy the locks of threads that it does not copy.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())

    def stop() -> None:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()

    with (
        at_stop.during(stop),
        ProcessPoolExecutor(processes, mp_context=context, initializer=_end_when_told) as pool,
    ):
        try:
            yield from pool.map(work, jobs, chunksize=at_once)
        except BaseException:
            stop()  # else they would first make what they have been given
            raise


def _end_when_told() -> None:
    """In a process of the pool: leave Ctrl-C to the process that it works for, and end without a trace when told to."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        at_stop.run_all()
        os._exit(128 + number)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
