"""Security of the OPC UA source: what is refused, what is kept, and that nothing falls back in silence."""

from __future__ import annotations

import asyncio
import datetime
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pydantic
import pytest
import pytest_asyncio
from asyncua import ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from edge_agent.core import NotConnected
from edge_agent.sources.opcua import OpcUaConfig
from edge_agent.sources.opcua_security import check_trusted, own_certificate
from edge_agent.sources.opcua_session import reaching
from tests.sources.opcua_plant import Plant, Reader, cut, free_port, source

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVER_URI = "urn:freeopcua:python:server"


def made(folder: Path, name: str, *, uri: str = SERVER_URI, signer: tuple[x509.Certificate, rsa.RSAPrivateKey] | None = None, days: int = 30) -> Any:
    """Certificate and key of a server, as objects and as files."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if signer is None else signer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), x509.DNSName("localhost")]), critical=False)
        .sign(key if signer is None else signer[1], hashes.SHA256())
    )
    der, pem = folder / f"{name}.der", folder / f"{name}.pem"
    der.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return certificate, key, der, pem


class OneUser(UserManager):
    def get_user(self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None) -> User | None:
        if username is None or (username, password) == ("operator", "correct horse"):
            return User(role=UserRole.User)
        return None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Plant, Path]]:
    """A plant that offers no security and Basic256Sha256 SignAndEncrypt, and its certificate."""
    folder = tmp_path_factory.mktemp("pki")
    _, _, der, pem = made(folder, "server")
    plant = Plant(free_port(), users=OneUser())
    await plant.start((ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt), (der, pem))
    yield plant, der
    await plant.stop()


def safe(trusted: Path) -> dict[str, Any]:
    return {"policy": "basic256sha256", "mode": "sign_and_encrypt", "trusted": [str(trusted)]}


async def test_basic256sha256_sign_and_encrypt_with_a_pinned_server_reads_values_and_comes_back_after_a_crash(
    secured: tuple[Plant, Path], tmp_path: Path
) -> None:
    plant, der = secured
    await plant.fresh()
    reader = Reader(source(plant, tmp_path, security=safe(der)))
    await reader.open()
    await plant.run("a", 1, 2)
    await reader.until(0, 2.0)
    cut(reader.plc)
    await plant.run("a", 3, 4)
    await asyncio.sleep(0.1)
    again = Reader(source(plant, tmp_path, security=safe(der)))
    again.resume = reader.resume
    assert (await again.open()).state == "resumed"
    await again.until(0, 4.0)
    assert again.values(0) == [3.0, 4.0]
    await again.plc.close()


async def test_the_secure_channel_is_renewed(secured: tuple[Plant, Path], tmp_path: Path) -> None:
    plant, der = secured
    await plant.fresh()
    reader = Reader(source(plant, tmp_path, security=safe(der)))
    await reader.open()
    session = reader.plc._session
    assert session is not None
    before = session._client.uaclient.protocol._connection.security_token.TokenId
    for k in range(1, 4):
        reader.plc._renew_at = 0.0
        await plant.run("a", k, k)
        await reader.until(0, float(k))
    assert session._client.uaclient.protocol._connection.security_token.TokenId > before
    assert reader.values(0) == [1.0, 2.0, 3.0]
    await reader.plc.close()


async def test_a_server_that_nobody_trusted_is_refused_and_its_certificate_kept_for_a_person(secured: tuple[Plant, Path], tmp_path: Path) -> None:
    plant, der = secured
    _, _, other, _ = made(tmp_path, "other")
    plc = source(plant, tmp_path / "data", security=safe(other))
    with pytest.raises(NotConnected, match="expected one of 1 trusted, found none that fits"):
        await plc.open(None)
    await plc.close()
    (kept,) = (tmp_path / "data" / "rejected").iterdir()
    assert kept.read_bytes() == der.read_bytes()


@pytest.mark.parametrize(
    ("offered", "policy"),
    [
        (ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt, "aes128_sha256_rsaoaep"),
        (ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt, "aes256_sha256_rsapss"),
    ],
    ids=["aes128", "aes256"],
)
async def test_the_newer_policies_carry_values_and_a_certificate_laid_into_the_folder_of_trusted_ones_is_enough(
    tmp_path: Path, offered: ua.SecurityPolicyType, policy: str
) -> None:
    (tmp_path / "trusted").mkdir()
    _, _, der, pem = made(tmp_path, "server")
    plant = Plant(free_port())
    await plant.start((offered,), (der, pem))
    try:
        await plant.fresh()
        asked = {"policy": policy, "mode": "sign_and_encrypt", "trusted": [str(tmp_path / "trusted")]}
        stranger = source(plant, tmp_path / "data", security=asked)
        with pytest.raises(NotConnected, match="expected one of 0 trusted"):
            await stranger.open(None)
        await stranger.close()
        (kept,) = (tmp_path / "data" / "rejected").iterdir()
        kept.rename(tmp_path / "trusted" / kept.name)
        reader = Reader(source(plant, tmp_path / "data", security=asked))
        await reader.open()
        await plant.run("a", 1, 2)
        await reader.until(0, 2.0)
        await reader.plc.close()
    finally:
        await plant.stop()


async def test_a_policy_the_server_does_not_offer_is_refused_and_not_weakened(secured: tuple[Plant, Path], tmp_path: Path) -> None:
    plant, der = secured
    plc = source(plant, tmp_path, security={"policy": "aes256_sha256_rsapss", "mode": "sign", "trusted": [str(der)]})
    offered = "expected aes256_sha256_rsapss/sign, the server offers Basic256Sha256/SignAndEncrypt, None/None"
    with pytest.raises(NotConnected, match=offered):
        await plc.open(None)
    await plc.close()


async def test_a_server_that_offers_security_only_refuses_none(tmp_path: Path) -> None:
    _, _, der, pem = made(tmp_path, "server")
    plant = await Plant(free_port()).start((ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,), (der, pem))
    plc = source(plant, tmp_path)
    with pytest.raises(NotConnected):
        await plc.open(None)
    await plc.close()
    reader = Reader(source(plant, tmp_path, security=safe(der)))
    assert (await reader.open()).state == "connected"
    await reader.plc.close()
    await plant.stop()


@pytest.mark.parametrize("secure", [False, True])
async def test_user_name_and_password(secured: tuple[Plant, Path], tmp_path: Path, *, secure: bool) -> None:
    plant, der = secured
    await plant.fresh()
    (tmp_path / "password").write_text("correct horse\n")
    config: dict[str, Any] = {"username": "operator", "password_file": tmp_path / "password"} | ({"security": safe(der)} if secure else {})
    reader = Reader(source(plant, tmp_path, **config))
    await reader.open()
    await plant.run("a", 1, 1)
    await reader.until(0, 1.0)
    cut(reader.plc)
    again = Reader(source(plant, tmp_path, **config))
    again.resume = reader.resume
    assert (await again.open()).state == "resumed"
    await again.plc.close()
    (tmp_path / "password").write_text("wrong")
    refused = source(plant, tmp_path, **config)
    with pytest.raises(NotConnected, match=r"creating a session: .*(BadUserAccessDenied|does not have permission)"):
        await refused.open(None)
    await refused.close()


async def test_a_password_is_not_sent_in_plain_text_unless_a_person_allowed_it(tmp_path: Path) -> None:
    plant = await Plant(free_port(), users=OneUser()).start()
    (tmp_path / "password").write_text("correct horse")
    config: dict[str, Any] = {"username": "operator", "password_file": tmp_path / "password"}
    plc = source(plant, tmp_path, **config)
    with pytest.raises(NotConnected, match="plain text only"):
        await plc.open(None)
    await plc.close()
    allowed = Reader(source(plant, tmp_path, security={"plain_password": True}, **config))
    assert (await allowed.open()).state == "connected"
    await allowed.plc.close()
    await plant.stop()


async def test_a_missing_password_file_is_not_connected(tmp_path: Path, secured: tuple[Plant, Path]) -> None:
    plc = source(secured[0], tmp_path, username="operator", password_file=tmp_path / "none")
    with pytest.raises(NotConnected, match="a readable secret file"):
        await plc.open(None)
    await plc.close()


async def test_nothing_kept_can_be_read_by_others_and_no_password_is_in_it(secured: tuple[Plant, Path], tmp_path: Path) -> None:
    plant, der = secured
    (tmp_path / "password").write_text("correct horse")
    data = tmp_path / "data"
    reader = Reader(source(plant, data, security=safe(der), username="operator", password_file=tmp_path / "password"))
    await reader.open()
    cut(reader.plc)
    assert {file.name for file in data.iterdir()} == {"own.der", "own.key.pem", "session"}
    for file in data.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert b"correct horse" not in file.read_bytes()


async def test_the_own_certificate_is_made_once_and_names_its_application(tmp_path: Path) -> None:
    first = own_certificate(tmp_path / "x", "plc")
    assert own_certificate(tmp_path / "x", "renamed") == first
    names = x509.load_der_x509_certificate(first.certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [first.uri]


async def test_trust_is_exact_or_through_a_signer_and_never_beyond_the_dates(tmp_path: Path) -> None:
    authority = made(tmp_path, "authority", uri="urn:ca")
    signed, _, signed_file, _ = made(tmp_path, "signed", signer=authority[:2])
    expired, _, expired_file, _ = made(tmp_path, "expired", days=-1)
    der = signed.public_bytes(serialization.Encoding.DER)
    check_trusted(der, [signed_file], "urn:anything", tmp_path)
    check_trusted(der, [authority[2]], SERVER_URI, tmp_path)
    check_trusted(der + authority[2].read_bytes(), [authority[2]], SERVER_URI, tmp_path)
    with pytest.raises(NotConnected, match="found none that fits"):
        check_trusted(der, [authority[2]], "urn:someone:else", tmp_path)
    with pytest.raises(NotConnected, match="expected valid now"):
        check_trusted(expired.public_bytes(serialization.Encoding.DER), [expired_file], SERVER_URI, tmp_path)
    with pytest.raises(NotConnected, match="expected a certificate"):
        check_trusted(der, [tmp_path / "signed.pem"], SERVER_URI, tmp_path)
    with pytest.raises(NotConnected, match=r"expected X\.509"):
        check_trusted(b"nonsense", [signed_file], SERVER_URI, tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("security", {"policy": "basic256sha256"}, "policy and mode both none or both set"),
        ("security", {"policy": "basic256sha256", "mode": "sign"}, "at least one file under trusted"),
        ("lifetime_count", 10, "at least 3 x keepalive_count"),
        ("password_file", "x", "username where there is a password_file"),
        ("url", "http://x", "pattern"),
        ("url", "opc.tcp://me:secret@x", "pattern"),
        ("publishing_ms", 0, "greater than 0"),
        ("colour", "red", "Extra inputs"),
    ],
)
async def test_a_wrong_section_is_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        OpcUaConfig.model_validate({"kind": "opcua", "name": "plc", "url": "opc.tcp://x:4840/", key: value})


async def test_a_server_that_refuses_our_certificate_is_not_connected_and_says_so() -> None:
    with pytest.raises(NotConnected, match="may not trust our certificate"), reaching("opc.tcp://plc/", "opening a channel"):
        raise AssertionError  # what asyncua makes of the server's fault, as node-opcua sends it
