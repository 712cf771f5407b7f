"""What a server is handed: a checkpoint that is there while it is read, or tensors in the order announced."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from legibility.compute_settings import VLLMSettings
from legibility.errors import UserError
from legibility.models.prover import add_lora
from legibility.player_settings import LoraSettings, ProverSettings
from legibility.rollouts.server_requests import Server
from legibility.rollouts.vllm import weights
from legibility.rollouts.weight_transfer import FolderTransfer, NCCLTransfer, transfer_to
from tests.rollouts.imitation import install_vllm, serving
from tests.support import prover_of, tiny_model


@pytest.fixture
def adapted(byte_tokenizer):
    settings = ProverSettings(lora=LoraSettings(r=2, alpha=8, target_modules=["v_proj"]))
    prover = prover_of(add_lora(tiny_model("llama", byte_tokenizer), settings, seed=0), byte_tokenizer)
    with torch.no_grad():
        for name, parameter in prover.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.01)
    return prover


class Reading(Server):
    """Keeps what was posted, and how the folder looked when the server was to read it."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", 1, 1)
        self.posted, self.read, self.fails = [], None, False

    def post(self, path, body=None):
        self.posted.append((path, body))
        if path == "/collective_rpc":
            self.read = AutoModelForCausalLM.from_pretrained(body["kwargs"]["weights_path"])
            if self.fails:
                raise UserError("no")


def test_a_folder_holds_the_merged_model_while_it_is_read(adapted, tmp_path):
    server = Reading()
    FolderTransfer(server, VLLMSettings(folder=str(tmp_path))).send(adapted, "label-7")
    (reload, folder), (commit, label) = server.posted
    assert reload == "/collective_rpc" and folder["method"] == "reload_weights"
    assert Path(folder["kwargs"]["weights_path"]).parent == tmp_path and not list(tmp_path.iterdir())
    assert (commit, label) == ("/update_weight_version", {"new_version": "label-7"})
    held, expected = dict(server.read.named_parameters()), dict(weights(adapted))
    assert set(held) == set(expected) and all(torch.equal(held[name], expected[name]) for name in held)
    base = dict(adapted.causal.named_parameters())
    layer = "model.layers.0.self_attn.v_proj"
    delta = base[f"{layer}.lora_B.default.weight"] @ base[f"{layer}.lora_A.default.weight"] * (8 / 2)
    torch.testing.assert_close(held[f"{layer}.weight"], base[f"{layer}.base_layer.weight"] + delta)


def test_a_folder_is_swept_away_where_the_server_refuses_it(adapted, tmp_path):
    server = Reading()
    server.fails = True
    with pytest.raises(UserError, match="no"):
        FolderTransfer(server, VLLMSettings(folder=str(tmp_path))).send(adapted, "label-1")
    assert not list(tmp_path.iterdir()) and len(server.posted) == 1  # and the label stays the old one


def test_a_folder_that_is_gone_is_one_line(adapted, tmp_path):
    with pytest.raises(UserError, match=r"compute\.vllm\.folder: .*gone"):
        FolderTransfer(Reading(), VLLMSettings(folder=str(tmp_path / "gone"))).send(adapted, "label-1")


def nccl(server, **changes) -> NCCLTransfer:
    settings = VLLMSettings(server=server.address, transfer="nccl", **{"timeout": 5, **changes})
    made = transfer_to(Server(server.address, 2, settings.timeout), settings)
    assert isinstance(made, NCCLTransfer)
    return made


def test_nccl_sends_what_it_announced(adapted, monkeypatch):
    install_vllm(monkeypatch)
    with serving(adapted.causal.config, backend="nccl") as server:
        transfer = nccl(server)
        transfer.send(adapted, "label-1")
        transfer.send(adapted, "label-2")
        asked = [path for path, _ in server.asked]
        held = dict(server.model.named_parameters())
    assert server.version == "label-2" and asked.count("/init_weight_transfer_engine") == 1
    assert asked[-3:] == ["/start_weight_update", "/update_weights", "/finish_weight_update"]
    assert all(torch.equal(held[name], tensor) for name, tensor in weights(adapted))


def test_nccl_that_meets_nobody_is_given_up(adapted, monkeypatch):
    install_vllm(monkeypatch, joins=False)
    begun = time.monotonic()
    with serving(adapted.causal.config, backend="nccl") as server, pytest.raises(UserError) as wrong:
        nccl(server, timeout=0.5).send(adapted, "label-1")
    said = str(wrong.value)
    assert "within 0.5 seconds" in said and "\n" not in said and time.monotonic() - begun < 20
    assert server.version == "default"


def test_nccl_that_fails_on_one_side_does_not_wait_for_the_other(adapted, monkeypatch):
    install_vllm(monkeypatch)
    with serving(adapted.causal.config, backend="nccl") as server:
        transfer = nccl(server)
        transfer.send(adapted, "label-1")
        server.fault, begun = "worker fails", time.monotonic()
        with pytest.raises(UserError, match="answers /update_weights with 500: RuntimeError: NCCL error"):
            transfer.send(adapted, "label-2")
    assert time.monotonic() - begun < 4.5 and server.version == "label-1" and transfer.group is None


def test_nccl_that_fails_here_is_one_line(adapted, monkeypatch):
    install_vllm(monkeypatch)
    with serving(adapted.causal.config, backend="nccl") as server:
        transfer = nccl(server, timeout=1)
        transfer.send(adapted, "label-1")

        def broken(**_):
            raise RuntimeError("CUDA error:\nout of memory")

        packed = sys.modules["vllm.distributed.weight_transfer.packed_tensor"]
        monkeypatch.setattr(packed, "packed_nccl_broadcast_producer", broken)
        with pytest.raises(UserError, match=r"NCCL to http.* failed .CUDA error: out of memory"):
            transfer.send(adapted, "label-2")
