"""Senders of small streams on the loopback address, for the tests of live sources."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest

SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's GStreamer bindings are for this one
HOST = "127.0.0.1"


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def http_server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Serve GET by ``answer``; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # the reader went away
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def udp_sender(content: bytes, *, sending: threading.Event, rate: float = 1e6) -> Iterator[str]:
    """Send MPEG-TS again and again while ``sending`` is set; gives the address to listen at."""
    port, stopped = free_port(socket.SOCK_DGRAM), threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not stopped.is_set():
                for start in range(0, len(content), 7 * 188):
                    while not sending.wait(0.02):
                        if stopped.is_set():
                            return
                    out.sendto(content[start : start + 7 * 188], (HOST, port))
                    time.sleep(7 * 188 / rate)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield f"udp://{HOST}:{port}"
    finally:
        stopped.set()
        thread.join()


class RtspServer:
    """GStreamer's RTSP server in a process of its own; can be killed and started again at the same address."""

    def __init__(self, folder: Path, *login: str) -> None:
        self._folder, self._login, self.port = folder, login, "0"
        self.start()

    @property
    def address(self) -> str:
        return f"rtsp://{HOST}:{self.port}/camera"

    def start(self) -> None:
        script = Path(__file__).with_name("rtsp_server.py")
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(script), self.port, str(self._folder), *self._login], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def rtsp_server(video: Path, folder: Path, *login: str) -> Iterator[RtspServer]:
    """Play the access units of a raw H.264 file; skips, with the reason, where there is no GStreamer."""
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run([SYSTEM_PYTHON, "-c", check], capture_output=True).returncode:
        message = "needs gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good and python3-gi of Debian"
        if os.environ.get("ARSEG_EDGE_REQUIRE_RTSP") == "1":
            pytest.fail(message)
        pytest.skip(message)
    folder.mkdir()
    with av.open(str(video)) as container:
        for number, packet in enumerate(container.demux(video=0)):
            if packet.size:
                (folder / f"{number:05d}").write_bytes(bytes(packet))
    server = RtspServer(folder, *login)
    try:
        yield server
    finally:
        server.kill()
