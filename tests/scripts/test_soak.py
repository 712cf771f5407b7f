"""scripts/soak.py: each part finds what it looks for, on a few of its trials, and the page keeps its tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import strategies as st

from legibility.errors import UserError
from legibility.grading.arithmetic import check_steps
from tests.judging.world import made_up_study
from tests.support import ROOT, script, sums

soak = script("soak")

from soaking import damage, disk, fuzz, guided, judge, kills  # noqa: E402  (found once soak.py is loaded)
from soaking.commands import call, read_only, small_disk, warm_up  # noqa: E402
from soaking.settled import differences, settled  # noqa: E402
from soaking.world import World  # noqa: E402


def run_soak(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "soak.py", *arguments],
        capture_output=True, env={**os.environ, "COLUMNS": "200"}, text=True, timeout=280, check=False, cwd=ROOT,
    )  # fmt: skip


# --- The tools --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def short_wait(monkeypatch):
    monkeypatch.setattr("soaking.commands.ORPHAN_SECONDS", 0.5)


def test_a_process_that_is_left_over_is_counted_and_ended():
    def parent():
        subprocess.Popen(["sleep", "60"])

    ended = call(parent)
    assert (ended.code, ended.orphans) == (0, 1)


def test_a_killed_process_a_hung_one_and_a_traceback_are_told_apart():
    assert call(lambda: subprocess.run(["sleep", "60"], check=False), kill_after=0.2).killed
    assert call(lambda: subprocess.run(["sleep", "60"], check=False), timeout=0.3).hung
    ended = call(lambda: 1 / 0)
    assert ended.traceback and not ended.refused and ended.code == 1


def test_a_read_only_folder_and_a_full_disk(tmp_path):
    def write():
        (tmp_path / "file").write_bytes(b"x" * 100_000)

    try:
        refused = call(write, before=lambda: read_only(tmp_path))
    except OSError:
        pytest.skip("no namespaces of its own for a process here")
    if "unshare" in refused.err:
        pytest.skip("no namespaces of its own for a process here")
    assert "Read-only file system" in refused.err and not list(tmp_path.iterdir())
    assert "No space left" in call(write, before=lambda: small_disk(tmp_path, 50_000)).err


def test_times_and_memory_are_no_difference(tmp_path):
    for name, seconds, loss in (("a", 1, 0.5), ("b", 2, 0.5), ("c", 1, 0.6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(f'{{"seconds": {seconds}, "loss": {loss}}}')
    a, b, c = (settled(tmp_path / name) for name in "abc")
    assert differences(a, b) == [] and differences(a, c) == ["metrics.json"]
    (tmp_path / "b" / "more").touch()
    assert differences(a, settled(tmp_path / "b")) == ["more"]


def test_a_command_that_does_not_come_out_the_same_is_found(tmp_path):
    """A planted command that appends a line whenever it is run: killed and run again, it has one too many."""

    def start(world: object, place: Path) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        (place / "run").mkdir(exist_ok=True)
        (place / "run" / "log").unlink(missing_ok=True)
        return place / "run"

    def grow(target: Path) -> None:
        import time

        with open(target / "log", "a") as handle:
            handle.write("one\n")
        time.sleep(0.2)

    def go(world, job, target, kill_after=None):
        log = target / "log"
        size = log.stat().st_size if log.exists() else 0
        grown = None if kill_after is None else lambda: log.exists() and log.stat().st_size > size
        return call(lambda: grow(target), kill_when=grown)

    job = kills.Job("grow", 1, start, lambda w, p: [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kills, "_go", go)
        (found,) = kills.run(None, tmp_path / "k", kills=3, seed=1, until=1e12, jobs=[job])
    assert found.kills == 3 and found.lost == found.finished >= 1 and set(found.faults) == {"differ: log"}
    assert f"| grow | 3 | {found.finished} | {found.lost} | 0 | 0 |" in kills.table([found])


def test_rounding_is_no_difference_where_it_is_allowed():
    one, other = b'{"a": [0.5, "x"], "n": 3}', b'{"a": [0.50000001, "x"], "n": 3}'
    assert differences({"s.json": one}, {"s.json": other}) == ["s.json"]
    assert differences({"s.json": one}, {"s.json": other}, rounding=1e-6) == []
    for wrong in (
        b'{"a": [0.501, "x"], "n": 3}',
        b'{"a": [0.5, "y"], "n": 3}',
        b'{"a": [0.5], "n": 3}',
        b"",
        b'{"n": 3}',
    ):
        assert differences({"s.json": one}, {"s.json": wrong}, rounding=1e-6) == ["s.json"]
    assert differences({"s.jsonl": one}, {"s.jsonl": other}, rounding=1e-6) == ["s.jsonl"]
    assert differences({"s.json": one}, {}, rounding=1e-6) == ["s.json"]


def test_what_falls_over_is_counted_by_its_place():
    """Planted readers: one that is right, one that raises, one that hangs, one that talks without end."""

    def refuse(value: str, folder: Path) -> None:
        raise UserError(f"{folder}: no\nnumber")

    def hang(value: str, folder: Path) -> None:
        while True:
            pass

    def talk(value: str, folder: Path) -> None:
        raise UserError("x" * 5000)

    readers = (refuse, lambda v, f: check_steps(1), hang, talk)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuzz, "SECONDS", 0.2)
        chosen = [fuzz.Target(f"reader {k}", st.text(min_size=1), read) for k, read in enumerate(readers)]
        found = fuzz.run(chosen, inputs=8, seed=0, until=1e12)
    assert [(r.inputs, r.refused, r.hangs, sum(r.faults.values())) for r in found] == [
        (2, 2, 0, 0), (2, 0, 0, 2), (2, 0, 2, 0), (2, 2, 0, 2),
    ]  # fmt: skip
    assert "arithmetic.py" in next(iter(found[1].faults)) and "| **8** | **4** | **4** | **2** |" in fuzz.table(found)


def test_faults_that_atheris_leads_to_are_told_by_its_process(tmp_path):
    """A planted reader that falls over one pair of numbers, and a process that ends without a result."""
    pytest.importorskip("atheris")

    def read(pair: tuple[int, int], folder: Path) -> None:
        check_steps(1 if pair == (3, 5) else "")  # type: ignore[arg-type]

    def fuzz_it() -> None:
        target = fuzz.Target("planted", st.tuples(st.integers(0, 4), st.integers(3, 6)), read)
        guided.targets = lambda scratch: [target]  # in a process of its own
        guided.fuzz_one("planted", tmp_path / "told.json", 10.0, 0)

    ended = call(fuzz_it, timeout=200)
    assert ended.code == 0, ended.err
    told = json.loads((tmp_path / "told.json").read_text())
    assert sum(told["faults"].values()) > 0 and "arithmetic.py" in next(iter(told["faults"]))
    assert told["examples"].popitem()[1] == "(3, 5)"
    row = fuzz.Fuzzed("planted", told["inputs"], faults=Counter(told["faults"]))
    assert f"| planted | {told['inputs']:,} | 0 | 5 | {sum(told['faults'].values())} | 0 |" in guided.table([(row, 5)])
    with pytest.raises(RuntimeError, match="no such reader: atheris ended"):
        guided.run(tmp_path / "run", seed=0, until=0.0, names=["no such reader"])


def test_damage_that_goes_unseen_is_found(tmp_path, monkeypatch):
    """Planted commands that read a run: one checks what it reads, one prints half a file, one falls over."""
    source = tmp_path / "world" / "finished"
    source.mkdir(parents=True)
    (source / "summary.json").write_text('{"accuracy": 0.5, "n": [1, 2, 3]}')

    def read(run: Path, how: str) -> None:
        text = (run / "summary.json").read_text(errors="replace") if (run / "summary.json").exists() else ""
        if how == "checks" and text != (source / "summary.json").read_text():
            print(f"error: {run / 'summary.json'}: changed; restore it", file=sys.stderr)
            sys.exit(2)
        print(text if how == "falls" and json.loads(text) else text[:3])

    monkeypatch.setattr(damage, "legibility", lambda how, run, before, folder: call(lambda: read(run, how)))
    readers = [damage.Reader(how, lambda w, run, out, how=how: [how, run]) for how in ("checks", "trusts", "falls")]
    (row,) = damage.run(World(source.parent, source, [], source), tmp_path, seed=0, until=1e12, readers=readers)
    assert row.trials == 12 and row.refused == 4 and row.right + sum(row.faults.values()) == 8
    assert any("deleted, falls: exit 1" in fault and "JSONDecodeError" in fault for fault in row.faults)
    assert any("emptied, trusts: prints something else" in fault for fault in row.faults)


def test_a_bit_a_half_and_nothing(tmp_path):
    import random

    for how, left in (("a bit flipped", 100), ("cut in half", 50), ("emptied", 0), ("deleted", None)):
        file = tmp_path / "file"
        file.write_bytes(bytes(100))
        damage.harm(file, how, random.Random(0))
        assert (len(file.read_bytes()) if file.exists() else None) == left
        assert how != "a bit flipped" or sum(b.bit_count() for b in file.read_bytes()) == 1


# --- The script -------------------------------------------------------------------------------------


def test_the_page_has_a_place_for_every_part():
    page = soak.PAGE.read_text(encoding="utf-8")
    for part in soak.Part:
        assert "THE TABLE" in soak.put(page, part.value, "THE TABLE")
    with pytest.raises(ValueError, match="no place"):
        soak.put(page, "nothing", "")
    assert set(soak.PLANS) == set(soak.Part)


def test_help_names_the_parts():
    result = run_soak("--help")
    assert result.returncode == 0 and all(part.value in result.stdout for part in soak.Part)


@pytest.mark.slow
def test_every_part_finds_nothing():
    """The real thing, for as long as every job's first trial takes; nothing is written."""
    before = soak.PAGE.read_bytes()
    result = run_soak("--budget", "0.1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "| compare |" in result.stdout and soak.PAGE.read_bytes() == before


# --- A few trials of every part, on the tests' own game ------------------------------------------------


class Tiny(World):
    """The tests' tiny game in place of the script's."""

    finished = property(lambda self: self.folder / "finished")


@pytest.fixture
def tiny_world(tiny_run, tiny_config_file, tiny_overrides, tmp_path) -> World:
    warm_up()
    folder = tmp_path / "world"
    folder.mkdir()
    (folder / "finished").symlink_to(tiny_run.path)
    (folder / "sums.jsonl").write_text("".join(json.dumps(p) + "\n" for p in sums(9)))
    made_up_study(folder / "study", raters=3, per_rater=6, attention=2)
    return Tiny(folder, tiny_config_file, tiny_overrides, tiny_config_file)


def test_commands_survive_kills(tiny_world, tmp_path):
    jobs = [job for job in kills.JOBS if job.name == "train, 2 workers"]
    # no end but the kill: one that was drawn later than the command took is drawn again
    found = kills.run(tiny_world, tmp_path / "kills", kills=1, seed=0, until=1e12, jobs=jobs)
    assert [(r.lost, r.redone, r.orphans, r.faults) for r in found] == [(0, 0, 0, [])]
    assert sum(r.kills for r in found) >= 1


def test_what_reads_user_input_does_not_fall(tiny_world):
    found = fuzz.run(fuzz.targets(tiny_world), inputs=600, seed=1, until=1e12)
    assert {r.name: (dict(r.faults), r.hangs) for r in found if r.fell} == {}
    assert sum(r.inputs for r in found) >= 600
    assert all(r.refused for r in found if r.name in ("config file", "overrides", "prompt set", "summary"))


def test_damaged_files_are_named_or_do_not_matter(tiny_world, tmp_path):
    readers = [r for r in damage.READERS if r.name in ("ask", "train --resume")]
    found = damage.run(tiny_world, tmp_path / "files", seed=0, until=1e12, readers=readers, most=12)
    assert sum(r.trials for r in found) == 12 and sum(r.refused for r in found) >= 4
    fell = [fault for r in found for fault in r.faults]
    assert not any("exit 1" in fault or "hangs" in fault for fault in fell), fell


@pytest.mark.slow
def test_full_and_read_only_disks_are_one_line(tiny_world, tmp_path):
    try:
        found = disk.run(tiny_world, tmp_path / "disk", until=1e12, steps=2, names=("report",))
    except OSError:
        pytest.skip("no namespaces of its own for a process here")
    if any("unshare" in fault for r in found for fault in r.faults):
        pytest.skip("no namespaces of its own for a process here")
    assert [(r.condition, r.trials, r.faults) for r in found] == [("full", 2, {}), ("read-only", 2, {})]
    assert sum(r.refused for r in found) >= 2 and all(r.same == 2 for r in found)


def test_raters_at_once_lose_nothing(tmp_path):
    found = judge.run(tmp_path, seed=0, until=0, raters=5)
    assert judge.fell(found) == 0 and found[0].judgments > 0
    assert f"| 1 | 5 | {found[0].judgments} | 0 |" in judge.table(found)
