"""summary.json: every headline number of a run, computed from its stored completions and verifiers.

Legibility tax (Kirchner et al. 2024, Fig. 1 and Sec. 1, no formula given there):
    tax = Acc(correctness-only) - Acc(game), retained gain = (Acc_game - Acc_init) / (Acc_corr - Acc_init)
with Acc_game the last round's helpful accuracy and the correctness-only arm read at the same number
of steps, all on test problems. Intervals are percentile bootstraps over problems, paired across arms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from legibility.config import Config
from legibility.evaluation.scores import Scorer
from legibility.evaluation.texts import by_problem, test_texts, valid
from legibility.files import write_json
from legibility.game.prover_phase import load_training
from legibility.game.run_folder import RunFolder, round_name
from legibility.game.run_records import RESOURCES, TRAINING, Resources, VerifierTraining
from legibility.game.verifier_phase import discrimination
from legibility.metrics import bootstrap, number, pairwise_accuracy
from legibility.problems.storage import read_problems
from legibility.randomness import stream
from legibility.stored import read_stored
from legibility.team import Team

SCHEMA = 1


def write_summary(run: RunFolder, device: str = "cpu", team: Team | None = None) -> dict[str, Any]:
    """Compute and write summary.json; a `team` shares the scoring. Raises UserError for unfinished or changed phases."""
    summary = summarise(run, device=device, team=team)
    write_json(run.path / "summary.json", summary)
    return summary


def summarise(run: RunFolder, *, device: str = "cpu", checked: bool = True, team: Team | None = None) -> dict[str, Any]:
    """What summary.json holds, from what is finished.

    checked=False leaves out what needs a model (checkability): a run that is going is not loaded.
    """
    config = run.config()
    rounds = run.rounds()
    texts = test_texts(run)
    check: dict[str, dict[str, float | None]] = {name: {} for name in texts}
    if checked:
        problems = read_problems(run.path / "problems.jsonl")
        places = {"last_verifier": f"{round_name(rounds[-1])}/verifier", "held_out_judge": "judge"}
        judges = {n: Scorer(run, p, config, device, problems, team) for n, p in places.items() if run.is_done(p)}
        own = [
            texts[name] for name in (f"game {rounds[-1]}", "correctness") if name in texts
        ]  # scored when they were written
        judges["last_verifier"].learn(scored := pd.concat(own), scored.score.to_numpy())
        shown = {
            name: frame for name, frame in texts.items() if name in ("init", "correctness") or name.startswith("game ")
        }
        for judge in judges.values():
            judge(valid(pd.concat(shown.values())))  # all at once
        check |= {name: checkability(frame, judges) for name, frame in shown.items() if len(frame)}
    describe = _Describer(config)
    arms: dict[str, Any] = {"init": {**describe(texts["init"]), "checkability": check["init"]}}
    arms["game"] = {"rounds": [_round(run, i, describe, texts, check) for i in rounds]}
    arms["game"].update(
        {
            k: arms["game"]["rounds"][-1][s]
            for k, s in (("accuracy", "helpful_accuracy"), ("interval", "helpful_interval"))
        }
    )
    tax = retained = tax_equal_samples = {"value": None, "low": None, "high": None}
    if "correctness" in texts:
        training = load_training(run, "correctness", 0)
        arms["correctness"] = {
            **describe(texts["correctness"]),
            "steps": training.steps,
            "checkability": check["correctness"],
        }
        accuracies = {
            n: by_problem(texts[n])
            for n in ("init", "correctness", f"game {rounds[-1]}", "correctness halfway")
            if n in texts
        }
        game_name = f"game {rounds[-1]}"
        tax = describe.paired(accuracies, lambda a: a["correctness"] - a[game_name])
        retained = describe.paired(accuracies, lambda a: _ratio(a[game_name] - a["init"], a["correctness"] - a["init"]))
        if "correctness halfway" in accuracies:
            arms["correctness"]["accuracy_at_half_steps"] = number(accuracies["correctness halfway"].mean())
            tax_equal_samples = describe.paired(accuracies, lambda a: a["correctness halfway"] - a[game_name])
    done = [run.done_record(p) for p in run.finished_phases() if not p.startswith("evaluation/")]
    resources = run.path / RESOURCES
    peak = read_stored(resources, Resources, fix="delete it").peak_memory_mb if resources.exists() else 0.0
    return {
        "schema": SCHEMA,
        "run": run.path.name,
        "seed": config.seed,
        "wall_seconds": float(sum(d.seconds for d in done)),
        "peak_memory_mb": max([peak, *(d.peak_memory_mb for d in done)]),
        "decoding": {
            "temperature": config.sampling.evaluation_temperature,
            "samples": config.evaluation.samples,
            "test_problems": int(texts["init"].problem_id.nunique()),
        },
        "reward": config.reward.kind,
        "arms": arms,
        "legibility_tax": tax,
        "legibility_tax_equal_helpful_samples": tax_equal_samples,
        "retained_gain": retained,
        **evaluated(run),
    }


def evaluated(run: RunFolder) -> dict[str, Any]:
    """{"evaluation": every section an evaluation has written}, or nothing."""
    files = sorted((run.path / "evaluation").glob("*.json"))
    return {"evaluation": {f.stem: json.loads(f.read_text(encoding="utf-8")) for f in files}} if files else {}


def checkability(
    frame: pd.DataFrame, judges: Mapping[str, Callable[[pd.DataFrame], np.ndarray]]
) -> dict[str, float | None]:
    """Same-problem pairwise accuracy of each judge on one policy's valid text."""
    frame = valid(frame)
    correct = (frame.verdict == "correct").to_numpy()
    return {
        name: number(pairwise_accuracy(judge(frame), correct, list(frame.problem_id))) for name, judge in judges.items()
    }


