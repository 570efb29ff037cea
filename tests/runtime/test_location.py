"""Names of sources: which are files, what FFmpeg gets, and that no password of any form is ever shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arseg_edge.errors import SourceError
from arseg_edge.runtime.source.location import for_ffmpeg, local_path, protocol, scheme, shown

SECRET = "tlJwpbo6"

CAMERAS = {
    "plain": "rtsp://admin:{}@192.168.1.64:554/stream1",
    "Hikvision": "rtsp://admin:{}@192.168.1.64:554/Streaming/Channels/101?transportmode=unicast",
    "Hikvision, older": "rtsp://192.168.1.64:554/h264/ch1/main/av_stream?auth={}",
    "Dahua": "rtsp://admin:{}@192.168.1.64:554/cam/realmonitor?channel=1&subtype=0",
    "Dahua, login behind": "rtsp://192.168.1.64:554/cam/realmonitor?channel=1&subtype=0&user=admin&password={}",
    "Reolink": "rtsp://admin:{}@192.168.1.64:554/h264Preview_01_main",
    "Reolink RTMP": "rtmp://192.168.1.64/bcs/channel0_main.bcs?channel=0&stream=0&user=admin&password={}",
    "Reolink snapshot": "http://192.168.1.64/cgi-bin/api.cgi?cmd=Snap&channel=0&rs=a1&user=admin&password={}",
    "Axis": "rtsp://root:{}@192.168.1.64/axis-media/media.amp?videocodec=h264&resolution=640x480",
    "Axis MJPEG": "http://root:{}@192.168.1.64/axis-cgi/mjpg/video.cgi",
    "Foscam": "http://192.168.1.64:88/cgi-bin/CGIStream.cgi?cmd=GetMJStream&usr=admin&pwd={}",
    "Foscam, older": "http://192.168.1.64/videostream.cgi?user=admin&pwd={}&resolution=32",
    "XMEye": "rtsp://192.168.1.64:554/user=admin_password={}_channel=1_stream=0.sdp?real_stream",
    "XMEye, ampersands": "rtsp://192.168.1.64:554/user=admin&password={}&channel=1&stream=0.sdp?real_stream--rtp-caching=100",
    "TP-Link": "rtsp://user:{}@192.168.1.64:554/stream2",
    "Amcrest, IPv6": "rtsp://admin:{}@[fe80::1]:554/cam/realmonitor?channel=1",
    "UniFi": "rtsps://192.168.1.64:7441/x?enableSrtp&token={}",
    "SRT": "srt://192.168.1.64:8890?mode=caller&passphrase={}&latency=200000",
    "signed, Amazon": "https://192.168.1.64/v.mp4?X-Amz-Date=20240501&X-Amz-Signature={}&X-Amz-Expires=60",
    "signed, Azure": "https://192.168.1.64/v.mp4?sv=2022&sig={}&se=2024",
    "access token": "https://192.168.1.64/live.m3u8?access_token={}&quality=hd",
    "key": "https://192.168.1.64/live.m3u8?key={}",
    "API key": "https://192.168.1.64/live.m3u8?q=1&api_key={}#t=1",
    "semicolons": "http://192.168.1.64/live?user=admin;password={};channel=1",
    "capital letters": "http://192.168.1.64/live?USER=admin&PASSWORD={}&CHANNEL=1",
    "encoded key": "http://192.168.1.64/live?p%61ssword={}&channel=1",
    "encoded equals sign": "http://192.168.1.64/live?user%3Dadmin%26password%3D{}%26channel%3D1",
    "no user": "rtsp://:{}@192.168.1.64/1",
    "user with an @": "rtsp://me@example.com:{}@192.168.1.64/1",
    "encoded colon": "rtsp://admin%3A{}@192.168.1.64/1",
    "relay": "http://relay.local:1984/api/stream.mp4?src=rtsp://admin:{}@192.168.1.64/1",
    "relay, encoded": "http://relay.local/?url=rtsp%3A%2F%2Fadmin%3A{}%40192.168.1.64%2F1&x=1",
    "relay, twice": "http://me:{0}@relay.local/?src=rtsp://admin:{0}@192.168.1.64/1?password={0}",
    "path with an @": "http://me:{}@192.168.1.64/live/user@example.com/index.m3u8",
}


@pytest.mark.parametrize("camera", CAMERAS)
def test_passwords_are_hidden_and_hosts_are_not(camera: str) -> None:
    location = CAMERAS[camera].format(SECRET)
    text = shown(location)
    assert SECRET not in text
    assert "192.168.1.64" in text or "[fe80::1]" in text
    # All else can still be read, but for what follows the secret where nothing says where it ends.
    before = location.partition(SECRET)[0]
    assert text.startswith(before + "***")
    assert shown(text) == text


ODD_PASSWORDS = [
    "p@ss",
    "pa/ss",
    "p?ss",
    "p#ss",
    "p@s/s",
    "p/s@s",
    "12/34",
    "a:b",
    "p%40ss",
    "/",
    "@",
    "p@ss/w@rd?#",
    "p@1.1/x",
    "p@-.-/x",
]


@pytest.mark.parametrize("host", ["192.168.1.64", "localhost", "camera:554", "camera.local:554", "[fe80::1]:554"])
@pytest.mark.parametrize("password", ODD_PASSWORDS)
def test_passwords_with_any_character(password: str, host: str) -> None:
    assert shown(f"rtsp://admin:{password}@{host}") == f"rtsp://admin:***@{host}"
    assert shown(f"rtsp://admin:{password}@{host}/ch1?channel=1") == f"rtsp://admin:***@{host}/ch1?channel=1"


@pytest.mark.parametrize("password", [each for each in ODD_PASSWORDS if each != "12/34"])
def test_passwords_before_a_bare_host(password: str) -> None:
    # admin:12/34@camera is as well a host, a port and a path.
    assert shown(f"rtsp://admin:{password}@camera/ch1?to=a@b") == "rtsp://admin:***@camera/ch1?to=a@b"


@pytest.mark.parametrize("password", ["p@ss", "pa/ss", "my_pass", "p=ss", "p&ss", "p?s#s", "p;ss"])
@pytest.mark.parametrize(
    "form",
    [
        "rtsp://192.168.1.64/live?user=admin&password={}&channel=1",
        "rtsp://192.168.1.64:554/user=admin&password={}&channel=1",
        "rtsp://192.168.1.64:554/user=admin_password={}_channel=1",
    ],
)
def test_parameters_with_any_character(form: str, password: str) -> None:
    assert shown(form.format(password)) == form.format("***")


@pytest.mark.parametrize(
    "location",
    [
        "rtsp://192.168.1.64:554/Streaming/Channels/101",
        "rtsp://admin@192.168.1.64/1",
        "http://192.168.1.64:8080/live/user@example.com?mail=a@b.c",
        "http://camera:8080/live/user?mail=a@example.com",
        "http://[fe80::1]:8080/a@b",
        "https://www.example.com/@someone/live",
        "udp://239.0.0.1:1234?localaddr=10.0.0.2&pkt_size=1316",
        "http://192.168.1.64/mjpg/video.mjpg?camera=1&resolution=640x480&fps=25",
        "file:///home/me/user:pass@home/password=1.mp4",
        "/data/me:you@home/password=x/12:30.mp4",
        "nonsense://none",
        "a.mp4",
    ],
)
def test_what_is_no_password_is_shown(location: str) -> None:
    assert shown(location) == location


def test_what_may_hold_a_login_is_hidden_as_a_whole() -> None:
    location = "srt://192.168.1.64:8890?streamid=read:camera:admin:tlJwpbo6&pkt_size=1316"
    assert shown(location) == "srt://192.168.1.64:8890?streamid=***&pkt_size=1316"


def test_standard_input_is_called_by_its_name() -> None:
    assert shown("-") == "standard input"


# What FFmpeg is given


@pytest.mark.parametrize(
    ("location", "given"),
    [
        ("12:30.mp4", "file:12:30.mp4"),
        ("/a/2024-05-01T12:30:00.mp4", "file:/a/2024-05-01T12:30:00.mp4"),
        ("file:///a%20b.mp4", "file:/a b.mp4"),
        ("file://localhost/a%20b.mp4", "file:/a b.mp4"),
        ("file:/a%20b.mp4", "file:/a b.mp4"),
        ("-", "pipe:0"),
        ("rtsp://me:p@ss@10.0.0.8/1", "rtsp://me:p@ss@10.0.0.8/1"),
        ("rtsp://me:pa/ss@10.0.0.8/1", "rtsp://me:pa%2Fss@10.0.0.8/1"),
        ("rtsp://me:pa/ss@camera/1?a=b", "rtsp://me:pa%2Fss@camera/1?a=b"),
        ("rtsp://me:p@s/s?#@10.0.0.8:554", "rtsp://me:p@s%2Fs%3F%23@10.0.0.8:554"),
        ("rtsp://me:p%2Fss@10.0.0.8/1", "rtsp://me:p%2Fss@10.0.0.8/1"),
        ("http://camera:8080/live/a@b.c", "http://camera:8080/live/a@b.c"),
        ("http://me:you@camera/live/a@b", "http://me:you@camera/live/a@b"),
        (CAMERAS["XMEye"].format(SECRET), CAMERAS["XMEye"].format(SECRET)),
        (CAMERAS["Dahua, login behind"].format(SECRET), CAMERAS["Dahua, login behind"].format(SECRET)),
    ],
)
def test_what_ffmpeg_is_given(location: str, given: str) -> None:
    assert for_ffmpeg(location) == given


# Files and addresses


@pytest.mark.parametrize("name", ["12:30.mp4", "file:12:30.mp4", "C:\\video.mp4", "rtsp:camera", "a b.mp4", "100%.mp4"])
def test_a_name_without_slashes_behind_its_colon_is_a_file(name: str) -> None:
    assert scheme(name) is None
    assert local_path(name) is not None


def test_a_path_behind_file_that_is_not_encoded(tmp_path: Path) -> None:
    odd = tmp_path / "100%20.mp4"
    odd.touch()
    assert local_path(f"file://{odd}") == odd
    (tmp_path / "100 .mp4").touch()
    assert local_path(f"file://{odd}") == tmp_path / "100 .mp4"


def test_a_file_whose_name_begins_with_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_path("file:a.mp4") == Path("a.mp4")
    Path("file:a.mp4").touch()
    assert local_path("file:a.mp4") == Path("file:a.mp4")


@pytest.mark.parametrize(("location", "said"), [("file://server/a.mp4", "'server'"), ("file://", "names no file")])
def test_file_urls_that_name_no_file_here(location: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        local_path(location)


def test_what_is_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "frontcam").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe.ts")
    (tmp_path / "folder.sdp").mkdir()
    for name in ("a.mp4", "12:30.mp4", "camera.SDP"):
        (tmp_path / name).touch()
    found = {path.name: protocol(str(path)) for path in tmp_path.iterdir()}
    assert found == {
        "frontcam": "device",
        "pipe.ts": "pipe",
        "folder.sdp": "file",
        "a.mp4": "file",
        "12:30.mp4": "file",
        "camera.SDP": "sdp",
    }
    assert protocol(f"file://{tmp_path}/frontcam") == "device"
    assert protocol("-") == "pipe"
    assert protocol("/dev/video977") == "device"  # which is not there
    assert protocol("gone.sdp") == protocol("a\0b") == "file"
    assert protocol("RTSP://camera/1") == "rtsp"
