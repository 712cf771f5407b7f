"""The `problems:` section: its defaults, and what it refuses."""

from __future__ import annotations

import json

import pytest

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.game.run_folder import RunFolder
from legibility.problems import ProblemSettings, load_problems
from legibility.problems.sources import FileSource, GeneratedSource
from legibility.settings import parse_settings
from tests.support import legibility, sums


def test_by_default_problems_are_generated_and_test_problems_set_aside():
    settings = ProblemSettings()
    assert settings.train == GeneratedSource() and settings.test is None
    assert (settings.prover, settings.verifier, settings.validation, settings.test_size) == (4000, 2000, 300, 500)


def test_null_sizes_share_what_is_there():
    settings = ProblemSettings(
        train=GeneratedSource(count=60), prover=None, verifier=None, validation=None, test_size=None
    )
    splits = load_problems(settings)
    assert len(splits.test) == len(splits.validation) == 10
    assert len(splits.prover) == len(splits.verifier)


def test_parts_of_ones_own_problems_are_shares_unless_a_number_is_given(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(
        "question,answer\n" + "".join(f"Ann has {i} pens and buys {i * i}. How many?,1\n" for i in range(30))
    )
    read = parse_settings({"train": {"kind": "file", "path": str(path)}, "test_size": 5}, "f", ProblemSettings)
    assert (read.prover, read.verifier, read.validation, read.test_size) == (None, None, None, 5)
    again = parse_settings(read.model_dump(), "f", ProblemSettings)  # as a run keeps them
    assert again == read
    splits = load_problems(read)
    assert [len(splits.part(p)) for p in ("test", "validation", "prover", "verifier")] == [5, 6, 9, 9]
    asked = {"train": {"kind": "file", "path": str(path)}, "prover": 4000, "verifier": 2000}
    with pytest.raises(
        UserError, match=r"30 distinct problems, and 6012 are asked for: problems.prover 4000, problems"
    ):
        load_problems(parse_settings(asked, "f", ProblemSettings))


def test_a_source_is_chosen_by_its_kind():
    settings = parse_settings({"train": {"kind": "file", "path": "p.csv"}}, "f", ProblemSettings)
    assert settings.train == FileSource(path="p.csv")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"prover": 0}, ["prover"]),
        ({"near_duplicate_threshold": 0}, ["near_duplicate_threshold"]),
        ({"near_duplicate_threshold": 1.1}, ["near_duplicate_threshold"]),
        ({"seed": -1}, ["seed"]),
        ({"proover": 3}, ["proover", "'prover'"]),
        ({"train": {"kind": "file"}}, ["train.file.path"]),
    ],
)
def test_a_bad_setting_is_named(settings, parts):
    with pytest.raises(UserError) as error:
        parse_settings(settings, "f", ProblemSettings)
    assert all(part in str(error.value) for part in parts)


# ---------------------------------------------------------------- a whole game on thirty problems of one's own

SMALL = (
    "prover.lora=null",
    "prover.chat_template=false",
    "prover.prompts=plain",
    "verifier.layers=null",
    "verifier.score=last_token",
    "verifier.lm_weight=0",
    "verifier.updates=12",
    "verifier.learning_rate=0.003",
    "ppo.steps=2",
    "ppo.problems_per_step=4",
    "ppo.samples_per_role=4",
    "ppo.minibatch_size=16",
    "ppo.micro_batch_size=16",
    "ppo.learning_rate=0.001",
    "sampling.max_new_tokens=16",
    "stop.rule=fixed",
    "game.rounds=1",
    "evaluation.bootstrap=50",
    "compute.threads=1",
    "compute.device=cpu",
)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Thirty problems as a user may have them, in the working folder."""
    monkeypatch.chdir(tmp_path)
    rows = [{"question": p["question"], "answer": p["answer"]} for p in sums(30)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_thirty_problems_from_the_shipped_config_to_the_report(own, tiny_prover_dir, tiny_verifier_dir):
    models = (f"prover.model={tiny_prover_dir}", f"verifier.model={tiny_verifier_dir}")
    done = legibility("train", "bring-your-own", *models, *SMALL, "--force", "--out", own / "run")
    assert done.code == 0, done
    run = RunFolder(own / "run")
    used = run.manifest().problems.counts
    assert (used.test, used.validation, used.prover, used.verifier) == (6, 6, 9, 9)
    summary = json.loads((run.path / "summary.json").read_text())
    last = summary["arms"]["game"]["rounds"][-1]
    assert last["helpful_accuracy"] is not None and last["helpful_interval"] == [None, None]
    page = (run.path / "report.html").read_text()
    assert "no interval" in page and "fewer than 10 problems" in page
    assert "100.0 to 100.0" not in page and ">nan" not in page and "nan" not in done.out


def test_one_error_names_every_part_that_does_not_fit_and_its_setting(own):
    result = legibility("train", "bring-your-own", "problems.prover=20", "problems.verifier=20", "--out", own / "run")
    assert result.code == 2 and result.err.count("\n") == 1 and not (own / "run").exists()
    assert (
        "the train source has 30 distinct problems, and 52 are asked for: problems.prover 20, problems.verifier 20"
        in result.err
    )
    assert "problems.validation null (at least 6), problems.test_size null (at least 6); lower these" in result.err


def test_the_config_gives_no_numbers():
    settings = load_config("bring-your-own").problems
    assert (settings.prover, settings.verifier, settings.validation, settings.test_size) == (None,) * 4
