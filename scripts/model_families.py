"""Model families of transformers through load, sample, score and update: the table of docs/bring-your-own.md.

    python scripts/model_families.py            # prints the table
    python scripts/model_families.py lfm2 ...   # prints the rows of some families
    python scripts/model_families.py --write    # puts the table into the page

Every family is a random model of a few ten thousand weights, saved and loaded as a user's would be. What the
package computes is compared with the plainest route there is: one unpadded text at a time through the model's
own forward. Windows and chunks are a few tokens long, so that texts reach beyond them.
"""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import transformers
import typer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from legibility.config import PPOSettings, ProverSettings, VerifierSettings
from legibility.errors import UserError
from legibility.models.loading import load_tokenizer
from legibility.models.nano import NANO_DIR
from legibility.models.own_pooling import Padding, ScoreReading
from legibility.models.prover import Prover
from legibility.models.routes import Route, decoder_of
from legibility.models.score_heads import Reading
from legibility.models.verifier import Verifier
from legibility.packing import pack
from legibility.ppo import PPO, Batch
from legibility.problems.records import Problem
from legibility.rollouts import sample
from legibility.rollouts.choice import usable_engine
from legibility.script import run_script
from legibility.verifier_training import LabelledSolution, train_verifier

DOCS = Path(__file__).resolve().parents[1] / "docs" / "bring-your-own.md"
BEGIN, END = "<!-- families: written by scripts/model_families.py -->", "<!-- /families -->"
RIGHT = 1e-4  # nats, units of a verifier's score, and shares of a gradient's length

