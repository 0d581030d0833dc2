"""Who made a bundle, and whether it is as it was made: what the installer accepts and what it refuses, before anything of it has run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from deploy.bundle import sums
from deploy.sign import SIGNATURE, sign
from tests.deploy.stranger import steps

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def pair(folder: Path, name: str) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "wheels").mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "install.sh", folder)
    (folder / "wheels" / "a-1-py3-none-any.whl").write_bytes(b"a")
    (folder / "PYTHON").write_text("3.11 x86_64\n")
    (folder / "SHA256SUMS").write_text(sums(folder))
    return folder


def verify(bundle: Path, key: Path | None = None) -> tuple[int, str]:
    command = ["sh", bundle / "install.sh"]
    done = subprocess.run([*command, "verify", *(["--key", key] if key else [])], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_bundle_of_the_maker_is_accepted_and_an_unsigned_one_is_called_so(bundle: Path, tmp_path: Path) -> None:
    private, public = pair(tmp_path, "maker")
    code, said = verify(bundle)
    assert (code, "NOT SIGNED" in said) == (0, True)
    assert sign(bundle, private).stat().st_size == 64
    assert sums(bundle) == (bundle / "SHA256SUMS").read_text(), "the signature is not among what it signs"
    code, said = verify(bundle)
    assert (code, "no key of the maker is known" in said) == (0, True)
    code, said = verify(bundle, public)
    assert (code, "signed by the maker" in said) == (0, True)


def _wheel(bundle: Path) -> None:
    (bundle / "wheels" / "a-1-py3-none-any.whl").write_bytes(b"b")


def _wheel_and_its_sum(bundle: Path) -> None:
    _wheel(bundle)
    (bundle / "SHA256SUMS").write_text(sums(bundle))


def _one_more_wheel(bundle: Path) -> None:
    (bundle / "wheels" / "z-1-py3-none-any.whl").write_bytes(b"z")


def _one_wheel_less(bundle: Path) -> None:
    (bundle / "wheels" / "a-1-py3-none-any.whl").unlink()


def _a_link(bundle: Path) -> None:
    (bundle / "PYTHON").rename(bundle.parent / "PYTHON")
    (bundle / "PYTHON").symlink_to(bundle.parent / "PYTHON")


def _no_signature(bundle: Path) -> None:
    (bundle / SIGNATURE).unlink()


@pytest.mark.parametrize(
    ("done", "why"),
    [
        (_wheel, "damaged or was changed"), (_wheel_and_its_sum, "its signature is not that"), (_one_more_wheel, "other files than"),
        (_one_wheel_less, "other files than"), (_a_link, "plain files alone"), (_no_signature, "is not signed"),
    ],
)  # fmt: skip
def test_a_bundle_that_anybody_touched_is_refused(bundle: Path, tmp_path: Path, done: Callable[[Path], None], why: str) -> None:
    private, public = pair(tmp_path, "maker")
    sign(bundle, private)
    done(bundle)
    code, said = verify(bundle, public)
    assert (code, why in said) == (1, True), said
    assert "nothing was installed" in said


def test_another_s_signature_is_not_the_maker_s(bundle: Path, tmp_path: Path) -> None:
    _, public = pair(tmp_path, "maker")
    other, _ = pair(tmp_path, "other")
    sign(bundle, other)
    code, said = verify(bundle, public)
    assert (code, "its signature is not that" in said) == (1, True)


def test_a_signature_that_openssl_makes_is_the_same_thing(bundle: Path, tmp_path: Path) -> None:
    private, public = pair(tmp_path, "maker")
    made = ["openssl", "pkeyutl", "-sign", "-inkey", private, "-rawin", "-in", bundle / "SHA256SUMS", "-out", bundle / SIGNATURE]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    assert verify(bundle, public)[0] == 0
    assert sign(bundle, private).read_bytes() == (bundle / SIGNATURE).read_bytes()


def test_only_an_ed25519_key_signs(bundle: Path, tmp_path: Path) -> None:
    key = tmp_path / "ec.pem"
    made = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    with pytest.raises(ValueError, match="expected an Ed25519 private key"):
        sign(bundle, key)


def test_a_page_that_is_pasted_as_a_block_installs_only_what_was_verified() -> None:
    lines = [line for step in steps() for line in step.commands if "install.sh" in line]
    assert len(lines) == 1
    assert [part.split(" -")[0] for part in lines[0].split(" && ")] == ["openssl pkeyutl", "sha256sum", "sudo sh install.sh"]
