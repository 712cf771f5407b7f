"""Every setting of a run, one sentence each, validated before anything is computed.

A run is described by one YAML file plus dotted overrides (`ppo.steps=3`), read by
`legibility.config_file`. Unknown keys, wrong types and impossible combinations raise `UserError` with
one line that names the file, the field and the fix. Defaults follow the paper where it states a value
(Kirchner et al. 2024, Sec. 3.2) and our own measurements where it does not (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from legibility.compute_settings import ComputeSettings
from legibility.player_settings import ProverSettings, VerifierSettings
from legibility.problems.problem_settings import ProblemSettings
from legibility.rival_settings import PLAIN_ARMS, ArmName, RivalSettings
from legibility.settings import Settings


class MixtureSettings(Settings):
    """What the verifier of round r learns from (paper Sec. 3.2)."""

    weights: Literal["equal", "pow2", "latest"] = Field(
        "equal", description="Share of each later round: equal, doubling with recency, or only the latest round."
    )
    base_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Fixed share of base-policy text from round 1 on (null: one share like any round).",
    )
    balance: Literal["within_role", "label"] = Field(
        "within_role",
        description="Equal correct and incorrect counts inside each role of each round, or only over each round.",
    )
    twins: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the pairs whose incorrect text is a twin of the correct one: one number changed, later ones "
        "recomputed. They need written steps; texts without any have none.",
    )
    checkpoints: Literal["last", "all"] = Field(
        "last", description="Learn from a round's final prover only or also from its saved intermediate ones."
    )


class RewardSettings(Settings):
    """What the provers are paid (paper equations 2-4; legibility.rewards)."""

    kind: Literal["src", "cgc", "goodhart"] = Field("src", description="Reward of the game arm.")
    scale: Literal["calibrated", "running", "none"] = Field(
        "calibrated",
        description="Divide scores by their mean within-group standard deviation at the round's start, by its running "
        "average (so that rewards keep their size as scores converge; CGC needs center with it), or leave them raw. Goodhart is always paid raw.",
    )
    center: bool = Field(
        False, description="Centre scores per (problem, role) also in CGC. SRC always does, Goodhart never."
    )
    clip: float | None = Field(
        None, gt=0, description="Clip (scaled, centred) scores to plus or minus this value (not in Goodhart)."
    )
    floor: float | None = Field(None, description="Reward of a misaligned completion (null: -1 for SRC, -2 for CGC).")


class SamplingSettings(Settings):
    """How completions are drawn, always from the full distribution (no top-k, no top-p)."""

    max_new_tokens: int = Field(72, ge=1, description="Completion length limit; longer ones are invalid.")
    evaluation_temperature: float = Field(
        1.0, ge=1e-3, le=1e3, description="Temperature of validation and test text; training text is always drawn at 1."
    )


class PPOSettings(Settings):
    """Proximal policy optimisation of the prover (legibility.ppo)."""

    steps: int = Field(50, ge=1, description="PPO steps (batches) per round at most.")
    problems_per_step: int = Field(32, ge=1, description="Problems per step; each is answered in both roles.")
    samples_per_role: int = Field(4, ge=1, description="Completions per (problem, role); centring needs several.")
    epochs: int = Field(2, ge=1, description="Passes over each batch.")
    minibatch_size: int = Field(64, ge=1, description="Completions per optimizer step.")
    micro_batch_size: int = Field(64, ge=1, description="Completions per forward pass (gradients accumulate).")
    learning_rate: float = Field(1e-4, gt=0, description="Policy learning rate.")
    value_learning_rate: float = Field(5e-3, gt=0, description="Value head learning rate.")
    critic: Literal["detached", "shared", "separate"] = Field(
        "detached",
        description="Value head on detached policy features, one whose gradient reaches the policy, or a value network of its own.",
    )
    value_coefficient: float = Field(0.5, ge=0, description="Weight of the value loss.")
    kl_coefficient: float = Field(
        0.05, ge=0, description="Weight of the KL penalty to the round's starting policy, all arms."
    )
    clip: float = Field(0.2, gt=0, description="Clip range of the probability ratio.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount.")
    lam: float = Field(0.95, ge=0, le=1, description="GAE lambda.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradient norm clip.")
    whiten: bool = Field(True, description="Normalise advantages over the batch.")
    old_logprobs: Literal["auto", "sampled", "recomputed"] = Field(
        "auto",
        description="Log-probs and values of the batch before its update: the sampler's, or a second pass (auto: in bfloat16).",
    )
    max_logprob_gap: float | None = Field(
        None,
        gt=0,
        description="Stop where sampler and trainer differ by more nats about a token's log-prob (null: 0.1 in float32, 5 in bfloat16).",
    )
    save_every: int | None = Field(None, ge=1, description="Steps between saved provers (null: save only the last).")

    @model_validator(mode="after")
    def _minibatches_hold_whole_groups(self) -> PPOSettings:
        for name in ("minibatch_size", "micro_batch_size"):
            if getattr(self, name) % self.samples_per_role:
                raise ValueError(f"{name} must be a multiple of samples_per_role ({self.samples_per_role})")
        if self.minibatch_size % self.micro_batch_size:
            raise ValueError("minibatch_size must be a multiple of micro_batch_size")
        return self


class StopSettings(Settings):
    """When a round's prover phase ends before its last step (paper Sec. 4.2, 5.1)."""

    rule: Literal["fixed", "fooled"] = Field(
        "fooled",
        description='Run all steps, or stop once sneaky-incorrect text scores as high as helpful-correct ("fooled"); a Goodhart round once accuracy has collapsed.',
    )
    ema: float = Field(0.2, gt=0, le=1, description="Smoothing weight of the newest step.")
    sneaky_accuracy: float = Field(
        0.10,
        ge=0,
        le=1,
        description="Being fooled also needs sneaky accuracy at or below this (1 asks for nothing, as the paper with SRC; with CGC it asks for less than 0.05).",
    )
    goodhart_accuracy: float = Field(
        0.2, ge=0, le=1, description="A Goodhart round is over once smoothed accuracy is below this."
    )
    min_steps: int = Field(
        10, ge=0, description="Before this step a verifier does not count as fooled (or exploited), and nothing stops."
    )
    min_samples: int = Field(
        50,
        ge=1,
        description="Nor does it while fewer samples than these stand behind a smoothed figure (effective number).",
    )
    patience: int = Field(0, ge=0, description="Steps to go on after the rule first holds.")


