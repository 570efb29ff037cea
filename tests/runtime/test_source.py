"""Sources, against what was put into the streams and against ffmpeg's own conversion."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest
from streams import Image, as_frame, change_packets, encode, panning, texture

from arseg_edge.errors import ArsegError, CodecError, FrameError, SequenceError, SourceError, UsageError
from arseg_edge.runtime.motion.vectors import VECTOR_CODECS
from arseg_edge.runtime.source.open_source import DecodedFrame, SourceLike, open_source

HEIGHT, WIDTH = 96, 128


def read(source: SourceLike) -> list[DecodedFrame]:
    with open_source(source) as opened:
        return list(opened.frames())


@pytest.fixture(scope="module")
def pictures() -> list[Image]:
    return panning(14, HEIGHT, WIDTH, 2, 1)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, pictures: list[Image]) -> Path:
    return encode(tmp_path_factory.mktemp("source") / "panning.mp4", pictures, rate=Fraction(30000, 1001))


# Frames, times and sizes


def test_what_the_stream_says(video: Path) -> None:
    with open_source(video) as source:
        assert source.name == str(video)
        assert source.codec == "h264"
        assert (source.height, source.width) == (HEIGHT, WIDTH)
        assert source.frame_rate == Fraction(30000, 1001)
        assert source.frame_count == 14


def test_all_frames_come_at_their_exact_times(video: Path, pictures: list[Image]) -> None:
    frames = read(video)
    assert [frame.index for frame in frames] == list(range(14))
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(1001 * i, 30000) for i in range(14)]
    assert [frame.time for frame in frames] == [1001 * i / 30000 for i in range(14)]
    for frame, picture in zip(frames, pictures, strict=True):
        assert cv2.PSNR(frame.rgb, picture) > 30


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("mpeg4", "avi"), ("libx265", "mkv")])
def test_a_delaying_decoder_is_flushed(tmp_path: Path, codec: str, suffix: str) -> None:
    frames = read(encode(tmp_path / f"b.{suffix}", panning(15, 64, 64, 1, 1), codec, b_frames=2))
    assert len(frames) == 15
    assert "B" in {frame.picture_type for frame in frames}
    steps = np.diff([frame.time for frame in frames])
    np.testing.assert_allclose(steps, 1 / 25, atol=1e-6)


def test_a_frame_is_described_without_its_data(video: Path) -> None:
    frame = read(video)[3]
    assert (frame.height, frame.width, frame.picture_type) == (HEIGHT, WIDTH, "P")
    assert "array" not in repr(frame)


def test_missing_times_are_filled_in(tmp_path: Path) -> None:
    frames = read(encode(tmp_path / "raw.h264", panning(6, 64, 64, 1, 0)))
    assert [frame.time for frame in frames] == [i / 25 for i in range(6)]


def test_times_that_do_not_rise_are_raised(pictures: list[Image]) -> None:
    given = []
    for picture, pts in zip(pictures, [0, 2, 2, 1, None, 9], strict=False):
        frame = as_frame(picture)
        frame.pts, frame.time_base = pts, Fraction(1, 25)
        given.append(frame)
    assert [frame.pts for frame in read(given)] == [0, 2, 3, 4, 5, 9]


def test_the_size_can_change_in_mid_stream(tmp_path: Path) -> None:
    joined = tmp_path / "joined.h264"
    parts = [encode(tmp_path / f"{n}.h264", panning(3, 64, n, 1, 0)) for n in (64, 96)]
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert [frame.width for frame in read(joined)] == [64] * 3 + [96] * 3
    assert [frame.rgb.shape for frame in read(joined)] == [(64, 64, 3)] * 3 + [(64, 96, 3)] * 3


def test_a_real_recording(shared: Callable[[str], Path]) -> None:
    frames = read(shared("video") / "solidWhiteRight.mp4")
    assert len(frames) == 221
    assert [frame.pts for frame in frames] == list(range(221))
    assert {frame.time_base for frame in frames} == {Fraction(1, 25)}
    kinds = [frame.picture_type for frame in frames]
    assert (kinds.count("I"), kinds.count("P")) == (8, 213)
    assert not any(frame.reordered or frame.corrupt for frame in frames)


# Vectors


def test_vectors_are_the_same_in_every_run(video: Path) -> None:
    first, second = read(video), read(video)
    assert sum(frame.vectors is not None for frame in first) == 12  # all but the two I-frames
    for one, two in zip(first, second, strict=True):
        assert (one.vectors is None) == (two.vectors is None)
        if one.vectors is not None and two.vectors is not None:
            for name in one.vectors.dtype.names or ():
                np.testing.assert_array_equal(one.vectors[name], two.vectors[name])


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "snow"])
def test_no_vectors_of_codecs_that_give_none_or_are_not_known(tmp_path: Path, codec: str) -> None:
    frames = read(encode(tmp_path / "v.mkv", panning(4, 64, 64, 1, 0), codec))
    assert frames[1].picture_type == "P"
    assert all(frame.vectors is None for frame in frames)


def test_no_vectors_of_interlaced_pictures(tmp_path: Path) -> None:
    path = encode(tmp_path / "i.mp4", panning(4, 64, 64, 1, 0), options={"x264-params": "tff=1"})
    assert [frame.vectors is None for frame in read(path)] == [True] * 4


@pytest.mark.parametrize(
    ("codec", "b_frames", "reordered"),
    [("libx264", 0, False), ("libx264", 2, True), ("mpeg2video", 0, False), ("mpeg2video", 2, True)],
)
def test_streams_with_b_frames_are_told(tmp_path: Path, codec: str, b_frames: int, reordered: bool) -> None:
    frames = read(encode(tmp_path / "v.ts", panning(12, 64, 64, 1, 0), codec, b_frames=b_frames))
    assert any(frame.reordered for frame in frames) is reordered


# Images and iterables


def test_a_directory_of_images_in_natural_order(tmp_path: Path, pictures: list[Image]) -> None:
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    (tmp_path / "notes.txt").write_text("not an image")
    with open_source(tmp_path) as source:
        assert (source.frame_count, source.height, source.width) == (14, HEIGHT, WIDTH)
        frames = list(source.frames())
    assert [frame.time for frame in frames] == [i / 25 for i in range(14)]
    for frame, picture in zip(frames, pictures, strict=True):
        np.testing.assert_array_equal(frame.rgb, picture)


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "bmp", "webp"])
def test_kinds_of_images(tmp_path: Path, suffix: str) -> None:
    picture = texture(48, 64)
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    (frame,) = read(tmp_path)
    assert cv2.PSNR(frame.rgb, picture) > 28


def test_an_iterable_of_arrays(pictures: list[Image]) -> None:
    with open_source(pictures) as source:
        assert source.frame_count == 14
        frames = list(source.frames())
    assert [(frame.index, frame.time) for frame in frames] == [(i, i / 25) for i in range(14)]
    assert all(frame.rgb is picture for frame, picture in zip(frames, pictures, strict=True))


def test_an_iterable_of_decoded_frames(video: Path, pictures: list[Image]) -> None:
    def decoded() -> Iterator[av.VideoFrame]:
        with av.open(str(video)) as container:
            yield from container.decode(video=0)

    assert [f.pts * f.time_base for f in read(decoded())] == [f.pts * f.time_base for f in read(video)]


def decoded_elsewhere(path: Path) -> Iterator[av.VideoFrame]:
    """Frames as whoever uses PyAV already has them, with their motion vectors."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.options = {"flags2": "+export_mvs"}
        yield from container.decode(stream)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_decoded_frames_keep_what_they_carry(tmp_path: Path, pictures: list[Image], b_frames: int) -> None:
    path = encode(tmp_path / "v.mp4", pictures, b_frames=b_frames)
    own, given = read(path), read(decoded_elsewhere(path))
    assert any(frame.vectors is not None for frame in own)
    for one, other in zip(own, given, strict=True):
        assert (one.picture_type, one.pts) == (other.picture_type, other.pts)
        assert (one.vectors is None) == (other.vectors is None)
        if one.vectors is not None and other.vectors is not None:
            for name in one.vectors.dtype.names or ():
                np.testing.assert_array_equal(one.vectors[name], other.vectors[name])
    assert given[-1].reordered is (b_frames > 0)


