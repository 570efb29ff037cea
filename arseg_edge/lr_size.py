"""The size of the LR network's picture."""

from __future__ import annotations


def lr_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return the size of the low-resolution image for a frame of ``height`` × ``width`` pixels.

    As the published models were trained: ``int(height * scale)`` in double precision. That is not
    the product on paper: a height of 720 at 0.7 gives 503. The graphs compute the same (``export/graph_ends.py``).

    >>> lr_size(720, 960, 0.7)
    (503, 672)
    """
    return int(height * scale), int(width * scale)
