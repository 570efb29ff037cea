"""The bundle: one file, ``NAME.arseg``, that holds all that a device needs.

A zip, stored without compression, of ``manifest.json``, ``keyframe.onnx``, for each LR scale one ``nonkeyframe….onnx``
and a small ``head….onnx``, its last layer alone, and ``golden.npz``, a short clip with the results that PyTorch had
for it. Export and runtime meet only here.

Reading trusts nothing: members must be known, bounded, uncompressed and as their checksums say, and no
tensor may live outside the file (``onnx_check.py``). Every reading checks the file that it reads: the file may have
been changed since the last.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from arseg_edge import at_stop
from arseg_edge.errors import BundleError, OutputError, reason_of
from arseg_edge.manifest import LARGEST_MANIFEST, Manifest, Member, ParityFigure, parse_manifest
from arseg_edge.onnx_check import check_model

SUFFIX = ".arseg"
MANIFEST = "manifest.json"
KEYFRAME = "keyframe.onnx"
GOLDEN = "golden.npz"

_MIB = 1 << 20
# Protobuf's own limit for a model is 2 GiB.
_LARGEST_BYTES = {MANIFEST: LARGEST_MANIFEST, GOLDEN: 256 * _MIB, KEYFRAME: 2048 * _MIB}
_NONKEYFRAME = re.compile(r"nonkeyframe(-0\.[0-9]{1,4})?\.onnx")
_HEAD = re.compile(r"head(-0\.[0-9]{1,4})?\.onnx")
# Zip archives carry times; a fixed one keeps equal bundles equal.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
# What zipfile raises on damaged archives, beside OSError: bad names (ValueError), versions and flags (RuntimeError),
# places that no file has (OverflowError).
_BROKEN_ZIP = (zipfile.BadZipFile, EOFError, KeyError, ValueError, RuntimeError, OverflowError, struct.error)
_REMEDY = "copy the file again, or make it by `arseg-edge export`"


def nonkeyframe_member(scale: float, *, first: bool) -> str:
    """Return the name of the member that runs an LR scale; the first of a bundle has the plain one."""
    return "nonkeyframe.onnx" if first else f"nonkeyframe-{scale:g}.onnx"


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and found sound; :meth:`read` gives a member's bytes."""

    path: Path
    manifest: Manifest

    @property
    def parity(self) -> tuple[ParityFigure, ...]:
        """The comparisons of PyTorch and ONNX Runtime that were made at export."""
        return self.manifest.parity

    def read(self, member: str) -> bytes:
        """Return the bytes of ``member``, checked against the manifest.

        Raises:
            BundleError: the member is not there, damaged, or an ONNX file with data outside the bundle.
        """
        expected = self.manifest.members.get(member)
        if expected is None:
            raise BundleError(f"{self.path}: no member {member}: export the bundle again")
        with _opened(self.path) as archive:
            _check_size(self.path, member, expected, {info.filename: info.file_size for info in archive.infolist()})
            try:
                data = archive.read(member)
            except (OSError, *_BROKEN_ZIP) as error:
                raise BundleError(f"{self.path}: {member} cannot be read ({reason_of(error)}): copy it again") from None
        if hashlib.sha256(data).hexdigest() != expected.sha256:
            raise BundleError(f"{self.path}: {member} does not match its checksum: copy the file again")
        if member.endswith(".onnx"):
            check_model(data, f"{self.path}: {member}")
        return data

    def __repr__(self) -> str:
        size = "dynamic" if self.manifest.size is None else "{}x{}".format(*self.manifest.size)
        scales = "/".join(f"{branch.scale:g}" for branch in self.manifest.scales)
        return f"Bundle({self.path.name}, {self.manifest.family}, size={size}, LR {scales})"


