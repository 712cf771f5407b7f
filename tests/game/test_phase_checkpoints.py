"""Checkpoints inside phases: a phase that was stopped goes on from the last one and comes out byte for byte the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load, load_file

from legibility import checkpoint_files, ppo, verifier_training
from legibility.checkpoint_files import CHECKPOINTS, RECORD, found_checkpoints, newest_step
from legibility.config_file import load_config
from legibility.errors import Interrupted, UserError
from legibility.game import context, phase_checkpoints
from legibility.game.phases import STEPS
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions
from legibility.models import warm_start
from legibility.play import train
from legibility.viewing.curves import curves
from legibility.viewing.run_files import completion_files
from tests.support import legibility, llama, quiet
from tests.test_launched_team import children, output, rank_of, torchrun

FIRST, LAST = "rounds/00/.prover.tmp", "rounds/01/.prover.tmp"
KINDS = {
    "the default": [],
    "a separate critic": ["ppo.critic=separate"],
    "a separate critic without tied embeddings": ["ppo.critic=separate", "prover.model={untied}"],
    "LoRA": ["prover.lora={r: 2}", "ppo.learning_rate=0.01"],
    "a running scale": ["reward={kind: src, scale: running}", "stop={rule: fooled, patience: 9}"],
    "two workers": ["compute.workers=2"],
    "saved provers": ["ppo.save_every=2"],
}


class Killed(BaseException):
    """What a kill looks like from inside: nothing catches it, and what is on disk stays as it is."""


@pytest.fixture
def play(tiny_config_file, tiny_overrides):
    """play(folder, *settings): start or go on with a tiny game of one round."""

    def go(path: Path, *settings: str) -> RunFolder:
        small = ["game.rounds=1", "ppo.steps=5", "game.held_out_judge=false", "game.correctness_arm=false"]
        config = load_config(tiny_config_file, [*tiny_overrides, *small, *settings])
        return train(config, path, resume=True, progress=quiet())

    return go


@pytest.fixture
def stop_at(monkeypatch):
    """stop_at(owner, name, n, error): the n-th call from now of owner.name raises, before it does its work."""

    def arm(owner: object, name: str, n: int, error: Callable[[], BaseException], *, after: bool = False) -> None:
        original, calls = getattr(owner, name), []

        def wrapped(*args, **kwargs):
            calls.append(1)
            result = original(*args, **kwargs) if after else None
            if len(calls) == n:
                monkeypatch.setattr(owner, name, original)
                raise error()
            return result if after else original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    return arm


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a phase by name; of DONE what is no time and no memory."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    found["DONE"] = json.dumps(json.loads(found["DONE"])["sha256"]).encode()
    return found


def interrupted() -> Interrupted:
    return Interrupted(signal.SIGTERM)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_prover_phase_comes_out_the_same(play, stop_at, tmp_path, tiny_prover_dir, tiny_tokenizer, kind):
    """Stopped in a draw and in an update, with the last whole step kept; and without the setting nothing is."""
    settings = [setting.replace("{untied}", str(tmp_path / "untied")) for setting in KINDS[kind]]
    if settings != KINDS[kind]:
        model = llama(tiny_tokenizer, hidden=48, layers=2, tie_word_embeddings=False)
        learned = load_file(tiny_prover_dir / "model.safetensors")
        model.load_state_dict({**learned, "lm_head.weight": learned["model.embed_tokens.weight"]})
        model.save_pretrained(tmp_path / "untied")
        tiny_tokenizer.save_pretrained(tmp_path / "untied")
    reference = play(tmp_path / "reference", *settings, "compute.checkpoint_every=null")
    run, work = tmp_path / "run", tmp_path / "run" / FIRST
    stop_at(ppo.PPO, "step", 4, interrupted)  # in the step, which is then not whole
    with pytest.raises(Interrupted) as stopped:
        play(run, *settings, "compute.checkpoint_every=2")
    assert stopped.value.step == 2 == newest_step(work)
    assert "it is kept to step 2, every finished phase is kept" in str(stopped.value)
    stop_at(ppo.PPO, "step", 1, interrupted, after=True)
    with pytest.raises(Interrupted) as stopped:
        play(run, *settings, "compute.checkpoint_every=99")  # may change
    assert stopped.value.step == 2
    stop_at(context, "sample", 3, interrupted)  # steps 3 and 4 are whole, and 5 is being drawn
    with pytest.raises(Interrupted) as stopped:
        play(run, *settings, "compute.checkpoint_every=20m")
    assert stopped.value.step == 4
    assert [c.steps for c in curves(RunFolder(run)) if c.live] == [[1, 2, 3, 4]]
    assert len([f for f in completion_files(run) if f.live]) == 4
    play(run, *settings)
    assert content(run / "rounds/00/prover") == content(reference.folder("rounds/00/prover"))
    assert not list(run.rglob(CHECKPOINTS)) and not list(run.rglob(STEPS))
    assert (run / "rounds/00/solutions.parquet").read_bytes() == (
        reference.path / "rounds/00/solutions.parquet"
    ).read_bytes()


SLOW = (
    "dropout",
    "dropout in micro-batches",
)  # what "dropout in two workers" goes through as well, and the gradients' tests
VERIFIERS = {
    "one process": [],
    "an ensemble": ["verifier.ensemble=2"],
    "a likelihood": ["verifier.score=likelihood", "verifier.lm_weight=0.1"],
    "two workers": ["compute.workers=2"],
    "dropout": ["verifier.model={encoder}"],
    "dropout in two workers": ["verifier.model={encoder}", "compute.workers=2"],
    "dropout in micro-batches": ["verifier.model={encoder}", "verifier.micro_batch_size=3"],
}


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow) if k in SLOW else k for k in VERIFIERS])
def test_a_stopped_verifier_phase_comes_out_the_same(play, stop_at, tiny_bert_dir, tmp_path, kind):
    """Stopped at step 29 of 40, after a checkpoint of step 28; of an ensemble at the same step of its second member too."""
    settings = [s.format(encoder=tiny_bert_dir) for s in VERIFIERS[kind]]
    settings += ["verifier.updates=40", "ppo.steps=1"]
    members = 2 if kind == "an ensemble" else 1
    reference = play(tmp_path / "reference", *settings, "compute.checkpoint_every=null").folder("rounds/00/verifier")
    run, work = tmp_path / "run", tmp_path / "run/rounds/00/.verifier.tmp"
    for member in range(members):
        stop_at(verifier_training, "_metrics", 29 if member == 0 else 12 + 29, interrupted)
        with pytest.raises(Interrupted) as stopped:
            play(run, *settings, "compute.checkpoint_every=14")
        assert stopped.value.step == newest_step(work) == 40 * member + 28 - (12 if member else 0) % 14
    play(run, *settings)
    assert content(run / "rounds/00/verifier") == content(reference)
    assert b'"step": 25' in (reference / "metrics.jsonl").read_bytes() and not list(run.rglob(CHECKPOINTS))


@pytest.mark.parametrize("lora", [[], ["prover.lora={r: 2}"]], ids=["whole", "LoRA"])
def test_a_stopped_warm_start_comes_out_the_same(play, stop_at, tmp_path, lora):
    settings = ["prover.warm_start={steps: 12, batch_size: 8}", "ppo.steps=1", *lora]
    reference = play(tmp_path / "reference", *settings, "compute.checkpoint_every=null").folder("warm_start")
    run = tmp_path / "run"
    stop_at(warm_start, "update", 8, interrupted)
    with pytest.raises(Interrupted) as stopped:
        play(run, *settings, "compute.checkpoint_every=5")
    assert stopped.value.step == 5
    play(run, *settings)
    made, expected = content(run / "warm_start"), content(reference)
    for found in (made, expected):
        found["metrics.json"] = json.dumps({**json.loads(found["metrics.json"]), "seconds": None}).encode()
        found.pop("DONE")  # has the hash of the file with the seconds
    assert made == expected


# ---------------------------------------------------------------- signals and kills


def command(config: Path, out: Path, *settings: str) -> list[object]:
    small = ["game.rounds=1", "game.held_out_judge=false", "game.correctness_arm=false"]
    return ["train", config, *settings, *small, "--out", out, "--resume", "--no-report"]


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT])
def test_a_signal_saves_the_step_and_says_so(tiny_config_file, tiny_overrides, tmp_path, number):
    """Sent to the whole group, as a scheduler and a terminal do: the workers leave it to the process that saves."""
    out, settings = tmp_path / "run", [*tiny_overrides, "ppo.steps=400", "compute.workers=2"]
    arguments = [sys.executable, "-m", "legibility", *map(str, command(tiny_config_file, out, *settings))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    log = out / FIRST / "metrics.jsonl"
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:  # fmt: skip
        deadline = time.monotonic() + 200
        while not (log.exists() and log.stat().st_size):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(process.pid, number)
        said = process.stderr.read()
    step = newest_step(out / FIRST)
    assert process.returncode == 128 + number and said.count("\n") == 1
    assert step is not None and f"rounds/00/prover: it is kept to step {step}, every finished phase is kept; go on" in said  # fmt: skip
    assert len(log.read_text().splitlines()) == step and not (out / ".lock").exists()


def test_killed_while_a_checkpoint_is_written_the_one_before_is_whole(play, tiny_config_file, tiny_overrides, tmp_path):
    """SIGKILL in a real run just before the third checkpoint gets its name (tests/test_checkpoint_files.py has every moment)."""
    reference = play(tmp_path / "reference", "compute.checkpoint_every=1").folder("rounds/00/prover")
    killing = (
        "import os, signal\n"
        "replace = os.replace\n"
        "def die(source, target):\n"
        "    if str(target).endswith('.prover.tmp/.checkpoints.tmp/step_00003'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(source, target)\n"
        "os.replace = die\n"
        "from legibility.cli import main\n"
        "main()\n"
    )
    run, settings = tmp_path / "run", [*tiny_overrides, "ppo.steps=5", "compute.checkpoint_every=1"]
    arguments = [sys.executable, "-c", killing, *map(str, command(tiny_config_file, run, *settings))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert newest_step(run / FIRST) == 2 and (run / FIRST / CHECKPOINTS / ".step_00003.tmp" / RECORD).exists()
    play(run, "compute.checkpoint_every=1")
    assert content(run / "rounds/00/prover") == content(reference)


def play_to(play: Callable[..., RunFolder], run: Path, step: int, *settings: str, begun: int = 0) -> Path:
    """A run whose prover phase, kept to the step `begun`, is kept to `step`, with as many checkpoints as are kept; its folder."""
    with pytest.MonkeyPatch.context() as patch:
        made, original = [], ppo.PPO.step

        def wrapped(self, *arguments):
            made.append(1)
            if len(made) > step - begun:
                raise interrupted()
            return original(self, *arguments)

        patch.setattr(ppo.PPO, "step", wrapped)
        with pytest.raises(Interrupted):
            play(run, "compute.checkpoint_every=1", *settings)
    assert newest_step(run / FIRST) == step
    return run / FIRST


# ---------------------------------------------------------------- damaged, and of something else


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    shown: list[str] = []
    monkeypatch.setattr("legibility.progress.Progress.warn", lambda self, text: shown.append(text))
    return shown


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(play, warnings, tmp_path):
    reference = play(tmp_path / "reference").folder("rounds/00/prover")
    work = play_to(play, tmp_path / "start", 4)
    before, newest = found_checkpoints(work)
    assert (before.name, newest.name) == ("step_00003", "step_00004")
    tensors = next(newest.glob("*.safetensors")).name
    damages = {
        "weights": lambda w: flip(w / CHECKPOINTS / newest.name / tensors),
        "half": lambda w: os.truncate(w / CHECKPOINTS / newest.name / tensors, 1000),
        "state": lambda w: (w / CHECKPOINTS / newest.name / "state.json").write_text("{}"),
        "record": lambda w: (w / CHECKPOINTS / newest.name / RECORD).write_text("{"),
        "completions": lambda w: (w / STEPS / "00004.parquet").unlink(),
    }
    for name, damage in damages.items():
        run = tmp_path / name
        shutil.copytree(tmp_path / "start", run)
        damage(run / FIRST)
        warnings.clear()
        with pytest.MonkeyPatch.context() as patch:
            resumed: list[int] = []
            patch.setattr("legibility.progress.Progress.resumed", lambda self, step, seen=resumed: seen.append(step))
            play(run)
        assert resumed == [4], name
        assert len(warnings) == 1 and "the checkpoint of step 4 is not used" in warnings[0] and "\n" not in warnings[0]
        assert content(run / "rounds/00/prover") == content(reference)


def test_where_both_are_damaged_the_phase_begins_again(play, warnings, tmp_path):
    reference = play(tmp_path / "reference").folder("rounds/00/prover")
    work = play_to(play, tmp_path / "run", 3)
    (work / "metrics.jsonl").write_text("{}\n")
    play(tmp_path / "run")
    assert len(warnings) == 2 and all("metrics.jsonl: missing or changed" in line for line in warnings)
    assert content(tmp_path / "run/rounds/00/prover") == content(reference)


def test_a_changed_earlier_phase_makes_the_phase_begin_again(play, warnings, tmp_path):
    """A verifier that was made again as it was is no change; another one is."""
    run = tmp_path / "run"
    reference = play(tmp_path / "reference").folder("rounds/00/prover")
    play_to(play, run, 2)
    shutil.rmtree(run / "rounds/00/verifier")
    play_to(play, run, 3, begun=2)  # makes the verifier again and one step more
    done = json.loads((run / "rounds/00/verifier/DONE").read_text())
    done["sha256"]["model.safetensors"] = "0" * 64
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "verified", lambda self, phase: self.folder(phase))
        (run / "rounds/00/verifier/DONE").write_text(json.dumps(done))
        play(run)
    assert len(warnings) == 1 and "rounds/00/verifier has changed since its checkpoint" in warnings[0]
    assert content(run / "rounds/00/prover") == content(reference)


def test_other_packages_and_settings_are_refused_and_nothing_is_lost(play, monkeypatch, tmp_path):
    run = tmp_path / "run"
    work = play_to(play, run, 2)
    before = {p: p.read_bytes() for p in sorted(work.rglob("*")) if p.is_file()}
    version = phase_checkpoints._version
    with monkeypatch.context() as patch:
        patch.setattr(phase_checkpoints, "_version", lambda name: "9.9" if name == "torch" else version(name))
        with pytest.raises(
            UserError, match=r"begun with torch .*, and this is 9\.9; install that version again, or delete"
        ):
            play(run)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "check_settings", lambda self, config: None)
        with pytest.raises(
            UserError, match=r"other settings \(ppo.clip: 0.2 -> 0.3\); use the same, or delete .*prover"
        ):
            play(run, "ppo.clip=0.3")
    assert {p: p.read_bytes() for p in sorted(work.rglob("*")) if p.is_file()} == before


def test_a_checkpoint_that_cannot_be_written_is_a_warning(play, warnings, monkeypatch, tmp_path):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(checkpoint_files, "_save", full)
    play(tmp_path / "run", "compute.checkpoint_every=2")
    assert [line for line in warnings if "the checkpoint of step 4 cannot be written, so there is none: somewhere: no space" in line]  # fmt: skip
    assert RunFolder(tmp_path / "run").is_done("rounds/00/prover")


def test_whoever_writes_next_keeps_a_phase_with_a_checkpoint(play, tmp_path):
    """Not that of a phase that was finished meanwhile, nor what a kill leaves inside."""
    run = tmp_path / "run"
    work = play_to(play, run, 2)
    (work / CHECKPOINTS / ".step_00003.tmp").mkdir()
    (run / "rounds/00/.other.tmp").mkdir()
    shutil.copy(run / "rounds/00/verifier/DONE", work)  # killed between its last file and its name
    assert RunFolder(run).finished_phases() == ["base", "rounds/00/verifier"]
    RunFolder.writing(run).close()
    assert newest_step(work) == 2 and not (run / "rounds/00/.other.tmp").exists()
    shutil.copytree(run / "rounds/00/verifier", run / "rounds/00/prover")
    RunFolder.writing(run).close()
    assert not work.exists() and (run / "rounds/00/prover/DONE").exists()


# ---------------------------------------------------------------- other prover phases


def test_an_attack_goes_on_too(tiny_run, stop_at, tmp_path):
    """And one under other settings than it was begun with is refused."""
    settings = ["attack.steps=4", "attack.max_steps=4", "attack.seeds=1", "compute.checkpoint_every=2"]
    attack = ["attack", "--verifier", 0, "--reward", "cgc"]
    for name in ("reference", "run"):
        shutil.copytree(tiny_run.path, tmp_path / name)
    assert legibility(*attack[:1], tmp_path / "reference", *settings, *attack[1:]).code == 0
    made = next((tmp_path / "reference/evaluation/attacks").iterdir())
    stop_at(ppo.PPO, "step", 4, interrupted)
    stopped = legibility(*attack[:1], tmp_path / "run", *settings, *attack[1:])
    assert stopped.code == 143 and "it is kept to step 2" in stopped.err
    other = legibility(*attack[:1], tmp_path / "run", *settings, "attack.incorrect=0.9", *attack[1:])
    assert other.code == 2 and "attack.incorrect: 0.95 -> 0.9" in other.err and other.err.count("\n") == 1
    on = legibility(*attack[:1], tmp_path / "run", *settings, *attack[1:])
    assert on.code == 0 and "resumed at step 3" in on.out
    assert content(tmp_path / "run/evaluation/attacks" / made.name) == content(made)


@pytest.mark.slow
def test_ranks_go_on_where_one_was_killed(tiny_config_file, tiny_overrides, tiny_prover_dir, tmp_path):
    """Byte for byte with as many ranks; alone, the same steps to their end."""
    settings = [*tiny_overrides, "ppo.steps=8", "compute.checkpoint_every=1"]
    finished = {}
    for name in ("reference", "killed", "alone"):
        run = tmp_path / name
        arguments = command(tiny_config_file, run, *settings)
        if name == "alone":
            shutil.copytree(tmp_path / "half", run)
            assert legibility(*arguments).code == 0
        else:
            process = torchrun(2, "-m", "legibility", *arguments, folder=tmp_path)
            if name == "killed":
                deadline = time.monotonic() + 120
                while (newest_step(run / FIRST) or 0) < 3:
                    assert process.poll() is None and time.monotonic() < deadline
                    time.sleep(0.01)
                ranks = {rank_of(pid): pid for pid in children(process.pid)}
                os.kill(ranks["1"], signal.SIGKILL)
                assert "a rank ended early" in output(process) and process.returncode != 0
                shutil.copytree(run, tmp_path / "half")
                assert 3 <= (newest_step(run / FIRST) or 0) < 8
                process = torchrun(2, "-m", "legibility", *arguments, folder=tmp_path)
            assert "round 0 collection" in output(process) and process.returncode == 0
        finished[name] = content(run / "rounds/00/prover")
    assert finished["killed"] == finished["reference"]
    assert finished["alone"].keys() == finished["reference"].keys()
    # by another number: the same text from the same weights, and afterwards what another order of sums makes
    step = (newest_step(tmp_path / "half" / FIRST) or 0) + 1
    texts = [
        list(read_solutions(tmp_path / name / "rounds/00/solutions.parquet").query(f"phase == 'ppo' and step == {step}").text)
        for name in ("alone", "reference")
    ]  # fmt: skip
    assert texts[0] and texts[0] == texts[1]
    alone, reference = (load(finished[name]["model.safetensors"]) for name in ("alone", "reference"))
    start = load((tiny_prover_dir / "model.safetensors").read_bytes())
    moved = max((w - start[name]).abs().max().item() for name, w in reference.items())
    apart = max((w - alone[name]).abs().max().item() for name, w in reference.items())
    assert 0 < apart < 0.01 * moved, (apart, moved)
    alone_steps, reference_steps = (
        [json.loads(line) for line in finished[name]["metrics.jsonl"].splitlines()] for name in ("alone", "reference")
    )
    assert len(alone_steps) == len(reference_steps) == 8
    for ours, theirs in zip(alone_steps, reference_steps, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            if isinstance(value, float):
                assert value == pytest.approx(theirs[name], rel=1e-3, abs=1e-3), name
