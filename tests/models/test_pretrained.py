"""No code of a model's own is run, revisions are of hub ids, and the commit is known."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from legibility.config import ProverSettings, VerifierSettings
from legibility.errors import UserError
from legibility.hub import only_what_answers
from legibility.models.prover import Prover
from legibility.models.verifier import Verifier
from legibility.player_settings import LoraSettings
from tests.support import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRAP = "import pathlib\npathlib.Path({mark!r}).write_text('run')\nfrom transformers import LlamaConfig as Trap, LlamaForCausalLM as TrapModel\n"


@pytest.fixture
def trap(tiny_prover_dir, tmp_path):
    """A model folder whose configuration points to code beside it; running it leaves a mark."""

    def make(model_type: str):
        folder, mark = tmp_path / model_type, tmp_path / f"{model_type}-ran"
        shutil.copytree(tiny_prover_dir, folder)
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": model_type, "auto_map": {"AutoConfig": "trap.Trap", "AutoModelForCausalLM": "trap.TrapModel",
                                                          "AutoModelForSequenceClassification": "trap.TrapModel"}}  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "trap.py").write_text(TRAP.format(mark=str(mark)))
        (folder / "custom_generate").mkdir()
        (folder / "custom_generate" / "generate.py").write_text(TRAP.format(mark=str(mark)))
        return folder, mark

    return make


@pytest.mark.parametrize("kind", ["Prover", "Verifier"])
def test_code_of_an_unknown_architecture_is_refused_not_asked_about(kind, trap, tmp_path):
    """In a process of its own, with "y" on its standard input."""
    folder, mark = trap("trap")
    code = (
        f"from legibility import {kind}\nfrom legibility.config import {kind}Settings\nfrom legibility.errors import UserError\n"
        f"try:\n    {kind}.load({kind}Settings(model={str(folder)!r}), 'cpu')\nexcept UserError as error:\n    print(error)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], input="y\n" * 9, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert out.stdout.startswith(f"{kind.lower()}.model: cannot load") and "never run" in out.stdout
    assert out.stdout.count("\n") == 1 and "[y/N]" not in out.stdout + out.stderr
    assert not mark.exists()


def test_code_beside_a_known_architecture_is_left_alone(trap):
    folder, mark = trap("llama")
    assert type(Prover.load(ProverSettings(model=str(folder)), "cpu").causal).__module__.startswith("transformers.")
    assert not mark.exists()


def test_a_folder_has_no_revision(tiny_prover_dir):
    for kind, settings in ((Prover, ProverSettings), (Verifier, VerifierSettings)):
        with pytest.raises(UserError, match=r"^(prover|verifier)\.revision: .* is a folder"):
            kind.load(settings(model=str(tiny_prover_dir), revision="main"), "cpu")


@pytest.fixture
def cached(tiny_prover_dir, tmp_path, monkeypatch):
    """The tiny prover as somebody/tiny in the hub's cache, at one commit with a branch and a tag."""
    place = tmp_path / "hub" / "models--somebody--tiny"
    shutil.copytree(tiny_prover_dir, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    for name in ("main", "v1"):
        (place / "refs" / name).write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for module in ("models.pretrained", "hub"):
        monkeypatch.setattr(f"legibility.{module}.hub_reachable", lambda: False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # unreachable, not switched off: the message says which
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    return "somebody/tiny"


@pytest.fixture
def no_connection(monkeypatch):
    """No request leaves for the hub: one that waits for it takes 23 seconds."""
    for name in ("getaddrinfo", "socket.connect"):
        monkeypatch.setattr(f"socket.{name}", lambda *_, **__: pytest.fail("the hub was asked"))


@pytest.mark.parametrize("revision", [None, "v1", COMMIT])
def test_the_commit_of_a_hub_id_is_known(revision, cached, no_connection):
    prover = Prover.load(ProverSettings(model=cached, revision=revision), "cpu")
    assert prover.commit == COMMIT
    assert Verifier.load(VerifierSettings(model=cached, revision=revision), "cpu").commit == COMMIT


@pytest.fixture
def adapter(cached, tiny_prover_dir, tmp_path) -> Path:
    """The folder of an adapter on `cached` that the hub's cache holds too, as somebody/adapter."""
    place = tmp_path / "hub" / "models--somebody--adapter"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    base = AutoModelForCausalLM.from_pretrained(tiny_prover_dir)
    tuned = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    tuned.peft_config["default"].base_model_name_or_path = cached
    with only_what_answers(needed=False):
        tuned.save_pretrained(place / "snapshots" / COMMIT)
    return place


def test_an_adapter_on_the_hub_has_a_commit_too(adapter, no_connection, tmp_path):
    prover = Prover.load(ProverSettings(model="somebody/adapter"), "cpu")
    assert prover.commit == COMMIT and not prover.is_lora
    settings = ProverSettings(model="somebody/adapter", lora=LoraSettings(r=2, alpha=4))
    Prover.load(settings, "cpu").save(tmp_path / "saved")


def test_an_adapters_own_tokenizer_on_the_hub(adapter, tiny_prover_dir):
    """Whoever tunes a base for conversation saves the chat template with the adapter."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_prover_dir)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(adapter / "snapshots" / COMMIT)
    (adapter / ".no_exist" / COMMIT).mkdir(parents=True)
    (adapter / ".no_exist" / COMMIT / "config.json").touch()  # the cache remembers what was asked for in vain
    settings = ProverSettings(model="somebody/adapter", chat_template=True)
    assert Prover.load(settings, "cpu").chat.tokenizer.chat_template == tokenizer.chat_template


def test_a_revision_that_is_not_there(cached):
    with pytest.raises(
        UserError,
        match=r"^prover\.model: cannot load .somebody/tiny.: the hub cannot be reached and its cache has no such model or revision",
    ):
        Prover.load(ProverSettings(model=cached, revision="v2"), "cpu")


def test_a_folder_has_no_commit(tiny_prover_dir):
    assert Prover.load(ProverSettings(model=str(tiny_prover_dir)), "cpu").commit is None


def test_there_is_one_way_to_from_pretrained():
    """Every other call would have to remember that a model's own code is not run. (peft reads weights alone.)"""
    calls = {
        (path.name, line.strip())
        for path in (ROOT / "legibility").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if ".from_pretrained(" in line and "PeftModel" not in line and not line.lstrip().startswith('"""')
    }
    assert {name for name, _ in calls} == {"pretrained.py"} and len(calls) == 1


@pytest.fixture
def edited(tiny_prover_dir, tmp_path):
    """A model folder with other settings in its config.json, or other weights."""

    def make(settings=None, change=None):
        folder = tmp_path / "model"
        shutil.copytree(tiny_prover_dir, folder)
        if change is not None:
            model = AutoModelForCausalLM.from_pretrained(tiny_prover_dir)
            with torch.no_grad():
                change(model)
            model.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | (settings or {})))
        return str(folder)

    return make


