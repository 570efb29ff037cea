"""Segment frames that another decoder gives, here OpenCV's, with motion of one's own, here optical flow.

python own_decoder.py street.mp4 --interval 12
"""

from __future__ import annotations

import argparse

import cv2

import arseg_edge


def main() -> None:
    """Print for each frame whether it was a keyframe and how long it took."""
    parser = argparse.ArgumentParser(description="Segment with a decoder of one's own.")
    parser.add_argument("video")
    parser.add_argument("--bundle", help="NAME.arseg; the demo model by default")
    parser.add_argument("--interval", type=int, default=12)
    given = parser.parse_args()

    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    video = cv2.VideoCapture(given.video)
    with arseg_edge.load(given.bundle) as segmenter:
        while (frame := video.read())[0]:
            rgb = cv2.cvtColor(frame[1], cv2.COLOR_BGR2RGB)
            grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
            if int(video.get(cv2.CAP_PROP_POS_FRAMES) - 1) % given.interval == 0:
                keyframe = grey
                result = segmenter.step(rgb, keyframe=True)
            else:
                # Pixels (dx, dy) from this frame to the keyframe: what lies at x here lies at x + dx there.
                result = segmenter.step(rgb, motion=flow.calc(grey, keyframe, None))
            print(result.index, "key" if result.is_keyframe else "   ", f"{result.speed.total:.1f} ms")
    video.release()


if __name__ == "__main__":
    main()