# Damage


def test_damaged_data_in_the_middle(tmp_path: Path, video: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = read(change_packets(video, tmp_path / "d.mp4", {5: b"no slice of a picture"}))
    assert [frame.discontinuity for frame in frames] == [index == 5 for index in range(13)]
    assert "undecodable data after 5 frames" in caplog.text


def test_a_concealed_picture_is_told(tmp_path: Path, video: Path) -> None:
    with av.open(str(video)) as container:
        payload = [bytes(packet) for packet in container.demux(video=0)][5]
    half = len(payload) // 2
    frames = read(change_packets(video, tmp_path / "d.mp4", {5: payload[:half] + bytes(len(payload) - half)}))
    assert [frame.corrupt for frame in frames] == [index == 5 for index in range(14)]


def test_a_truncated_stream_gives_what_is_there(tmp_path: Path, pictures: list[Image]) -> None:
    whole = encode(tmp_path / "whole.ts", pictures).read_bytes()
    (tmp_path / "half.ts").write_bytes(whole[: len(whole) // 2])
    assert 4 < len(read(tmp_path / "half.ts")) < 14


# Closing


def test_closing_in_mid_stream_releases_the_file(video: Path) -> None:
    with open_source(video) as source:
        next(source.frames())
        assert str(video.resolve()) in {file.path for file in psutil.Process().open_files()}
    source.close()
    assert str(video.resolve()) not in {file.path for file in psutil.Process().open_files()}


def test_a_closed_source_gives_no_more(video: Path) -> None:
    source = open_source(video)
    frames = source.frames()
    next(frames)
    source.close()
    with pytest.raises(SequenceError, match="closed"):
        list(frames)
    with pytest.raises(SequenceError, match="closed"):
        next(source.frames())


def test_a_source_that_goes_away(tmp_path: Path, pictures: list[Image]) -> None:
    content = encode(tmp_path / "whole.ts", pictures).read_bytes()

    class Half(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Half) as server:
        threading.Thread(target=server.serve_forever).start()
        given: list[DecodedFrame] = []
        source = open_source(f"http://127.0.0.1:{server.server_port}/half.ts")
        try:
            with source, pytest.raises(SourceError, match=r"half\.ts: reading failed"):
                given.extend(source.frames())
        finally:
            server.shutdown()
    assert 4 < len(given) < 14


# Errors


def broken_file(content: bytes) -> Callable[[Path], SourceLike]:
    def make(folder: Path) -> SourceLike:
        (folder / "x.mp4").write_bytes(content)
        return folder / "x.mp4"

    return make


def sound_only(folder: Path) -> SourceLike:
    with av.open(str(folder / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    return folder / "sound.wav"


def without_decoder(folder: Path) -> SourceLike:
    path = encode(folder / "v.mp4", panning(2, 64, 64, 1, 0))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    return path


def encrypted(folder: Path) -> SourceLike:
    path = encode(folder / "clear.mp4", panning(6, 64, 64, 1, 0))
    keys = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    with av.open(str(path)) as before, av.open(str(folder / "e.mp4"), "w", options=keys) as after:
        copy = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                after.mux(packet)
    return folder / "e.mp4"


def undecodable(folder: Path) -> SourceLike:
    path = encode(folder / "v.mp4", panning(2, 64, 64, 1, 0))
    return change_packets(path, folder / "noise.mp4", dict.fromkeys(range(2), b"no slice of a picture"))


def no_frames(folder: Path) -> SourceLike:
    path = encode(folder / "v.mp4", panning(2, 64, 64, 1, 0))
    return change_packets(path, folder / "none.avi", {0: None, 1: None})


def folder_without_images(folder: Path) -> SourceLike:
    (folder / "labels.txt").write_text("")
    return folder


def folder_with_a_broken_image(folder: Path) -> SourceLike:
    (folder / "0.png").write_bytes(b"\x89PNG and no more")
    return folder


ERRORS: list[tuple[Callable[[Path], SourceLike], type[ArsegError], str]] = [
    (lambda folder: folder / "gone.mp4", SourceError, "gone.mp4: No such file"),
    (lambda folder: encode(folder / "v.mp4", [texture(64, 64)]) / "x.mp4", SourceError, "Not a directory"),
    (broken_file(b"this is no video at all"), SourceError, "x.mp4: not a video"),
    (broken_file(b""), SourceError, "x.mp4: not a video"),
    (sound_only, SourceError, "sound.wav: no video stream"),
    (without_decoder, CodecError, "v.mp4: no decoder for its video stream"),
    (encrypted, CodecError, "e.mp4: encrypted"),
    (undecodable, CodecError, "noise.mp4: none of its h264 packets could be decoded"),
    (no_frames, SourceError, "none.avi: no frames in it"),
    (folder_without_images, SourceError, "no images in this directory"),
    (folder_with_a_broken_image, SourceError, "0.png: not an image"),
    (lambda _: "http://127.0.0.1:9/none.mp4", SourceError, "none.mp4: cannot be opened"),
    (lambda _: "nonsense://none", SourceError, "nonsense://none: cannot be opened"),
    (lambda _: [], SourceError, "list: no frames in it"),
    (lambda _: 3, UsageError, "source of type int"),  # type: ignore[return-value,list-item]
    (lambda _: [np.zeros((4, 4, 3), np.float32)], FrameError, r"frame 0 is float32 \[4, 4, 3\]"),  # type: ignore[list-item]
    (lambda _: [np.zeros((4, 4), np.uint8)], FrameError, r"frame 0 is uint8 \[4, 4\]"),
    (lambda _: np.zeros((4, 4, 3), np.uint8), FrameError, r"frame 0 is uint8 \[4, 3\]"),
    (lambda _: ["a.png"], FrameError, "frame 0 is str"),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("make", "kind", "message"), ERRORS)
def test_what_cannot_be_read(
    tmp_path: Path, make: Callable[[Path], SourceLike], kind: type[ArsegError], message: str
) -> None:
    source = make(tmp_path)
    with pytest.raises(kind, match=message) as caught:
        read(source)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is kind


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_must_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    # A superuser may read everything, so the refusal itself is simulated.
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "x"
    if kind == "file":
        path.write_bytes(b"secret")
        monkeypatch.setattr(av, "open", refuse)
    else:
        path.mkdir()
        monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SourceError, match=r"x: .*Permission denied"):
        read(path)


def test_vector_codecs_are_decoders_of_this_ffmpeg() -> None:
    assert av.codecs_available >= VECTOR_CODECS