def refused_by_both(folder, match):
    with pytest.raises(UserError, match=rf"^prover\.model: .* {match}"):
        Prover.load(ProverSettings(model=folder), "cpu")
    for score in ("last_token", "likelihood"):
        with pytest.raises(UserError, match=rf"^verifier\.model: .* {match}"):
            Verifier.load(VerifierSettings(model=folder, score=score), "cpu")


def test_weights_that_are_not_there_are_not_drawn_at_random(edited):
    """Two layers, where the configuration asks for three."""
    refused_by_both(edited({"num_hidden_layers": 3}), r"lacks 9 of the weights of LlamaFor\w+ \(model\.layers\.2\.")


def test_layers_beyond_the_last_are_not_dropped(edited):
    folder = edited({"num_hidden_layers": 1})
    refused_by_both(folder, r"has 9 weights that its config\.json leaves no place for \(model\.layers\.1\.")


def test_biases_that_the_config_denies_are_not_dropped(tiny_prover_dir, edited, tmp_path):
    config = AutoConfig.from_pretrained(tiny_prover_dir, attention_bias=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "biased")
    folder = edited()
    shutil.copy(tmp_path / "biased" / "model.safetensors", folder)
    refused_by_both(folder, r"has 8 weights .* \(model\.layers\.0\.self_attn\.k_proj\.bias")


def test_a_head_of_another_task_is_left_aside(tiny_verifier_dir, tmp_path):
    """A language model's head in a classifier, and a classifier's language model without one."""
    model = AutoModelForCausalLM.from_pretrained(tiny_verifier_dir)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    shutil.copytree(tiny_verifier_dir, tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    Verifier.load(VerifierSettings(model=str(tmp_path / "model"), score="last_token"), "cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_told_at_the_start(value, edited):
    folder = edited(change=lambda model: model.model.layers[1].mlp.up_proj.weight[0, 0].fill_(value))
    refused_by_both(folder, r"no finite numbers \(model\.layers\.1\.mlp\.up_proj\.weight, say\)")
