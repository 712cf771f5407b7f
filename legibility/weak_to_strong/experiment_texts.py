"""The text an experiment classifies, and the text its assistants speak: a run's stored completions, or fresh ones.

From a run: base text, and helpful and sneaky text by round (never PPO's own samples); assistants speak
with the last round's solutions. Without a run the built-in prover (or the generator) writes, once,
into the experiment folder, in the format of a run's solutions.parquet.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from legibility.config import Config, ProverSettings, SamplingSettings
from legibility.errors import UserError
from legibility.game.condition import BASE_ROLE, START
from legibility.game.context import Game
from legibility.game.phases import BASE
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import Solution, SolutionPhase, read_solutions, round_solutions
from legibility.models.prover import Prover
from legibility.problems import ProblemSplits, load_problems
from legibility.problems.generator import flawed_solution, pick_style, worked_solution
from legibility.problems.records import Problem
from legibility.problems.splits import Part
from legibility.problems.storage import read_problems
from legibility.progress import Progress
from legibility.prompts import HELPFUL, SNEAKY
from legibility.randomness import stream
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.task_settings import TextTask

SPLITS: tuple[Part, ...] = ("verifier", "validation", "test")


@dataclass(frozen=True)
class Texts:
    """Completions (a run's columns) and problems by id. `frame` holds what may be classified, `spoken` what assistants say."""

    frame: pd.DataFrame
    spoken: pd.DataFrame
    problems: dict[str, Problem]

    def classified(self, task: TextTask) -> pd.DataFrame:
        """Valid completions of the task's sources, with a `source` column. Raises UserError where there are none."""
        frame = self.frame[self.frame.verdict != "invalid"]
        frame = frame[frame.role.isin(task.sources)]
        if task.rounds is not None:
            frame = frame[(frame.role == "base") | frame["round"].isin(task.rounds)]
        if frame.empty:
            raise UserError(
                f"task: no stored completions of {', '.join(task.sources)} in rounds {task.rounds}; choose other sources or rounds"
            )
        source = [r if r == "base" or n < 0 else f"{r} {n}" for r, n in zip(frame.role, frame["round"], strict=True)]
        return frame.assign(source=source)

    def solutions(self, role: str) -> dict[str, list[str]]:
        """What the assistant of a role can say of each problem: its solutions, in sampling order."""
        frame = self.spoken[self.spoken.role == role]
        return {problem: list(group.text) for problem, group in frame.groupby("problem_id", sort=False)}


@dataclass(frozen=True)
class FreshTexts:
    """Text written for a task without a run: `rows` to classify, `spoken` for the assistants, and the problems."""

    rows: list[Solution]
    spoken: list[Solution]
    splits: ProblemSplits


def run_texts(path: Path) -> Texts:
    """Texts of a finished run. Raises UserError where there is no run or no finished round."""
    run = RunFolder.existing(path)
    rounds = run.rounds()
    if not rounds:
        raise UserError(f"{path}: no finished round; go on with: {run.resume_command}")
    base = read_solutions(run.folder(BASE) / "solutions.parquet")
    collected = []
    for index in rounds:
        frame = round_solutions(run, index)
        collected.append(frame[(frame.phase == "collection") & frame.split.isin(SPLITS)])
    base = base[(base.role == BASE_ROLE) & base.split.isin(SPLITS)]  # the judge's part is nobody else's
    frame = pd.concat([base, *collected], ignore_index=True)
    return Texts(frame, collected[-1], read_problems(run.problems_file))


def write_texts(config: ExperimentSettings, task: TextTask, base_dir: Path | None, device: str) -> FreshTexts:
    """Fresh text to classify and to speak with. Raises UserError for problems that cannot be had."""
    splits = load_problems(task.problems, base_dir=base_dir)
    if task.writer == "generator":
        return FreshTexts(_generated(splits, task.samples), [], splits)
    game = Game(
        Config(
            prover=ProverSettings(model=config.assistant.model, prompts=config.assistant.prompts),
            sampling=SamplingSettings(max_new_tokens=config.assistant.max_new_tokens),
            compute=config.compute,
        ),
        RunFolder(Path(".")),
        splits,
        device,
        Progress(quiet=True),
        base_dir=base_dir,
    )
    prover = Prover.load(game.config.prover, device, base_dir=base_dir)

    def draw(role: str, samples: int, phase: SolutionPhase, label: str) -> list[Solution]:
        return [
            row
            for split in SPLITS
            for row in game.draw(
                prover,
                splits.part(split),
                (role,),
                samples,
                arm=START.arm,
                round_index=START.round,
                phase=phase,
                split=split,
                step=0,
                label=label,
            ).rows
        ]

    rows = draw(HELPFUL, task.samples, "base", BASE_ROLE) if "base" in task.sources else []
    if "sneaky" in task.sources:
        rows += draw(SNEAKY, task.samples, "base", SNEAKY)
    spoken = (
        [row for role in (HELPFUL, SNEAKY) for row in draw(role, config.assistant.samples, "assistant", role)]
        if config.oversight
        else []
    )
    return FreshTexts(rows, spoken, splits)


def _generated(splits: ProblemSplits, samples: int) -> list[Solution]:
    """Worked and flawed solutions in one style per pair, so that style says nothing; the generator's truth is exact."""
    rows = []
    for split in SPLITS:
        for problem in splits.part(split):
            if not problem.steps:
                raise UserError("task.writer: generator needs generated problems (task.problems.train.kind: generated)")
            rng = stream("generator", problem.id)
            for k in range(max(1, samples // 2)):
                style = {pick_style(rng): 1.0}
                for j, (text, verdict) in enumerate(
                    (
                        (worked_solution(problem, rng, style), "correct"),
                        (flawed_solution(problem, rng, style)[0], "incorrect"),
                    )
                ):
                    rows.append(
                        Solution(
                            arm="init",
                            round=-1,
                            phase="base",
                            split=split,
                            step=0,
                            problem_id=problem.id,
                            sample=2 * k + j,
                            role="base",
                            text=text,
                            verdict=verdict,
                            prompt_tokens=0,
                            completion_tokens=0,
                            truncated=False,
                        )
                    )
    return rows
