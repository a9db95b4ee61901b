"""Archives, good and hostile, made byte by byte: what `extauthz bundle build` would never write."""

import gzip
import tarfile
import zlib
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from extauthz.bundle import Package, encode_manifest, make_manifest, pack
from extauthz.bundle.trust import PrivateKey, key_id, sign

Member = tuple[tarfile.TarInfo, bytes]


class Signer:
    """A key, and bundles signed with it."""

    def __init__(self, key: PrivateKey | None = None) -> None:
        self.key = key or Ed25519PrivateKey.generate()
        self.id = key_id(self.key.public_key())

    def package(
        self, files: Mapping[str, bytes], sequence: int = 1, *, name: str = "small", revision: str = "small-1"
    ) -> Package:
        """A package signed with this key alone, whether or not the files make a good bundle."""
        manifest = encode_manifest(make_manifest(files, name, revision, sequence))
        return Package(dict(files), manifest, sign(manifest, [self.key]))

    def archive(self, files: Mapping[str, bytes], sequence: int = 1, **about: str) -> bytes:
        return pack(self.package(files, sequence, **about))


def member(name: str, content: bytes = b"", **fields: object) -> Member:
    """A member as `pack` would write it, but for `fields`."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def raw_tar(members: Sequence[Member], *, form: int = tarfile.USTAR_FORMAT) -> bytes:
    """The members in this order, whatever they are."""
    blocks = [info.tobuf(form, "utf-8", "surrogateescape") + body + bytes(-len(body) % 512) for info, body in members]
    whole = b"".join(blocks) + bytes(1024)
    return whole + bytes(-len(whole) % tarfile.RECORDSIZE)


def raw_archive(members: Sequence[Member], *, form: int = tarfile.USTAR_FORMAT) -> bytes:
    return gzip.compress(raw_tar(members, form=form), mtime=0)


def members_of(package: Package) -> list[Member]:
    """What `pack` writes, to be spoilt at one place."""
    assert package.manifest is not None
    found = [member(".manifest.json", package.manifest)]
    found += [member(".manifest.sig", package.signatures)] if package.signatures is not None else []
    return found + [member(path, package.files[path]) for path in sorted(package.files)]


def with_member(package: Package, *extra: Member) -> bytes:
    """The good archive with more in it."""
    return raw_archive([*members_of(package), *extra])


def zip_bomb(gigabytes: int = 1) -> bytes:
    """A megabyte that unpacks to gigabytes of zeros behind a good header."""
    size = gigabytes << 30
    info = tarfile.TarInfo("policy.yaml")
    info.size, info.mode = size, 0o644
    compressor = zlib.compressobj(9, wbits=31)
    head = compressor.compress(info.tobuf(tarfile.USTAR_FORMAT)) + compressor.flush(zlib.Z_FULL_FLUSH)
    chunk = compressor.compress(bytes(16 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    # Behind a full flush nothing refers to what came before, so the same bytes can follow again and again.
    return head + chunk * (size >> 24) + compressor.flush()


HOSTILE: Mapping[str, tuple[Sequence[Member], str]] = {
    "path traversal": ([member("../../etc/cron.d/x.yaml", b"x")], "../../etc/cron.d/x.yaml: a path that leads out"),
    "path traversal inside": ([member("a/../../x.yaml", b"x")], "a/../../x.yaml: a path that leads out of the bundle"),
    "absolute path": ([member("/etc/x.yaml", b"x")], "/etc/x.yaml: an absolute path"),
    "backslashes": ([member("..\\x.yaml", b"x")], "..\\x.yaml: a path that is not in its plain form"),
    "dot in a path": ([member("./z.yaml", b"x")], "./z.yaml: a path that is not in its plain form"),
    "control characters": ([member("z\n.yaml", b"x")], "z\\n.yaml: a path that is not printable"),
    "symbolic link": (
        [member("z.yaml", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
        "z.yaml: a symbolic link to `/etc/passwd`: an archive holds plain files only",
    ),
    "hard link": (
        [member("z.yaml", type=tarfile.LNKTYPE, linkname="/etc/shadow")],
        "z.yaml: a hard link to `/etc/shadow`: an archive holds plain files only",
    ),
    "character device": ([member("z.yaml", type=tarfile.CHRTYPE, devmajor=1)], "z.yaml: a character device"),
    "block device": ([member("z.yaml", type=tarfile.BLKTYPE, devmajor=8)], "z.yaml: a block device"),
    "pipe": ([member("z.yaml", type=tarfile.FIFOTYPE)], "z.yaml: a pipe"),
    "directory": ([member("z", type=tarfile.DIRTYPE)], "z: a directory"),
    "sparse file": ([member("z.yaml", type=tarfile.GNUTYPE_SPARSE)], "z.yaml: a member of type 'S'"),
    "extended header": ([member("z", b"11 path=../x", type=tarfile.XHDTYPE)], "z: a member of type 'x'"),
    "long name": ([member("././@LongLink", b"../x\0", type=tarfile.GNUTYPE_LONGNAME)], "a member of type 'L'"),
    "hidden file": ([member("z/.hidden.yaml", b"x")], "z/.hidden.yaml: a hidden file"),
    "program": ([member("z.sh", b"x")], "z.sh: not a file of a bundle: its files end in .yaml, .yml, .json"),
    "duplicate": ([member("policy.yaml", b"x")], "policy.yaml: the archive holds this file twice"),
    "duplicate manifest": ([member(".manifest.json", b"x")], ".manifest.json: the archive holds this file twice"),
}
