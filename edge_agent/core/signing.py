"""Signing keys (Ed25519): made once, the private half readable by its owner only, public halves beside it under their short names.

The library is loaded by what signs or checks: an edge that has nothing signed does without its 8 MB.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.core.errors import LogError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def key_id(public: Ed25519PublicKey) -> str:
    """The short name of a public key."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def signing_key(folder: Path, name: str = "manifest.key") -> Ed25519PrivateKey:
    """The key in `folder/name`, made at the first call; LogError when the file holds another kind of key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

    path = folder / name
    if path.exists():
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise LogError(f"{path}: expected an Ed25519 key, found {type(key).__name__}")
        return key
    folder.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    (folder / f"{key_id(public)}.pub").write_text(public.public_bytes_raw().hex() + "\n")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        os.fsync(file.fileno())
    return key


def public_keys(folder: Path) -> dict[str, Ed25519PublicKey]:
    """The public keys in a folder by their short name; a file that holds none is passed over (`wrong_keys` tells it)."""
    found = (_public_key(path) for path in sorted(folder.glob("*.pub")))
    return {key_id(key): key for key in found if not isinstance(key, str)}


def wrong_keys(folder: Path) -> list[str]:
    """The files `*.pub` of a folder that hold no public key, each with what was expected."""
    return [key for path in sorted(folder.glob("*.pub")) if isinstance(key := _public_key(path), str)]


def _public_key(path: Path) -> Ed25519PublicKey | str:
    """The key, or what is wrong with its file."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(path.read_text("ascii").strip()))
    except OSError as error:
        return f"{path}: expected a public key, found {error.strerror or error}"
    except ValueError:
        return f"{path}: expected an Ed25519 public key as 64 hexadecimal digits, found something else"
