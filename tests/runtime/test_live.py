"""Sources that stall, end and come back: UDP, HTTP, HLS, pipes, and a real RTSP server, all on the loopback address."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from servers import HOST, free_port, http_server, rtsp_server, udp_sender
from streams import encode, panning

from arseg_edge.errors import ArsegError, SequenceError, SourceError
from arseg_edge.runtime.read_motion import motion_frames, read_motion
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.network import NetworkSource
from arseg_edge.runtime.source.open_source import open_source
from arseg_edge.runtime.source.video import VideoSource

COUNT = 25
PATIENT = 20.0
"""A time-out that no test may have to wait for."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("live") / "v.ts", panning(COUNT, 96, 128, 2, 1), gop=5)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("live") / "v.h264", panning(COUNT, 96, 128, 2, 1), gop=5)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, no frame is left out (``test_backlog.py`` has what is)."""
    monkeypatch.setattr("arseg_edge.runtime.source.backlog.LATE", 1000.0)


@pytest.fixture
def sending() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


def check_order(frames: list[DecodedFrame]) -> None:
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert (np.diff([frame.pts for frame in frames]) > 0).all()


def body(request: BaseHTTPRequestHandler, content: bytes, *, length: bool) -> None:
    request.send_response(200)
    if length:
        request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


# UDP


def test_udp(clip: Path, sending: threading.Event) -> None:
    before = time.monotonic()
    with udp_sender(clip.read_bytes(), sending=sending) as address, open_source(address) as source:
        frames = list(islice(source.frames(), 60))
        assert source.live
        assert (source.codec, source.width, source.height) == ("h264", 128, 96)
    check_order(frames)
    arrived = [frame.arrived for frame in frames]
    assert all(each is not None and before < each < time.monotonic() for each in arrived)
    assert frames[-1].rgb.shape == (96, 128, 3)


def test_a_sender_that_stalls_is_found_again(
    clip: Path, sending: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        udp_sender(clip.read_bytes(), sending=sending) as address,
        NetworkSource(address, timeout=1, pauses=(0.1,) * 20) as source,
    ):
        frames: list[DecodedFrame] = []
        for frame in source.frames():
            frames.append(frame)
            if len(frames) == 10:
                sending.clear()
                threading.Timer(2.0, sending.set).start()
            if source.reconnects and not any(each.discontinuity for each in frames[-10:]):
                break
    check_order(frames)
    # A sender that goes on somewhere else in its stream: one frame starts anew.
    assert any(frame.discontinuity for frame in frames[10:])
    assert source.reconnects == 1
    assert "no data for 1 s" in caplog.text
    assert "reconnected (1 times so far)" in caplog.text


# HTTP


