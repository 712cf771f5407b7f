"""Files that are whole or not there."""

from __future__ import annotations

import hashlib

import pytest

from legibility import files


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    files.write_atomic(target, "old")
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        files.write_atomic(target, "new")
    assert target.read_text() == "old"


def test_json_refuses_what_json_cannot_say(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_the_hash_is_sha256_of_the_bytes_however_large(tmp_path):
    content = b"x" * ((1 << 20) + 7)  # more than one piece
    (tmp_path / "a.bin").write_bytes(content)
    assert files.sha256(tmp_path / "a.bin") == hashlib.sha256(content).hexdigest()
