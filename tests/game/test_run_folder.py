"""The run folder: phases are whole or absent, finished ones are never touched, changed ones are refused."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from legibility.config import Config
from legibility.errors import Interrupted, UserError
from legibility.files import sha256
from legibility.folder_lock import LOCK
from legibility.game.run_folder import RunFolder, base_dir_of_run
from legibility.game.setting_changes import different_settings
from legibility.problems.storage import read_problems


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder.open(tmp_path / "run", Config(), resume=False)


def files(run: RunFolder) -> dict[str, bytes]:
    found = sorted(p for p in run.path.rglob("*") if p.is_file() and p.name != LOCK)
    return {str(p.relative_to(run.path)): p.read_bytes() for p in found}


def finish(run: RunFolder, phase: str = "rounds/00/verifier") -> None:
    with run.phase(phase) as work:
        (work / "model.safetensors").write_bytes(b"weights")
        (work / "deep").mkdir()
        (work / "deep" / "metrics.jsonl").write_text("{}\n")


class Killed(BaseException):
    """What a kill would look like from inside."""


# ---------------------------------------------------------------- phases


def test_a_phase_appears_whole(run):
    with run.phase("rounds/00/verifier") as work:
        (work / "model.safetensors").write_bytes(b"weights")
        assert not run.is_done("rounds/00/verifier") and not run.folder("rounds/00/verifier").exists()
    assert run.is_done("rounds/00/verifier")
    record = json.loads((run.folder("rounds/00/verifier") / "DONE").read_text())
    assert record["sha256"] == {"model.safetensors": sha256(run.folder("rounds/00/verifier") / "model.safetensors")}
    assert record["seconds"] >= 0 and record["peak_memory_mb"] > 0
    assert set(files(run)) == {"config.yaml", "rounds/00/verifier/DONE", "rounds/00/verifier/model.safetensors"}


@pytest.mark.parametrize("error", [ValueError, UserError, Killed])
def test_a_phase_that_fails_is_absent(run, error):
    with pytest.raises(error), run.phase("base") as work:
        (work / "half").write_text("x")
        raise error("no")
    assert not run.is_done("base") and not run.folder("base").exists()
    assert run.finished_phases() == []
    again = RunFolder.open(run.path, Config(), resume=True)
    assert set(files(again)) == {"config.yaml"}  # what was left behind is swept away
    finish(again, "base")
    assert again.is_done("base") and "base/half" not in files(again)


def test_the_leavings_of_a_failed_phase_do_not_leak_into_the_next_try(run):
    with pytest.raises(ValueError), run.phase("base") as work:
        (work / "old").write_text("x")
        raise ValueError
    finish(run, "base")
    assert "base/old" not in files(run)


@pytest.mark.parametrize("where", ["rounds/00", "arms/correctness", "."])
def test_stale_temporaries_are_removed_on_resume(run, where):
    stale = run.path / where / ".prover.tmp" / "step_00010"
    stale.mkdir(parents=True)
    (stale / "model.safetensors").write_bytes(b"x")
    (run.path / where / ".summary.json.tmp").write_text("{")
    (run.path / where / "kept.tmp").write_text("not ours")
    RunFolder.open(run.path, Config(), resume=True)
    assert set(files(run)) == {"config.yaml", str((run.path / where / "kept.tmp").relative_to(run.path))}


def test_finished_phases_in_order(run):
    for phase in ("base", "rounds/00/verifier", "rounds/00/prover", "rounds/00/collection", "judge"):
        finish(run, phase)
    assert run.finished_phases() == ["base", "rounds/00/verifier", "rounds/00/prover", "rounds/00/collection", "judge"]
    assert run.rounds() == [0]
    finish(run, "rounds/02/collection")
    assert run.rounds() == [0]  # round 1 is missing


# ---------------------------------------------------------------- hashes


def test_an_unchanged_phase_is_accepted(run):
    finish(run)
    assert run.verified("rounds/00/verifier") == run.path / "rounds/00/verifier"


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "deep"])
def test_a_changed_file_is_refused_by_name(run, damage):
    finish(run)
    file = run.path / "rounds/00/verifier" / ("deep/metrics.jsonl" if damage == "deep" else "model.safetensors")
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes({"flip": b"weighTs", "cut": b"weigh", "deep": b"{}\n\n"}[damage])
    with pytest.raises(UserError) as caught:
        run.verified("rounds/00/verifier")
    assert str(file) in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_a_phase_whose_record_is_gone_is_no_unfinished_one(run):
    """A phase gets its name with its DONE; readers would leave it out without a word."""
    finish(run, "rounds/00/collection")
    (run.folder("rounds/00/collection") / "DONE").unlink()
    with pytest.raises(UserError, match=r"rounds/00/collection/DONE: missing.*restore it, or delete"):
        run.rounds()


def test_an_unfinished_phase_is_refused(run):
    with pytest.raises(UserError, match="not finished"):
        run.verified("rounds/00/verifier")


def test_a_broken_done_record_is_refused_by_name(run):
    finish(run)
    done = run.path / "rounds/00/verifier/DONE"
    done.write_text("{")
    with pytest.raises(UserError) as caught:
        run.verified("rounds/00/verifier")
    assert "verifier" in str(caught.value) and "\n" not in str(caught.value)
    assert "resume first" not in str(caught.value)  # that is what the user is doing


# ---------------------------------------------------------------- opening


def test_a_folder_that_exists_is_not_overwritten(run):
    finish(run)
    before = files(run)
    with pytest.raises(UserError, match=r"exists already.*--resume"):
        RunFolder.open(run.path, Config(), resume=False)
    assert files(run) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for resume in (False, True):
        with pytest.raises(UserError):
            RunFolder.open(tmp_path, Config(), resume=resume)
    (tmp_path / "file").write_text("x")
    for resume in (False, True):
        with pytest.raises(UserError):
            RunFolder.open(tmp_path / "file", Config(), resume=resume)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "thesis.tex"]


def test_an_empty_folder_is_a_fine_place(tmp_path):
    (tmp_path / "run").mkdir()
    assert RunFolder.open(tmp_path / "run", Config(), resume=False).config_file.is_file()


def test_resume_on_nothing_starts(tmp_path):
    assert RunFolder.open(tmp_path / "a" / "b", Config(), resume=True).config() == Config()


def test_resume_after_a_kill_before_the_settings_were_written(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / ".config.yaml.tmp").write_text("see")
    assert RunFolder.open(path, Config(), resume=True).config() == Config()
    assert {p.name for p in path.iterdir()} == {"config.yaml", LOCK}


def test_changed_settings_are_refused_by_name(run):
    changed = Config.model_validate({"ppo": {"steps": 7}, "problems": {"train": {"kind": "generated", "count": 5}}})
    with pytest.raises(UserError) as caught:
        RunFolder.open(run.path, changed, resume=True)
    assert "ppo.steps: 50 -> 7" in str(caught.value) and "problems.train.count" in str(caught.value)
    assert caught.value.exit_code == 2


def test_settings_survive_their_file(tmp_path):
    config = Config.model_validate(
        {
            "problems": {"train": {"kind": "generated", "steps": {2: 0.5, 3: 1e-7}}},
            "prover": {"lora": {"target_modules": ["q_proj"]}},
            "reward": {"floor": -2.5},
            "gates": {"accept_rate": [0, 1]},
            "verifier": {"template": "{problem}\n#: é {solution}"},
        }
    )
    run = RunFolder.open(tmp_path / "run", config, resume=False)
    assert run.config() == config
    RunFolder.open(tmp_path / "run", config, resume=True)  # not taken for changed settings


@pytest.mark.parametrize("text", ["", "{", "- 1\n", "ppo: {stepz: 3}\n"])
def test_a_broken_settings_file_is_refused_by_name(run, text):
    run.config_file.write_text(text)
    for read in (lambda: RunFolder.open(run.path, Config(), resume=True), run.config):
        with pytest.raises(UserError) as caught:
            read()
        assert str(run.path) in str(caught.value) and "\n" not in str(caught.value)


def test_reading_needs_a_run(tmp_path):
    with pytest.raises(UserError, match="no run folder"):
        RunFolder.existing(tmp_path / "nowhere")


def test_the_manifest_is_written_once(run):
    run.write_manifest(seed=3, command="train")
    first = run.manifest()
    assert first.seed == 3 and first.packages["torch"] and first.python
    run.write_manifest(seed=4)
    assert run.manifest() == first
    finish(run)
    (run.path / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest\.json: missing, though the run has finished phases"):
        run.write_manifest(seed=4)


# ---------------------------------------------------------------- a finished run


def test_layout_of_a_finished_run(tiny_run):
    """What the design lists, readable without this package."""
    import pandas as pd

    names = set(files(tiny_run))
    for phase in (
        "base",
        "rounds/00/verifier",
        "rounds/00/prover",
        "rounds/00/collection",
        "rounds/01/verifier",
        "rounds/01/prover",
        "rounds/01/collection",
        "arms/correctness/prover",
        "arms/correctness/collection",
        "judge",
    ):
        assert f"{phase}/DONE" in names
        assert tiny_run.verified(phase)
    assert {"config.yaml", "manifest.json", "summary.json", "problems.jsonl"} <= names
    for place in ("rounds/00", "rounds/01", "arms/correctness/prover", "arms/correctness/collection", "base"):
        frame = pd.read_parquet(tiny_run.path / place / "solutions.parquet")
        assert list(frame.columns) == [
            "arm",
            "round",
            "phase",
            "split",
            "step",
            "problem_id",
            "sample",
            "role",
            "text",
            "verdict",
            "score",
            "reward",
            "prompt_tokens",
            "completion_tokens",
            "truncated",
            "logprob_gap",
            "source",
            "junior_share",
        ]
        assert len(frame)
    for place in ("rounds/00/prover", "rounds/01/verifier"):
        lines = (tiny_run.path / place / "metrics.jsonl").read_text().splitlines()
        assert lines and all("step" in json.loads(line) for line in lines)
    assert not [n for n in names if n.endswith((".bin", ".pt", ".pkl", ".tmp"))]
    assert yaml.safe_load((tiny_run.path / "config.yaml").read_text())["game"]["rounds"] == 2
    manifest = tiny_run.manifest()
    assert manifest.problems.counts.model_dump() == {
        **{"prover": 40, "verifier": 30, "validation": 16, "test": 20},
        "judge": 30,
    }
    assert manifest.problems.contamination.used == manifest.problems.counts
    assert len(read_problems(tiny_run.path / "problems.jsonl")) == 136


def test_checkpoints_load_with_transformers_alone(tiny_run):
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(tiny_run.path / "rounds/01/prover")
    assert (
        AutoModelForSequenceClassification.from_pretrained(tiny_run.path / "rounds/01/verifier").config.num_labels == 1
    )
    assert AutoTokenizer.from_pretrained(tiny_run.path / "rounds/01/verifier").pad_token is not None


def test_changed_settings_are_named_with_both_values_in_order():
    old = {"seed": 0, "ppo": {"steps": 4, "epochs": 1}, "prover": {"lora": None}}
    new = {"seed": 1, "ppo": {"steps": 5, "epochs": 1}, "prover": {"lora": {"r": 8}}}
    changed = different_settings(old, new)
    assert [(c.name, c.before, c.after) for c in changed] == [
        ("ppo.steps", 4, 5),
        ("prover.lora", None, {"r": 8}),
        ("seed", 0, 1),
    ]
    assert str(changed[0]) == "ppo.steps: 4 -> 5" and different_settings(old, old) == []


# ---------------------------------------------------------------- one writer, links, full disks


def test_a_second_process_is_refused_and_deletes_nothing(run):
    code = (
        "import sys; from pathlib import Path; from legibility.config import Config;"
        "from legibility.game.run_folder import RunFolder; RunFolder.open(Path(sys.argv[1]), Config(), resume=True)"
    )
    with run.phase("base") as work:
        (work / "half").write_text("x")
        other = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False)
        assert "UserError" in other.stderr and "is at work in this folder" in other.stderr
        assert (work / "half").read_text() == "x"
    assert run.is_done("base")
    run.close()
    assert not (run.path / LOCK).exists()
    again = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr


def test_links_are_neither_followed_nor_removed(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("precious")
    (run.path / ".base.tmp").symlink_to(elsewhere)
    again = RunFolder.open(run.path, Config(), resume=True)
    with pytest.raises(UserError, match=r"\.base\.tmp: a link stands where"), again.phase("base"):
        pass
    assert (elsewhere / "mine").read_text() == "precious" and (run.path / ".base.tmp").is_symlink()


def test_a_folder_in_the_way_of_a_phase_is_an_error_and_stays(run):
    run.folder("base").mkdir()
    (run.folder("base") / "mine").write_text("precious")
    with pytest.raises(UserError, match=r"base: no finished phase \(no DONE\)"), run.phase("base"):
        raise AssertionError("never begun")
    assert (run.folder("base") / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    "told", [OSError(errno.ENOSPC, "No space left on device"), ValueError("Error: No space left (os error 28)")]
)
def test_a_full_disk_names_the_phase_and_leaves_nothing(run, told):
    with pytest.raises(OSError) as caught, run.phase("base") as work:
        (work / "half").write_text("x")
        raise told
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(run.folder("base"))
    assert set(files(run)) == {"config.yaml"}


def test_a_phase_that_is_interrupted_says_what_is_lost(run):
    with pytest.raises(Interrupted) as caught, run.phase("rounds/00/prover"):
        raise Interrupted(signal.SIGTERM)
    assert "stopped by SIGTERM in" in str(caught.value) and "rounds/00/prover" in str(caught.value)
    assert set(files(run)) == {"config.yaml"}


# ---------------------------------------------------------------- settings, problems, place


@pytest.mark.parametrize("name", ["config.yaml", "problems.jsonl"])
def test_changed_settings_or_problems_are_noticed(run, name):
    (run.path / "problems.jsonl").write_text("{}\n")
    run.write_manifest(command="train")
    assert run.problems_file.is_file() and run.settings()
    file = run.path / name
    file.write_text(file.read_text()[: len(file.read_text()) // 2])
    with pytest.raises(UserError, match=f"{name}: missing or changed since the run wrote it"):
        _ = run.problems_file, run.settings()


def test_a_manifest_from_before_it_had_hashes_checks_nothing(run):
    run.write_manifest(command="train")
    manifest = json.loads((run.path / "manifest.json").read_text())
    del manifest["sha256"]
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    run.config_file.write_text("seed: 3\n")
    assert run.config().seed == 3


def test_the_base_folder_is_stored_as_seen_from_the_run(run, tmp_path):
    (tmp_path / "configs").mkdir()
    run.write_manifest(command="train", base_dir=tmp_path / "configs")
    assert str(tmp_path) not in (run.path / "manifest.json").read_text()
    assert run.base_dir == tmp_path / "configs"


def test_an_absolute_base_folder_of_an_older_run_is_read(run, tmp_path):
    run.write_manifest(command="train")
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps({**manifest, "base_dir": str(tmp_path)}))
    assert run.base_dir == tmp_path


def test_a_runs_own_config_starts_relative_paths_where_the_run_did(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    with RunFolder.open(tmp_path / "run", Config(), resume=False) as run:
        run.write_manifest(command="legibility train configs/a.yaml", base_dir=tmp_path / "configs")
    assert base_dir_of_run(tmp_path / "run/config.yaml") == tmp_path / "configs"
    assert run.manifest().typed == "legibility train configs/a.yaml"
    with RunFolder.open(tmp_path / "other", Config(), resume=False) as run:
        run.write_manifest(command=None)
    monkeypatch.chdir(tmp_path)
    assert base_dir_of_run(Path("other/config.yaml")) == tmp_path and run.manifest().typed is None
    assert base_dir_of_run(tmp_path / "configs/config.yaml") is None
