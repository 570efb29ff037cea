"""``compare``, to read and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest
from clips import STREET, street_clip
from command_line import FRAMES, Command

from arseg_edge.demo import demo_bundle

BUNDLE = demo_bundle()


def test_compare(arseg: Command, clip: Path) -> None:
    done = arseg("compare", clip, "--threads", "1")
    assert (done.code, done.err) == (0, "")
    head, by_distance, by_class, schedules, times, reaches, chosen, advice = done.out.strip().split("\n\n")
    assert head == f"demo.arseg on {clip}: {FRAMES} frames, 2 keyframes (first 1, intra 1)"
    _, _, *rows = (line.split() for line in by_distance.splitlines())
    assert [row[:2] for row in rows] == [["1", "2"], *([str(distance), "1"] for distance in range(2, 12))]
    assert all(80 < float(share) <= 100 for row in rows for share in row[2:4])
    assert by_class.splitlines()[2].startswith("sky")
    row = schedules.splitlines()[2].split()
    assert row[:6] == ["HR", "on", "every", "frame", "100.00", "100.0"]
    assert times.splitlines()[0].endswith("speed-up at interval 12")
    names = ["HR", "LR 0.5 + CReFF", "adaptive, live", "adaptive, file"]
    assert [line[:14].strip() for line in times.splitlines()[2:]] == names
    scale, interval, *_ = reaches.splitlines()[2].split()
    assert (scale, interval) == ("0.5", "12")
    assert "the video: its own keyframes come no further apart" in reaches
    assert [line.rpartition(" ")[0] for line in chosen.splitlines()] == [
        f"for a {source} like this take --schedule" for source in ("file", "live source")
    ]
    assert advice.startswith("with --schedule paper this video calls for ")


def test_compare_as_json(arseg: Command, tiny_bundle: Path, clip: Path) -> None:
    facts = arseg("compare", clip, "-m", tiny_bundle, "--longest", "6", "--threads", "1", "--json").json
    assert (facts["model"], facts["video"], facts["frames"]) == ("tiny.arseg", str(clip), FRAMES)
    assert (facts["interval"], facts["longest"]) == (12, 6)
    assert facts["keyframes"] == {"first": 1, "interval": 2}
    assert facts["frames_by_distance"] == [3, 3, 2, 2, 2, 2]
    assert set(facts["scales"]) == set(facts["milliseconds"]["ar"]) == {"0.5", "0.3"}
    assert set(facts["milliseconds"]) == {"hr", "ar", "adaptive-live", "adaptive-file"}
    for branch in facts["scales"].values():
        assert branch["speedup"] > 0
        # Nothing is compared on keyframes.
        assert branch["ar"]["agreement_by_distance"][0] is None
        assert all(0 <= share <= 100 for share in branch["lr"]["agreement_by_distance"][1:])
    schedules = {each["name"]: each for each in facts["schedules"]}
    assert [name for name in schedules if name.startswith("hr-every")] == [
        f"hr-every-{k}-{sides}" for sides in ("one-side", "both-sides") for k in (2, 3, 4, 6, 12)
    ]
    for each in schedules.values():
        assert set(each) == {"name", "agreement", "frames", "arithmetic", "consistency"}
        assert 0 <= each["agreement"] <= 100
        assert 0 <= each["consistency"] <= 100
    assert schedules["hr"]["agreement"] == 100
    assert schedules["ar"]["frames"] == {"hr": round(1 / 6, 4), "lr": round(5 / 6, 4), "moved": 0}
    assert {facts["advice"]["file"], facts["advice"]["live"]} <= {"adaptive", "paper"}
    assert facts["advice"]["threshold"] == 90
    assert [reach["scale"] for reach in facts["advice"]["reaches"]] == [0.5, 0.3]


def test_an_agreement_that_nothing_reaches(arseg: Command, clip: Path) -> None:
    done = arseg("compare", clip, "-m", BUNDLE, "--agreement", "99.9", "--longest", "3", "--threads", "1")
    assert done.code == 0
    assert "the LR scale: 9" in done.out
    assert done.out.splitlines()[-1] == (
        "with --schedule paper this video calls for HR on every frame: "
        "nothing faster agrees with it on 99.9 % of the pixels"
    )


def test_a_bundle_of_one_size(arseg: Command, tiny_fixed_bundle: Path, clip: Path) -> None:
    refused = arseg("compare", clip, "-m", tiny_fixed_bundle)
    assert refused.code == 3
    assert "--resize" in refused.err
    assert arseg("compare", clip, "-m", tiny_fixed_bundle, "--resize", "--longest", "2", "--threads", "1").code == 0


def test_what_cannot_be_compared(arseg: Command, tmp_path: Path) -> None:
    single = street_clip(tmp_path / "single.mp4", 1)
    done = arseg("compare", single, "-m", BUNDLE)
    assert (done.code, done.out) == (5, "")
    assert done.err == f"error: {single}: each of its 1 frames is a keyframe: there is nothing to compare\n"


@pytest.mark.parametrize(
    ("code", "said", "arguments"),
    [(3, "none.arseg", [STREET, "-m", "none.arseg"]), (5, "none.mp4", ["none.mp4"])],
)
def test_compare_of_bad_input(arseg: Command, code: int, said: str, arguments: list[str | Path]) -> None:
    done = arseg("compare", *arguments)
    assert (done.code, done.out) == (code, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert said in line
