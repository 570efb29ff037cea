"""Results show shapes, not data, and cannot be changed."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from arseg_edge import Result, Speed


class Picture:
    """A picture that counts how often it is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def rgb(self) -> np.ndarray:
        self.asked += 1
        return np.zeros((4, 6, 3), np.uint8)


SPEED = Speed({"decode": 1.25, "hr": 20.0}, "CPUExecutionProvider", native=True)


@pytest.fixture
def result() -> Result:
    return Result(
        labels=np.zeros((4, 6), np.uint8),
        index=7,
        pts=7007,
        time_base=Fraction(1, 30000),
        is_keyframe=True,
        keyframe_reason="intra",
        distance=0,
        motion_source=None,
        speed=SPEED,
        picture=Picture(),
    )


def test_time_is_exact(result: Result) -> None:
    assert result.time == 7007 / 30000


def test_the_repr_shows_shapes(result: Result) -> None:
    expected = "Result(labels=[4, 6], index=7, pts=7007, time=0.234, branch='hr', age=0, keyframe_reason='intra')"
    assert repr(result) == expected
    other = dataclasses.replace(result, is_keyframe=False, branch="lr", keyframe_reason=None)
    assert repr(other) == "Result(labels=[4, 6], index=7, pts=7007, time=0.234, branch='lr', age=0)"


def test_the_picture_is_converted_when_asked_for(result: Result) -> None:
    assert isinstance(result.picture, Picture)
    assert result.picture.asked == 0
    assert result.rgb.shape == (4, 6, 3)
    assert result.picture.asked == 1


def test_results_cannot_be_changed(result: Result) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.index = 8  # type: ignore[misc]


def test_speed() -> None:
    assert SPEED.total == 21.25
    assert repr(SPEED) == "Speed(decode 1.2, hr 20.0 ms; CPUExecutionProvider, native)"
