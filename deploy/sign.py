"""The maker's signature on a release: Ed25519 (RFC 8032) over SHA256SUMS, which names every other file.

The key pair is made once, away from the computer that builds, and its public half goes to the plants by another way than the bundle:

    openssl genpkey -algorithm ed25519 -out maker.pem && openssl pkey -in maker.pem -pubout -out maker.pub
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SIGNATURE: Final = "SHA256SUMS.sig"


def sign(folder: Path, key: Path) -> Path:
    """Write SHA256SUMS.sig, 64 bytes, beside SHA256SUMS; `key` is an unencrypted PEM file. Raises ValueError for a key of another kind."""
    private = load_pem_private_key(key.read_bytes(), password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError(f"{key}: expected an Ed25519 private key (PEM), found {type(private).__name__.removeprefix('_')}")
    out = folder / SIGNATURE
    out.write_bytes(private.sign((folder / "SHA256SUMS").read_bytes()))
    return out
