"""The vLLM engine as a server: `vllm serve` somewhere samples, this process trains.

Before every draw the server is paused, takes over the prover's weights (`legibility.rollouts.weight_transfer`) under
a version of their own, and tells that version with every completion and when asked; anything else is stale and is
refused. Some completions of every draw are then read by the trainer, whose log-probs the server's have to be. Every
completion is a request with a seed of its own, keyed by (seed, prompt row, sample) as in the process, so with the
same weights both give the same text, up to how vLLM batches. Token ids cross here, between a prover and its sampler;
between prover and verifier text alone does.

Written against the source of vLLM 0.33.0 (0.29 or later should do) and tested with an imitation of its routes; it has
not met a real server or a GPU yet (docs/gpus.md).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import torch

from legibility.compute_settings import VLLMSettings
from legibility.errors import UserError
from legibility.models.self_check import at_rest, dtype_of
from legibility.packing import pack
from legibility.randomness import derive_seed
from legibility.rollouts.completion import Completion
from legibility.rollouts.server_requests import SETTING, Server
from legibility.rollouts.weight_transfer import require_transfer, transfer_to

if TYPE_CHECKING:
    from legibility.models.prover import Prover

LOGPROBS = "processed_logprobs"
MEAN_GAP = {torch.float32: 0.02, torch.float64: 0.02}
"""Nats a token by which log-probs of two computations may differ on average; other types: 0.2."""
READ_AGAIN = 8
"""Completions of a draw that the trainer reads, too."""


class SamplingServer:
    """One `vllm serve`, as long as this process samples from it. Raises UserError where it is not one that will do."""

    def __init__(self, settings: VLLMSettings) -> None:
        assert settings.server is not None
        self.settings = settings
        self.server = Server(settings.server, settings.connect_timeout, settings.timeout)
        self.session, self.count, self.version = secrets.token_hex(4), 0, ""  # the label of weights, never of text
        self.transfer = transfer_to(self.server, settings)
        try:
            card = self.server.get("/v1/models")["data"][0]
            self.model, self.root = str(card["id"]), str(card.get("root") or card["id"])
            self.longest = card.get("max_model_len")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise UserError(
                f"{SETTING}: {settings.server} names no model at /v1/models; is it a vLLM server?"
            ) from None
        self._version()
        self._check_arguments()

    def _check_arguments(self) -> None:
        """Raises UserError where the server was started so that it samples or receives in another way."""
        info = self.server.get("/server_info?config_format=json", slow=True)  # it looks at the whole machine
        found = info.get("vllm_config") if isinstance(info, dict) else None
        if not isinstance(found, dict):
            return  # told as text, and then what it does is what counts
        model, transfer = found.get("model_config"), found.get("weight_transfer_config")
        mode = model.get("logprobs_mode", LOGPROBS) if isinstance(model, dict) else LOGPROBS
        if mode != LOGPROBS:
            raise UserError(
                f"{SETTING}: {self.server.address} gives {mode}; start it with --logprobs-mode {LOGPROBS}, those of the "
                "distribution sampled from"
            )
        backend = transfer.get("backend") if isinstance(transfer, dict) else None
        wanted = self.transfer.backend
        if wanted is not None and backend != wanted:
            raise UserError(
                f"compute.vllm.transfer: {self.server.address} was started for {backend or 'no'} weight transfer; start it with "
                f"""--weight-transfer-config '{{"backend": "{wanted}"}}', or set it to folder"""
            )

    def load(self, prover: Prover) -> None:
        """Give the server the prover's weights, and be sure that it has them. Raises UserError where it has not."""
        self.count += 1
        self.version = f"legibility-{self.session}-{self.count}"
        self.server.post("/pause?mode=abort")  # drops what a killed run left, and caches
        try:
            self.transfer.send(prover, self.version)
        except UserError as error:
            raise UserError(f"{error} (it serves {self.root}; is that the prover's architecture?)") from None
        cleared = self.server.post("/reset_prefix_cache")  # it was computed with the old weights
        if isinstance(cleared, dict) and cleared.get("success") is False:
            raise UserError(f"{SETTING}: {self.server.address} did not empty its prefix cache; start it anew")
        self.server.post("/resume")
        self.check_version()

    def check_version(self) -> None:
        """Raises UserError where the server's weights are not the last ones sent."""
        self._refuse_stale(self._version())

    def sample(
        self,
        prompts: list[list[int]],
        samples: int,
        *,
        seed: int,
        max_new_tokens: int,
        temperature: float,
        end_ids: set[int],
    ) -> list[Completion]:
        """Completions of all prompts, samples of a prompt together. Raises UserError for a prompt that is too long."""
        longest = max(map(len, prompts)) + max_new_tokens
        if isinstance(self.longest, int) and longest > self.longest:
            raise UserError(
                f"{SETTING}: prompt and completion may need {longest} tokens and {self.server.address} takes {self.longest}; "
                f"start it with --max-model-len {longest} or more"
            )
        rows = [prompt for prompt in prompts for _ in range(samples)]
        bodies = [
            {
                "model": self.model, "prompt": prompt, "n": 1, "max_tokens": max_new_tokens, "seed": derive_seed(seed, row),
                # all that a checkpoint's generation config could set otherwise
                "temperature": temperature, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
                "presence_penalty": 0.0, "frequency_penalty": 0.0, "min_tokens": 0,
                "ignore_eos": True, "stop_token_ids": sorted(end_ids),  # the prover's, not those of the server's tokenizer
                "logprobs": 0, "return_token_ids": True, "return_weight_versions": True,
            }
            for row, prompt in enumerate(rows)
        ]  # fmt: skip
        return self.server.ask_all(
            "/v1/completions",
            bodies,
            self.settings.parallel_requests,
            lambda answer: self._completion(answer, end_ids, max_new_tokens),
        )

    def _completion(self, answer: Any, end_ids: set[int], limit: int) -> Completion:
        """The completion of an answer. Raises UserError for a stale, broken-off or unreadable one."""
        try:
            (choice,) = answer["choices"]
            ids, reason = [int(i) for i in choice["token_ids"]], choice["finish_reason"]
            logprobs = [float(x) for x in choice["logprobs"]["token_logprobs"]]
            versions = [str(span["version"]) for span in choice.get("weight_versions") or []]
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{SETTING}: {self.server.address} answers without token ids and their log-probs; vLLM 0.29 or later gives them"
            ) from None
        for version in versions:
            self._refuse_stale(version)
        ended = bool(ids) and ids[-1] in end_ids
        whole = (reason == "stop" and ended) or (reason == "length" and len(ids) == limit)
        if not whole or len(ids) != len(logprobs) or not end_ids.isdisjoint(ids[:-1]):
            raise UserError(
                f"{SETTING}: {self.server.address} broke a completion off ({reason}, {len(ids)} of {limit} tokens); it was paused "
                "or stopped meanwhile, or another game uses it"
            )
        return Completion(ids, logprobs, not ended)

    def _version(self) -> str:
        found = self.server.get("/weight_info")
        return str(found.get("weight_version") if isinstance(found, dict) else found)

    def _refuse_stale(self, version: str) -> None:
        if version != self.version:
            raise UserError(
                f"{SETTING}: {self.server.address} sampled with weights {version!r} and not with those just sent "
                f"({self.version!r}): it was restarted, or another game uses it; what was finished is kept: go on with --resume"
            )


