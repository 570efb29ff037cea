"""Makes the README's picture, ``docs/road.jpg``: one frame of a video, and beside it the classes that were found.

    python benchmarks/picture.py solidWhiteRight.mp4

The video is a drive on a motorway from Udacity's course on lane lines (``test_videos/solidWhiteRight.mp4`` of
https://github.com/udacity/CarND-LaneLines-P1, MIT licence, credit "Udacity"); it is not part of this project. The demo
model labels it, from the video's first frame on, as ``arseg-edge run`` does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

import arseg_edge
from arseg_edge.manifest import ClassInfo
from arseg_edge.results import Result
from arseg_edge.runtime.sinks.blend import Blend

OUT = Path(__file__).parents[1] / "docs" / "road.jpg"
WIDTH = 640
"""Of each of the two pictures."""
LEGEND = 26
"""Height of the line that names the classes."""
SHOWN = 0.002
"""A class that covers less of the picture is not named."""


def frame_of(video: str, index: int) -> tuple[Result, tuple[ClassInfo, ...]]:
    """Return the result for one frame, and the classes."""
    with arseg_edge.load() as segmenter:
        results = segmenter.stream(video)
        result = next(each for each in results if each.index == index)
        results.close()
        return result, segmenter.classes


def legend(classes: list[ClassInfo], width: int) -> npt.NDArray[np.uint8]:
    """Return a line of squares in the classes' colours, each with its name."""
    line = np.full((LEGEND, width, 3), 255, np.uint8)
    step = width // len(classes)
    for number, each in enumerate(classes):
        left = number * step + 6
        cv2.rectangle(line, (left, 6), (left + 14, 20), each.colour, cv2.FILLED)
        cv2.putText(line, each.name, (left + 20, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
    return line


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--frame", type=int, default=150)
    given = parser.parse_args()
    result, classes = frame_of(given.video, given.frame)
    overlay = Blend(np.array([each.colour for each in classes], np.uint8), 0.55)(result.rgb, result.labels)
    height = round(WIDTH * result.rgb.shape[0] / result.rgb.shape[1])
    pair = [cv2.resize(each, (WIDTH, height), interpolation=cv2.INTER_AREA) for each in (result.rgb, overlay)]
    found = [each for number, each in enumerate(classes) if (result.labels == number).mean() > SHOWN]
    picture = np.vstack([np.hstack(pair), legend(found, 2 * WIDTH)])
    OUT.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(OUT), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
