"""`legibility frontier`: evaluated runs of one game with arms, merged over seeds, in frontier.json.

The paper's Fig. 1 with every method on it (Kirchner et al. 2024), on every measure of legibility. An arm stands in three
views. Equal steps: its last prover, which made as many PPO steps as every other arm's, whatever earlier rounds cost.
Equal completions, equal FLOPs: the latest round whose whole cost is no more than that of the dearest arm without rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from scipy import stats

from legibility.errors import UserError
from legibility.evaluation.claims import LEAST_SEEDS
from legibility.evaluation.over_seeds import OverSeeds, holm, over_seeds, paired_test
from legibility.evaluation.schema import Evaluation, read_evaluation
from legibility.frontier.arm_claims import arm_claims
from legibility.frontier.frontier_schema import (
    Agreement,
    ArmPoint,
    Best,
    Disagreement,
    Frontier,
    MeasureInfo,
    Versus,
    View,
    ViewName,
)
from legibility.frontier.measures import MEASURES, Measure, accuracy, length
from legibility.frontier.spending import Spent, spent
from legibility.game.arms.decoupled import FIGURES
from legibility.game.condition import (
    ARMS,
    CORRECTNESS_HALFWAY,
    CORRECTNESS_ONLY,
    DECOUPLED,
    GAME,
    INIT,
    RFT,
    ROUND_ARMS,
    START,
    Condition,
)
from legibility.game.phases import arm_figures
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import TranslationFigures
from legibility.game.setting_changes import different_settings
from legibility.pasted import own_command
from legibility.prompts import HELPFUL
from legibility.stored import write_stored

FILE = "frontier.json"
FREE = ("seed", "compute.", "tracking.", "evaluation.", "attack.")
"""Settings in which seeds of one game may differ."""
SLACK = 1.05
"""What an arm may cost beside the budget: lengths of text and last steps are never quite equal."""
CONTRADICTION = 0.001
"""p below which a contradiction of two measures is called decided: hundreds of pairs are looked at."""
COSTS: Mapping[ViewName, Callable[[Spent], float]] = {
    "completions": lambda cost: cost.completions,
    "flops": lambda cost: cost.flops,
}

VIEWS: tuple[ViewName, ...] = ("steps", "completions", "flops")


@dataclass(frozen=True)
class ArmRun:
    """An evaluated run: its honest conditions with what each cost, by arm in order of rounds."""

    path: str
    seed: int
    quick: bool
    evaluation: Evaluation
    arms: dict[str, dict[Condition, Spent]]
    faithfulness: dict[Condition, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> ArmRun:
        """Raises UserError for a run that is not there, unfinished, changed or not evaluated."""
        run = RunFolder.existing(path)
        evaluation = read_evaluation(run)
        if evaluation is None or evaluation.tax is None:
            raise UserError(f"{path}: not evaluated yet; run: {own_command('evaluate', path, '--quick')}")
        arms: dict[str, dict[Condition, Spent]] = {}
        for condition in sorted(evaluation.tax.arms):
            if condition.arm not in (INIT, CORRECTNESS_HALFWAY) and _trained(run, condition):
                arms.setdefault(condition.arm, {})[condition] = spent(run, condition)
        return cls(str(path), run.config().seed, run.is_quick, evaluation, arms, _faithfulness(run))

    def budget(self, cost: Callable[[Spent], float]) -> float:
        """The cost of the dearest arm without rounds; of the game's first round where there is none."""
        plain = [c for arm, found in self.arms.items() if arm not in (GAME, *ROUND_ARMS, RFT) for c in found.values()]
        return max(map(cost, plain or [next(iter(self.arms[GAME].values()))]))

    def within(self, arm: str, name: ViewName) -> Condition | None:
        """The condition that stands for an arm in a view; None where none is cheap enough."""
        found = self.arms.get(arm, {})
        if name == "steps":
            return next(reversed(found), None)
        cost, most = COSTS[name], SLACK * self.budget(COSTS[name])
        return next((c for c in reversed(found) if cost(found[c]) <= most), None)


