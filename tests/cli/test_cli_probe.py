"""``probe``, to read and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest
from clips import sound
from command_line import FRAMES, Command

from arseg_edge.bundle import read_bundle


def test_probe(arseg: Command, tiny_bundle: Path, clip: Path) -> None:
    done = arseg("probe", clip, "-m", tiny_bundle)
    assert (done.code, done.err) == (0, "")
    table, schedules, advice = done.out.split("\n\n")
    rows = dict(line.split("  ", 1) for line in table.splitlines())
    facts = {name: value.strip() for name, value in rows.items()}
    macs = read_bundle(tiny_bundle).manifest.macs
    ratio = (macs.lr["0.5"] + macs.creff) / macs.hr
    assert facts.pop("warped keyframe").endswith(" dB)")
    assert float(facts.pop("intra blocks").rstrip("%")) < 20
    assert facts.pop("speed-up with LR 0.5").startswith(f"{FRAMES / (2 + (FRAMES - 2) * ratio):.2f} in arithmetic")
    assert facts.pop("shown by no earlier frame").count("%") == 3
    assert "speed-up with LR 0.3" in facts
    del facts["speed-up with LR 0.3"]
    assert facts == {
        "codec": "h264",
        "size (height x width)": "360x480",
        "pixels (width:height)": "not said, so square",
        "frames a second": "24",
        "read": "14 frames over 0.54 s",
        "picture types": "P 85.7%, I 14.3%",
        "I-frames apart": "12 to 12 frames, median 12",
        "B-frames": "none",
        "references": "up to 1",
        "droppable frames": "none",
        "frames with sure vectors": "100.0%",
        "vectors of list 1 (future)": "0.0%",
        "interlaced": "no",
        "motion": "bitstream 12",
        "keyframes": "2 (first 1, interval 1) at interval 12",
    }
    file, live = schedules.splitlines()
    assert file.startswith(
        "for a file like this take --schedule adaptive: enough of each frame is shown with HR every "
    )
    assert live.startswith("for a live source like this take --schedule ")
    assert advice.startswith("no other encoder settings would serve better: ")


def test_probe_without_a_bundle(arseg: Command, clip: Path) -> None:
    done = arseg("probe", clip, "--seconds", "0.25")
    assert done.code == 0
    assert "6 frames" in done.out
    assert "speed-up" not in done.out
    assert "fewer than two read" in done.out


def test_probe_as_json(arseg: Command, tiny_bundle: Path, clip: Path) -> None:
    facts = arseg("probe", clip, "-m", tiny_bundle, "--json").json
    assert (facts["video"], facts["codec"], facts["size"]) == (str(clip), "h264", [360, 480])
    assert (facts["frames"], facts["frame_rate"], facts["interval"]) == (FRAMES, 24, 12)
    assert facts["coding"]["i_frames"] == {"shortest": 12, "median": 12, "longest": 12}
    assert (facts["motion_sources"], facts["keyframes"]) == ({"bitstream": 12}, {"first": 1, "interval": 1})
    assert facts["warp"]["gain"] == pytest.approx(facts["warp"]["psnr"] - facts["warp"]["still"])
    assert facts["warp"]["gain"] > 5
    assert set(facts["savings"]) == {"0.5", "0.3"}
    assert facts["advice"]["settings"] is None
    unshown = facts["unshown"]
    assert len(unshown["by_distance"]) == FRAMES - 1
    assert unshown["interval_file"] >= unshown["interval_live"] > 1


def test_probe_names_better_settings(arseg: Command, clip: Path, tmp_path: Path) -> None:
    import av

    # The same street as a camera's JPEGs: no vectors.
    path = tmp_path / "street.mkv"
    with av.open(str(clip)) as before, av.open(str(path), "w") as after:
        stream = after.add_stream("mjpeg", rate=24)
        stream.width, stream.height, stream.pix_fmt = 480, 360, "yuvj420p"
        for frame in before.decode(video=0):
            after.mux(stream.encode(frame.reformat(format="yuvj420p")))
        after.mux(stream.encode(None))
    lines = arseg("probe", path).out.splitlines()
    assert lines[-2] == "encoder settings that would serve better: -c:v libx264 -bf 0 -refs 1 -g 12"
    assert lines[-1].startswith("  mjpeg gives no motion vectors")
    assert "motion                      estimated 12" in lines


@pytest.mark.parametrize(
    ("code", "said", "arguments"),
    [
        (5, "none.mp4", ["none.mp4"]),
        (5, "not a video", ["notes.mp4"]),
        (5, "no video stream", ["sound.wav"]),
        (5, "no images", ["images"]),
        (3, "none.arseg", ["notes.mp4", "-m", "none.arseg"]),
        (2, "more than 0", ["notes.mp4", "--seconds", "nan"]),
    ],
)
def test_probe_of_bad_input(
    arseg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.mp4").write_bytes(b"not a video at all\n" * 50)
    Path("images").mkdir()
    sound(Path("sound.wav"))
    done = arseg("probe", *arguments)
    assert (done.code, done.out) == (code, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert said in line