class _Describer:
    """Accuracy, length and invalid share of one policy's text, with a bootstrap interval."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(self, frame: pd.DataFrame) -> dict[str, Any]:
        interval = self.paired({"x": by_problem(frame)}, lambda a: a["x"])
        return {
            "accuracy": interval["value"],
            "interval": [interval["low"], interval["high"]],
            "mean_length": number(frame.completion_tokens.mean()),
            "invalid": number((frame.verdict == "invalid").mean()),
        }

    def paired(self, accuracies: Mapping[str, pd.Series], statistic) -> dict[str, float | None]:
        """Bootstrap `statistic({name: mean accuracy})` over the problems all series share."""
        names = list(accuracies)
        table = np.stack([accuracies[n].to_numpy() for n in names])  # (arms, problems)
        settings = self.config.evaluation
        return bootstrap(
            lambda index: statistic(dict(zip(names, table[:, index].mean(1), strict=True))),
            table.shape[1],
            resamples=settings.bootstrap,
            confidence=settings.confidence_level,
            rng=stream(self.config.seed, "bootstrap"),
        )


def _round(run: RunFolder, index: int, describe: _Describer, texts, check) -> dict[str, Any]:
    training = load_training(run, "game", index)
    verifier = run.stored(f"{round_name(index)}/verifier", TRAINING, VerifierTraining)
    helpful, sneaky = texts[f"game {index}"], texts[f"sneaky {index}"]
    own = valid(pd.concat([helpful, sneaky]))
    h, s = describe(helpful), describe(sneaky)
    return {
        "round": index,
        "steps": training.steps,
        "stopped": training.stopped,
        "steps_to_exploit": training.steps_to_exploit,
        "score_scale": training.score_scale,
        "helpful_accuracy": h["accuracy"],
        "helpful_interval": h["interval"],
        "helpful_length": h["mean_length"],
        "helpful_invalid": h["invalid"],
        "sneaky_accuracy": s["accuracy"],
        "sneaky_interval": s["interval"],
        "sneaky_length": s["mean_length"],
        "sneaky_invalid": s["invalid"],
        "score_helpful_correct": number(helpful.score[helpful.verdict == "correct"].mean()),
        "score_sneaky_incorrect": number(sneaky.score[sneaky.verdict == "incorrect"].mean()),
        "checkability": check[f"game {index}"],
        "verifier": {
            "parameters": verifier.parameters,
            "texts": verifier.texts,
            "auroc_base": verifier.on(None).model_dump(),
            "auroc_previous_round": verifier.on(index - 1 if index else None).model_dump(),
            "auroc_own_round": discrimination(own, own.score.to_numpy(dtype=float)).model_dump(),
        },
    }


def _ratio(gain: float, room: float) -> float:
    return gain / room if abs(room) > 1e-9 else float("nan")