def frontier(paths: Sequence[Path | str], out: Path | str, confidence_level: float = 0.95) -> Frontier:
    """Merge evaluated runs, seeds of one game, in `out`/frontier.json, and return what it holds.

    Raises UserError for runs that are not evaluated, of one seed or of different games, or an `out` that exists.
    """
    folders, out = [Path(path) for path in paths], Path(out)
    if out.exists():
        raise UserError(f"{out}: exists already; choose another --out")
    differ = _settings_differ(folders)
    runs = [ArmRun.read(path) for path in folders]
    seeds = [run.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise UserError(
            f"frontier: two runs have the same seed ({', '.join(map(str, seeds))}); they are not independent"
        )
    known = [m for m in MEASURES if any(m.of(r.evaluation, c) is not None for r in runs for c in _conditions(r))]
    views = [_view(runs, name, known, confidence_level) for name in VIEWS]
    infos = [MeasureInfo(name=m.name, label=m.label, kind=m.kind) for m in known]
    equal = views[0]
    result = Frontier(
        runs=[run.path for run in runs],
        seeds=seeds,
        quick=[run.path for run in runs if run.quick],
        settings_differ=differ,
        confidence_level=confidence_level,
        measures=infos,
        start=_point(runs, INIT, [START] * len(runs), known, confidence_level),
        views=views,
        claims=arm_claims(equal.arms, infos, equal.disagreements, len(runs), confidence_level),
    )
    out.mkdir(parents=True)
    write_stored(out / FILE, result)
    return result


def _faithfulness(run: RunFolder) -> dict[Condition, float]:
    """How often the faithful translator of every round of the decoupled arm keeps the solver's answer, on test problems."""
    if not run.is_done(arm_figures(DECOUPLED)):
        return {}
    found = run.stored(arm_figures(DECOUPLED), FIGURES, TranslationFigures)
    return {
        Condition(DECOUPLED, row.round, HELPFUL): row.faithfulness
        for row in found.rounds
        if row.faithfulness is not None
    }


def _trained(run: RunFolder, condition: Condition) -> bool:
    """Whether the run played the arm itself: what an evaluation trained for its own ends has another budget's records."""
    from_game = condition.arm in (GAME, *ROUND_ARMS)
    return from_game or run.is_done(f"arms/{condition.arm}/prover")


def _settings_differ(folders: Sequence[Path]) -> list[str]:
    """Settings in which seeds differ from the first. Raises UserError where that makes them other games."""
    first, *others = [RunFolder.existing(path).config().model_dump(mode="json") for path in folders]
    found = []
    for path, other in zip(folders[1:], others, strict=True):
        for change in different_settings(first, other):
            if not change.name.startswith(FREE):
                raise UserError(
                    f"{path}: {change.name} differs from {folders[0]}'s; seeds of one game are merged here, and "
                    "legibility compare sets different games side by side"
                )
            if change.name != "seed":
                found.append(str(change))
    return sorted(set(found))


def _conditions(run: ArmRun) -> list[Condition]:
    return [condition for found in run.arms.values() for condition in found]


def _view(runs: Sequence[ArmRun], name: ViewName, measures: Sequence[Measure], level: float) -> View:
    every = list(dict.fromkeys(arm for run in runs for arm in run.arms))
    chosen = {arm: [run.within(arm, name) for run in runs] for arm in every}
    inside = {arm: [c for c in found if c] for arm, found in chosen.items() if all(found)}
    arms = [_point(runs, arm, found, measures, level) for arm, found in inside.items()]
    budget = None if name == "steps" else _mean([run.budget(COSTS[name]) for run in runs])
    names = ["accuracy", *(m.name for m in measures)]
    return View(
        name=name,
        budget=budget,
        arms=arms,
        beyond=[_label(arm) for arm in every if arm not in inside],
        versus=_versus(arms, names),
        best=[b for b in (_best(arms, n, level) for n in names) if b],
        agreement=[_agreement(arms, a, b, len(runs), level) for a, b in combinations(names[1:], 2)],
        disagreements=_disagreements(arms, names[1:], level),
    )


def _point(
    runs: Sequence[ArmRun], arm: str, conditions: Sequence[Condition], measures: Sequence[Measure], level: float
) -> ArmPoint:
    both = list(zip(runs, conditions, strict=True))
    costs = [run.arms.get(arm, {}).get(condition, Spent()) for run, condition in both]

    kept = any(condition in run.faithfulness for run, condition in both)

    def merged(of: Callable[[Evaluation, Condition], float | None], *, rate: bool = False) -> OverSeeds:
        return over_seeds([of(run.evaluation, condition) for run, condition in both], level, rate=rate)

    return ArmPoint(
        arm=arm,
        label=_label(arm),
        conditions=list(conditions),
        steps=_mean([c.steps for c in costs]),
        completions=_mean([c.completions for c in costs]),
        flops=_mean([c.flops for c in costs]),
        accuracy=merged(accuracy, rate=True),
        length=merged(length),
        tax=merged(_tax),
        retained_gain=merged(_retained),
        figures={m.name: merged(m.of, rate=m.rate) for m in measures},
        faithfulness=over_seeds([run.faithfulness.get(c) for run, c in both], level, rate=True) if kept else None,
    )


def _label(arm: str) -> str:
    return ARMS.get(arm, "game")


def _tax(evaluation: Evaluation, condition: Condition) -> float | None:
    corner, own = accuracy(evaluation, CORRECTNESS_ONLY), accuracy(evaluation, condition)
    return None if corner is None or own is None else corner - own


def _retained(evaluation: Evaluation, condition: Condition) -> float | None:
    start, corner, own = (accuracy(evaluation, c) for c in (START, CORRECTNESS_ONLY, condition))
    if start is None or corner is None or own is None or corner <= start:
        return None
    return (own - start) / (corner - start)


def _of(point: ArmPoint, name: str) -> list[float | None]:
    """A measure of an arm, or its accuracy, by seed."""
    return list((point.accuracy if name == "accuracy" else point.figures[name]).values)


def _minus(first: ArmPoint, second: ArmPoint, name: str, level: float) -> OverSeeds:
    pairs = zip(_of(first, name), _of(second, name), strict=True)
    return over_seeds([None if a is None or b is None else a - b for a, b in pairs], level)


def _versus(arms: Sequence[ArmPoint], names: Sequence[str]) -> list[Versus]:
    game = next((arm for arm in arms if arm.arm == GAME), None)
    if game is None:
        return []
    rows = [(arm, n, paired_test(_of(arm, n), _of(game, n))) for arm in arms if arm is not game for n in names]
    adjusted = holm([found.p for _, _, found in rows])
    return [
        Versus(arm=arm.arm, measure=n, difference=found.difference, p=found.p, p_holm=p, n=found.n)
        for (arm, n, found), p in zip(rows, adjusted, strict=True)
    ]


def _best(arms: Sequence[ArmPoint], name: str, level: float) -> Best | None:
    means = [(over_seeds(_of(arm, name), level).mean, arm) for arm in arms]
    ranked = sorted((pair for pair in means if pair[0] is not None), key=lambda pair: -float(pair[0] or 0.0))
    if not ranked:
        return None
    if len(ranked) == 1:
        return Best(measure=name, arm=ranked[0][1].arm, second=None, ahead=over_seeds([], level), decided=False)
    ahead = _minus(ranked[0][1], ranked[1][1], name, level)
    decided = ahead.n >= LEAST_SEEDS and ahead.low is not None and ahead.low > 0
    return Best(measure=name, arm=ranked[0][1].arm, second=ranked[1][1].arm, ahead=ahead, decided=decided)


def _agreement(arms: Sequence[ArmPoint], first: str, second: str, seeds: int, level: float) -> Agreement:
    taus: list[float | None] = []
    counts = []
    for seed in range(seeds):
        both = [(_of(arm, first)[seed], _of(arm, second)[seed]) for arm in arms]
        known = [(a, b) for a, b in both if a is not None and b is not None]
        counts.append(len(known))
        tau = float(stats.kendalltau(*zip(*known, strict=True)).statistic) if len(known) > 2 else float("nan")
        taus.append(None if tau != tau else tau)
    return Agreement(first=first, second=second, tau=over_seeds(taus, level), arms=min(counts, default=0))


def _disagreements(arms: Sequence[ArmPoint], names: Sequence[str], level: float) -> list[Disagreement]:
    """Every pair of measures and of arms with differences of opposite sign whose intervals both exclude 0."""
    found = []
    for one, other in combinations(arms, 2):
        gaps = {name: _minus(one, other, name, level) for name in names}
        for first, second in combinations(names, 2):
            signs = _sign(gaps[first]), _sign(gaps[second])
            if signs[0] * signs[1] < 0:
                better, worse = (one, other) if signs[0] > 0 else (other, one)
                found.append(
                    Disagreement(
                        first=first,
                        second=second,
                        better=better.arm,
                        worse=worse.arm,
                        on_first=_minus(better, worse, first, level),
                        on_second=_minus(better, worse, second, level),
                        p=(p := _larger_p(better, worse, first, second)),
                        decided=p is not None and p <= CONTRADICTION and len(gaps[first].values) >= LEAST_SEEDS,
                    )
                )
    return found


def _larger_p(better: ArmPoint, worse: ArmPoint, first: str, second: str) -> float | None:
    found = [paired_test(_of(better, name), _of(worse, name)).p for name in (first, second)]
    return None if None in found else max(p for p in found if p is not None)


def _sign(gap: OverSeeds) -> int:
    """1 or -1 where the interval lies on one side of 0, else 0."""
    if gap.low is None or gap.high is None:
        return 0
    return 1 if gap.low > 0 else -1 if gap.high < 0 else 0


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values)) if values else 0.0
