"""The configs that come with the package: in the clone, in a wheel, by name and by path."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from legibility import shipped_configs
from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.new_config import shipped_settings
from legibility.shipped_configs import SHIPPED, find_config, shipped
from tests.planning.models import qwen_folder
from tests.support import ROOT, quiet, sums


def test_every_file_of_the_folder_is_listed_and_every_line_has_a_file():
    assert {c.name for c in SHIPPED} == {p.stem for p in (ROOT / "configs").glob("*.yaml")}
    assert all(c.shows and c.needs and c.takes and c.file.is_file() for c in SHIPPED)


def test_a_name_and_the_path_in_a_clone_are_the_same_game(tmp_path, monkeypatch):
    by_path = load_config(ROOT / "configs/nano.yaml", ["seed=3"])
    monkeypatch.chdir(tmp_path)
    assert load_config("nano", ["seed=3"]) == by_path
    assert shipped("nano") is shipped(ROOT / "configs/nano.yaml") and shipped("nano.yaml") is None


@pytest.mark.parametrize("known", SHIPPED, ids=[c.name for c in SHIPPED])
def test_every_shipped_config_is_valid_and_its_paths_start_in_the_working_folder(known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump(shipped_settings(known).model_dump(mode="json"))
    assert ".." not in text and find_config(known.name).base_dir == tmp_path
    uses_assets = "assets/" in text
    assert uses_assets == known.needs.startswith("assets/")


def test_a_file_keeps_its_own_folder_and_what_it_says(tmp_path):
    (tmp_path / "mine.yaml").write_text("problems: {train: {kind: gsm8k, path: ../assets}}\n")
    found = find_config(tmp_path / "mine.yaml")
    assert (found.file, found.base_dir) == (tmp_path / "mine.yaml", tmp_path)
    assert load_config(tmp_path / "mine.yaml").problems.train.path == "../assets"


def test_a_folder_or_file_of_the_name_is_not_in_the_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").mkdir()
    assert find_config("nano").file == shipped_configs.configs_folder() / "nano.yaml"


def test_a_name_that_is_none_is_told_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("{}\n")
    for name, hint in (
        ("nani", "did you mean nano?"),
        ("mine", "did you mean mine.yaml?"),
        ("zzz", "legibility configs"),
    ):
        with pytest.raises(UserError, match=f"^{name}: no such file, and no shipped config of that name; .*{hint}"):
            load_config(name)


def test_a_config_of_the_other_command_says_which():
    with pytest.raises(UserError, match="legibility weak-to-strong weak-to-strong-nano"):
        load_config("weak-to-strong-nano")


def test_a_wheel_holds_them_beside_the_modules(tmp_path):
    """What `pip wheel` copies, run from there without the clone."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    skipped = shutil.ignore_patterns("weights", "__pycache__")
    shutil.copytree(ROOT / "legibility", tmp_path / "legibility", ignore=skipped)
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "built"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    shutil.rmtree(tmp_path / "legibility")
    shutil.rmtree(tmp_path / "configs")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "built")}
    for arguments in (["configs", "nano"], ["configs"]):
        done = subprocess.run(
            [sys.executable, "-m", "legibility", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        expected = (ROOT / "configs/nano.yaml").read_text(encoding="utf-8") if len(arguments) == 2 else "nano-full"
        assert expected in done.stdout
    assert sorted(p.name for p in (tmp_path / "built/legibility/configs").iterdir()) == sorted(
        p.name for p in (ROOT / "configs").glob("*.yaml")
    )


# ---------------------------------------------------------------- configs for GPUs, dry


CHATML = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWENS = ["qwen2.5-1.5b-gsm8k", "qwen2.5-7b-gsm8k"]


@pytest.fixture(scope="module")
def tiny_qwen(tmp_path_factory):
    """A random Qwen2 of two layers and a byte tokenizer of Qwen's kind: ChatML, an end token of the conversation and one of
    the text, no BOS, and a model with more places than the tokenizer has tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *special]
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token=special[0], eos_token=special[2])
    tokenizer.chat_template = CHATML
    config = Qwen2Config(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=len(letters) - 1, pad_token_id=len(letters) - 3,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = [len(letters) - 1, len(letters) - 3]
    folder = tmp_path_factory.mktemp("qwen") / "tiny"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", QWENS)
def test_a_config_for_gpus_is_played_small_by_models_of_its_kind(name, tiny_qwen, tmp_path):
    """Rules, rewards, prompts, types and adapters are the config's; models, amounts and the device are not."""
    from legibility.play import train

    problems = tmp_path / "sums.jsonl"
    problems.write_text("".join(json.dumps(p) + "\n" for p in sums(120)))
    small = [
        f"problems={{train: {{kind: file, path: {problems}, solution: solution}}, prover: 40, verifier: 12, validation: 6, test_size: 6, judge: 8}}",
        f"prover.model={tiny_qwen}", f"verifier.model={tiny_qwen}", "prover.lora.r=4", "compute.device=cpu",
        "verifier.updates=3", "verifier.max_length=1024", "verifier.solutions_per_problem=2", "sampling.max_new_tokens=6",
        "ppo.steps=2", "ppo.problems_per_step=2", "ppo.minibatch_size=8", "ppo.micro_batch_size=4", "ppo.save_every=1",
        "game.rounds=2", "game.collection_samples=2", "evaluation.samples=1", "evaluation.bootstrap=10",
        # random models solve nothing, so right texts are the problems' own
        "grading.unparsed=incorrect", "verifier.reference_solutions=true", "gates.enabled=false",
    ]  # fmt: skip
    run = train(load_config(name, small), tmp_path / "run", progress=quiet())
    assert (run.path / "summary.json").is_file()
    prover = run.path / "rounds/01/prover"
    assert (prover / "adapter_config.json").is_file()
    steps = [json.loads(line) for line in (prover / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) == 2 and all(s["logprob_gap"] < 5 for s in steps)


@pytest.mark.parametrize(("name", "size", "ranks"), [(QWENS[0], "1.5B", 1), (QWENS[1], "7B", 8)])
def test_a_config_for_gpus_fits_and_takes_what_its_head_says(name, size, ranks, tmp_path):
    import re

    from legibility.planning.devices import gpu
    from legibility.planning.game_plan import check_fit, plan_game

    head = find_config(name).file.read_text().partition("seed:")[0]
    models = [f"prover.model={qwen_folder(size, tmp_path)}", f"verifier.model={qwen_folder('0.5B', tmp_path)}"]
    config = load_config(name, models)
    plan = plan_game(config, name, gpu("h100"), ranks=ranks)
    check_fit(plan, config, gpu("h100"))
    said = [int(n) for n in re.findall(r"(\d+) GB(?: a rank)? (?:in|while)", head)]
    assert sorted(said) == sorted({round(m.peak / 1e9) for m in plan.memory})
    (hours,) = re.findall(r"(\d+) hours at most", " ".join(head.replace("# ", "").split()))
    assert round(plan.seconds / 3600) == int(hours) == int(shipped(name).takes.split()[0])