SIZE = {"hidden_size": 32, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
FORWARD = {"intermediate_size": 48, "max_position_embeddings": 512}
PLAIN = {**SIZE, **HEADS, **FORWARD, "head_dim": 16}
NO_DIM = {k: v for k, v in PLAIN.items() if k != "head_dim"}
ONE_KIND = {k: v for k, v in NO_DIM.items() if k != "num_key_value_heads"}  # every head has keys of its own
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512}
EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "n_group": 1,
    "topk_group": 1,
}
MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
SLIDING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
}
LATENT = {
    "num_key_value_heads": 2,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", PLAIN),
    "Mistral": ("mistral", {**PLAIN, "sliding_window": None}),
    "Mistral, window": ("mistral", {**PLAIN, "sliding_window": 8}),
    "Qwen2": ("qwen2", NO_DIM),
    "Qwen3": ("qwen3", PLAIN),
    "Qwen3-MoE": ("qwen3_moe", {**PLAIN, **EXPERTS}),
    "Gemma": ("gemma", PLAIN),
    "Gemma 2": ("gemma2", {**PLAIN, **SLIDING, "query_pre_attn_scalar": 16}),
    "Gemma 3": ("gemma3_text", {**PLAIN, **SLIDING, "query_pre_attn_scalar": 16}),
    "GPT-NeoX": ("gpt_neox", ONE_KIND),
    "GPT-2": ("gpt2", GPT2),
    "GPT-Neo": (
        "gpt_neo",
        {
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
            "max_position_embeddings": 512,
        },
    ),
    "GPT-J": ("gptj", {**GPT2, "rotary_dim": 8}),
    "GPT-BigCode": ("gpt_bigcode", GPT2),
    "gpt-oss": ("gpt_oss", {**PLAIN, **SLIDING, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "OPT": (
        "opt",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 48,
            "word_embed_proj_dim": 32,
            "max_position_embeddings": 512,
            "init_std": 0.25,
        },
    ),
    "BLOOM": ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 2}),
    "Falcon": ("falcon", ONE_KIND),
    "Falcon, ALiBi": ("falcon", {**ONE_KIND, "alibi": True}),
    "MPT": ("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 512}),
    "Phi": ("phi", NO_DIM),
    "Phi-3": ("phi3", NO_DIM),
    "StableLM": ("stablelm", NO_DIM),
    "StarCoder 2": ("starcoder2", NO_DIM),
    "Granite": ("granite", {**NO_DIM, "logits_scaling": 4.0}),
    "Cohere": ("cohere", {**NO_DIM, "logit_scale": 0.25}),
    "Cohere 2": ("cohere2", {**PLAIN, **SLIDING}),
    "OLMo 2": ("olmo2", NO_DIM),
    "OLMo 3": ("olmo3", {**NO_DIM, **SLIDING}),
    "SmolLM3": ("smollm3", NO_DIM),
    "Mixtral": ("mixtral", {**PLAIN, "sliding_window": None, **EXPERTS}),
    "DeepSeek-V3": (
        "deepseek_v3",
        {**ONE_KIND, **EXPERTS, **LATENT, "first_k_dense_replace": 1, "n_shared_experts": 1},
    ),
    "GLM-4": ("glm4", PLAIN),
    "EXAONE 4": ("exaone4", {**NO_DIM, **SLIDING, "sliding_window_pattern": 2}),
    "Nemotron": ("nemotron", PLAIN),
    "MiniCPM3": ("minicpm3", {**ONE_KIND, **LATENT}),
    "Llama 4": (
        "llama4_text",
        {
            **PLAIN,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "intermediate_size_mlp": 48,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 8,
            "layer_types": ["chunked_attention", "full_attention"],
        },
    ),
    "MiniMax": (
        "minimax",
        {
            **PLAIN,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "block_size": 8,
            "layer_types": ["linear_attention", "full_attention"],
        },
    ),
    "LFM2": ("lfm2", {**NO_DIM, "layer_types": ["conv", "full_attention"], "block_multiple_of": 8}),
    "Qwen3.5": ("qwen3_5_text", {**PLAIN, **LINEAR}),
    "Qwen3-Next": ("qwen3_next", {**PLAIN, **EXPERTS, **LINEAR, "shared_expert_intermediate_size": 24}),
    "OLMo-hybrid": ("olmo_hybrid", {**NO_DIM, **LINEAR}),
    "RecurrentGemma": (
        "recurrent_gemma",
        {
            **HEADS,
            "hidden_size": 32,
            "intermediate_size": 48,
            "head_dim": 16,
            "num_hidden_layers": 3,
            "lru_width": 32,
            "attention_window_size": 8,
            "block_types": ["recurrent", "recurrent", "attention"],
        },
    ),
    "Mamba": ("mamba", {**SIZE, "state_size": 4}),
    "Mamba 2": ("mamba2", {**SIZE, "state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8}),
    "Falcon-Mamba": ("falcon_mamba", {**SIZE, "state_size": 4}),
    "Falcon-H1": ("falcon_h1", {**PLAIN, **MAMBA2, "mamba_d_ssm": 64, "lm_head_multiplier": 0.5}),
    "Bamba": ("bamba", {**NO_DIM, **MAMBA2, "attn_layer_indices": [1]}),
    "Granite-hybrid": (
        "granitemoehybrid",
        {
            **NO_DIM,
            **MAMBA2,
            **EXPERTS,
            "mamba_expand": 2,
            "shared_intermediate_size": 24,
            "layer_types": ["mamba", "attention"],
        },
    ),
    "Jamba": (
        "jamba",
        {
            **SIZE,
            **HEADS,
            "intermediate_size": 48,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
        },
    ),
    "Zamba 2": (
        "zamba2",
        {
            **NO_DIM,
            "num_hidden_layers": 3,
            "layers_block_type": ["mamba", "hybrid", "mamba"],
            "mamba_d_state": 8,
            "mamba_expand": 2,
            "n_mamba_heads": 4,
            "mamba_ngroups": 1,
            "chunk_size": 8,
            "num_mem_blocks": 1,
            "use_shared_attention_adapter": False,
        },
    ),
    "Nemotron-H": (
        "nemotron_h",
        {
            **PLAIN,
            "hybrid_override_pattern": "M*",
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "ssm_state_size": 8,
            "n_groups": 1,
            "chunk_size": 8,
        },
    ),
    "RWKV": ("rwkv", {**SIZE, "attention_hidden_size": 32, "context_length": 512}),
    "XLNet": ("xlnet", {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 48}),
    "BERT": ("bert", ONE_KIND),
}
"""Name in the table: model type and configuration."""


@dataclass(frozen=True)
class ProverRow:
    """A family as a prover. Gaps are the largest differences from plain rows; `ratio` is |ratio - 1| at the first update."""

    reading: Route
    engine: str
    sampled: float
    scored: float
    gradient: float
    ratio: float

    @property
    def right(self) -> bool:
        """Whether everything is what plain rows give."""
        return max(self.sampled, self.scored, self.gradient, self.ratio) <= RIGHT


@dataclass(frozen=True)
class VerifierRow:
    """A family as a verifier: how its scores are read, and their largest gap to scores of one text alone."""

    reading: ScoreReading
    gap: float

    @property
    def right(self) -> bool:
        """Whether company changes no score."""
        return self.gap <= RIGHT


def save_family(name: str, folder: Path) -> None:
    """Write a random model of a family, with the built-in prover's tokenizer."""
    kind, changes = FAMILIES[name]
    tokenizer = load_tokenizer(str(NANO_DIR / "prover"), "prover")
    config = CONFIG_MAPPING[kind](
        **{"initializer_range": 0.25, **changes},
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


PROBLEMS = [Problem("a", "Tom has 3 pens and Ann has 4. How many have they?", "7"), Problem("b", "2 + 2?", "4")]
SOLUTIONS = [["3 + 4 = 7\n#### 7", "#### 5", "They have 8 pens.\n#### 8"], ["4", "2 + 2 = 4\n#### 4"]]


def prover_row(folder: Path) -> ProverRow:
    """Load, sample, score and update. Raises UserError where the model is refused."""
    prover = Prover.load(ProverSettings(model=str(folder)), "cpu")
    prompts = [prover.prompt_ids(p, role) for p in PROBLEMS for role in ("helpful", "sneaky")]
    drawn = sample(prover, prompts, 4, seed=0, max_new_tokens=20)
    completions = [[c.ids for c in group] for group in drawn]
    packed = pack(prompts, completions)
    model = prover.causal
    model = prover.causal

    def plain() -> torch.Tensor:
        rows = [(p, ids) for p, group in zip(prompts, completions, strict=True) for ids in group]
        return torch.cat([plain_logprobs(model, *r) for r in rows])

    sampled = torch.tensor([x for group in drawn for c in group for x in c.logprobs])
    with torch.no_grad():
        expected, found = plain(), prover.hidden_and_logprobs(packed)[1]
    settings = PPOSettings(samples_per_role=4, minibatch_size=8, micro_batch_size=8, epochs=1)
    rewards = np.linspace(-1, 1, len(prompts) * 4)
    metrics = PPO(prover, settings).step(Batch(prompts, drawn, rewards), np.random.default_rng(0))
    gradients = []
    for logprobs in (prover.hidden_and_logprobs(packed)[1], plain()):
        model.zero_grad()
        (logprobs * torch.linspace(-1, 1, len(logprobs))).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    return ProverRow(
        prover.route,
        usable_engine(prover, "fast"),
        float((sampled - expected).abs().max()),
        float((found - expected).abs().max()),
        float((gradients[0] - gradients[1]).norm() / gradients[1].norm()),
        metrics["first_ratio_gap"],
    )


def verifier_row(folder: Path, score: str) -> VerifierRow:
    """Load, score and train a few steps, score again. Raises UserError where the model is refused."""
    settings = VerifierSettings(
        model=str(folder), score=score, updates=3, batch_problems=2, lm_weight=0.0 if score == "last_token" else 0.3
    )
    verifier = Verifier.load(settings, "cpu")
    problems = [p for p, texts in zip(PROBLEMS, SOLUTIONS, strict=True) for _ in texts]
    solutions = [s for texts in SOLUTIONS for s in texts]
    gaps = [float(np.abs(verifier.score(problems, solutions) - alone(verifier, problems, solutions)).max())]
    items = [
        LabelledSolution(p, s, s.endswith(p.answer), "base", "base") for p, s in zip(problems, solutions, strict=True)
    ]
    train_verifier(verifier, items, settings, np.random.default_rng(0))
    gaps.append(float(np.abs(verifier.score(problems, solutions) - alone(verifier, problems, solutions)).max()))
    return VerifierRow(verifier.reading, max(gaps))


@torch.no_grad()
def alone(verifier: Verifier, problems: list[Problem], solutions: list[str]) -> np.ndarray:
    """Scores by the plainest route: one text at a time through the model's own forward."""
    found = []
    for text in verifier.encode(problems, solutions):
        ids = torch.tensor([text])
        if verifier.head is None:
            found.append(verifier.model(input_ids=ids).logits.squeeze())
            continue
        logprobs = torch.log_softmax(verifier.model(input_ids=ids).logits[0], -1)
        own = torch.stack([logprobs[k - 1, text[k]] for k in text.predicted])
        last = decoder_of(verifier.model)(input_ids=ids).last_hidden_state[:, -1]
        found.append(verifier.head(Reading(last, [len(own)], logprobs=own)).squeeze())
    return torch.stack(found).numpy()


def plain_logprobs(model: Any, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Log-probs of a completion from one unpadded row of the model's own logits."""
    out = model(input_ids=torch.tensor([prompt + completion]), use_cache=False)
    logits = out.logits[0, len(prompt) - 1 : -1].float()
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(completion)[:, None])[:, 0]


# --- The table -------------------------------------------------------------------------------------

READ = {Route.SHARED: "shared prompts", Route.ROWS: "rows", Route.ALONE: "one at a time"}
SAMPLED = {"fast": "fast", "hf": "hf", "even": "hf, by length", "plain": "no cache"}


def row(name: str) -> list[str]:
    """Cells of a family's row."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        save_family(name, folder)
        cells = [name]
        try:
            prover = prover_row(folder)
            worst = max(prover.sampled, prover.scored)
            cells += [READ[prover.reading], SAMPLED[prover.engine], number(worst), number(prover.gradient)]
            assert prover.right, f"{name}: {prover}"
        except UserError as error:
            cells += [f"refused: {reason(error)}", "", "", ""]
        for score in ("last_token", "likelihood"):
            try:
                verifier = verifier_row(folder, score)
                how = READ[verifier.reading.route] if verifier.reading.route else OWN[verifier.reading.padding]
                cells.append(f"{how}, {number(verifier.gap)}")
                assert verifier.right, f"{name}: {verifier}"
            except UserError as error:
                cells.append(f"refused: {reason(error)}")
    return cells


OWN = {
    Padding.RIGHT: "own pooling",
    Padding.LEFT: "own pooling, padded left",
    Padding.NONE: "own pooling, one at a time",
}


def number(gap: float) -> str:
    """A gap in a cell."""
    return f"{gap:.0e}".replace("e-0", "e-")


def reason(error: UserError) -> str:
    """Why a model is refused, short enough for a cell."""
    text = str(error)
    for part, short in (
        ("reads both ways", "reads both ways"),
        ("needs a causal", "reads both ways"),
        ("Unrecognized configuration class", "no classifier in transformers"),
        ("are not the model's own", "an output layer of its own"),
        ("cannot be trained", "cannot be trained by transformers' code"),
    ):
        if part in text:
            return short
    return text.partition(":")[2].partition(";")[0].strip()


def table(names: list[str]) -> str:
    """Rows of the named families as a Markdown table."""
    head = ["family", "read as", "sampled by", "log-probs", "gradient", "verifier, last token", "verifier, likelihood"]
    rows = [head, ["---"] * len(head), *(row(name) for name in names)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def main(
    families: Annotated[list[str] | None, typer.Argument(help="Families to print (default: all).")] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the whole table into docs/bring-your-own.md.")] = False,
) -> None:
    """Try model families of transformers and print a table row of each."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    asked = {name.lower() for name in families or ()}
    unknown = asked - {name.lower() for name in FAMILIES} - {kind for kind, *_ in FAMILIES.values()}
    if unknown:
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(FAMILIES)}")
    if asked and write:
        raise typer.BadParameter("--write puts all families into the page; name none")
    made = table([n for n in FAMILIES if not asked or n.lower() in asked or FAMILIES[n][0] in asked])
    if not write:
        typer.echo(made)
        return
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    DOCS.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    run_script(main)
