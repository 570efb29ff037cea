"""Segment a video: write it with the classes laid over it, and print how much of the picture each class takes.

python segment_file.py street.mp4 overlay.mp4
"""

from __future__ import annotations

import argparse

import numpy as np

import arseg_edge
from arseg_edge.runtime.sinks import OverlaySink


def segment_file(bundle: str | None, video: str, overlay: str) -> dict[str, float]:
    """Write the overlay and return the mean share of each class, 0 to 1."""
    with arseg_edge.load(bundle) as segmenter:
        counts = np.zeros(len(segmenter.classes), np.int64)
        with OverlaySink(overlay, [each.colour for each in segmenter.classes]) as sink:
            for result in segmenter.stream(video):
                sink.append(result)
                counts += np.bincount(result.labels.ravel(), minlength=len(counts))
        return {each.name: share for each, share in zip(segmenter.classes, counts / counts.sum(), strict=True)}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Segment a video.")
    parser.add_argument("video")
    parser.add_argument("overlay")
    parser.add_argument("--bundle", help="NAME.arseg; the demo model by default")
    given = parser.parse_args()
    for name, share in segment_file(given.bundle, given.video, given.overlay).items():
        print(f"{name:12} {share:6.1%}")


if __name__ == "__main__":
    main()