def test_a_live_http_stream_that_ends_is_taken_up_again(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = clip.read_bytes()
    with (
        http_server(lambda request: body(request, content, length=False)) as address,
        NetworkSource(f"{address}/v.ts", timeout=5, pauses=(0.01,)) as source,
    ):
        assert source.live
        frames = list(islice(source.frames(), 3 * COUNT))
    check_order(frames)
    assert [frame.index for frame in frames if frame.discontinuity] == [COUNT, 2 * COUNT]
    assert [frame.picture_type for frame in frames if frame.discontinuity] == ["I", "I"]
    assert source.reconnects == 2
    assert "attempt 1 of 1 to reconnect in 0.01 s" in caplog.text


def test_the_chain_starts_anew_after_each_reconnection(clip: Path) -> None:
    content = clip.read_bytes()
    with (
        http_server(lambda request: body(request, content, length=False)) as address,
        NetworkSource(f"{address}/v.ts", timeout=5, pauses=(0.01,)) as source,
    ):
        frames = list(islice(motion_frames(source, interval=1000), 2 * COUNT))
    assert [frame.index for frame in frames if frame.keyframe_reason == "discontinuity"] == [COUNT]
    assert (frames[COUNT].motion, frames[COUNT].distance) == (None, 0)


def test_the_time_that_passed_stands_in_the_timestamps(clip: Path) -> None:
    content = clip.read_bytes()
    with (
        http_server(lambda request: body(request, content, length=False)) as address,
        NetworkSource(f"{address}/v.ts", timeout=5, pauses=(0.5,)) as source,
    ):
        frames = list(islice(source.frames(), COUNT + 2))
    last, first, second = (frames[index].time for index in (COUNT - 1, COUNT, COUNT + 1))
    assert first - last >= 0.5
    assert second - first == pytest.approx(1 / 25, abs=1e-4)


def test_a_live_source_lost_for_good(clip: Path) -> None:
    content, answers = clip.read_bytes(), []

    def answer(request: BaseHTTPRequestHandler) -> None:
        answers.append(request)
        if len(answers) > 1:
            request.send_error(503)
        else:
            body(request, content, length=False)

    frames: list[DecodedFrame] = []
    with (
        http_server(answer) as address,
        NetworkSource(f"{address}/v.ts", timeout=5, pauses=(0.01, 0.02, 0.04)) as source,
        pytest.raises(SourceError, match=r"v\.ts: lost, and not found again in 3 attempts"),
    ):
        frames.extend(source.frames())
    assert len(frames) == COUNT
    assert len(answers) == 4


def test_a_file_over_http_is_not_live(clip: Path) -> None:
    content = clip.read_bytes()
    with http_server(lambda request: body(request, content, length=True)) as address:
        with open_source(f"{address}/v.ts") as source:
            assert not source.live
            frames = list(source.frames())
        assert len(frames) == COUNT
        assert {frame.arrived for frame in frames} == {None}


def test_a_slow_reader_loses_nothing(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arseg_edge.runtime.source.connection.READ_AHEAD", 2)
    content = clip.read_bytes()
    with (
        http_server(lambda request: body(request, content, length=True)) as address,
        open_source(f"{address}/v.ts") as source,
    ):
        assert len(list(source.frames())) == COUNT


@pytest.mark.parametrize("ends", [True, False])
def test_hls(tmp_path: Path, clip: Path, ends: bool) -> None:
    segments = "\n".join(f"#EXTINF:1.0,\n{name}.ts" for name in range(2))
    playlist = f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n{segments}\n" + "#EXT-X-ENDLIST\n" * ends
    with av.open(str(clip)) as container, av.open(str(tmp_path / "1.ts"), "w") as later:
        copy = later.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts + 90000, packet.dts + 90000, copy
                later.mux(packet)
    files = {"/0.ts": clip.read_bytes(), "/1.ts": (tmp_path / "1.ts").read_bytes(), "/v.m3u8": playlist.encode()}
    with (
        http_server(lambda request: body(request, files[request.path], length=True)) as address,
        open_source(f"{address}/v.m3u8") as source,
    ):
        assert source.live is not ends
        frames = list(source.frames()) if ends else list(islice(source.frames(), 2 * COUNT))
    assert len(frames) == 2 * COUNT
    check_order(frames)


@pytest.mark.parametrize("rate", [5, 20])
def test_pictures_without_times_count_when_they_arrive(rate: int) -> None:
    pictures = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in panning(8, 96, 128, 2, 1)]
    sent: list[float] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        for number in range(60):
            sent.append(time.monotonic())
            jpeg = pictures[number % 8]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            request.wfile.write(head.encode() + jpeg + b"\r\n")
            request.wfile.flush()
            time.sleep(1 / rate)

    with http_server(answer) as address, NetworkSource(f"{address}/camera", timeout=PATIENT) as source:
        frames = list(islice(source.frames(), 8))
        assert source.live
        assert source.frame_rate is None
    check_order(frames)
    assert {frame.stream_pts for frame in frames} == {None}
    assert frames[0].time == 0
    # Not sooner after each other than they were sent, and nothing invented: the arrival is the time.
    for frame, begun in zip(frames, sent, strict=False):
        assert frame.arrived is not None
        assert frame.arrived >= begun
        assert frame.time == pytest.approx(frame.arrived - (frames[0].arrived or 0), abs=0.002)


# Standard input and pipes


READ_STDIN = """
import logging, sys
from arseg_edge.errors import ArsegError
from arseg_edge.runtime.source.network import NetworkSource
logging.disable()
count = 0
try:
    source = NetworkSource("-", timeout=float(sys.argv[1]))
    for frame in source.frames():
        count += 1
except ArsegError as error:
    print(error)
    print(error.exit_code)
print(count)
"""


@pytest.mark.parametrize("suffix", ["ts", "h264", "mkv"])
def test_standard_input(tmp_path: Path, suffix: str) -> None:
    path = encode(tmp_path / f"v.{suffix}", panning(COUNT, 96, 128, 2, 1))
    with path.open("rb") as stdin:
        command = [sys.executable, "-c", READ_STDIN, "60"]
        assert subprocess.run(command, stdin=stdin, capture_output=True, text=True).stdout.split() == [str(COUNT)]


def test_standard_input_that_stalls(clip: Path) -> None:
    reader = subprocess.Popen(
        [sys.executable, "-c", READ_STDIN, "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False
    )
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write(clip.read_bytes())
    reader.stdin.flush()  # and not closed
    message, code, count = reader.stdout.read().decode().splitlines()
    reader.wait()
    reader.stdin.close()
    reader.stdout.close()
    assert message.startswith("standard input: no data for 1 s")
    assert code == "5"
    assert 0 < int(count) <= COUNT


def test_standard_input_that_is_no_video() -> None:
    command = [sys.executable, "-c", READ_STDIN, "60"]
    done = subprocess.run(command, input="no video at all", capture_output=True, text=True)
    assert done.stdout.splitlines() == ["standard input: not a video; give one that FFmpeg can open", "5", "0"]


def test_a_named_pipe(tmp_path: Path, clip: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ts")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe.ts").write_bytes(clip.read_bytes()))
    writer.start()
    with open_source(tmp_path / "pipe.ts") as source:
        assert not source.live
        assert len(list(source.frames())) == COUNT
    writer.join()


def test_whoever_writes_into_a_pipe_may_take_as_long_as_it_needs(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every limit that a source on the network has is far below the pauses here.
    monkeypatch.setattr("arseg_edge.runtime.source.network.TIMEOUT", 0.01)
    monkeypatch.setattr("arseg_edge.runtime.source.connection.ANALYSIS", 0.01)
    os.mkfifo(tmp_path / "pipe.ts")
    content = clip.read_bytes()

    def write() -> None:
        time.sleep(0.3)
        with (tmp_path / "pipe.ts").open("wb") as pipe:
            for part in (content[: len(content) // 2], content[len(content) // 2 :]):
                time.sleep(0.3)
                pipe.write(part)
                pipe.flush()

    writer = threading.Thread(target=write)
    writer.start()
    with open_source(tmp_path / "pipe.ts") as source:
        assert len(list(source.frames())) == COUNT
    writer.join()


# Session descriptions


def test_a_session_description_is_a_live_source(tmp_path: Path, clip: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    (tmp_path / "camera.sdp").write_text(
        f"v=0\no=- 0 0 IN IP4 {HOST}\ns=camera\nc=IN IP4 {HOST}\nt=0 0\n"
        f"m=video {port} RTP/AVP 33\na=rtpmap:33 MP2T/90000\n"
    )
    stopped = threading.Event()

    def send() -> None:
        content = clip.read_bytes()
        packets = [content[at : at + 7 * 188] for at in range(0, len(content), 7 * 188)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            number = 0
            while not stopped.is_set():
                for packet in packets:
                    # RFC 3550, 5.1: version 2, payload type 33 (RFC 3551: MPEG-TS)
                    header = struct.pack(">BBHII", 0x80, 33, number % 65536, number * 900, 7)
                    out.sendto(header + packet, (HOST, port))
                    number += 1
                    time.sleep(0.002)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        with open_source(tmp_path / "camera.sdp") as source:
            assert isinstance(source, NetworkSource)
            assert source.live
            assert len(list(islice(source.frames(), COUNT))) == COUNT
    finally:
        stopped.set()
        sender.join()


def test_a_session_of_which_nothing_comes(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    (tmp_path / "camera.sdp").write_text(
        f"v=0\no=- 0 0 IN IP4 {HOST}\ns=camera\nc=IN IP4 {HOST}\nt=0 0\n"
        f"m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    )
    with pytest.raises(SourceError, match=r"camera\.sdp: no answer for"):
        NetworkSource(str(tmp_path / "camera.sdp"), timeout=0.3)


# Capture devices


def test_a_capture_device_is_opened_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(location: str, **options: object) -> None:
        asked.append((location, options["format"]))
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(SourceError, match=r"/dev/video0: cannot be opened .*Permission denied"):
        NetworkSource("/dev/video0")
    assert asked == [("/dev/video0", "v4l2")]


def test_a_capture_device_can_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "front:cam.mp4").symlink_to("/dev/null")  # a character device, as a camera is
    asked = []

    def refuse(location: str, **options: object) -> None:
        asked.append((location, options["format"]))
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setattr(av, "open", refuse)
    for location in (str(tmp_path / "front:cam.mp4"), f"file://{tmp_path}/front%3Acam.mp4"):
        with pytest.raises(SourceError, match="Inappropriate ioctl"):
            open_source(location)
    assert asked == [(str(tmp_path / "front:cam.mp4"), "v4l2")] * 2


def test_a_capture_device_that_is_not_there() -> None:
    with pytest.raises(SourceError, match="/dev/video977: No such file"):
        open_source("/dev/video977")


# Interrupting and closing


@pytest.mark.parametrize("how", ["interrupt", "close"])
def test_a_stalled_source_lets_go_at_once(clip: Path, sending: threading.Event, how: str) -> None:
    ends: list[object] = []
    with udp_sender(clip.read_bytes(), sending=sending) as address:
        source = NetworkSource(address, timeout=PATIENT)
        frames = source.frames()
        next(frames)
        sending.clear()

        def read() -> None:
            try:
                ends.append(sum(1 for _ in frames))
            except SequenceError as error:
                ends.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        getattr(source, how)()
        reader.join(PATIENT / 2)
        assert not reader.is_alive()
        source.close()
    assert isinstance(ends[0], int if how == "interrupt" else SequenceError)


def test_a_pause_before_reconnecting_can_be_interrupted(clip: Path) -> None:
    content = clip.read_bytes()
    with http_server(lambda request: body(request, content, length=False)) as address:
        source = NetworkSource(f"{address}/v.ts", timeout=PATIENT, pauses=(PATIENT,))
        reader = threading.Thread(target=lambda: list(source.frames()))
        reader.start()
        source.interrupt()
        reader.join(PATIENT / 2)
        assert not reader.is_alive()


@pytest.mark.parametrize("when", ["before", "while it waits"])
def test_a_source_that_was_interrupted_can_be_read_on(clip: Path, sending: threading.Event, when: str) -> None:
    with udp_sender(clip.read_bytes(), sending=sending) as address, NetworkSource(address, timeout=PATIENT) as source:
        first = list(islice(source.frames(), 5))
        if when == "before":
            source.interrupt()
            assert list(source.frames()) == []
        else:
            sending.clear()
            threading.Timer(0.2, source.interrupt).start()
            list(source.frames())
            sending.set()
        source.resume()
        second = list(islice(source.frames(), 30))
        assert source.reconnects == 0
    check_order(second)
    assert second[0].pts > first[-1].pts


def test_a_pause_that_was_interrupted_is_taken_up_again(clip: Path) -> None:
    content = clip.read_bytes()
    with (
        http_server(lambda request: body(request, content, length=False)) as address,
        NetworkSource(f"{address}/v.ts", timeout=PATIENT, pauses=(0.5,)) as source,
    ):
        threading.Timer(0.1, source.interrupt).start()
        count = len(list(source.frames()))
        source.resume()
        # Where the first connection had ended, there is another one.
        assert len(list(islice(source.frames(), COUNT))) == COUNT
        assert count in (0, COUNT)
        assert source.reconnects >= 1


def test_frames_that_nobody_took_leave_no_connection_behind(clip: Path) -> None:
    content = clip.read_bytes()
    before = set(threading.enumerate())
    with http_server(lambda request: body(request, content, length=False)) as address:
        read_motion(f"{address}/v.ts").close()
        forgotten = read_motion(f"{address}/v.ts")
        del forgotten
        readers = {each for each in threading.enumerate() if each.name == "arseg-edge reading"} - before
        for reader in readers:
            reader.join(PATIENT)
        assert not any(reader.is_alive() for reader in readers)


def test_the_thread_that_reads_ends(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arseg_edge.runtime.source.connection.READ_AHEAD", 1)  # so that it is still at it
    before = set(threading.enumerate())
    content = clip.read_bytes()
    with http_server(lambda request: body(request, content, length=True)) as address:
        threads: set[threading.Thread] = set()
        for _ in range(3):
            with open_source(f"{address}/v.ts") as source:
                next(source.frames())
                threads |= {each for each in threading.enumerate() if each.name == "arseg-edge reading"} - before
        for thread in threads:
            thread.join(PATIENT)
    assert threads
    assert not any(thread.is_alive() for thread in threads)


# What cannot be reached


def test_a_server_that_does_not_answer() -> None:
    with socket.create_server((HOST, 0)) as mute:
        port = mute.getsockname()[1]
        for kind in ("rtsp", "http"):
            with pytest.raises(SourceError, match=f"^{kind}://{HOST}:{port}/x: no answer for 0.3 s"):
                NetworkSource(f"{kind}://{HOST}:{port}/x", timeout=0.3)


def test_a_refused_login() -> None:
    with (
        http_server(lambda request: request.send_error(401)) as address,
        pytest.raises(SourceError, match="login refused; put the right user and password") as caught,
    ):
        open_source(f"{address}/v.ts".replace("http://", "http://me:secret@"))
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("rtsp://{host}:{port}/x", "cannot be opened (Connection refused)"),
        ("http://{host}:{port}/x", "cannot be opened (Connection refused)"),
        ("tcp://{host}:{port}", "cannot be opened (Connection refused)"),
        ("carrier-pigeon://x", "cannot be opened (Protocol not found)"),
    ],
)
def test_addresses_where_nobody_is(location: str, message: str) -> None:
    location = location.format(host=HOST, port=free_port())
    with pytest.raises(ArsegError) as caught:
        open_source(location)
    assert str(caught.value).startswith(f"{location}: {message}")
    assert type(caught.value) is SourceError


@pytest.mark.parametrize("name", ["v.ts", "12:30.ts", "2024-05-01T12:30:00.ts", "rtsp:v.ts", "a b%20c?d#e.ts", "-.ts"])
def test_files_of_any_name(tmp_path: Path, clip: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).symlink_to(clip)
    quoted = urllib.parse.quote(str(tmp_path / name))
    for location in (name, str(tmp_path / name), tmp_path / name, f"file://{quoted}", f"file://localhost{quoted}"):
        with open_source(location) as source:
            assert isinstance(source, VideoSource)
            assert len(list(source.frames())) == COUNT


# RTSP


def test_rtsp(raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    frames: list[DecodedFrame] = []
    with (
        rtsp_server(raw, tmp_path / "units") as server,
        NetworkSource(server.address, timeout=5, pauses=(0.1,) * 30) as source,
    ):
        assert source.live
        for frame in source.frames():
            frames.append(frame)
            if len(frames) == 15:
                server.kill()
                server.start()
            if source.reconnects and not any(each.discontinuity for each in frames[-10:]):
                break
    check_order(frames)
    (restart,) = (frame.index for frame in frames if frame.discontinuity)
    assert frames[0].picture_type == frames[restart].picture_type == "I"
    assert all(frame.vectors is not None for frame in frames if frame.picture_type == "P")
    assert source.reconnects == 1


def test_rtsp_with_a_login(raw: Path, tmp_path: Path) -> None:
    with rtsp_server(raw, tmp_path / "units", "me", "secret") as server:
        for login in ("", "me:wrong@"):
            with pytest.raises(SourceError, match="login refused"):
                open_source(server.address.replace("rtsp://", f"rtsp://{login}"))
        with open_source(server.address.replace("rtsp://", "rtsp://me:secret@")) as source:
            assert len(list(islice(source.frames(), 5))) == 5
            assert source.name == server.address.replace("rtsp://", "rtsp://me:***@")
        with pytest.raises(SourceError, match="404 Not Found"):
            open_source(server.address.replace("rtsp://", "rtsp://me:secret@").replace("camera", "other"))


@pytest.mark.parametrize("password", ["p@ss", "pa/ss", "p?s#s@"])
def test_rtsp_with_a_password_as_it_is(raw: Path, tmp_path: Path, password: str) -> None:
    with rtsp_server(raw, tmp_path / "units", "me", password) as server:
        for spelling in (password, urllib.parse.quote(password, safe="")):
            with open_source(server.address.replace("rtsp://", f"rtsp://me:{spelling}@")) as source:
                assert len(list(islice(source.frames(), 5))) == 5
                assert source.name == server.address.replace("rtsp://", "rtsp://me:***@")


@pytest.mark.long
def test_rtsp_killed_and_restarted_twenty_times(raw: Path, tmp_path: Path) -> None:
    frames: list[DecodedFrame] = []
    with (
        rtsp_server(raw, tmp_path / "units") as server,
        NetworkSource(server.address) as source,
    ):
        kills = 0
        for frame in motion_frames(source, interval=1000):
            frames.append(frame.decoded)
            if frame.decoded.discontinuity:
                assert frame.keyframe_reason == "discontinuity"
            if kills == source.reconnects:
                if kills == 20:
                    break
                server.kill()
                server.start()
                kills += 1
    check_order(frames)
    assert sum(frame.discontinuity for frame in frames) == 20


# The command line


def arseg(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "arseg_edge", *map(str, arguments)]


def test_run_on_standard_input(tmp_path: Path, clip: Path, tiny_bundle: Path) -> None:
    frames = tmp_path / "frames.jsonl"
    with clip.open("rb") as stdin:
        subprocess.run(arseg("run", "-", "-m", tiny_bundle, "--frames", frames), stdin=stdin, check=True)
    assert len(frames.read_text().splitlines()) == COUNT


@pytest.mark.parametrize("video", ["-", "rtsp://me:secret@127.0.0.1:9/x", "/dev/video977"])
def test_run_needs_a_name_for_its_output(video: str, tiny_bundle: Path) -> None:
    done = subprocess.run(arseg("run", video, "-m", tiny_bundle), capture_output=True, text=True)
    assert done.returncode == 2
    assert "gives no name to an output: give -o" in done.stderr
    assert "secret" not in done.stderr


def test_run_on_an_address_where_nobody_is(tmp_path: Path, tiny_bundle: Path) -> None:
    address = f"rtsp://{HOST}:{free_port()}/x"
    command = arseg("run", address, "-m", tiny_bundle, "-o", tmp_path / "o.mp4")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 5
    assert done.stderr.splitlines() == [
        f"error: {address}: cannot be opened (Connection refused); check it and try again"
    ]


def test_an_interrupted_live_run_keeps_what_was_done(
    tmp_path: Path, clip: Path, tiny_bundle: Path, sending: threading.Event
) -> None:
    with udp_sender(clip.read_bytes(), sending=sending) as address:
        command = arseg("run", address, "-m", tiny_bundle, "--frames", "-", "-o", tmp_path / "o.mp4")
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert run.stdout is not None
        lines = [run.stdout.readline() for _ in range(10)]
        sending.clear()  # so that it waits for data
        run.send_signal(signal.SIGINT)
        assert run.stderr is not None
        # Not by communicate(), which loses lines that were read ahead.
        rest, messages = run.stdout.read(), run.stderr.read()
        run.wait()
        run.stdout.close()
        run.stderr.close()
    assert run.returncode == 130
    assert messages.splitlines()[-1] == "interrupted"
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(lines) + len(rest.splitlines())


def test_a_lost_live_run_keeps_what_was_done(tmp_path: Path, clip: Path, tiny_bundle: Path) -> None:
    content, answers = clip.read_bytes(), []

    def answer(request: BaseHTTPRequestHandler) -> None:
        answers.append(request)
        if len(answers) > 1:
            request.send_error(503)
        else:
            body(request, content, length=False)

    code = (
        "from arseg_edge.cli import main; from arseg_edge.runtime.source.network import NetworkSource;"
        "NetworkSource.__init__.__kwdefaults__['pauses'] = (0.01,); main()"
    )
    frames = tmp_path / "frames.jsonl"
    with http_server(answer) as address:
        command = [
            sys.executable,
            "-c",
            code,
            "run",
            f"{address}/v.ts",
            "-m",
            str(tiny_bundle),
            "--frames",
            str(frames),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 5
    assert "lost, and not found again in 1 attempts" in done.stderr
    # Sent faster than any camera would: frames may have been dropped for later ones, but never the last.
    indices = [json.loads(line)["index"] for line in frames.read_text().splitlines()]
    assert indices == sorted(set(indices))
    assert indices[-1] == COUNT - 1
