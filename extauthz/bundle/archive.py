"""A package ↔ the bytes of its `.tar.gz`.

Rule 1: the same package makes the same bytes on any machine: names and contents go in, nothing else.
Rule 2: only an archive that `pack` could have written is read. So there are no links, devices, directories, paths
        that lead elsewhere, repeated members or anything that two readers of tar could take differently.
Rule 3: at most `_MAX_TAR_BYTES` are unpacked, whatever is sent.
"""

import tarfile
import zlib
from collections.abc import Iterator
from typing import Final

from extauthz.bundle.finding import refusal, shorten
from extauthz.bundle.package import (
    MANIFEST_FILE,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    MAX_SIGNATURE_BYTES,
    MAX_TOTAL_BYTES,
    SIGNATURE_FILE,
    Package,
    wrong_path,
)
from extauthz.bundle.syntax import MAX_FILE_BYTES

_BLOCK: Final = tarfile.BLOCKSIZE
_RECORD: Final = tarfile.RECORDSIZE  # an archive's length is a multiple of this, POSIX.1-1988 section 10.1.1
_MAX_TAR_BYTES: Final = MAX_TOTAL_BYTES + MAX_MANIFEST_BYTES + MAX_SIGNATURE_BYTES + (MAX_FILES + 4) * 2 * _BLOCK
_CAPS: Final = {MANIFEST_FILE: MAX_MANIFEST_BYTES, SIGNATURE_FILE: MAX_SIGNATURE_BYTES}
_KINDS: Final = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a directory",
}

# RFC 1952: deflate, no name, no time, system unknown.
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_STORED_MAX: Final = 0xFFFF  # RFC 1951 section 3.2.4
_READ_AT_ONCE: Final = 1 << 18  # bytes of an archive
_GZIP = 31  # zlib: expect a gzip header and check its trailer


def pack(package: Package, *, compress: bool = False) -> bytes:
    """The archive. Raises BundleError for a path that is too long for it.

    Without `compress` blocks are stored: compressors differ between machines (zlib, zlib-ng), stored blocks do not.
    """
    tar = b"".join(_tar(package))
    if compress:
        deflate = zlib.compressobj(9, wbits=_GZIP)
        return deflate.compress(tar) + deflate.flush()
    parts = [_GZIP_HEADER]
    for start in range(0, len(tar), _STORED_MAX):
        size = min(_STORED_MAX, len(tar) - start)
        last = start + size == len(tar)
        parts += [bytes([last]), size.to_bytes(2, "little"), (size ^ 0xFFFF).to_bytes(2, "little")]
        parts.append(tar[start : start + size])
    parts += [zlib.crc32(tar).to_bytes(4, "little"), len(tar).to_bytes(4, "little")]
    return b"".join(parts)


def unpack(archive: bytes, name: str) -> Package:
    """What the archive holds; `name` is what messages call it. Raises BundleError at step `unpack`."""
    tar = _inflate(archive, name)
    members: dict[str, bytes] = {}
    total = at = 0
    while any(block := tar[at : at + _BLOCK]):
        info = _header(block, name, at)
        if info.name in members:
            raise refusal(info.name, "the archive holds this file twice", "unpack")
        if len(members) >= MAX_FILES + len(_CAPS):
            raise refusal(name, f"the archive holds more than {MAX_FILES} files", "unpack")
        content = tar[at + _BLOCK : at + _BLOCK + info.size]
        if len(content) < info.size:
            raise refusal(
                info.name, f"the archive ends in the middle of this file, behind {len(content)} bytes", "unpack"
            )
        total += info.size
        if total > MAX_TOTAL_BYTES + sum(_CAPS.values()):
            raise refusal(name, f"the archive holds more than {MAX_TOTAL_BYTES} bytes", "unpack")
        members[info.name] = content
        at += _BLOCK + _padded(info.size)
    manifest, signatures = members.pop(MANIFEST_FILE, None), members.pop(SIGNATURE_FILE, None)
    if manifest is None:
        raise refusal(name, f"the archive has no `{MANIFEST_FILE}`: build it with `extauthz bundle build`", "unpack")
    package = Package(members, manifest, signatures)
    if not _is_made_of(tar, _tar(package)):
        what = "not packed as `extauthz bundle build` packs: members in another order, or more than files"
        raise refusal(name, what, "unpack")
    return package


