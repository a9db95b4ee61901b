"""Keys of approvers: as bundles are signed with, written in PEM or in one line."""

from extauthz.bundle.trust import PublicKey, read_public_key

_PEM = "-----BEGIN"


def read_approver_key(text: str) -> PublicKey:
    """A public key from PEM or from what is between its lines. Raises BadKeyError."""
    if not text.lstrip().startswith(_PEM):
        text = f"{_PEM} PUBLIC KEY-----\n{text.strip()}\n-----END PUBLIC KEY-----\n"
    return read_public_key(text.encode("utf-8", "surrogatepass"))
