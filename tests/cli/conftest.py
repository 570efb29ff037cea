"""Running the command line within this process, and a short clip to run it on."""

from __future__ import annotations

from pathlib import Path

import pytest
from clips import street_clip
from command_line import FRAMES, Command, Outcome

from arseg_edge.cli import main


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
