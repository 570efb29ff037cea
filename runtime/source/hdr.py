"""PQ and HLG (ITU-R BT.2100) as SDR BT.709, which is what networks were trained on.

The reference white of HDR video, 203 cd/m2 (ITU-R BT.2408), becomes white; what is darker keeps its luminance on a
display after BT.1886; what is brighter, or more saturated than BT.709 can show, is cut, as a camera cuts what is too
bright for it. HLG is taken as its display of 1000 cd/m2 shows it.

libswscale does the same, and sets up for almost three seconds before its first picture.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.results import PQ, Colour

_WHITE: Final = 203.0
_HLG_PEAK: Final = 1000.0
_HLG_GAMMA: Final = 1.2
_BT709: Final = 1
_FROM_BT2020: Final = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
"""Linear RGB of BT.2020 in BT.709: ITU-R BT.2407-0, equation (5)."""
_LUMA: Final = np.array([[0.2627, 0.6780, 0.0593]], np.float32)
"""Of BT.2020."""


def tone_mapped(rgb: npt.NDArray[np.uint16], colour: Colour) -> npt.NDArray[np.uint8]:
    """R'G'B' of BT.709, uint8 [H, W, 3], from that of PQ or HLG, uint16 [H, W, 3], both of full range."""
    light = _light_of_signal(colour.transfer == PQ)[rgb]
    if colour.transfer != PQ:
        # The opto-optical transfer function; in ``light``, 1 is the display's peak for it.
        luma = np.asarray(cv2.pow(cv2.transform(light, _LUMA), _HLG_GAMMA - 1), np.float32)
        light *= luma[..., np.newaxis] * np.float32(_HLG_PEAK / _WHITE)
    if colour.primaries != _BT709:
        light = np.asarray(cv2.transform(light, _FROM_BT2020), np.float32)
    np.clip(light, 0, 1, out=light)
    return _signal_of_light()[(light * 65535).astype(np.uint16)]


@cache
def _light_of_signal(pq: bool) -> npt.NDArray[np.float32]:
    """Linear light for each of 65536 signals: of PQ over reference white, of HLG the scene's, at most 1."""
    signal = np.arange(65536) / 65535
    if pq:  # ITU-R BT.2100-2, table 4
        power = signal ** (32 / 2523)
        light = np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)
        return (light ** (16384 / 2610) * 10_000 / _WHITE).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # table 5
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)


@cache
def _signal_of_light() -> npt.NDArray[np.uint8]:
    """The inverse of BT.1886 for light in steps of 1/65535."""
    return np.round(255 * (np.arange(65536) / 65535) ** (1 / 2.4)).astype(np.uint8)
