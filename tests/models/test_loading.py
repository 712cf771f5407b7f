"""Where models are looked for, and what cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from legibility.config import ProverSettings, VerifierSettings
from legibility.errors import UserError
from legibility.models.loading import pick_device, resolve
from legibility.models.prover import Prover
from legibility.models.verifier import Verifier
from legibility.problems.records import Problem

PROBLEM = Problem("p", "How many?", "7", solution="the secret")


def test_resolving_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config" / "model").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    assert Path(resolve("nano", "prover")).name == "prover"
    assert {Path(resolve(n, "verifier")).name for n in ("nano", "nano-s", "nano-xs", "nano-m", "nano-equal")} == {
        "verifier-s",
        "verifier-xs",
        "verifier-m",
        "prover",
    }
    assert resolve("model", "prover", tmp_path / "config") == str(
        tmp_path / "config" / "model"
    )  # the config's folder first
    assert Path(resolve("model", "prover")).resolve() == tmp_path / "model"
    assert resolve("somebody/some-model", "prover") == "somebody/some-model"
    for path in ("/no/where", "./nowhere", "a/b/c"):
        with pytest.raises(UserError, match="no folder"):
            resolve(path, "verifier")


def test_home_is_a_place_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert resolve("~/model", "prover") == str(tmp_path / "model")


def test_the_shipped_models_load():
    prover = Prover.load(ProverSettings(), "cpu")
    assert prover.end_ids == {prover.tokenizer.eos_token_id}
    for name in (f"nano-{size}{kind}" for size in ("xs", "s", "m", "equal") for kind in ("", "-marked")):
        verifier = Verifier.load(VerifierSettings(model=name), "cpu")
        assert verifier.parameter_count() <= sum(p.numel() for p in prover.model.parameters()) + 200
        assert verifier.score([PROBLEM], ["#### 7"]).shape == (1,)


@pytest.mark.parametrize(("kind", "settings"), [(Prover, ProverSettings), (Verifier, VerifierSettings)])
def test_flex_attention_is_refused_where_it_cannot_train(kind, settings, tiny_prover_dir):
    with pytest.raises(UserError, match=r"^(prover|verifier)\.attention: flex_attention .* GPU"):
        kind.load(settings(model=str(tiny_prover_dir), attention="flex_attention"), "cpu")


@pytest.mark.parametrize("device", ["hpu", "privateuseone", "mkldnn", "opengl", "meta", "nonsense", "cuda:99"])
def test_a_device_that_cannot_be_used_is_one_line(device, recwarn):
    with pytest.raises(UserError, match=rf"^compute\.device: '{device}' cannot be used \(.+\); use auto or cpu$"):
        pick_device(device)
    assert not recwarn.list
