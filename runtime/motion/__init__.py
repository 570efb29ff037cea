"""Displacement from each pixel of a frame to the last keyframe.

``vectors`` puts the codec's motion vectors on a grid of blocks; a chain (``published`` or ``subpixel``)
joins the grids of all frames since the keyframe into one map per frame.
"""

from __future__ import annotations

from typing import Final

from arseg_edge.operators import Chaining
from arseg_edge.runtime.motion.chain import MotionChain
from arseg_edge.runtime.motion.published import PublishedChain
from arseg_edge.runtime.motion.subpixel import SubpixelChain

__all__ = ["CHAINS", "Chaining", "MotionChain", "PublishedChain", "SubpixelChain"]

CHAINS: Final[dict[Chaining, type[MotionChain]]] = {"published": PublishedChain, "subpixel": SubpixelChain}
