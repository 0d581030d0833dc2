"""Model files come back bit for bit or are refused; approvals count only for their file, by another person, with a trusted key."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Refused
from edge_agent.core.approval import approval_path, approve, read_approval, verified, write_approval
from edge_agent.core.model_file import ModelFile, ModelFileError, Training, decode_model, encode_model, read, write
from edge_agent.core.signing import public_keys, signing_key
from tests.core.items import TEXT, column, same

ARRAY = st.sampled_from(["<f8", "<f4", "<i8", "<i4", "|u1", "<u4"]).flatmap(
    lambda dtype: st.sampled_from([(), (0,), (3,), (2, 3)]).flatmap(lambda shape: column(dtype, shape))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def model(**changes: Any) -> ModelFile:
    plain: dict[str, Any] = {
        "kind": "pca", "name": "press1", "tags": ("a", "b"), "config": {"kind": "pca", "quantile": 0.99}, "calibration": {"n": 3},
        "training": Training(windows=((1, 2),), files={"day.csv": "0" * 64}, rows_used=7, rows_left_out={"bad": 2}),
        "trained_by": "Process engineer", "trained_ns": 5, "arrays": {"mean": np.array([1.5, np.nan]), "n": np.array([3], np.int64)},
    }  # fmt: skip
    return ModelFile(**plain | changes)


@given(st.dictionaries(TEXT, ARRAY, max_size=4), st.dictionaries(TEXT, JSON, max_size=3), st.dictionaries(TEXT, JSON, max_size=3), TEXT)
def test_a_model_comes_back_bit_for_bit(arrays: dict[str, Any], config: dict[str, Any], calibration: dict[str, Any], name: str) -> None:
    written = model(arrays=arrays, config=config, calibration=calibration, name=name)
    data = encode_model(written)
    back = decode_model(data)
    assert same(dict(back.arrays), arrays)
    assert list(back.arrays) == list(arrays)
    assert (back.config, back.calibration, back.name, back.training) == (config, calibration, name, written.training)
    assert back.sha256 == hashlib.sha256(data).hexdigest()
    assert encode_model(back) == data


@given(st.data())
@settings(max_examples=200)
def test_any_changed_missing_or_added_byte_is_refused(data: st.DataObject) -> None:
    whole = encode_model(model())
    kind = data.draw(st.sampled_from(["flip", "cut", "more"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    if kind == "flip":
        damaged = bytearray(whole)
        damaged[at] ^= data.draw(st.integers(1, 255))
    else:
        damaged = bytearray(whole[:at] if kind == "cut" else whole + data.draw(st.binary(min_size=1, max_size=9)))
    with pytest.raises(ModelFileError, match=r"x\.model: .*: expected .*, found"):
        decode_model(bytes(damaged), "x.model")


@given(st.binary(max_size=300))
def test_bytes_with_a_right_hash_but_wrong_content_are_refused(body: bytes) -> None:
    for size in (1, len(body), len(body) + 5):
        data = b"pharmedge model 1 %s %d\n" % (hashlib.sha256(body).hexdigest().encode(), max(size, 1)) + body
        with pytest.raises(ModelFileError, match="expected"):
            decode_model(data)


def rehashed(data: bytes, old: bytes, new: bytes) -> bytes:
    first, _, body = data.partition(b"\n")
    body = body.replace(old, new)
    size = int(first.split()[-1]) + len(new) - len(old)
    return b"pharmedge model 1 %s %d\n" % (hashlib.sha256(body).hexdigest().encode(), size) + body


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (b'"<f8"', b'"|O8"', "arrays.mean"),
        (b'"<f8"', b'">f8"', "arrays.mean"),
        (b'"rows_used": 7', b'"rows_used": "x"', "head"),
        (b'"trained_ns": 5', b'"trained_ns": 5, "more": 1', "head"),
        (b'    2\n   ]\n  },\n  "n"', b'    -2\n   ]\n  },\n  "n"', "arrays.mean"),
        (b'    2\n   ]\n  },\n  "n"', b'    9999999999\n   ]\n  },\n  "n"', "arrays.mean"),
        (b'    2\n   ]\n  },\n  "n"', b'    1\n   ]\n  },\n  "n"', "arrays"),
    ],
)
def test_a_file_put_together_by_another_hand_is_refused_with_the_key(old: bytes, new: bytes, key: str) -> None:
    data = encode_model(model())
    changed = rehashed(data, old, new)
    assert len(changed) != len(data) or changed != data
    with pytest.raises(ModelFileError) as refused:
        decode_model(changed, "x.model")
    assert refused.value.key == key


def test_another_version_and_no_model_at_all_are_told_apart() -> None:
    with pytest.raises(ModelFileError, match="expected version 1, found version 2"):
        decode_model(encode_model(model()).replace(b"model 1", b"model 2", 1))
    with pytest.raises(ModelFileError, match="expected a Pharmedge model, found an empty file"):
        decode_model(b"")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"config": {"a": [1.0, float("nan")]}}, r"config\.a\[1\]"),
        ({"calibration": {"x": {"y": float("inf")}}}, "calibration.x.y"),
        ({"calibration": {"x": np.float64(1)}, "config": {"y": {1, 2}}}, "config.y"),
        ({"arrays": {"o": np.array([object()])}}, "arrays.o"),
        ({"arrays": {"s": np.array(["a"])}}, "arrays.s"),
    ],
)
def test_what_no_file_can_hold_is_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ValueError, match=f"{key}: expected"):
        encode_model(model(**changes))


def test_a_file_is_written_once_and_known_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "press.model"
    written = write(path, model())
    assert read(path).sha256 == written.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(FileExistsError):
        write(path, model(name="other"))
    assert read(path).name == "press1"
    assert [p.name for p in tmp_path.iterdir()] == ["press.model"]
    with pytest.raises(ModelFileError, match="expected a readable model file"):
        read(tmp_path / "none.model")


def approved(path: Path, folder: Path, **changes: Any) -> ModelFile:
    written = read(path)
    said: dict[str, Any] = {"user": "Quality", "role": "QA", "meaning": "approved for use", "reason": "fits", "effective_ns": 9, "now_ns": 8}
    write_approval(path, approve(written, signing_key(folder, "edge.key"), **said | changes))
    return written


def test_an_approval_counts_for_its_file_with_a_trusted_key(tmp_path: Path) -> None:
    path = tmp_path / "m.model"
    write(path, model())
    with pytest.raises(ModelFileError, match="approval: expected one beside it"):
        verified(path, read(path), {})
    written = approved(path, tmp_path / "keys")
    keys = public_keys(tmp_path / "keys")
    assert verified(path, written, keys).user == "Quality"
    with pytest.raises(ModelFileError, match="key: expected a trusted key"):
        verified(path, written, {})
    with pytest.raises(ModelFileError, match="model_sha256"):
        verified(path, msgspec.structs.replace(written, sha256="0" * 64), keys)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [("Quality", "None", "signature"), ("fits", "does", "signature"), ('_ns": 9', '_ns": 1', "signature"), ("Quality", "process ENGINEER", "user")],
)
def test_a_changed_approval_is_refused(tmp_path: Path, old: str, new: str, key: str) -> None:
    path = tmp_path / "m.model"
    write(path, model())
    written = approved(path, tmp_path / "keys")
    file = approval_path(path)
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ModelFileError, match=f"({key}): expected"):
        verified(path, written, public_keys(tmp_path / "keys"))
    file.write_text("{")
    with pytest.raises(ModelFileError, match="fields of an approval"):
        read_approval(path)


@pytest.mark.parametrize("changes", [{"user": " process engineer "}, {"user": " "}, {"reason": ""}, {"role": ""}])
def test_nobody_approves_his_own_model_or_without_name_role_and_reason(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "m.model"
    write(path, model())
    with pytest.raises(Refused, match="approve: expected"):
        approved(path, tmp_path / "keys", **changes)
    assert read_approval(path) is None