class GateSettings(Settings):
    """Checks before compute is spent; a closed gate exits with code 3 unless --force."""

    enabled: bool = Field(True, description="Check the gates at all.")
    min_score_std: float = Field(
        1e-3, ge=0, description="Least standard deviation of verifier scores on validation text."
    )
    min_auroc: float = Field(
        0.55,
        ge=0,
        le=1,
        description="Least AUROC of a new verifier on validation text, inside problem, role and style: the share of pairs ranked right (two standard errors of grace). 0 asks for nothing.",
    )
    min_pairs: int = Field(
        20,
        ge=0,
        description="With fewer such pairs min_auroc is held against the AUROC over all validation text, with a warning.",
    )
    accept_rate: tuple[float, float] = Field((0.02, 0.98), description="Band for the share of scores above 0.")
    min_helpful_accuracy: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Least accuracy of the helpful prover, untrained and after every prover phase but a Goodhart one.",
    )
    max_flat_groups: float = Field(
        0.95, ge=0, le=1, description="Largest share of groups without reward spread at step 1."
    )

    @field_validator("accept_rate")
    @classmethod
    def _band_has_width(cls, band: tuple[float, float]) -> tuple[float, float]:
        if not band[0] <= band[1]:
            raise ValueError(f"the lower end comes first (got {list(band)})")
        return band


class GameSettings(Settings):
    """Rounds and arms."""

    rounds: int = Field(4, ge=1, description="Rounds of verifier phase, gates, prover phase, collection.")
    correctness_arm: bool = Field(True, description="Also train the correctness-only arm (for the legibility tax).")
    arms: list[ArmName] | None = Field(
        None,
        description="Arms to play (docs/arms.md); the game must be one (null: the game, and what correctness_arm says).",
    )
    readers: bool = Field(
        False,
        description="Train a reader for every arm, a verifier that has learnt from base text and all that the arm wrote.",
    )
    base_samples: int | None = Field(
        None,
        ge=2,
        description="Base-policy completions per verifier problem (null: the larger of collection_samples and verifier.solutions_per_problem).",
    )
    base_draws: int = Field(
        1,
        ge=1,
        description="Draw base text up to this many times: again for the problems that lack a correct or an incorrect text, "
        "until distinct texts fill the first verifier's mixture.",
    )
    collection_samples: int = Field(
        8, ge=2, description="Completions per verifier problem and role collected for later verifiers."
    )
    collection_samples_sneaky: int | None = Field(
        None,
        ge=2,
        description="The same for the sneaky role (null: collection_samples). Its correct texts are rare, and a balanced mixture needs them.",
    )
    collection_by_share: bool = Field(
        False,
        description="Collect less where later verifiers use less: a round's collection is sized by its largest share in any later "
        "verifier's mixture, but holds at least 2 completions per problem and role.",
    )
    held_out_judge: bool = Field(
        True, description="Train one judge on base text only that no prover is trained against."
    )
    held_out_judge_model: str | None = Field(
        None,
        description="Model of the held-out judge (null: the verifier's, whose blind spots it then shares). Best another family or size, able to read.",
    )
    held_out_judge_template: str | None = Field(
        None, description="What the judge reads, where its tokenizer needs another text (null: verifier.template)."
    )
    held_out_judge_score: Literal["last_token", "likelihood", "token"] | None = Field(
        None, description="What the judge's score is made of (null: verifier.score)."
    )
    held_out_judge_updates: int | None = Field(
        None, ge=1, description="Optimizer steps of the judge (null: verifier.updates)."
    )
    held_out_judge_learning_rate: float | None = Field(
        None, gt=0, description="Its peak learning rate (null: verifier.learning_rate)."
    )

    @property
    def played(self) -> list[ArmName]:
        """The arms that are played, the short form of `correctness_arm` written out."""
        if self.arms is not None:
            return self.arms
        return ["game", "correctness"] if self.correctness_arm else ["game"]

    @model_validator(mode="after")
    def _arms_fit(self) -> GameSettings:
        arms = self.arms
        if arms is None:
            return self
        if len(set(arms)) < len(arms):
            raise ValueError("arms names an arm twice")
        if "game" not in arms:
            raise ValueError("arms must name game: every other arm is measured beside it")
        if "decoupled" in arms and "correctness" not in arms:
            raise ValueError("arms: decoupled needs correctness, whose prover is its solver")
        if "correctness_arm" in self.model_fields_set and self.correctness_arm != ("correctness" in arms):
            raise ValueError(f"correctness_arm: {self.correctness_arm} says another thing than arms; leave it out")
        return self


