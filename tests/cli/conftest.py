"""Running the command line within this process, and a short clip to run it on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clips import street_clip

from arseg_edge.cli import main

FRAMES = 14


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be strict JSON."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


Command = Callable[..., Outcome]


@pytest.fixture
def arseg(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``arseg-edge`` with these arguments."""

    def run(*arguments: str | Path) -> Outcome:
        with pytest.raises(SystemExit) as raised:
            main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        assert isinstance(raised.value.code, int)
        return Outcome(raised.value.code, out, err)

    return run


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of the street, a keyframe after twelve of them."""
    return street_clip(tmp_path_factory.mktemp("cli") / "street.mp4", FRAMES)
