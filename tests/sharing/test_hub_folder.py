"""Folders for the hub: read with `datasets` and transformers, every figure of a card taken from the run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard, ModelCard
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from legibility.evaluation.dataframes import load_run
from legibility.evaluation.summary_schema import read_summary
from legibility.files import sha256
from legibility.game.reopen import reopen
from legibility.sharing.cards import _fenced
from tests.support import legibility, play_with


@pytest.fixture(scope="module")
def hub(tiny_run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shared") / "hub"
    result = legibility("export", tiny_run.path, "--out", out, "--format", "hub", "--weights")
    assert result.code == 0, result
    assert f"hf upload USER/NAME {out}/dataset --repo-type dataset" in result.out
    return out


def test_datasets_reads_every_completion_and_every_problem(tiny_run, hub, tmp_path):
    stored = load_run(tiny_run.path)["solutions"]
    found = load_dataset(str(hub / "dataset"), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in found.items()} == stored.split.value_counts().to_dict()
    test = found["test"].to_pandas()
    wanted = stored[stored.split == "test"].reset_index(drop=True)
    assert (test[list(wanted)].text == wanted.text).all() and set(wanted) | {"question", "answer"} == set(test)
    problems = load_dataset(str(hub / "dataset"), "problems", cache_dir=str(tmp_path))
    known = {p["id"]: p["question"] for split in problems.values() for p in split}
    assert (test.question == test.problem_id.map(known)).all()


def test_two_runs_in_one_cache_are_each_served_their_own_rows(tiny_run, hub, tmp_path):
    other = tmp_path / "elsewhere" / tiny_run.path.name  # of the same name, sizes and settings, with other text
    shutil.copytree(tiny_run.path, other)
    file = other / "base/solutions.parquet"
    table = pq.read_table(file)
    changed = pa.array([f"{text} " for text in table["text"].to_pylist()])
    pq.write_table(table.set_column(table.schema.get_field_index("text"), "text", changed), file)
    done = json.loads((other / "base/DONE").read_text())
    done["sha256"]["solutions.parquet"] = sha256(file)
    (other / "base/DONE").write_text(json.dumps(done))
    assert legibility("export", other, "--out", tmp_path / "hub", "--format", "hub").code == 0
    texts = []
    for folder in (hub / "dataset", tmp_path / "hub/dataset"):
        found = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
        texts.append([text for split in found.values() for text in split["text"]])
        load_dataset(str(folder), "problems", cache_dir=str(tmp_path / "cache"))
    assert len(texts[0]) == len(texts[1]) and texts[0] != texts[1]
    assert sum(text.endswith(" ") for text in texts[1]) >= len(table)
    heads = [yaml.safe_load((d / "dataset/README.md").read_text().split("---\n")[1]) for d in (hub, tmp_path / "hub")]
    assert heads[0]["configs"][1] == heads[1]["configs"][1]  # their problems are the same
    again = tmp_path / "again"
    assert legibility("export", tiny_run.path, "--out", again, "--format", "hub").code == 0
    assert (again / "dataset/README.md").read_text() == (hub / "dataset/README.md").read_text()


def test_transformers_loads_the_models_and_they_are_the_runs(tiny_run, hub):
    game = reopen(tiny_run)
    tokenizer = AutoTokenizer.from_pretrained(hub / "models/prover-1")
    ids = tokenizer("Tom has 2 pens.", return_tensors="pt").input_ids
    loaded = AutoModelForCausalLM.from_pretrained(hub / "models/prover-1").eval()
    own = game.saved_prover(tiny_run.folder("rounds/01/prover")).causal.eval()
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, own(ids).logits)
    verifier = AutoModelForSequenceClassification.from_pretrained(hub / "models/verifier-0")
    assert verifier.config.num_labels == 1
    assert {p.name for p in (hub / "models").iterdir()} == {
        *("prover-0", "prover-1", "prover-correctness", "verifier-0", "verifier-1", "held-out-judge")
    }


def test_cards_are_the_hubs_and_their_figures_are_the_runs(tiny_run, hub):
    data = DatasetCard.load(hub / "dataset/README.md")
    assert data.data.license == "other" and data.data.configs[0]["config_name"] == "completions"
    summary = read_summary(tiny_run.path / "summary.json")
    last = summary.arms.game.rounds[-1]
    prover = ModelCard.load(hub / "models/prover-1/README.md")
    low, high = last.helpful_interval
    figure = f"| helpful accuracy | {100 * last.helpful_accuracy:.1f}% [{100 * low:.1f}%, {100 * high:.1f}%] |"
    assert figure in prover.text and prover.data.pipeline_tag == "text-generation"
    verifier = ModelCard.load(hub / "models/verifier-1/README.md")
    assert f"| solutions it was trained on | {last.verifier.texts:,} |" in verifier.text
    assert f"{last.verifier.auroc_own_round.pooled:.3f}" in verifier.text
    judge = (hub / "models/held-out-judge/README.md").read_text()
    model = summary.held_out_judge.model  # a folder of this machine, which goes by its last name
    assert all(remark.replace(model, Path(model).name) in judge for remark in summary.held_out_judge.remarks)
    for card in hub.rglob("README.md"):
        assert not re.search(r"undefined|\{\{|None", card.read_text()), card


def test_the_code_of_the_cards_runs(hub, monkeypatch):
    for card in (hub / "dataset/README.md", hub / "models/prover-0/README.md", hub / "models/verifier-0/README.md"):
        blocks = re.findall(r"```python\n(.*?)```", card.read_text(), flags=re.S)
        assert blocks
        for block in blocks:
            place = str(card.parent)
            exec(block.replace("FOLDER OR HUB ID", place).replace("FOLDER", place), {})


def test_nothing_of_this_machine_is_in_them(tiny_run, hub):
    for file in hub.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert str(tiny_run.path.parent).encode() not in content and b"/tmp/" not in content, file
    assert not [p for p in hub.rglob("*") if p.name in ("DONE", "training.json", "metrics.jsonl", ".lock")]


def test_without_weights_there_are_cards_alone(tiny_run, tmp_path):
    assert legibility("export", tiny_run.path, "--out", tmp_path / "hub", "--format", "hub").code == 0
    assert {p.name for p in (tmp_path / "hub/models").rglob("*") if p.is_file()} == {"README.md"}
    assert "--weights" in (tmp_path / "hub/models/prover-0/README.md").read_text()
    assert legibility("export", tiny_run.path, "--out", tmp_path / "hub", "--format", "hub").code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["hub"]


def test_without_out_it_goes_beside_the_run_and_over_nothing(tiny_run, tmp_path, monkeypatch):
    run = shutil.copytree(tiny_run.path, tmp_path / "run")
    monkeypatch.chdir(run)
    assert legibility("export", ".", "--format", "hub").code == 0
    assert (tmp_path / "run-hub/dataset/README.md").is_file()
    again = legibility("export", run, "--format", "hub")
    assert again.code == 2 and "run-hub: exists already" in again.err
    study = legibility("export", run)
    assert study.code == 2 and study.err.startswith("error: --out: name the folder")


def test_adapters_are_merged_and_ensembles_keep_their_members(tiny_config_file, tiny_overrides, tmp_path):
    small = "game={rounds: 1, correctness_arm: false, held_out_judge: false, collection_samples: 4}"
    run = play_with(
        tiny_config_file,
        tiny_overrides,
        tmp_path / "lora",
        *(small, "ppo.steps=1", "prover.lora={r: 2}", "prover.warm_start={steps: 2, batch_size: 4}"),
        *("verifier.ensemble=2", "verifier.score=likelihood", "verifier.updates=2"),
    )
    result = legibility("export", run.path, "--out", tmp_path / "hub", "--format", "hub", "--weights")
    assert result.code == 0, result
    models = tmp_path / "hub/models"
    loaded = AutoModelForCausalLM.from_pretrained(models / "prover-0").eval()
    own = reopen(run).saved_prover(run.folder("rounds/00/prover")).model.merge_and_unload().eval()
    for name, tensor in own.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert not (models / "prover-0/adapter_config.json").exists()
    assert AutoModelForCausalLM.from_pretrained(models / "prover-start") is not None
    assert (models / "verifier-0/member_1/score_head.safetensors").is_file()
    exec(
        re.findall(r"```python\n(.*?)```", (models / "verifier-0/README.md").read_text(), flags=re.S)[0].replace(
            "FOLDER", str(models / "verifier-0")
        ),
        {},
    )


def test_prompts_with_backticks_stay_in_their_block():
    assert _fenced("a ``` b") == "````\na ``` b\n````"


def test_the_heads_are_yaml(hub):
    for card in hub.rglob("README.md"):
        head = yaml.safe_load(card.read_text().split("---\n")[1])
        json.dumps(head)
        assert head["license"]