def _is_made_of(whole: bytes, parts: Iterator[bytes]) -> bool:
    """Whether they are the whole one after the other; each by itself, so that others have their turn between."""
    at = 0
    for part in parts:
        if whole[at : at + len(part)] != part:
            return False
        at += len(part)
    return at == len(whole)


def _inflate(archive: bytes, name: str) -> bytes:
    inflate = zlib.decompressobj(wbits=_GZIP)
    left, at, parts = _MAX_TAR_BYTES + 1, 0, []
    try:
        while at < len(archive) and left > 0 and not inflate.eof:
            parts.append(inflate.decompress(archive[at : at + _READ_AT_ONCE], left))
            left -= len(parts[-1])
            at += _READ_AT_ONCE
    except zlib.error as error:
        raise refusal(name, f"not a `.tar.gz`, or damaged: {str(error).rpartition(': ')[2]}", "unpack") from None
    if left <= 0:
        raise refusal(name, f"the archive unpacks to more than {_MAX_TAR_BYTES} bytes", "unpack")
    if not inflate.eof:
        raise refusal(name, f"the archive is truncated: {len(archive)} bytes are not all of it", "unpack")
    if behind := len(inflate.unused_data) + max(0, len(archive) - at):
        raise refusal(name, f"{behind} bytes follow the end of the archive", "unpack")
    return b"".join(parts)


def _header(block: bytes, name: str, at: int) -> tarfile.TarInfo:
    """A member that may be there: a plain file of a plain name."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except tarfile.HeaderError as error:
        raise refusal(name, f"damaged at byte {at} of the unpacked archive: {error}", "unpack") from None
    except UnicodeDecodeError:
        raise refusal(name, f"the name at byte {at} of the unpacked archive is not UTF-8", "unpack") from None
    if info.type != tarfile.REGTYPE:
        kind = _KINDS.get(info.type, f"a member of type {info.type.decode('latin-1')!r}")
        to = f" to `{shorten(info.linkname)}`" if info.linkname else ""
        raise refusal(info.name, f"{kind}{to}: an archive holds plain files only", "unpack")
    if info.name not in _CAPS and (why := wrong_path(info.name)):
        raise refusal(info.name, why, "unpack")
    cap = _CAPS.get(info.name, MAX_FILE_BYTES)
    if not 0 <= info.size <= cap:
        raise refusal(info.name, f"the file has {info.size} bytes, at most {cap} are read", "unpack")
    return info


def _tar(package: Package) -> Iterator[bytes]:
    """Manifest and signatures first, then the files by path; POSIX.1-1988 (ustar) headers without owner and time."""
    own = ((MANIFEST_FILE, package.manifest), (SIGNATURE_FILE, package.signatures))
    members = [(path, content) for path, content in own if content is not None]
    members += [(path, package.files[path]) for path in sorted(package.files)]
    length = 0
    for path, content in members:
        info = tarfile.TarInfo(path)
        info.size, info.mode = len(content), 0o644
        try:
            header = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
        except (ValueError, UnicodeEncodeError):
            what = "the path is too long for an archive: at most 100 bytes behind the last `/`, 255 in all"
            raise refusal(path, what, "unpack") from None
        yield header
        yield content
        yield bytes(_padded(len(content)) - len(content))
        length += len(header) + _padded(len(content))
    yield bytes(2 * _BLOCK + -(length + 2 * _BLOCK) % _RECORD)


def _padded(size: int) -> int:
    return size + -size % _BLOCK
