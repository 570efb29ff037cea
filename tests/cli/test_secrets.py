"""Passwords in addresses reach the server, and no command shows them in what it prints or writes."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from command_line import Command

PASSWORD = "p@ss/wo?rd#"
TOKEN = "tlJwpbo6"


@pytest.fixture
def camera(clip: Path) -> Iterator[str]:
    """The address of a clip, with a login that the server asks for."""
    content = clip.read_bytes()
    login = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization") == login and f"token={TOKEN}" in self.path
            self.send_response(200 if allowed else 401)
            if not allowed:
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", str(len(content) * allowed))
            self.end_headers()
            self.wfile.write(content * allowed)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://me:{PASSWORD}@127.0.0.1:{server.server_port}/v.mp4?token={TOKEN}"
        finally:
            server.shutdown()
            thread.join()


def hidden(camera: str) -> str:
    return camera.replace(PASSWORD, "***").replace(TOKEN, "***")


def check(*texts: str) -> None:
    for text in texts:
        assert not any(part in text for part in (PASSWORD, TOKEN, "p@s", "wo?rd", "p%40"))


@pytest.mark.parametrize("as_json", [False, True])
def test_run(arseg: Command, tiny_bundle: Path, camera: str, tmp_path: Path, as_json: bool) -> None:
    lines = tmp_path / "frames.jsonl"
    done = arseg("run", camera, "-m", tiny_bundle, "--frames", lines, *["--json"] * as_json)
    assert done.code == 0, done.err
    check(done.out, done.err, lines.read_text())
    if as_json:
        assert done.json["video"] == hidden(camera)


def test_probe(arseg: Command, camera: str) -> None:
    done = arseg("probe", camera, "--json")
    assert done.code == 0, done.err
    check(done.out, done.err)
    assert done.json["video"] == hidden(camera)


def test_bench(arseg: Command, tiny_bundle: Path, camera: str) -> None:
    done = arseg("bench", camera, "-m", tiny_bundle, "--rounds", "1", "--interval", "2", "--threads", "1")
    assert done.code == 0, done.err
    check(done.out, done.err)
    assert hidden(camera) in done.out


@pytest.mark.parametrize("command", ["run", "probe", "bench", "compare"])
def test_errors(arseg: Command, tiny_bundle: Path, camera: str, command: str) -> None:
    wrong = camera.replace("me:", "you:")
    video = camera if command == "compare" else wrong
    done = arseg(command, video, *["-m", tiny_bundle] * (command != "probe"), *["--frames", "-"] * (command == "run"))
    assert done.code != 0
    check(done.out, done.err)
    assert hidden(video) in done.err


def test_arguments_too_many(arseg: Command, camera: str) -> None:
    done = arseg("probe", "a.mp4", camera)
    assert done.code == 2
    check(done.err)
    assert "127.0.0.1" in done.err


def test_where_no_output_has_a_name(arseg: Command, tiny_bundle: Path, camera: str) -> None:
    done = arseg("run", camera, "-m", tiny_bundle)
    assert done.code == 2
    check(done.err)
    assert hidden(camera) in done.err
