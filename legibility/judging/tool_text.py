"""The text of a file that some tool exported. Whatever is wrong with it is one line that names the file and a fix."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from legibility.errors import UserError
from legibility.files import refuse_pipe

MAX_UNPACKED = 2**26  # bytes of judgments in a zip: a study of 10,000 items has a few
_COPY = re.compile(r"( ?\(\d+\)| - copy| copy( \d+)?)$", re.IGNORECASE)  # what browsers and desktops add to a name


class Member(NamedTuple):
    """A file of an archive: its name inside, who it is of (`person_of`), and its text."""

    name: str
    person: str
    text: str


def text_of(path: Path) -> str:
    """A file as UTF-8 text, without a byte order mark. Raises UserError where it is none, or cannot be read."""
    try:
        refuse_pipe(path)
        return path.read_text(encoding="utf-8").removeprefix("\ufeff")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a file that you may read") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None


def json_of(path: Path) -> Any:
    """A file as JSON. Raises UserError where it is none."""
    try:
        return json.loads(text_of(path))
    except RecursionError:
        raise UserError(f"{path}: nested too deeply to be an export; export it anew") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); export it anew") from None


def person_of(path: Path | PurePosixPath) -> str:
    """Whose file it is, by its name: `anna.jsonl`, and its copies `anna (1).jsonl` and `anna copy.jsonl`, are anna's."""
    return _COPY.sub("", path.stem)


def members_of(path: Path, suffix: str) -> list[Member] | None:
    """The files of an archive that end in `suffix`; None: the file is no archive.

    Raises UserError for an archive that is damaged, encrypted or too large, holds no such file, or one not in UTF-8.
    """
    try:
        refuse_pipe(path)
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            infos = [i for i in archive.infolist() if _is_ours(PurePosixPath(i.filename), suffix)]
            if sum(i.file_size for i in infos) > MAX_UNPACKED:  # zipfile unpacks no more than is said here
                raise UserError(
                    f"{path}: unpacks to more than {MAX_UNPACKED >> 20} MiB, which no export of a study has; export again"
                )
            contents = [(i.filename, archive.read(i)) for i in infos]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); give a file that you may read") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: cannot be unpacked ({reason}); export it again, without a password") from None
    if not contents:
        raise UserError(f"{path}: the archive holds no {suffix} file; export as {suffix.lstrip('.').upper()}")
    members = []
    for name, content in contents:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UserError(f"{path}: {name}: not UTF-8 text; export it anew") from None
        members.append(Member(name, person_of(PurePosixPath(name)), text))
    return members


def _is_ours(name: PurePosixPath, suffix: str) -> bool:
    """Not what a Mac adds to an archive."""
    return name.suffix == suffix and "__MACOSX" not in name.parts and not name.name.startswith(".")
