"""The command line: a whole tiny game, and errors that are one line, exit code 2, and leave everything as it was."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from setuptools import find_packages

from legibility import __version__, cli
from legibility.shipped_configs import SHIPPED
from tests.support import ROOT, legibility, sums


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with a good problem file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(p) + "\n" for p in sums(60)), encoding="utf-8")
    return tmp_path


def contents(folder) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def assert_refused(result, *parts: str) -> None:
    assert result.code == 2, result
    assert result.err.count("\n") == 1 and result.err.startswith("error: "), result.err
    assert "Traceback" not in result.err
    for part in parts:
        assert part in result.err, result.err


# ---------------------------------------------------------------- a whole game


def test_a_tiny_game_with_its_report(tiny_config_file, tiny_overrides, tmp_path, monkeypatch):
    """`legibility train tiny.yaml section.key=value …` writes to runs/tiny, with a report."""
    monkeypatch.chdir(tmp_path)
    result = legibility("train", tiny_config_file, *tiny_overrides, "game.rounds=1", "ppo.steps=2", "seed=3")
    assert result.code == 0, result
    run = tmp_path / "runs" / "tiny"
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert (settings["game"]["rounds"], settings["ppo"]["steps"], settings["seed"]) == (1, 2, 3)
    summary = json.loads((run / "summary.json").read_text())
    assert len(summary["arms"]["game"]["rounds"]) == 1 and summary["seed"] == 3
    assert "<html" in (run / "report.html").read_text()
    for phase in ("base policy", "round 0 verifier", "round 0 prover", "round 0 collection", "correctness-only"):
        assert phase in result.out
    assert "accuracy" in result.out


def test_overrides_take_any_setting(here):
    from legibility.config_file import load_config

    (here / "a.yaml").write_text("ppo: {steps: 5}\nprover:\n  lora: null\n")
    config = load_config(
        here / "a.yaml",
        [
            "ppo.learning_rate=1e-5",
            "reward.clip=null",
            "gates.accept_rate=[0.1, 0.9]",
            "prover.lora.r=4",
            "tracking.trackers=[tensorboard]",
            "problems.train={kind: file, path: x.jsonl}",
            "problems.train.limit=3",
            "verifier.template='{problem} = {solution}'",
        ],
    )
    assert (config.ppo.steps, config.ppo.learning_rate, config.reward.clip) == (5, 1e-5, None)
    assert config.gates.accept_rate == (0.1, 0.9) and config.prover.lora.r == 4
    assert config.problems.train.path == "x.jsonl" and config.problems.train.limit == 3
    assert config.verifier.template == "{problem} = {solution}" and config.tracking.trackers == ["tensorboard"]


def test_later_overrides_win(here):
    from legibility.config_file import load_config

    (here / "a.yaml").write_text("{}")
    assert load_config(here / "a.yaml", ["ppo.steps=3", "ppo.steps=4"]).ppo.steps == 4


def test_paths_start_at_the_config_file(here, tiny_prover_dir, tiny_verifier_dir):
    """A config and its data can be moved together and used from anywhere."""
    project = here / "project"
    project.mkdir()
    shutil.move(here / "sums.jsonl", project / "sums.jsonl")
    shutil.copytree(tiny_prover_dir, project / "models" / "prover")
    (project / "roles.yaml").write_text(
        'helpful: "<|helpful|>{problem}<|solution|>"\nsneaky: "<|sneaky|>{problem}<|solution|>"\n'
    )
    (project / "game.yaml").write_text(
        yaml.safe_dump(
            {
                "problems": {
                    "train": {"kind": "file", "path": "sums.jsonl"},
                    "prover": 8,
                    "verifier": 8,
                    "validation": 4,
                    "test_size": 4,
                },
                "prover": {"model": "models/prover", "prompts": "roles.yaml"},
                "verifier": {"model": str(tiny_verifier_dir)},
                "gates": {"min_helpful_accuracy": 1.0},
                "sampling": {"max_new_tokens": 8},
            }
        )
    )
    result = legibility("train", project / "game.yaml", "--out", here / "run", "--no-report")
    assert result.code == 3, result  # it got as far as the first gate


# ---------------------------------------------------------------- gates


def test_a_closed_gate(here, tiny_config_file, tiny_overrides):
    """One line, exit code 3, what was paid for is kept; --resume --force goes on."""
    closed = [
        "gates={enabled: true, min_helpful_accuracy: 0.99}",
        "game={rounds: 1, correctness_arm: false, collection_samples: 4}",
        "ppo.steps=1",
    ]
    result = legibility("train", tiny_config_file, *tiny_overrides, *closed, "--out", "run", "--no-report")
    assert result.code == 3
    assert result.err.count("\n") == 1 and "gates.min_helpful_accuracy" in result.err and "--force" in result.err
    assert (here / "run/base/DONE").is_file() and not (here / "run/rounds").exists()
    typed = ["legibility", "train", tiny_config_file, *tiny_overrides, *closed, "--out", "run", "--no-report"]
    manifest = json.loads((here / "run/manifest.json").read_text())
    assert shlex.split(manifest["command"]) == [str(word) for word in typed], "the command that was typed"
    assert (
        legibility("train", tiny_config_file, *tiny_overrides, *closed, "--out", "run", "--no-report", "--resume").code
        == 3
    )
    result = legibility(
        "train", tiny_config_file, *tiny_overrides, *closed, "--out", "run", "--no-report", "--resume", "--force"
    )
    assert result.code == 0, result
    assert "forced open" in result.out
    assert (here / "run/summary.json").is_file()


def test_a_gate_that_closes_inside_a_phase_leaves_no_half_phase(here, tiny_config_file, tiny_overrides):
    """No group can have a reward spread when every group is one constant reward."""
    closed = [
        "gates={enabled: true, min_helpful_accuracy: 0, min_auroc: 0, accept_rate: [0, 1], max_flat_groups: 0}",
        "ppo.steps=1",
    ]
    result = legibility(
        "train",
        tiny_config_file,
        *tiny_overrides,
        *closed,
        "game.rounds=1",
        "reward={kind: cgc, clip: 1e-9, floor: 0}",
        "--out",
        "run",
        "--no-report",
    )
    assert result.code == 3 and "max_flat_groups" in result.err
    assert (here / "run/rounds/00/verifier/DONE").is_file()
    assert sorted(p.name for p in (here / "run/rounds/00").iterdir()) == ["verifier"]


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ppo: {stepz: 3}", ["ppo.stepz", "unknown key", "'steps'"]),
        ("verifer: {}", ["verifer", "unknown key", "'verifier'"]),
        ("problems: {train: {kind: generated, cuont: 3}}", ["cuont", "unknown key", "'count'"]),
        ("problems: {train: {kind: file, pth: x}}", ["problems.train", "path"]),
        ("prover: {lora: {rnk: 3}}", ["prover.lora.rnk", "unknown key"]),
        ("ppo: {steps: many}", ["ppo.steps", "many"]),
        ("ppo: {steps: 0}", ["ppo.steps", "0"]),
        ("ppo: {samples_per_role: 1}", ["ppo.samples_per_role"]),
        ("ppo: {minibatch_size: 63}", ["minibatch_size"]),
        ("reward: {kind: gold}", ["reward.kind", "src"]),
        ("verifier: {template: '{problem}'}", ["verifier.template", "{solution}"]),
        ("problems: {train: {kind: martian}}", ["problems.train", "martian"]),
        ("ppo: 3", ["ppo"]),
        ("- 1", ["mapping"]),
        ("ppo: {steps: 3", ["not valid YAML"]),
        ("1: 2", ["1"]),
    ],
)
def test_a_bad_setting_is_named(here, text, parts):
    (here / "bad.yaml").write_text(text + "\n", encoding="utf-8")
    before = contents(here)
    assert_refused(legibility("train", "bad.yaml"), "bad.yaml", *parts)
    assert contents(here) == before


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("ppo.stepz=3", ["ppo.stepz", "'steps'"]),
        ("ppo.steps", ["ppo.steps", "section.key=value"]),
        ("=3", ["section.key=value"]),
        ("ppo.steps.more=3", ["ppo.steps"]),
        ("ppo.steps=[1", ["ppo.steps"]),
        ("ppo.steps=-1", ["ppo.steps"]),
    ],
)
def test_a_bad_override_is_named(here, override, parts):
    (here / "good.yaml").write_text("ppo: {steps: 5}\n", encoding="utf-8")
    before = contents(here)
    assert_refused(legibility("train", "good.yaml", override), *parts)
    assert contents(here) == before


def test_a_missing_config_file(here):
    before = contents(here)
    assert_refused(legibility("train", "nowhere.yaml"), "nowhere.yaml", "no such")
    assert_refused(legibility("train", here), str(here))
    (here / "latin.yaml").write_bytes("prover: {model: café}".encode("latin-1"))
    assert_refused(legibility("train", "latin.yaml"), "latin.yaml")
    (here / "latin.yaml").unlink()
    assert contents(here) == before


# ---------------------------------------------------------------- problems, models, folders


@pytest.fixture
def train(here, tiny_config_file, tiny_overrides):
    """Run the tiny game with changes that must be refused, and check that nothing was made or touched."""

    def attempt(*changes: str, out: str = "run"):
        before = contents(here)
        result = legibility("train", tiny_config_file, *tiny_overrides, *changes, "--out", out, "--no-report")
        assert contents(here) == before
        return result

    return attempt


def test_a_missing_problem_file(train, here):
    assert_refused(train(f"problems.train={{kind: file, path: {here}/nowhere.jsonl}}"), "nowhere.jsonl", "no such file")
    assert_refused(train(f"problems.train={{kind: gsm8k, path: {here}/nowhere}}"), "nowhere", "no such folder")


def test_a_problem_file_with_a_broken_line(train, here):
    lines = (here / "sums.jsonl").read_text().splitlines()
    lines[6] = lines[6][:-5]
    (here / "broken.jsonl").write_text("\n".join(lines) + "\n")
    assert_refused(
        train(f"problems.train={{kind: file, path: {here}/broken.jsonl}}"), "broken.jsonl line 7", "not valid JSON"
    )
    lines[6] = '{"question": "How many?", "answer": "a few"}'
    (here / "broken.jsonl").write_text("\n".join(lines) + "\n")
    assert_refused(
        train(f"problems.train={{kind: file, path: {here}/broken.jsonl}}"), "broken.jsonl line 7", "not a number"
    )


def test_an_empty_problem_set(train, here):
    (here / "empty.jsonl").write_text("\n")
    assert_refused(train(f"problems.train={{kind: file, path: {here}/empty.jsonl}}"), "empty.jsonl", "no problems")


def test_too_few_problems(train):
    assert_refused(train("problems.prover=100000"), "too few problems", "100000")


@pytest.mark.parametrize("role", ["verifier", "prover"])
@pytest.mark.parametrize("kind", ["missing", "text files", "no weights", "broken weights", "no tokenizer"])
def test_a_model_that_is_none(train, here, tiny_prover_dir, role, kind):
    place = here / "model"
    if kind != "missing":
        shutil.copytree(tiny_prover_dir, place)
    if kind == "text files":
        shutil.rmtree(place)
        place.mkdir()
        (place / "README.md").write_text("no model")
    elif kind == "no weights":
        (place / "model.safetensors").unlink()
    elif kind == "broken weights":
        (place / "model.safetensors").write_bytes(b"not safetensors")
    elif kind == "no tokenizer":
        for file in place.glob("tokenizer*"):
            file.unlink()
    assert_refused(train(f"{role}.model={place}"), f"{role}.model", str(place))


def test_a_verifier_that_cannot_score_sequences(train, here, byte_tokenizer):
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=len(byte_tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5EncoderModel(config).encoder.config.save_pretrained(here / "odd")
    (here / "odd/config.json").write_text((here / "odd/config.json").read_text().replace('"t5"', '"vits"'))
    byte_tokenizer.save_pretrained(here / "odd")
    assert_refused(train(f"verifier.model={here}/odd"), "verifier.model")


def test_a_judge_that_is_no_model(train, here):
    assert_refused(train(f"game.held_out_judge_model={here}/nothing"), "nothing")


def test_more_verifier_layers_than_there_are(train):
    assert_refused(train("verifier.layers=9"), "verifier.layers", "1 layers")


def test_lora_on_modules_that_do_not_exist(train):
    assert_refused(train("prover.lora={target_modules: [flux_capacitor]}"), "prover.lora.target_modules")


def test_a_chat_template_that_does_not_exist(train):
    assert_refused(train("prover.chat_template=true"), "prover.chat_template")


def test_prompts_that_do_not_exist(train, here):
    assert_refused(train("prover.prompts=sokrates"), "sokrates", "nano")
    (here / "roles.yaml").write_text("helpful: solve it\nsneaky: '{problem}'\n")
    assert_refused(train(f"prover.prompts={here}/roles.yaml"), "roles.yaml", "helpful", "{problem}")


def test_a_device_that_is_not_there(train):
    assert_refused(train("compute.device=cuda:77"), "compute.device", "cuda:77")
    assert_refused(train("compute.device=abacus"), "compute.device", "abacus")


def test_a_tracker_that_is_not_installed(train, monkeypatch):
    monkeypatch.setattr("legibility.trackers.find_spec", lambda name: None)
    assert_refused(train("tracking.trackers=[wandb]"), "wandb", "pip install")


def test_a_run_folder_that_exists(train, here, tiny_run):
    shutil.copytree(tiny_run.path, here / "run")
    assert_refused(train(), "run", "exists already", "--resume")
    (here / "file").write_text("x")
    assert_refused(train(out="file"), "file")


def test_errors_are_one_line_in_a_real_process(here, tiny_config_file, tiny_overrides):
    """Libraries must not add to what is printed; the module can be run as well as the command."""
    (here / "model").mkdir()
    before = contents(here)
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "legibility",
            "train",
            str(tiny_config_file),
            *tiny_overrides,
            f"verifier.model={here}/model",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=250,
        check=False,
    )
    assert_refused(SimpleResult(result), "verifier.model", f"{here}/model")
    assert result.stdout == "" and contents(here) == before


class SimpleResult:
    def __init__(self, process) -> None:
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr


def test_help_and_wrong_usage():
    assert legibility("--help").code == 0 and "train" in legibility("--help").out
    assert "overrides" in legibility("train", "--help").out.lower()
    for arguments in (["train"], ["trian"], ["train", "x.yaml", "--nonsense"]):
        assert legibility(*arguments).code == 2


def test_short_help_and_version_everywhere():
    for command in ([], ["train"], ["new"], ["judge"], ["weak-to-strong"]):
        assert legibility(*command, "-h").out == legibility(*command, "--help").out
    assert legibility("--version").out == f"legibility {__version__}\n"


def test_the_command_that_goes_on_is_the_one_that_was_typed():
    for typed in (
        "train nano --quick",
        "train my-game.yaml game.rounds=6 --out 'my run'",
        "weak-to-strong x.yaml --quick",
    ):
        assert cli._again(shlex.split(typed)) == f"legibility {typed} --resume"
    for typed in ("train nano game.rounds=6 --resume", "evaluate runs/nano --quick --log-file log"):
        assert cli._again(shlex.split(typed)) == f"legibility {typed}"


def test_configs_lists_what_is_shipped_and_prints_one():
    listed = legibility("configs").out
    assert all(f"\n{c.name}\n  {c.line}\n" in f"\n{listed}" and c.takes in listed for c in SHIPPED)
    assert legibility("configs", "nano").out == (ROOT / "configs/nano.yaml").read_text(encoding="utf-8")


def test_a_shell_completes_commands_options_and_shipped_configs(here):
    """In a real bash, with the script that --show-completion prints; where no config begins like that it offers files."""
    entry = f"#!{sys.executable}\nfrom legibility.cli import main\n\nmain()\n"  # as pip writes it
    (here / "legibility").write_text(entry)
    (here / "legibility").chmod(0o755)
    asked = ["legibility tra", "legibility train na", "legibility train --res", "legibility train zz"]
    script = 'eval "$(_LEGIBILITY_COMPLETE=source_bash legibility)"\n' + "".join(
        f"COMP_WORDS=({line}); COMP_CWORD={line.count(' ')}; _legibility_completion legibility; echo ${{COMPREPLY[*]}}.\n"
        for line in asked
    )
    environment = {**os.environ, "PATH": f"{here}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["train.", "nano nano-full nano-arms.", "--resume.", "."]


def test_an_ordinary_install_has_every_module():
    """Editable installs find modules in any folder; a wheel holds those of packages alone."""
    root = ROOT
    packages = {root / name.replace(".", "/") for name in find_packages(root, include=["legibility*"])}
    assert packages and {file.parent for file in (root / "legibility").rglob("*.py")} == packages


# ---------------------------------------------------------------- what the system refuses


def test_a_folder_that_cannot_be_made_is_one_line(tiny_config_file, tiny_overrides, tmp_path):
    (tmp_path / "file").write_text("mine")
    result = legibility("train", tiny_config_file, *tiny_overrides, "--out", tmp_path / "file" / "run")
    assert_refused(result, str(tmp_path / "file"))


def test_a_full_disk_is_one_line_and_the_run_goes_on(tiny_config_file, tiny_overrides, tmp_path, monkeypatch):
    from safetensors import SafetensorError

    from legibility.models.prover import Prover

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    arguments = ("train", tiny_config_file, *tiny_overrides, "game.rounds=1", "--out", tmp_path / "run", "--no-report")
    monkeypatch.setattr(Prover, "save", full)
    assert_refused(legibility(*arguments), "rounds/00/prover: no space left on device", "--resume")
    assert not (tmp_path / "run/rounds/00/.prover.tmp").exists()
    monkeypatch.undo()
    assert legibility(*arguments, "--resume").code == 0


def test_an_error_line_cannot_restyle_the_terminal(tmp_path):
    result = legibility("train", tmp_path / "\x1b[31mred.yaml")
    assert_refused(result, r"\x1b[31mred.yaml")


def test_output_that_nobody_reads_ends_the_command_quietly(tmp_path):
    command = f"{shlex.quote(sys.executable)} -m legibility --help | true"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("encoding", [pytest.param("ascii", marks=pytest.mark.slow), "latin-1"])
def test_a_terminal_that_lacks_a_character_never_stops_a_command(tiny_run, tmp_path, encoding):
    shutil.copytree(tiny_run.path, tmp_path / "tiny")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "NO_COLOR": "1", "COLUMNS": "30"}
    command = [sys.executable, "-m", "legibility", "ask", str(tmp_path / "tiny"), "Tom has 3 pens … ≥ 日本. How many?"]
    result = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode(encoding)
