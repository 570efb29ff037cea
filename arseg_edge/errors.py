"""Everything that arseg-edge raises on purpose.

::

    ArsegError                          exit code 1
    ├── UsageError (ValueError)                   2   an argument that makes no sense
    │   ├── FrameError (TypeError)                2   wrong dtype, rank, size or values in `step`
    │   └── SequenceError (RuntimeError)          2   `motion` before any keyframe, use after `close`
    ├── ModelError (ValueError)                   3   something is wrong with what is to be run
    │   ├── BundleError                           3   a `.arseg` file that is broken or not one
    │   ├── CheckpointError                       3   weights that fit no family, or not the named one
    │   ├── SizeError                             3   a frame size that the bundle does not take
    │   └── OperatorError (RuntimeError)          3   a graph or an operator that does not load or run
    ├── ProviderError (RuntimeError)              4   an execution provider that cannot be had
    ├── SourceError (OSError)                     5   the video cannot be read
    │   └── CodecError                            5   … because nothing here decodes it
    ├── DatasetError (ValueError)                 5   images and labels that do not make a data set
    ├── TrainingError (ArithmeticError)           1   a loss that is no number any more
    ├── ParityError (ArithmeticError)             6   numbers beyond their tolerance
    └── OutputError (OSError)                     1   a result cannot be written

Every message is one line: what was wrong, the offending value, what to do.
"""

from __future__ import annotations

from typing import ClassVar


class ArsegError(Exception):
    """The base of all errors; ``exit_code`` is what the command line ends with."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        # OSError and its kin format (errno, text) pairs by themselves; ours always carry one line.
        return " ".join(str(argument) for argument in self.args)


def reason_of(error: Exception, longest: int = 300) -> str:
    """Return what another library's error says, for a message of ours: one short line that can be printed.

    Libraries show what a file holds, and that may be anything; where one says nothing, its error's class says it.
    """
    text = " ".join(str(error).split())[:longest] or type(error).__name__
    return text if text.isprintable() else ascii(text)[1:-1][:longest]


class UsageError(ArsegError, ValueError):
    """An argument that makes no sense."""

    exit_code = 2


class FrameError(UsageError, TypeError):
    """A frame or a motion map of the wrong dtype, rank, size, or with values that are not finite."""


class SequenceError(UsageError, RuntimeError):
    """A call at the wrong moment: ``motion`` before any keyframe, anything after ``close``."""


class ModelError(ArsegError, ValueError):
    """Something is wrong with what is to be run."""

    exit_code = 3


class BundleError(ModelError):
    """A bundle that is broken, unsafe, from another format version, or not a bundle."""


class CheckpointError(ModelError):
    """Weights that fit no family, or not the one that was named."""


class SizeError(ModelError):
    """A frame size that the bundle does not take."""


class OperatorError(ModelError, RuntimeError):
    """A graph or an operator that does not load or run."""


class ProviderError(ArsegError, RuntimeError):
    """An execution provider that cannot be had."""

    exit_code = 4


class SourceError(ArsegError, OSError):
    """A video, a stream or a folder of images that cannot be read."""

    exit_code = 5


class CodecError(SourceError):
    """A stream that nothing here decodes."""


class DatasetError(ArsegError, ValueError):
    """Images and labels that do not make a data set: missing, of different sizes, with values of no class."""

    exit_code = 5


class TrainingError(ArsegError, ArithmeticError):
    """Training that cannot go on: a loss that is no finite number."""


class ParityError(ArsegError, ArithmeticError):
    """Numbers beyond their tolerance."""

    exit_code = 6


class OutputError(ArsegError, OSError):
    """A result that cannot be written."""
