"""Who we are to an OPC UA server and which server we trust: the client's certificate, made once and kept, and the pinned server certificates.

There is no silent fall-back: a server that does not offer the policy and mode asked for, or shows a certificate that nobody trusted, is refused,
and the error says what it offered or where its certificate was laid down for a person to look at (OPC 10000-4, 6.1; OPC 10000-2, 8).
"""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pydantic

from edge_agent.core import NotConnected
from edge_agent.core.settings import Section

Policy = Literal["none", "basic256sha256", "aes128_sha256_rsaoaep", "aes256_sha256_rsapss"]
Mode = Literal["none", "sign", "sign_and_encrypt"]

_CLASSES: Final[dict[str, str]] = {
    "none": "SecurityPolicyNone",
    "basic256sha256": "SecurityPolicyBasic256Sha256",
    "aes128_sha256_rsaoaep": "SecurityPolicyAes128Sha256RsaOaep",
    "aes256_sha256_rsapss": "SecurityPolicyAes256Sha256RsaPss",
}
_MODES: Final[dict[str, str]] = {"none": "None_", "sign": "Sign", "sign_and_encrypt": "SignAndEncrypt"}
_YEARS: Final = 20


class OpcUaSecurity(Section):
    """Security of the channel to one server."""

    policy: Policy = "none"
    mode: Mode = "none"
    trusted: tuple[Path, ...] = ()
    """Certificate files (DER or PEM) of the server itself or of the authority that signed it; a folder stands for the files in it."""
    plain_password: bool = False
    """Allow a password to travel unencrypted when the server offers nothing better."""

    @pydantic.model_validator(mode="after")
    def _whole(self) -> OpcUaSecurity:
        if (self.policy == "none") != (self.mode == "none"):
            raise ValueError(f"policy and mode both none or both set, found {self.policy} and {self.mode}")
        if self.policy != "none" and not self.trusted:
            raise ValueError("at least one file under trusted: a secure channel to a server that nobody trusts proves nothing")
        return self


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """The client's application instance certificate: DER, its private key as PEM, and the ApplicationUri it names."""

    certificate: bytes
    key: bytes
    uri: str


def own_certificate(folder: Path, name: str) -> OwnCertificate:
    """The certificate kept in a folder, made on first use: RSA 2048, SHA-256, 20 years, key readable by its owner alone.

    It is never renewed by itself, because every server would have to trust it anew.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    certificate_file, key_file = folder / "own.der", folder / "own.key.pem"
    if certificate_file.exists() and key_file.exists():
        der = certificate_file.read_bytes()
        alternative = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return OwnCertificate(der, key_file.read_bytes(), alternative.get_values_for_type(x509.UniformResourceIdentifier)[0])
    host = socket.gethostname()
    uri = f"urn:{host}:pharmedge:{name}"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    names = {NameOID.COMMON_NAME: f"Pharmedge {name}"[:64], NameOID.ORGANIZATION_NAME: "Pharmedge"}
    subject = x509.Name([x509.NameAttribute(kind, text) for kind, text in names.items()])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), x509.DNSName(host)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True, key_agreement=False,
                key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    der = certificate.public_bytes(serialization.Encoding.DER)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # The key first: a certificate without its key would be taken for a whole pair after a power cut.
    write_private(key_file, pem)
    write_private(certificate_file, der)
    return OwnCertificate(der, pem, uri)


def write_private(path: Path, data: bytes) -> None:
    """Put bytes into a file that its owner alone may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor with its mode
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def first_certificate(der: bytes) -> bytes:
    """The leading certificate of a chain written one behind the other (X.690 long form: two bytes of length)."""
    return der[: 4 + int.from_bytes(der[2:4], "big")] if der[:2] == b"\x30\x82" else der


def check_trusted(der: bytes, trusted: Sequence[Path], uri: str, folder: Path) -> None:
    """Raise NotConnected unless the certificate is valid now and is, or was signed by, one of the trusted ones.

    `uri` is the ApplicationUri the server claims; a certificate that is trusted only through its signer must name it.
    A refused certificate is left in `folder`/rejected under its fingerprint.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes

    der = first_certificate(der)
    try:
        shown = x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise NotConnected(f"server certificate: expected X.509, found {error}") from error
    fingerprint = shown.fingerprint(hashes.SHA256()).hex()
    now = datetime.datetime.now(datetime.UTC)
    if not shown.not_valid_before_utc <= now <= shown.not_valid_after_utc:
        raise NotConnected(
            f"server certificate {fingerprint}: expected valid now, found {shown.not_valid_before_utc} to {shown.not_valid_after_utc}"
        )
    known_files = [file for path in trusted for file in ([path] if not path.is_dir() else sorted(p for p in path.iterdir() if p.is_file()))]
    for path in known_files:
        try:
            data = path.read_bytes()
            known = x509.load_pem_x509_certificate(data) if data.lstrip().startswith(b"-----") else x509.load_der_x509_certificate(data)
        except (OSError, ValueError) as error:
            raise NotConnected(f"{path}: expected a certificate, found {error}") from error
        if known == shown:
            return
        try:
            shown.verify_directly_issued_by(known)
        except (ValueError, TypeError, InvalidSignature):
            continue
        try:
            names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            continue
        if uri in names.get_values_for_type(x509.UniformResourceIdentifier):
            return
    laid = folder / "rejected" / f"{fingerprint}.der"
    write_private(laid, der)
    raise NotConnected(f"server certificate {fingerprint}: expected one of {len(known_files)} trusted, found none that fits; it is kept as {laid}")


def policy_of(security: OpcUaSecurity) -> tuple[Any, Any]:
    """asyncua's policy class and mode."""
    from asyncua import ua
    from asyncua.crypto import security_policies

    return getattr(security_policies, _CLASSES[security.policy]), getattr(ua.MessageSecurityMode, _MODES[security.mode])


def chosen_endpoint(endpoints: Iterable[Any], security: OpcUaSecurity) -> Any:
    """The endpoint of the policy and mode asked for; NotConnected naming what the server offers instead."""
    policy, mode = policy_of(security)
    offered = []
    for endpoint in endpoints:
        if not (endpoint.EndpointUrl or "").startswith("opc.tcp"):
            continue
        if endpoint.SecurityPolicyUri == policy.URI and endpoint.SecurityMode == mode:
            return endpoint
        offered.append(f"{(endpoint.SecurityPolicyUri or '').rpartition('#')[2]}/{endpoint.SecurityMode.name.rstrip('_')}")
    raise NotConnected(f"security: expected {security.policy}/{security.mode}, the server offers {', '.join(sorted(set(offered))) or 'nothing'}")
