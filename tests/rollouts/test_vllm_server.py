"""vLLM as a server, against an imitation of its routes with a real model behind them: text, weights, versions, faults."""

from __future__ import annotations

import json
import socket
import time

import numpy as np
import pytest
import torch

from legibility.compute_settings import VLLMSettings
from legibility.config import PPOSettings
from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.models.prover import add_lora
from legibility.play import check_models
from legibility.player_settings import LoraSettings, ProverSettings
from legibility.ppo import PPO, Batch
from legibility.problems import load_problems
from legibility.randomness import stream
from legibility.rollouts import sample, vllm_server
from legibility.rollouts.choice import check_vllm, require_sampler
from tests.rollouts.drawn import check_logprobs, ids
from tests.rollouts.imitation import install_vllm, serving
from tests.support import legibility, prover_of, tiny_model

PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 0, 12]]


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.setattr(vllm_server, "_servers", {})


@pytest.fixture
def prover(byte_tokenizer):
    return prover_of(tiny_model("llama", byte_tokenizer), byte_tokenizer)


@pytest.fixture
def server(prover):
    with serving(prover.model.config) as made:
        yield made


def at(server, **changes) -> VLLMSettings:
    return VLLMSettings(server=server.address, **{"timeout": 20, "connect_timeout": 5, **changes})


def draw(prover, settings, prompts=PROMPTS, **changes):
    return sample(prover, prompts, 3, **{"seed": 0, "max_new_tokens": 8, "engine": "vllm", "vllm": settings, **changes})


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt_neox"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_the_prover(byte_tokenizer, name, temperature):
    prover = prover_of(tiny_model(name, byte_tokenizer), byte_tokenizer)
    with serving(prover.model.config) as server:
        drawn = draw(prover, at(server), temperature=temperature)
    assert [len(group) for group in drawn] == [3, 3, 3]
    check_logprobs(prover.model, PROMPTS, drawn, temperature)
    flat = [c for group in drawn for c in group]
    assert all(c.truncated == (c.ids[-1] not in prover.end_ids) and c.values is None for c in flat)


def test_a_completion_depends_on_its_row_and_seed_only(prover, server):
    text = ids(draw(prover, at(server)))
    assert len({tuple(c) for group in text for c in group}) == 9
    assert ids(draw(prover, at(server, parallel_requests=1))) == text
    assert ids(draw(prover, at(server), [[1], PROMPTS[1]]))[1] == text[1]
    assert ids(draw(prover, at(server), seed=1)) != text


def test_an_update_reaches_the_server_under_a_new_version(prover, server):
    ppo = PPO(prover, PPOSettings(samples_per_role=3, minibatch_size=9, micro_batch_size=9, learning_rate=1e-2))
    before, first = draw(prover, at(server)), server.version
    metrics = ppo.step(Batch(PROMPTS, before, np.linspace(-1, 1, 9)), stream(0))
    assert metrics["logprob_gap"] < 1e-4
    after = draw(prover, at(server))
    check_logprobs(prover.model, PROMPTS, after)
    assert abs(after[0][0].logprobs[0] - before[0][0].logprobs[0]) > 1e-3
    assert first.startswith("legibility-") and first.endswith("-1") and server.version == first[:-1] + "2"
    assert [path for path, _ in server.asked].count("/v1/models") == 1 and not server.paused


def test_adapters_are_merged_into_what_is_sent(byte_tokenizer):
    settings = ProverSettings(lora=LoraSettings(r=2, alpha=8, target_modules=["q_proj", "down_proj"]))
    model = tiny_model("llama", byte_tokenizer)
    before = {name: p.clone() for name, p in model.named_parameters()}
    prover = prover_of(add_lora(model, settings, seed=0), byte_tokenizer)
    with torch.no_grad():
        for name, parameter in prover.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    with serving(prover.causal.config) as server:
        check_logprobs(prover.causal, PROMPTS, draw(prover, at(server)), atol=1e-4)
        held = dict(server.model.named_parameters())
    changed = {name for name, tensor in before.items() if not torch.allclose(tensor, held[name])}
    assert changed == {name for name in before if "q_proj" in name or "down_proj" in name}


def test_nccl(prover, monkeypatch):
    """The native transfer, with a queue for a network: same text as through a folder, announced and in order."""
    install_vllm(monkeypatch)
    monkeypatch.setattr("legibility.rollouts.weight_transfer.require_transfer", lambda settings, device: None)
    monkeypatch.setattr(vllm_server, "require_transfer", lambda settings, device: None)
    with serving(prover.model.config, backend="nccl") as server:
        drawn = draw(prover, at(server, transfer="nccl", nccl_port=29511))
        again = draw(prover, at(server, transfer="nccl", nccl_port=29511))
        asked = [path for path, _ in server.asked]
        (meeting,) = [body["init_info"] for path, body in server.asked if path == "/init_weight_transfer_engine"]
    check_logprobs(prover.model, PROMPTS, drawn)
    assert ids(again) == ids(drawn) and asked.count("/update_weights") == 2 == asked.count("/finish_weight_update")
    assert meeting["master_port"] == 29511 and meeting["master_address"] == "127.0.0.1"
    with serving(prover.model.config) as server:
        assert ids(draw(prover, at(server))) == ids(drawn)


