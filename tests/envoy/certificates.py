"""A mesh's certificate authority: leaves with SPIFFE identities, which trustme cannot make."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.envoy.variants import Certificates


class MeshAuthority:
    """Issues certificates below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cluster.local")])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, *identities: str, dns: str = "localhost") -> Certificates:
        """A leaf whose URI SANs are `identities`, in order."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity) for identity in identities]
        san = x509.SubjectAlternativeName([*names, x509.DNSName(dns)])
        builder = self._builder(x509.Name([]), key.public_key()).add_extension(san, critical=True)
        leaf = builder.sign(self._key, hashes.SHA256())
        files = Certificates(self.directory / f"{name}.pem", self.directory / f"{name}.key", self.ca)
        files.chain.write_bytes(leaf.public_bytes(Encoding.PEM))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    def client_context(self, name: str, *identities: str) -> ssl.SSLContext:
        """A client's TLS context that presents such a leaf."""
        files = self.issue(name, *identities)
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(files.chain, files.key)
        return context

    def _builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
        )
