"""Where each part of a frame lies in other frames.

``vectors`` puts the codec's motion vectors on a grid of blocks. For a displacement of each pixel to the last keyframe a
chain (``published`` or ``subpixel``) joins the grids of all frames since then. For the adaptive schedule ``step`` ties
each frame to the one before it on the grid of blocks, and ``anchors`` composes these steps.
"""

from __future__ import annotations

from typing import Final

from arseg_edge.operators import Chaining
from arseg_edge.runtime.motion.chain import MotionChain
from arseg_edge.runtime.motion.published import PublishedChain
from arseg_edge.runtime.motion.subpixel import SubpixelChain

__all__ = ["CHAINS", "Chaining", "MotionChain", "PublishedChain", "SubpixelChain"]

CHAINS: Final[dict[Chaining, type[MotionChain]]] = {"published": PublishedChain, "subpixel": SubpixelChain}
