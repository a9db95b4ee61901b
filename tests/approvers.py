"""Two people with keys who may approve break glass, and a third who may not."""

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from extauthz.bundle.approvals import ApprovalSpec, GlassRequest, approve
from extauthz.bundle.trust import PrivateKey, write_public_key

KEYS: dict[str, PrivateKey] = {
    "duty-manager": ed25519.Ed25519PrivateKey.generate(),
    "ciso": ec.generate_private_key(ec.SECP256R1()),
    "stranger": ed25519.Ed25519PrivateKey.generate(),
}
PUBLIC = {name: write_public_key(key.public_key()) for name, key in KEYS.items()}
LISTED = {name: PUBLIC[name] for name in ("duty-manager", "ciso")}
YAML = "".join(f"  - {{name: {name}, key: {key}}}\n" for name, key in LISTED.items())


def pem(name: str) -> bytes:
    return KEYS[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(name: str) -> str:
    return KEYS[name].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def approvals(request: GlassRequest, *names: str) -> tuple[ApprovalSpec, ...]:
    return tuple(approve(request, name, KEYS[name]) for name in names or LISTED)
