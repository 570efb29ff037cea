"""What a caller's name for a source means: a file or an address, what FFmpeg needs for it, what may be shown of it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from arseg_edge.errors import SourceError

STANDARD_INPUT: Final = "-"

_HIDDEN: Final = "***"
_HOST: Final = (
    r"(?:\[[0-9A-Fa-f:.%]+\]|localhost|\d{1,3}(?:\.\d{1,3}){3}|[^\W_][\w-]*(?:\.[^\W_][\w-]*)*\.[A-Za-z][\w-]*\.?"
    r"|[\w-]+(?=:\d))(?::\d+)?(?=[/?#]|$)"
)
"""A host that cannot be mistaken: an IP address, a name with a dot, or any name with a port."""
_BARE_HOST: Final = r"[A-Za-z][\w.-]*(?::\d+)?(?=[/?#]|$)"

_ADDRESS: Final = re.compile(
    r"(?i)(?:^[a-z][a-z0-9+.-]*|\b(?:rtsps?|rtmp\w*|https?|srt|rtp|srtp|udp|tcp|tls|s?ftp|mms\w?))://"
)
"""The beginning of an address, also of one within another, as relays have them (``http://relay/?src=rtsp://...``)."""
_ENCODED_PASSWORD: Final = re.compile(r"(?i)(%3A%2F%2F(?:(?!%3A|%40|%2F)[^&])*%3A)[^&]*(%40)")
"""The same within a parameter of another address, percent-encoded."""

_PARAMETER: Final = re.compile(r"(?P<key>[^\s=&;/?#]+?)(?:=|%(?:25)*3D)", re.IGNORECASE)
_UNDERSCORED: Final = r"_(?:user|password|channel|stream|subtype|onvif)="
"""Parameters are separated so by some cameras (user=admin_password=x_channel=1_stream=0.sdp)."""
_PARAMETER_END: Final = re.compile(
    rf"(?:[&;\s]|%(?:25)*26)(?:(?!{_UNDERSCORED})[\w.%~-])+?(?:=|%(?:25)*3D)|{_UNDERSCORED}", re.IGNORECASE
)
_SECRET_KEY: Final = re.compile(
    r"pass|pwd|psw|secret|token|signature|credential|auth|session|streamid|md5|hash|(?:key|sig|jwt|sid)$"
    r"|(?:^|[^a-z])(?:pw|pin|code)$",
    re.IGNORECASE,
)


def scheme(location: str) -> str | None:
    """The scheme of a URL, None of a path: a name without ``://`` is a file, whatever colons it has.

    >>> scheme("RTSP://camera/1"), scheme("2024-05-01T12:30:00.mp4")
    ('rtsp', None)
    """
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", location)
    return found[1].lower() if found else None


def local_path(location: str) -> Path | None:
    """The path that a name without a scheme or a ``file`` URL (RFC 8089) means; None of any other location.

    >>> str(local_path("file://localhost/home/a%20b.mp4"))
    '/home/a b.mp4'

    Raises:
        SourceError: a ``file`` URL of another machine.
    """
    kind = scheme(location)
    if kind not in (None, "file"):
        return None
    if kind is None:
        short = re.match(r"file:(?=.)", location, re.IGNORECASE)
        if short is None or os.path.lexists(location):
            return Path(location)
        return _decoded(location[short.end() :])
    host, slash, rest = location[len("file://") :].partition("/")
    if host.lower() not in ("", "localhost", "127.0.0.1"):
        raise SourceError(
            f"{location}: names a file of another machine, {host!r}; write file:///PATH, or the path alone"
        )
    if not slash:
        raise SourceError(f"{location}: names no file; write file:///PATH, or the path alone")
    return _decoded(rest if re.match(r"[A-Za-z]:[/\\]", rest) else f"/{rest}")


def _decoded(path: str) -> Path:
    decoded = Path(unquote(path, errors="surrogateescape"))
    # Many write file:// before a path as it is, in which a percent sign is one.
    return Path(path) if not os.path.lexists(decoded) and os.path.lexists(path) else decoded


def protocol(location: str) -> str:
    """How the source comes: the scheme of a URL, or of what is on this machine ``file``, ``pipe``, ``device``, ``sdp``.

    A character device is a capture device, whatever it is called, also behind a link; an ``.sdp`` file describes a
    stream that somebody sends (RFC 8866).

    Raises:
        SourceError: a ``file`` URL of another machine.
    """
    if location == STANDARD_INPUT:
        return "pipe"
    path = local_path(location)
    if path is None:
        return scheme(location) or "file"
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return "device" if re.fullmatch(r"/dev/video\d+", str(path)) else "file"
    if stat.S_ISCHR(mode):
        return "device"
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return "pipe"
    return "sdp" if stat.S_ISREG(mode) and path.suffix.lower() == ".sdp" else "file"


def for_ffmpeg(location: str) -> str:
    """What FFmpeg is to open for it: ``file:PATH``, or the URL with any ``/``, ``?`` and ``#`` of its password encoded.

    >>> for_ffmpeg("12:30.mp4"), for_ffmpeg("rtsp://me:a/b@10.0.0.8/1")
    ('file:12:30.mp4', 'rtsp://me:a%2Fb@10.0.0.8/1')
    """
    if location == STANDARD_INPUT:
        return "pipe:0"
    path = local_path(location)
    if path is not None:
        return f"file:{path}"
    start = location.index("://") + 3
    rest = location[start:]
    end = _login_end(rest, cautious=False)
    if end is None:
        return location
    # FFmpeg itself ends the login at the last @ before the first of these, and decodes what is encoded in it.
    login = re.sub(r"[/?#]", lambda found: f"%{ord(found[0]):02X}", rest[:end])
    return location[:start] + login + rest[end:]


def shown(location: str) -> str:
    """The location as it may be shown to anyone: without passwords, tokens and keys, but with its host and user.

    >>> shown("rtsp://me:p@ss@camera.local/1?user=a&password=b&channel=1")
    'rtsp://me:***@camera.local/1?user=a&password=***&channel=1'
    """
    if location == STANDARD_INPUT:
        return "standard input"
    if scheme(location) in (None, "file"):
        return location
    starts = [found.start() for found in _ADDRESS.finditer(location)]
    parts = [location[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return _ENCODED_PASSWORD.sub(rf"\1{_HIDDEN}\2", "".join(map(_without_secrets, parts)))


def shown_in(text: str) -> str:
    """A text of any kind with every address in it as it may be shown."""
    return re.sub(r"[A-Za-z][A-Za-z0-9+.-]+://\S+", lambda found: shown(found[0]), text)


def _without_secrets(address: str) -> str:
    head, _, rest = address.partition("://")
    end = _login_end(rest, cautious=True)
    login = ""
    if end is not None:
        login = re.sub(r"(:|%3A).*", rf"\1{_HIDDEN}", rest[:end], count=1, flags=re.IGNORECASE | re.DOTALL)
        rest = rest[end:]
    host = re.match(r"[^/?#]*", rest)
    path_at = host.end() if host else 0
    return f"{head}://{login}{rest[:path_at]}{_without_parameters(rest[path_at:])}"


def _without_parameters(path: str) -> str:
    """A path and its query without the values of secret parameters, which some cameras have without a ``?``."""
    parts, at = [], 0
    while found := _PARAMETER.search(path, at):
        parts.append(path[at : found.end()])
        at = found.end()
        if _SECRET_KEY.search(unquote(found["key"])):
            end = _PARAMETER_END.search(path, at)
            parts.append(_HIDDEN)
            at = end.start() if end else len(path)
    return "".join([*parts, path[at:]])


def _login_end(rest: str, *, cautious: bool) -> int | None:
    """Where ``user:password`` ends, before its ``@``, in what follows ``scheme://``; None where there is no password.

    Passwords are often written as they are, with any of ``@/?#`` in them, and then an address can be read in several
    ways. A host that cannot be mistaken decides; without one ``cautious`` takes as much as may be a password, and
    otherwise RFC 3986 decides.
    """
    authority = next((at for at, each in enumerate(rest) if each in "/?#"), len(rest))
    query = re.search(r"\?[\w.-]+=", rest)
    query_at = query.start() if query else len(rest)
    ats = [found.start() for found in re.finditer("@", rest)]
    first = max((at for at in ats if at < authority), default=None)
    later = [at for at in ats if at > authority]
    if first is None:
        name, colon, port = rest[:authority].partition(":")
        if not colon or name.startswith("["):
            return None
        if re.fullmatch(r"\d+", port):
            # host:554/x@y, unless what looks like a host is a user, and its port the beginning of a password.
            if not cautious or re.match(_HOST, name):
                return None
            return next((at for at in later if at < query_at and re.match(_HOST, rest[at + 1 :])), None)
        bare = max((at for at in later if at < query_at), default=later[-1] if later else None)
        return next((at for at in later if re.match(_HOST, rest[at + 1 :])), bare)
    if not re.search(":|%3A", rest[:first], re.IGNORECASE):
        return None
    later = [at for at in later if at < query_at]
    if not re.match(_HOST, rest[first + 1 :]):
        certain = next((at for at in later if re.match(_HOST, rest[at + 1 :])), None)
        if certain is not None:
            return certain
        if cautious:
            return max((at for at in later if re.match(_BARE_HOST, rest[at + 1 :])), default=first)
    return first
