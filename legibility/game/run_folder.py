"""The run folder: one directory that holds everything a run made, written phase by phase.

A phase works in a temporary folder beside its final place; then DONE (with the SHA-256 of every
file) is written last and the folder is synced and renamed, so a killed run never leaves half a phase.
Loading a phase checks those hashes. A finished phase is never opened for writing again. One process at a time
writes in a run folder.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, overload

import torch
import yaml

from legibility.checkpoint_files import newest_step, seconds_so_far
from legibility.config import Config
from legibility.errors import Interrupted, UserError, as_os_error
from legibility.files import is_temporary, seen_from, sha256, sync, write_atomic
from legibility.folder_lock import LOCK, FolderLock
from legibility.game.phases import BASE, EARLIER, GAME, WARM_START, round_collection
from legibility.game.run_records import DONE, MANIFEST, Done, Manifest
from legibility.game.setting_changes import changed_settings
from legibility.pasted import own_command
from legibility.settings import Settings, SettingsT, parse_settings, with_new_names
from legibility.stored import StoredT, read_stored, write_stored
from legibility.team import workers_peak_mb
from legibility.trackers import TRACKERS
from legibility.yaml_text import parse_yaml

CONFIG, PROBLEMS = "config.yaml", "problems.jsonl"
PACKAGES = ("legibility", "torch", "transformers", "tokenizers", "peft", "datasets", "numpy")


class RunFolder:
    """Paths, phases and provenance of one run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._locks: list[FolderLock] = []

    # ---- the run as a whole -------------------------------------------------------------------

    @classmethod
    def open(cls, path: Path, config: Settings, *, resume: bool) -> RunFolder:
        """Start a run folder, or with `resume` open the one that is there, to write in it until `close`.

        Raises UserError if the folder exists without `resume`, is not a run folder, holds other settings, or
        another process writes in it.
        """
        cls.check(path, config, resume=resume)
        run = cls(path)
        run.path.mkdir(parents=True, exist_ok=True)
        run.lock()
        if not run.config_file.is_file():
            run._write_settings(_settings_text(config))
        return run

    @classmethod
    def check(cls, path: Path, config: Settings, *, resume: bool) -> None:
        """Raises UserError where `open` would refuse, but for another writer. Writes nothing."""
        run = cls(path)
        if run.path.exists() and (not run.path.is_dir() or any(not _is_swept(p) for p in run.path.iterdir())):
            if not resume:
                raise UserError(f"{path}: exists already; choose another --out, or add --resume to go on with it")
            if not run.config_file.is_file():
                raise UserError(f"{path}: is not a run folder (no config.yaml); choose another --out")
            run.check_settings(config)

    def _write_settings(self, text: str) -> None:
        write_atomic(self.config_file, text)

    def replace_settings(self, config: Config, begun: int, command: str | None = None) -> None:
        """Give the run the settings of a longer game; the manifest notes that it had `begun` rounds, and the `command`.

        In between the manifest has the hashes of both settings, so that a kill leaves a folder that can be read and
        gone on with.
        """
        manifest, text = self.manifest(), _settings_text(config)
        times = {**{n: by for n, by in manifest.extensions if n != begun}, begun: command}
        update: dict[str, Any] = {"extended": list(times), "extended_by": list(times.values())}
        if manifest.quick is not None:
            update["quick"] = [line for line in manifest.quick if not line.startswith("game.rounds=")]
        if manifest.sha256 is not None:
            update["coming"] = {CONFIG: hashlib.sha256(text.encode()).hexdigest()}
        write_stored(self.path / MANIFEST, manifest.model_copy(update=update))
        self._write_settings(text)
        self._settle_settings()

    def _settle_settings(self) -> None:
        """Let the manifest have the hash of the settings that are there, where their replacement was cut short."""
        if not (self.path / MANIFEST).is_file() or not self.config_file.is_file():
            return
        manifest = self.manifest()
        # a kill of an earlier version could leave a manifest without it
        lost = manifest.sha256 is not None and bool(manifest.extended) and CONFIG not in manifest.sha256
        if manifest.coming is None and not lost:
            return
        found = manifest.model_dump(mode="json")
        found.pop("coming", None)
        self._check(CONFIG)
        found["sha256"] = {
            CONFIG: sha256(self.config_file),
            **{k: v for k, v in found["sha256"].items() if k != CONFIG},
        }
        write_stored(self.path / MANIFEST, Manifest.model_validate(found))

    def check_settings(self, config: Settings) -> None:
        """Raises UserError where the run has other settings. What it did not know counts as today's default."""
        different = changed_settings(self.config(type(config)), config)
        if different:
            raise UserError(
                f"{self.path}: settings changed since the run began ({', '.join(map(str, different[:3]))}); "
                "resume with the same settings or choose another --out"
            )

    def lock(self) -> None:
        """Become the folder's one writer until `close`, and sweep away what a killed one left unfinished.

        A phase that holds a checkpoint stays, to be gone on with. Raises UserError where another process writes in it.
        """
        self._locks.append(FolderLock(self.path))
        hidden = sorted(p for p in self.path.rglob(".*.tmp") if is_temporary(p))
        kept = {p for p in hidden if self._can_go_on(p)}
        for stale in hidden:
            if kept.isdisjoint((stale, *stale.parents)):
                shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)
        try:
            self._settle_settings()
        except BaseException:
            self.close()
            raise

    def _can_go_on(self, hidden: Path) -> bool:
        """Whether a hidden folder is that of a phase to be gone on with: not finished meanwhile, nor of a shorter game."""
        final = hidden.with_name(hidden.name.removeprefix(".").removesuffix(".tmp"))
        aside = hidden.relative_to(self.path).parts[0] == EARLIER
        return newest_step(hidden) is not None and not final.exists() and not aside

    def close(self) -> None:
        """Let other processes write in the folder again. It can still be read."""
        while self._locks:
            self._locks.pop().release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def existing(cls, path: Path | str) -> RunFolder:
        """A run folder to read. Raises UserError where there is none."""
        run = cls(Path(path))
        if not run.config_file.is_file():
            raise UserError(f"{path}: no run folder here (no config.yaml); give one that legibility train made")
        return run

    @classmethod
    def writing(cls, path: Path | str) -> RunFolder:
        """A run folder to add to until `close`. Raises UserError where there is none or another process writes in it."""
        run = cls.existing(path)
        run.lock()
        return run

    @property
    def config_file(self) -> Path:
        """The run's settings as they were when it began."""
        return self.path / CONFIG

    @property
    def problems_file(self) -> Path:
        """The run's problems, by part. Raises UserError where they are not what the run wrote."""
        self._check(PROBLEMS)
        return self.path / PROBLEMS

    def _check(self, name: str) -> None:
        """Raises UserError where a file is not the one whose hash the manifest has (older manifests have none)."""
        manifest, file = self.path / MANIFEST, self.path / name
        known = self.manifest() if manifest.is_file() else None
        both = (known.sha256 or {}, known.coming or {}) if known else ()
        expected = [hashes[name] for hashes in both if name in hashes]
        if expected and (not file.is_file() or sha256(file) not in expected):
            raise UserError(
                f"{file}: missing or changed since the run wrote it; restore it, or play into another --out"
            )

    def settings(self) -> dict[str, Any]:
        """The stored settings as plain data. Raises UserError where they cannot be read or are not what was written."""
        self._check(CONFIG)
        try:
            found = parse_yaml(self.config_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict):
            raise UserError(
                f"{self.config_file}: the run's settings cannot be read; restore the file or use another --out"
            )
        return found

    @overload
    def config(self) -> Config: ...
    @overload
    def config(self, schema: type[SettingsT]) -> SettingsT: ...
    def config(self, schema: type[Settings] = Config) -> Settings:
        """The run's settings (a game's, or of another `schema`). Raises UserError where they do not fit it."""
        return parse_settings(with_new_names(self.settings(), schema), str(self.config_file), schema)

    def write_manifest(self, *, base_dir: Path | None = None, **facts: Any) -> None:
        """Record versions, commit, hardware, what settings and problems are, and the facts of `Manifest` given; once.

        Raises UserError where a run that has begun lost its manifest: another one would tell of another moment.
        """
        target = self.path / MANIFEST
        facts["base_dir"] = None if base_dir is None else seen_from(self.path, base_dir)
        if not target.exists():
            if set(self.finished_phases()) - {WARM_START, BASE}:  # those may be taken over from another run
                raise UserError(f"{target}: missing, though the run has finished phases; restore it from a copy")
            created = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            hashes = {name: sha256(self.path / name) for name in (CONFIG, PROBLEMS) if (self.path / name).is_file()}
            write_stored(target, Manifest(created=created, **_environment(), **facts, sha256=hashes))

    def manifest(self) -> Manifest:
        """The run's provenance. Raises UserError where it is missing or damaged."""
        return read_stored(self.path / MANIFEST, Manifest, fix="restore it from a copy")

    @property
    def is_quick(self) -> bool:
        """Whether it is a game of `train --quick`, which is there to be looked at."""
        return (self.path / MANIFEST).is_file() and self.manifest().quick is not None

    @property
    def base_dir(self) -> Path | None:
        """Where relative paths of the config start; None: in the working directory."""
        stored = self.manifest().base_dir
        return None if stored is None else (self.path / stored).resolve()

    @property
    def resume_command(self) -> str:
        """The command that goes on with the run: its own settings, its own folder."""
        return own_command("train", self.config_file, "--out", self.path, "--resume")

    # ---- phases -------------------------------------------------------------------------------

    def folder(self, phase: str) -> Path:
        """Where a phase stands, finished or not."""
        return self.path / phase

    def is_done(self, phase: str) -> bool:
        """Whether a phase is finished (its files are not checked: see `verified`).

        Raises UserError for a folder without its DONE: a phase gets its name with it, so somebody took it away.
        """
        folder = self.folder(phase)
        if (folder / DONE).is_file():
            return True
        if folder.exists():
            raise UserError(
                f"{folder / DONE}: missing, so nothing says that this phase is whole; restore it, or delete {folder} to "
                "redo the phase"
            )
        return False

    @contextmanager
    def phase(self, phase: str) -> Iterator[Path]:
        """Work in a temporary folder that becomes `phase` if the block ends without error.

        Hidden folders in it (.NAME.tmp) are no part of the phase and go when it is finished. Where it ends by an error it
        goes, unless it holds a checkpoint (legibility.checkpoints): then the next try finds it as it was.
        Raises UserError where something else stands in its place, OSError for what cannot be written.
        """
        final = self.folder(phase)
        work = final.with_name(f".{final.name}.tmp")
        if final.exists():
            raise UserError(f"{final}: no finished phase (no {DONE}), and in the way of one; move it away or delete it")
        if work.is_symlink():
            raise UserError(f"{work}: a link stands where the phase would work; remove it")
        if work.exists() and newest_step(work) is None:
            shutil.rmtree(work)
        try:
            work.mkdir(parents=True, exist_ok=True)
            started = time.time() - seconds_so_far(work)
            yield work
            self._seal(phase, work, time.time() - started)
            os.replace(work, final)
        except BaseException as error:
            kept = newest_step(work)
            if kept is None:
                shutil.rmtree(work, ignore_errors=True)
            if isinstance(error, Interrupted) and error.phase is None:
                error.phase, error.step = str(final), kept
            refused = None if isinstance(error, UserError) else as_os_error(error, final)
            if refused is not None and refused is not error:
                raise refused from error
            raise
        sync(final.parent)
        for spent in final.glob(".*.tmp"):
            shutil.rmtree(spent)

    @staticmethod
    def _seal(phase: str, work: Path, seconds: float) -> None:
        """Write DONE, the last file of a phase, and flush everything."""
        names = [p.relative_to(work) for p in sorted(work.rglob("*")) if p.is_file()]
        hashes = {str(name): sha256(work / name) for name in names if not any(map(is_temporary, name.parents))}
        done = Done(phase=phase, seconds=seconds, peak_memory_mb=peak_memory_mb(), sha256=hashes)
        write_stored(work / DONE, done)
        for directory in [work, *(p for p in work.rglob("*") if p.is_dir())]:
            sync(directory)

    def done_record(self, phase: str) -> Done:
        """The DONE record of a finished phase. Raises UserError where it is missing or damaged."""
        folder = self.folder(phase)
        if not self.is_done(phase):
            raise UserError(f"{folder}: this phase is not finished; go on with: {self.resume_command}")
        return read_stored(folder / DONE, Done, fix=f"delete {folder} to redo the phase")

    def stored(self, phase: str, name: str, model: type[StoredT]) -> StoredT:
        """A record in a finished phase, after checking the phase's hashes. Raises UserError as `verified` does."""
        folder = self.verified(phase)
        return read_stored(folder / name, model, fix=f"delete {folder} and resume to redo the phase")

    def verified(self, phase: str) -> Path:
        """The phase's folder after checking that its files are what the phase wrote.

        Raises UserError for an unfinished phase or a file that is missing or changed.
        """
        record, folder = self.done_record(phase), self.folder(phase)
        for name, expected in record.sha256.items():
            file = folder / name
            if name.endswith(".parquet") and not file.exists():
                continue  # merged into the round's solutions.parquet
            if not file.is_file() or sha256(file) != expected:
                raise UserError(
                    f"{file}: missing or changed since the run wrote it; delete {folder} and resume to redo the phase"
                )
        return folder

    def finished_phases(self) -> list[str]:
        """Names of finished phases, in the order they were finished."""
        found = [p for p in self.path.rglob(DONE) if not is_temporary(p.parent)]  # it has its name
        done = sorted(found, key=lambda p: p.stat().st_mtime_ns)
        names = [str(p.parent.relative_to(self.path)) for p in done]
        return [name for name in names if not name.startswith(f"{EARLIER}/")]

    def rounds(self, arm: str = GAME) -> list[int]:
        """Rounds of the game, or of another arm, that are completely finished, in order."""
        found: list[int] = []
        while self.is_done(round_collection(len(found), arm)):
            found.append(len(found))
        return found


def base_dir_of_run(config: Path) -> Path | None:
    """Where relative paths of a run's own config.yaml start, which is where they started for the run; None: another file."""
    run = RunFolder(config.resolve().parent)
    if config.name != CONFIG or not (run.path / MANIFEST).is_file():
        return None
    return run.base_dir or Path.cwd()


def _settings_text(config: Settings) -> str:
    """config.yaml of a run."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _is_swept(path: Path) -> bool:
    """Whether it is no reason to call a folder used: a killed process's leftover, or trackers that started before."""
    return is_temporary(path) or path.name in (LOCK, TRACKERS)


def peak_memory_mb() -> float:
    """Peak resident memory of this process and its team so far, in MiB (GPU memory is not counted)."""
    import resource  # not on Windows, where a finished run can still be read

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10) + workers_peak_mb()


def _environment() -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "packages": versions,
        "git_commit": _git_commit(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _git_commit() -> str | None:
    try:
        out = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return out.stdout.strip() or None