class EvaluationSettings(Settings):
    """Decoding and sizes of every reported figure."""

    samples: int = Field(4, ge=1, description="Completions per test problem and role.")
    bootstrap: int = Field(1000, ge=10, description="Bootstrap resamples (over problems) per interval.")
    confidence_level: float = Field(0.95, gt=0, lt=1, description="Confidence level of every interval.")
    examples: int = Field(3, ge=0, description="Side-by-side examples per round in the report.")
    best_of_n_problems: int = Field(
        100, ge=1, description="How many test problems get a pool for best-of-n (the first ones)."
    )
    best_of_n_samples: int = Field(64, ge=2, description="Helpful completions in each of those pools; the largest n.")
    recall: float = Field(
        0.8,
        gt=0,
        lt=1,
        description="Share of round 0's helpful-correct validation text a verifier's threshold accepts.",
    )
    probe_every: int = Field(10, ge=1, description="PPO steps whose text one fit of the role probe reads.")
    probe_texts: int = Field(
        500,
        ge=20,
        description="Texts of each role that a fit reads at most; every fit reads as many as the poorest has.",
    )
    length_penalty: float = Field(
        1.0,
        ge=0,
        description="Taken off the reward of a completion at the length limit, in the length-penalised correctness arm.",
    )


class AttackSettings(Settings):
    """Sneaky-only attackers against a frozen verifier (paper Sec. 4.3.1)."""

    rewards: list[Literal["src", "cgc", "goodhart"]] = Field(
        default=["src", "cgc", "goodhart"], min_length=1, description="What attackers are paid."
    )
    seeds: int = Field(3, ge=1, description="Attackers per verifier and reward.")
    steps: int | None = Field(
        None,
        ge=1,
        description="PPO steps every attack makes, exploited or not, so that attackers are compared at equal steps (null: ppo.steps, max_steps at most).",
    )
    max_steps: int | None = Field(
        None,
        ge=1,
        description="PPO steps before an attack is given up (null: twice ppo.steps, or steps if that is more).",
    )
    extend_to: int | None = Field(
        None,
        ge=1,
        description="While more than a third of the attacks with one reward on one verifier are not exploited, double their max_steps, up to this (null: never).",
    )
    window: int = Field(
        8,
        ge=1,
        description="Steps whose text one false-positive rate of an attacker reads: this step and those before.",
    )
    problems_per_step: int | None = Field(None, ge=1, description="Problems per step (null: ppo.problems_per_step).")
    incorrect: float = Field(
        0.95,
        gt=0,
        le=1,
        description="SRC and CGC attacks succeed with at least this share incorrect, once as convincing as helpful-correct text.",
    )
    goodhart_accuracy: float = Field(
        0.2, ge=0, le=1, description="A Goodhart attack succeeds once accuracy is below this."
    )
    parallel: int = Field(
        1,
        ge=1,
        description="Attacks run side by side, each in a process with its share of the CPU threads (small models use cores better so).",
    )
    goodhart_start: float = Field(
        0.4, ge=0, le=1, description="A Goodhart attack starts from a policy more accurate than this."
    )

    @model_validator(mode="after")
    def _rewards_differ(self) -> AttackSettings:
        if len(set(self.rewards)) < len(self.rewards):
            raise ValueError("attack.rewards names a reward twice")
        return self

    @model_validator(mode="after")
    def _steps_fit(self) -> AttackSettings:
        if self.steps is not None and self.max_steps is not None and self.steps > self.max_steps:
            raise ValueError(f"attack.steps ({self.steps}) is more than attack.max_steps ({self.max_steps})")
        return self