def read_bundle(path: str | Path) -> Bundle:
    """Open ``path``, check its table of contents and its manifest, and return the bundle.

    Members are checked against their checksums when they are read.

    Raises:
        BundleError: the file is missing, truncated, no bundle, of another format version, or holds a
            member that is unknown, oversized, compressed, or has a path for a name.
    """
    path = Path(path)
    with _opened(path) as archive:
        manifest_bytes = archive.read(MANIFEST)
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    manifest = parse_manifest(manifest_bytes, str(path))
    _check_members(path, manifest, sizes)
    return Bundle(path, manifest)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a bundle whose table of contents is sound; what goes wrong while it is read is a BundleError too."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_contents(path, archive.infolist())
            yield archive
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file: name a bundle made by `arseg-edge export`") from None
    except BundleError:
        raise
    except _BROKEN_ZIP:
        raise BundleError(f"{path}: not a bundle, or cut short: {_REMEDY}") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error}): check the file and its permissions") from None


def write_bundle(path: str | Path, manifest: Manifest, members: Mapping[str, bytes]) -> Bundle:
    """Write a bundle, whole or not at all, and return it.

    Sizes and checksums of ``members`` are put into the manifest here.

    Raises:
        BundleError: :func:`read_bundle` would refuse it.
        OutputError: the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    for name, data in members.items():
        if name.endswith(".onnx"):
            check_model(data, name)
    entries = {name: Member(len(data), hashlib.sha256(data).hexdigest()) for name, data in members.items()}
    manifest = dataclasses.replace(manifest, members=entries)
    text = manifest.to_json()
    _check_members(path, parse_manifest(text, str(path)), {name: len(data) for name, data in members.items()})
    check_writable(path)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with at_stop.during(Path(temporary).unlink), os.fdopen(descriptor, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, data in {MANIFEST: text.encode(), **members}.items():
                    archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}): choose another --output") from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    return Bundle(path, manifest)


def check_writable(path: Path) -> None:
    """Raise OutputError where a file cannot be written to ``path``: known before long work, not after."""
    if path.is_dir():
        raise OutputError(f"{path}: is a directory: name a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: no directory {path.parent}: make it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: directory {path.parent} is not writable: choose another place")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _largest_bytes(name: str) -> int | None:
    """Return how large a member of this name may be; None for a name that no bundle has."""
    if _NONKEYFRAME.fullmatch(name) or _HEAD.fullmatch(name):
        return _LARGEST_BYTES[KEYFRAME]
    return _LARGEST_BYTES.get(name)


def _check_contents(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    names = [info.filename for info in infos]
    if MANIFEST not in names:
        raise BundleError(f"{path}: no {MANIFEST} inside: not a bundle, or cut short: {_REMEDY}")
    for info in infos:
        name = info.filename
        largest = _largest_bytes(name)
        if largest is None:
            raise BundleError(f"{path}: unknown member {name[:80]!r}: not a bundle to trust, export it again")
        if names.count(name) > 1:
            raise BundleError(f"{path}: two members named {name}: not a bundle to trust, export it again")
        if info.file_size > largest:
            raise BundleError(f"{path}: {name} has {info.file_size} bytes, more than the {largest} allowed")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise BundleError(f"{path}: {name} is compressed or encrypted: bundles are stored, export it again")


def _check_members(path: Path, manifest: Manifest, sizes: Mapping[str, int]) -> None:
    """Check that the archive holds what the manifest says, no more and no less."""
    for branch in manifest.scales:
        if not _NONKEYFRAME.fullmatch(branch.member):
            raise BundleError(f"{path}: {branch.member[:80]!r} cannot hold an LR branch: export the bundle again")
    needed = {KEYFRAME, GOLDEN, *(branch.member for branch in manifest.scales)}
    if manifest.format_version > 1:
        needed |= {branch.head for branch in manifest.scales}
    for name in sorted(needed | set(manifest.members)):
        if name not in manifest.members:
            raise BundleError(f"{path}: manifest.json: members lacks {name}: export the bundle again")
        _check_size(path, name, manifest.members[name], sizes)
    extra = sorted(set(sizes) - set(manifest.members) - {MANIFEST})
    if extra:
        raise BundleError(f"{path}: {extra[0]} is not in the manifest: not a bundle to trust, export it again")


def _check_size(path: Path, name: str, member: Member, sizes: Mapping[str, int]) -> None:
    if name not in sizes:
        raise BundleError(f"{path}: {name} is missing: copy the file again, or export it again")
    if sizes[name] != member.bytes:
        raise BundleError(
            f"{path}: {name} has {sizes[name]} bytes where the manifest says {member.bytes}: copy the file again"
        )