FAULTS = {
    "hang at/v1/completions": r"did not answer /v1/completions within 2 seconds.*compute\.vllm\.timeout",
    "hang at/collective_rpc": "did not answer /collective_rpc within 2 seconds",
    "hang at/weight_info": r"did not answer /weight_info within 1\.5 seconds.*compute\.vllm\.connect_timeout",
    "error": "answers /v1/completions with 500: EngineCore encountered an issue. See stack trace; its own log says why",
    "dies": "broke off while answering|cannot be reached",
    "restarts": "sampled with weights 'default' and not with those just sent .'legibility-[0-9a-f]+-2'",
    "another game": "sampled with weights 'other-1'",
    "stale": "sampled with weights 'legibility-[0-9a-f]+-1' and not with those just sent",
    "weights stay": "log-probs are not the trainer's, by .* nats a token",
    "wrong log-probs": r"log-probs are not the trainer's, by 0\.3 nats a token \(up to 0\.02 is rounding\)",
    "aborts": "broke a completion off .abort, 1 of 8 tokens",
    "without ids": "answers without token ids",
    "cache stays": "did not empty its prefix cache",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_middle_is_one_line(prover, server, fault):
    waits = {"timeout": 2, "connect_timeout": 1.5} if fault.startswith("hang") else {}
    settings = at(server, **waits)
    draw(prover, settings)
    with torch.no_grad():
        for parameter in prover.model.parameters():
            parameter.mul_(1.5)
    server.fault, server.answers, begun = fault, 0, time.monotonic()
    with pytest.raises(UserError, match=FAULTS[fault]) as wrong:
        draw(prover, settings)
    assert "\n" not in str(wrong.value) and time.monotonic() - begun < 15


def test_a_server_that_does_not_tell_versions_with_its_text_is_asked_afterwards(prover, server):
    server.fault = "older"
    check_logprobs(prover.model, PROMPTS, draw(prover, at(server)))
    assert [path for path, _ in server.asked][-1] == "/weight_info"


def test_the_start_refuses_what_will_not_do(prover, server, byte_tokenizer, monkeypatch):
    def refusal(**changes) -> str:
        vllm_server._servers.clear()
        with pytest.raises(UserError) as wrong:
            require_sampler(at(server, **changes), "cpu")
        return str(wrong.value)

    require_sampler(at(server), "cpu")
    server.fault = "no development routes"
    assert (
        "has no /weight_info: Not Found; it has to be vLLM 0.29 or later, started with VLLM_SERVER_DEV_MODE=1"
        in refusal()
    )
    server.fault, server.logprobs_mode = None, "raw_logprobs"
    assert "start it with --logprobs-mode processed_logprobs" in refusal()
    server.logprobs_mode, server.key = "processed_logprobs", "secret"
    assert "wants another key (401); put it into the environment variable VLLM_API_KEY" in refusal()
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    require_sampler(at(server), "cpu")
    assert "nccl takes vLLM in the trainer's environment too" in refusal(transfer="nccl")
    install_vllm(monkeypatch)
    assert "nccl goes from GPU to GPU and the prover is on cpu" in refusal(transfer="nccl")
    assert "no absolute path" in refusal(folder="weights")
    assert "is no folder" in refusal(folder="/no/such/folder")


def test_a_server_without_weight_transfer_is_refused_for_nccl(server, monkeypatch):
    monkeypatch.setattr(vllm_server, "require_transfer", lambda settings, device: None)
    with pytest.raises(UserError, match=r"was started for no weight transfer.*weight-transfer-config"):
        require_sampler(at(server, transfer="nccl"), "cuda")


def test_another_architecture_is_refused(byte_tokenizer, server):
    other = prover_of(tiny_model("llama", byte_tokenizer, hidden_size=48), byte_tokenizer)
    with pytest.raises(UserError, match=r"answers /collective_rpc with 500.*it serves some/model"):
        check_vllm(other, at(server))
    assert server.paused  # nobody shall sample from half of each


def test_too_long_for_the_server(prover, server):
    with pytest.raises(UserError, match=r"may need 205 tokens and .* takes 200; start it with --max-model-len 205"):
        draw(prover, at(server), max_new_tokens=200)


SMALL = [
    "game.rounds=1", "game.correctness_arm=false", "game.held_out_judge=false", "ppo.steps=2", "problems.verifier=12",
    "problems.validation=8", "problems.test_size=8", "game.collection_samples=2", "evaluation.samples=1",
    "game.base_samples=4", "verifier.reference_solutions=true", "compute.engine=vllm", "compute.vllm.timeout=20",
]  # fmt: skip


def test_a_game_by_a_server(tiny_config_file, tiny_overrides, tiny_prover_dir, tmp_path):
    """From the command line: unreachable (nothing written), a server that dies under way, the rest by another one."""
    out = tmp_path / "run"

    def play(address, *more):
        return legibility(
            "train", tiny_config_file, "--out", out, *tiny_overrides, *SMALL, f"compute.vllm.server={address}", *more
        )

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        unreachable = play(f"http://127.0.0.1:{nobody.getsockname()[1]}")
    assert unreachable.code == 2 and not out.exists()
    assert unreachable.err.strip().count("\n") == 0 and "cannot be reached (Connection refused)" in unreachable.err

    with serving(tiny_prover_dir) as server:
        server.fault, server.answers = "dies", -150
        died = play(server.address)
    assert died.code == 2 and "compute.vllm.server" in died.err.strip().splitlines()[-1] and out.exists()

    with serving(tiny_prover_dir) as server:
        finished = play(server.address, "--resume")
        assert finished.code == 0, finished.err
        assert server.version.startswith("legibility-") and server.answers > 50
    steps = [json.loads(line) for line in (out / "rounds/00/prover/metrics.jsonl").read_text().splitlines()]
    assert len(steps) == 2 and all(step["logprob_gap"] < 1e-4 for step in steps)


def test_a_server_that_nothing_asks_is_told(tiny_config_file, tiny_overrides):
    config = load_config(tiny_config_file, [*tiny_overrides, "compute.vllm.server=http://127.0.0.1:9"])
    notices = check_models(config, "cpu", None, load_problems(config.problems)).notices
    assert "compute.vllm.server: not used by compute.engine fast; set that to vllm" in notices
