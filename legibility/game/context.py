"""What every phase of a game needs: settings, problems, run folder, progress, sampling and grading."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from legibility.config import Config
from legibility.errors import UserError
from legibility.game.condition import Judge
from legibility.game.phases import GAME, round_verifier
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import Solution, SolutionPhase
from legibility.grading import Verdict, grade
from legibility.models.prover import Prover
from legibility.models.value_head import ValueHead
from legibility.models.verifier import Verifier
from legibility.models.verifier_ensemble import load_verifier
from legibility.problems import ProblemSplits
from legibility.problems.records import Problem
from legibility.problems.splits import PARTS, Part
from legibility.progress import Progress
from legibility.randomness import derive_seed
from legibility.rollouts import Completion, sample
from legibility.rollouts.choice import usable_engine
from legibility.team import Team


@dataclass
class Drawn:
    """Sampled and graded completions: flat `rows` in role, problem, sample order, and what PPO needs of them."""

    rows: list[Solution]
    prompts: list[list[int]]
    completions: list[list[Completion]]


@dataclass(frozen=True)
class WritingTask:
    """What one group of completions answers: `prompt` is what the prover reads.

    begun: how each text begins already, written by somebody else; the prover goes on with it. source: the text that the
    task is made from, where there is one, which is stored with the completions.
    """

    problem: Problem
    role: str
    prompt: list[int]
    begun: str = ""
    source: str | None = None


Writer = Callable[..., Drawn]
"""What draws the text of an arm: called like `Game.draw`, with the game first."""
Sampler = Callable[..., list[list[Completion]]]
"""What samples completions [prompt][sample]: called like `legibility.rollouts.sample`."""


@dataclass
class Game:
    """One run in progress.

    `base_source` is the warm-started base policy's folder, if there is one; `team` the processes that
    share sampling, scoring and training of the models they know.
    """

    config: Config
    run: RunFolder
    splits: ProblemSplits
    device: str
    progress: Progress
    force: bool = False
    base_dir: Path | None = None
    base_source: str | None = None
    team: Team = field(default_factory=Team)
    problems: dict[str, Problem] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in PARTS:
            self.problems.update({p.id: p for p in self.splits.part(part)})

    def new_prover(self, *purpose: int | str) -> Prover:
        """The base policy, fresh (with fresh adapters where LoRA is used)."""
        seed = derive_seed(self.config.seed, "prover", *purpose)
        return self._ready(
            Prover.load(
                self.config.prover, self._loading_device, seed=seed, source=self.base_source, base_dir=self.base_dir
            )
        )

    def saved_prover(self, folder: Path) -> Prover:
        """A prover checkpoint of this run (an adapter is put on the warm-started base)."""
        settings = self.config.prover
        if self.base_source and (folder / "adapter_config.json").is_file():
            settings = settings.model_copy(update={"model": self.base_source, "revision": None})
        return self._ready(Prover.load(settings, self._loading_device, source=str(folder), base_dir=self.base_dir))

    @property
    def _loading_device(self) -> str:
        """Where provers are loaded: not on a GPU that is to hold a part of them only."""
        return "cpu" if self.team.shards else self.device

    def _ready(self, prover: Prover) -> Prover:
        """The prover, with the engine known that is right for it: to try one takes whole weights."""
        if self.team.shards:
            usable_engine(prover, self.config.compute.engine)
        return prover

    def saved_verifier(self, index: int, arm: str = GAME) -> Verifier:
        """The verifier of a finished round, after checking its hashes. Raises UserError as `RunFolder.verified` does."""
        return self._judge(round_verifier(index, arm))

    def saved_judge(self, judge: Judge) -> Verifier:
        """A judge that learns by the verifiers' settings: a round's verifier or a reader, likewise."""
        return self._judge(judge.phase)

    def _judge(self, phase: str) -> Verifier:
        folder = self.run.verified(phase)
        return load_verifier(
            self.config.verifier, self.device, source=str(folder), batch=self.config.compute.score_batch
        ).frozen()

    def verdict(self, problem: Problem, prover: Prover, completion: Completion, begun: str = "") -> tuple[str, Verdict]:
        """Text and verdict of a completion that goes on with the text `begun`."""
        text = begun + prover.decode(completion.ids)
        settings = self.config.grading
        return text, grade(
            text, problem.answer, settings.marker, truncated=completion.truncated, unparsed=settings.unparsed
        )

    def temperature(self, split: Part) -> float:
        """Training text is drawn at 1, as PPO's ratios ask for; validation and test text as evaluation does it."""
        return self.config.sampling.evaluation_temperature if split in ("validation", "test") else 1.0

    def draw(
        self,
        prover: Prover,
        problems: Sequence[Problem],
        roles: Sequence[str],
        samples: int,
        *,
        arm: str,
        round_index: int,
        phase: SolutionPhase,
        split: Part,
        step: int,
        label: str | None = None,
        temperature: float = 1.0,
        value_head: ValueHead | None = None,
    ) -> Drawn:
        """Sample and grade `samples` completions per role and problem.

        `label` is the role recorded (default: its own): the base policy writes under the helpful prompt
        and is recorded as "base". With a `value_head` the fast engine stores its values in the completions.
        Raises UserError for a prover whose probabilities are no numbers.
        """
        tasks = [WritingTask(problem, role, prover.prompt_ids(problem, role)) for role in roles for problem in problems]
        return self.draw_tasks(
            prover,
            tasks,
            samples,
            arm=arm,
            round_index=round_index,
            phase=phase,
            split=split,
            step=step,
            label=label,
            temperature=temperature,
            value_head=value_head,
        )

    def draw_tasks(
        self,
        prover: Prover,
        tasks: Sequence[WritingTask],
        samples: int,
        *,
        arm: str,
        round_index: int,
        phase: SolutionPhase,
        split: Part,
        step: int,
        label: str | None = None,
        temperature: float = 1.0,
        value_head: ValueHead | None = None,
        sampler: Sampler | None = None,
    ) -> Drawn:
        """As `draw`, for tasks with prompts of their own. Random numbers are keyed by their roles, each named once.

        sampler: what samples, called as `legibility.rollouts.sample` is (None: that).
        """
        config = self.config
        roles = list(dict.fromkeys(task.role for task in tasks))
        prompts = [task.prompt for task in tasks]
        drawn = (sampler or sample)(
            prover,
            prompts,
            samples,
            seed=derive_seed(config.seed, arm, round_index, phase, split, step, *roles),
            max_new_tokens=config.sampling.max_new_tokens,
            temperature=temperature,
            engine=config.compute.engine,
            batch=config.compute.rollout_batch,
            value_head=value_head,
            vllm=config.compute.vllm,
            team=self.team,
        )
        if any(math.isnan(sum(c.logprobs)) for group in drawn for c in group):
            raise UserError(
                f"{arm}, round {round_index}, {phase} {split}: the prover's next-token probabilities are no numbers, so its "
                "training has diverged or its numbers overflow; lower ppo.learning_rate, or set prover.dtype to float32"
            )
        rows = []
        for task, group in zip(tasks, drawn, strict=True):
            for j, completion in enumerate(group):
                text, verdict = self.verdict(task.problem, prover, completion, task.begun)
                rows.append(
                    Solution(
                        arm=arm,
                        round=round_index,
                        phase=phase,
                        split=split,
                        step=step,
                        problem_id=task.problem.id,
                        sample=j,
                        role=label or task.role,
                        text=text,
                        verdict=verdict.value,
                        prompt_tokens=len(task.prompt),
                        completion_tokens=len(completion.ids),
                        truncated=completion.truncated,
                        source=task.source,
                    )
                )
        return Drawn(rows, prompts, drawn)

    def score(self, verifier: Verifier, rows: Sequence[Solution]) -> None:
        """Fill in the rows' scores by a verifier, one a row."""
        scores = verifier.score([self.problems[r.problem_id] for r in rows], [r.text for r in rows], self.team)
        for row, value in zip(rows, scores.tolist(), strict=True):
            row.score = value


def write_plainly(game: Game, *args: Any, **where: Any) -> Drawn:
    """The `Writer` of the game: `Game.draw`, every problem in every role."""
    return game.draw(*args, **where)
