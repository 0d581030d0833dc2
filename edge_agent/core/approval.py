"""Approvals of trained models: who took responsibility for which file, what for and from when on, signed (Ed25519) and kept beside the file.

`FILE.approval.json` holds one approval. It cites the SHA-256 of the model file: a file that is changed or trained anew has none.
The signature proves that the holder of a key that this edge trusts wrote it; the name in it is what the signer said (docs/models.md).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from edge_agent.core.errors import Refused
from edge_agent.core.model_file import ModelFile, ModelFileError
from edge_agent.core.signing import key_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_FOLDER: Final = "model_keys"
"""Folder in the edge's data folder that holds its key for approvals of models, and the public keys (`*.pub`) whose approvals of models count."""
KEY_FILE: Final = "approval.key"
"""The edge's own key in it, made at the first approval."""

Meaning = Literal["approved for use", "approved for advisory use"]


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signed approval."""

    model_sha256: str
    kind: str
    name: str
    user: str
    role: str
    meaning: Meaning
    reason: str
    effective_ns: int
    """From when on it counts, ns UTC."""
    signed_ns: int
    key: str
    """Short name of the key that signed it."""
    signature: str = ""
    """Ed25519 over the JSON of all other fields, keys sorted, hex."""


def approval_path(model: Path) -> Path:
    """Where the approval of a model file stands."""
    return model.with_name(model.name + ".approval.json")


def approve(
    model: ModelFile, key: Ed25519PrivateKey, *, user: str, role: str, meaning: Meaning, reason: str, effective_ns: int, now_ns: int
) -> Approval:
    """A signed approval; Refused when the one who trained a model approves it, or says neither who he is nor why."""
    for what, text in (("user", user), ("role", role), ("reason", reason)):
        if not text.strip():
            raise Refused(f"approve: expected a {what}, found nothing")
    if user.strip().casefold() == model.trained_by.strip().casefold():
        raise Refused(f"approve: expected someone other than {model.trained_by}, who trained the model, found {user.strip()}")
    approval = Approval(
        model_sha256=model.sha256, kind=model.kind, name=model.name, user=user.strip(), role=role.strip(), meaning=meaning, reason=reason.strip(),
        effective_ns=effective_ns, signed_ns=now_ns, key=key_id(key.public_key()),
    )  # fmt: skip
    return msgspec.structs.replace(approval, signature=key.sign(_signed(approval)).hex())


def _signed(approval: Approval) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(approval, signature=""), order="sorted")


def write_approval(path: Path, approval: Approval) -> None:
    """Write the approval of the model file at `path` durably, over an older one."""
    target = approval_path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with draft.open("xb") as out:
        out.write(msgspec.json.format(msgspec.json.encode(approval), indent=1) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    draft.replace(target)


def read_approval(path: Path) -> Approval | None:
    """The approval beside the model file at `path`, unverified; None when there is none. ModelFileError when it cannot be read as one."""
    file = approval_path(path)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelFileError(file, "(file)", "a readable approval", error.strerror or str(error)) from error
    try:
        return msgspec.json.decode(data, type=Approval)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(file, "(file)", "the fields of an approval", str(error)) from error


def verified(path: Path, model: ModelFile, keys: Mapping[str, Ed25519PublicKey]) -> Approval:
    """The approval of the model file at `path` that is its own, by another than its trainer, and signed with a trusted key; else ModelFileError."""
    from cryptography.exceptions import InvalidSignature

    approval, file = read_approval(path), approval_path(path)
    if approval is None:
        raise ModelFileError(path, "approval", f"one beside it ({file.name})", "none")
    if approval.model_sha256 != model.sha256:
        raise ModelFileError(file, "model_sha256", model.sha256, approval.model_sha256)
    if approval.user.casefold() == model.trained_by.strip().casefold():
        raise ModelFileError(file, "user", f"someone other than {model.trained_by}, who trained the model", approval.user)
    key = keys.get(approval.key)
    if key is None:
        raise ModelFileError(file, "key", f"a trusted key ({', '.join(sorted(keys)) or 'there is none'})", approval.key)
    try:
        key.verify(bytes.fromhex(approval.signature), _signed(approval))
    except (InvalidSignature, ValueError) as error:
        raise ModelFileError(file, "signature", f"that of key {approval.key}", "another: changed since it was signed") from error
    return approval