def check_gap(
    prover: Prover, prompts: list[list[int]], drawn: list[Completion], samples: int, temperature: float, sampler: str
) -> None:
    """Raises UserError where log-probs of some of the completions are not those that the trainer finds.

    drawn: (prompts * samples) completions. Rounding stays far below the bound; other weights do not.
    """
    step = max(1, len(drawn) // READ_AGAIN)
    chosen = range(0, len(drawn), step)[:READ_AGAIN]
    packed = pack([prompts[i // samples] for i in chosen], [[drawn[i].ids] for i in chosen]).to(prover.device)
    with at_rest(prover.model):
        expected = prover.hidden_and_logprobs(packed, temperature)[1].float().cpu()
    found = torch.tensor([x for i in chosen for x in drawn[i].logprobs])
    gap, bound = float((found - expected).abs().mean()), MEAN_GAP.get(dtype_of(prover.causal), 0.2)
    if not gap <= bound:
        raise UserError(
            f"{SETTING}: {sampler}'s log-probs are not the trainer's, by {gap:.3g} nats a token (up to {bound:g} is rounding): "
            "it computes with other weights, another type (start it with --dtype as prover.dtype) or another model"
        )


_servers: dict[str, SamplingServer] = {}  # at most one


def sampling_server(settings: VLLMSettings, device: str) -> SamplingServer:
    """The server of these settings, asked what it is the first time. Raises UserError where it will not do."""
    key = settings.model_dump_json()
    if key not in _servers:
        require_transfer(settings, device)
        made = SamplingServer(settings)
        _servers.clear()
        _servers[key] = made
    return _servers[key]


def sample_by_server(
    prover: Prover,
    prompts: list[list[int]],
    samples: int,
    *,
    seed: int,
    max_new_tokens: int,
    temperature: float,
    settings: VLLMSettings,
) -> list[Completion]:
    """All completions, drawn by the server with the prover's weights as they are now. Raises UserError otherwise."""
    server = sampling_server(settings, prover.device)
    server.load(prover)
    drawn = server.sample(
        prompts, samples, seed=seed, max_new_tokens=max_new_tokens, temperature=temperature, end_ids=prover.end_ids
    )
    server.check_version()
    check_gap(prover, prompts, drawn, samples, temperature, server.server.address)
    return drawn
