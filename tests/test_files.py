"""Files that are whole or not there."""

from __future__ import annotations

import hashlib
import os

import pytest

from legibility import files
from legibility.errors import UserError
from legibility.judging.tool_text import members_of, text_of
from legibility.problems.record_files import read_file
from legibility.settings import read_yaml


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    files.write_atomic(target, "old")
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        files.write_atomic(target, "new")
    assert target.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_named(tmp_path):
    """Writing says no name by itself, and a limit on file sizes is as good as a full disk."""
    resource = pytest.importorskip("resource")

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError) as refused:
            files.write_atomic(tmp_path / "a.txt", "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.filename == str(tmp_path / "a.txt") and list(tmp_path.iterdir()) == []


def test_a_write_follows_no_link_of_a_temporary_name(tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0")
    (tmp_path / ".a.txt.0.tmp").symlink_to(mine)
    with pytest.raises(FileExistsError):
        files.write_atomic(tmp_path / "a.txt", "new")
    assert mine.read_text() == "precious"


def test_file_modes_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_atomic(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_write_that_the_disk_refuses_names_the_file(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError) as missing:
        files.write_atomic(tmp_path / "nowhere" / "a.txt", "x")
    assert missing.value.filename == str(tmp_path / "nowhere" / "a.txt")
    monkeypatch.setattr(files.os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left") as full:
        files.write_atomic(tmp_path / "a.txt", "x")
    assert full.value.filename == str(tmp_path / "a.txt") and list(tmp_path.iterdir()) == []


def test_text_is_written_as_utf_8_and_bytes_as_they_are(tmp_path):
    files.write_atomic(tmp_path / "a.txt", "é\n")
    files.write_atomic(tmp_path / "a.png", b"\x89PNG\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\n".encode()
    assert (tmp_path / "a.png").read_bytes() == b"\x89PNG\r\n"


def test_the_hash_is_sha256_of_the_bytes_however_large(tmp_path):
    content = b"x" * ((1 << 20) + 7)  # more than one piece
    (tmp_path / "a.bin").write_bytes(content)
    assert files.sha256(tmp_path / "a.bin") == hashlib.sha256(content).hexdigest()


def test_a_folder_is_named_as_seen_from_another(tmp_path):
    (tmp_path / "runs" / "nano").mkdir(parents=True)
    assert files.seen_from(tmp_path / "runs" / "nano", tmp_path / "configs") == "../../configs"
    assert files.seen_from(tmp_path, tmp_path) == "."


READERS = {
    "settings": (read_yaml, "pipe.yaml"),
    "problems": (lambda path: list(read_file(path)), "pipe.jsonl"),
    "packed problems": (lambda path: list(read_file(path)), "pipe.csv.gz"),
    "an export of a judging tool": (text_of, "pipe.csv"),
    "a zipped export": (lambda path: members_of(path, ".json"), "pipe.zip"),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_refused_not_waited_for(reader, tmp_path):
    """Nobody writes to this one: reading it would never end."""
    read, name = READERS[reader]
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: cannot be read \(a pipe or device, not a file\); "):
        read(tmp_path / name)
