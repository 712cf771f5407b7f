"""What can be known before a run folder is made is found before it is made."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from legibility.errors import UserError
from tests.support import llama, play_with


@pytest.fixture
def refused(tiny_config_file, tiny_overrides, tmp_path):
    """Play with more overrides; the message, once it is sure that nothing was written."""

    def play(*more: str) -> str:
        with pytest.raises(UserError) as caught:
            play_with(tiny_config_file, tiny_overrides, tmp_path / "run", *more)
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    return play


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sampling.evaluation_temperature=.inf", "sampling.evaluation_temperature: "),
        ("sampling.evaluation_temperature=1e-300", "sampling.evaluation_temperature: "),
        ("reward.floor=.nan", "reward.floor: Input should be a finite number"),
        ("ppo.max_grad_norm=.inf", "ppo.max_grad_norm: Input should be a finite number"),
        ("problems.train={kind: generated, steps: {2: .inf}}", "finite number"),
        ("grading.marker='  '", "grading.marker: must be visible"),
        ('grading.marker="a\\nb"', "grading.marker: must be visible and stand on one line"),
        ("gates.accept_rate=[0.9, 0.1]", "gates.accept_rate: the lower end comes first"),
        ("compute.device=meta", "compute.device: 'meta' cannot be used"),
        ("compute.threads=1000000000", "compute.threads: "),
        ("sampling.max_new_tokens=5000", "sampling.max_new_tokens: prompts have up to"),
    ],
)
def test_settings_that_cannot_work(override, says, refused):
    assert says in refused(override)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["grading.marker='Answer:'"], "prover.warm_start: no worked solution ends with grading.marker 'Answer:'"),
        (["prover.warm_start.max_length=16"], "prover.warm_start.max_length: none of the"),
    ],
)
def test_a_warm_start_that_teaches_nothing(more, says, refused):
    assert says in refused("prover.warm_start.steps=2", *more)


def test_reference_solutions_of_another_form(refused):
    """The verifier would have learnt "####" against the marker of the samples."""
    message = refused("verifier.reference_solutions=true", "grading.marker='Answer:'")
    assert "verifier.reference_solutions: no worked solution ends with grading.marker 'Answer:'" in message


def test_a_warm_start_without_solutions(refused, tmp_path):
    rows = [{"question": f"What is {i} + {i + 1}?", "answer": 2 * i + 1} for i in range(150)]
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = f"problems.train={{kind: file, path: {tmp_path / 'bare.jsonl'}}}"
    assert "carry no worked solutions" in refused(source, "prover.warm_start.steps=2")


def test_solutions_that_cannot_be_corrupted(refused, tmp_path):
    rows = [{"question": f"Two of {i}?", "answer": 2 * i, "solution": f"#### {2 * i}"} for i in range(150)]
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = f"problems.train={{kind: file, path: {tmp_path / 'plain.jsonl'}, solution: solution}}"
    says = refused(source, "prover.warm_start.steps=2", "prover.warm_start.sneaky=corrupted")
    assert says.startswith("prover.warm_start.sneaky: ")


def test_a_model_that_cannot_end_a_text(refused, byte_tokenizer, tmp_path):
    model = llama(byte_tokenizer)
    model.generation_config.eos_token_id = model.config.eos_token_id = None
    model.save_pretrained(tmp_path / "endless")
    tokenizer = deepcopy(byte_tokenizer)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path / "endless")
    assert "no completion would ever end" in refused(f"prover.model={tmp_path / 'endless'}")


def test_more_processes_than_a_machine_can_hold(refused, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert refused("compute.workers=1000").startswith("compute.workers: 1000 on a machine of 2 cores; ")