class GradingSettings(Settings):
    """How a completion's final answer becomes a verdict."""

    marker: str = Field("####", min_length=1, description="What the final answer line starts with.")
    unparsed: Literal["invalid", "incorrect"] = Field(
        "invalid", description='"incorrect" counts unreadable answers as wrong, as the paper does.'
    )

    @field_validator("marker")
    @classmethod
    def _opens_a_line(cls, marker: str) -> str:
        if not marker.strip() or "\n" in marker.strip():
            raise ValueError(
                f"must be visible and stand on one line, since an answer line starts with it (got {marker!r})"
            )
        return marker


class TrackingSettings(Settings):
    """Experiment trackers, through accelerate."""

    trackers: list[Literal["tensorboard", "wandb"]] = Field(default_factory=list, description="Trackers to write to.")
    project: str = Field("legibility", description="Project name shown by the tracker.")
    completions: int = Field(
        32, ge=0, description="Test problems of which trackers get a solution per role after every round; 0 sends none."
    )


class Config(Settings):
    """A whole run."""

    renamed: ClassVar[Mapping[str, str]] = {
        "ppo.max_new_tokens": "sampling.max_new_tokens",
        "evaluation.temperature": "sampling.evaluation_temperature",
        "evaluation.confidence": "evaluation.confidence_level",
        "evaluation.pool_problems": "evaluation.best_of_n_problems",
        "evaluation.pool_samples": "evaluation.best_of_n_samples",
        "attack.workers": "attack.parallel",
        "game.pool_samples": "game.collection_samples",
        "game.pool_samples_sneaky": "game.collection_samples_sneaky",
        "game.pool_by_share": "game.collection_by_share",
        "game.judge_model": "game.held_out_judge_model",
    }

    seed: int = Field(0, ge=0, description="Seed of everything random in the run.")
    problems: ProblemSettings = Field(default_factory=ProblemSettings)
    grading: GradingSettings = Field(default_factory=GradingSettings)
    prover: ProverSettings = Field(default_factory=ProverSettings)
    verifier: VerifierSettings = Field(default_factory=VerifierSettings)
    mixture: MixtureSettings = Field(default_factory=MixtureSettings)
    reward: RewardSettings = Field(default_factory=RewardSettings)
    sampling: SamplingSettings = Field(default_factory=SamplingSettings)
    ppo: PPOSettings = Field(default_factory=PPOSettings)
    stop: StopSettings = Field(default_factory=StopSettings)
    gates: GateSettings = Field(default_factory=GateSettings)
    game: GameSettings = Field(default_factory=GameSettings)
    rivals: RivalSettings = Field(default_factory=RivalSettings)
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)
    attack: AttackSettings = Field(default_factory=AttackSettings)
    compute: ComputeSettings = Field(default_factory=ComputeSettings)
    tracking: TrackingSettings = Field(default_factory=TrackingSettings)

    @model_validator(mode="after")
    def _combinations(self) -> Config:
        needs_groups = self.reward.kind == "src" or self.reward.center
        if needs_groups and self.ppo.samples_per_role < 2:
            raise ValueError("ppo.samples_per_role must be at least 2 where scores are centred (reward src or center)")
        if self.verifier.lm_weight and self.verifier.score == "last_token":
            raise ValueError(
                "verifier.lm_weight needs verifier.score likelihood or token; a classifier predicts no tokens"
            )
        for name, template in (
            ("verifier.template", self.verifier.template),
            ("game.held_out_judge_template", self.game.held_out_judge_template),
        ):
            if template is not None and not ("{problem}" in template and "{solution}" in template):
                raise ValueError(f"{name} must contain {{problem}} and {{solution}}")
        unpaid = [arm for arm in self.game.played if arm not in PLAIN_ARMS]
        if self.reward.kind == "goodhart" and unpaid:
            raise ValueError(
                f"game.arms: {unpaid[0]} stands beside a game with roles, and reward.kind goodhart has none; set src or cgc"
            )
        if "tandem" in self.game.played and self.compute.engine == "vllm":
            raise ValueError(
                "compute.engine: vllm cannot change writers within a text, which tandem asks for; set fast"
            )
        if self.mixture.checkpoints == "all" and self.ppo.save_every is None:
            raise ValueError(
                "mixture.checkpoints: all needs saved provers; set ppo.save_every (steps between them), or checkpoints: last"
            )
        return self
