"""The cards of a shared run: README.md of the data set and of every model, every figure read from the run.

A card names no folder: models and problem files that are not from the hub go by their last name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

import legibility
from legibility.config import Config
from legibility.errors import UserError
from legibility.evaluation.summary import summarise
from legibility.evaluation.summary_schema import (
    SUMMARY,
    CorrectnessSummary,
    JudgeSummary,
    PolicySummary,
    RoundSummary,
    StartSummary,
    Summary,
    read_summary,
)
from legibility.game.condition import CORRECTNESS, GAME, HELD_OUT_JUDGE, Condition
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import TRAINING, VerifierTraining
from legibility.metrics import NO_INTERVAL
from legibility.printable import printable
from legibility.problems.sources import GeneratedSource, GSM8KSource
from legibility.prompts import HELPFUL, SNEAKY, PromptSet, load_prompts
from legibility.reporting.page import number, percent
from legibility.sharing.completion_set import COMPLETIONS, PROBLEMS, CompletionSet
from legibility.sharing.shared_models import SharedModel

BUILT_IN = "nano"
"""How the package's own models are called in settings, or how their names begin."""


@dataclass(frozen=True)
class Licence:
    """The hub's name of a licence, and what a reader has to know of it."""

    name: str
    text: str


class CardFacts:
    """What the cards say of the run as a whole."""

    def __init__(self, run: RunFolder) -> None:
        """Raises UserError where the run's files were changed."""
        self.folder, self.manifest = run, run.manifest()
        self.config: Config = run.config()
        finished = (run.path / SUMMARY).is_file()
        self.summary: Summary = read_summary(run.path / SUMMARY) if finished else summarise(run, checked=False)
        self.name = printable(run.path.resolve().name)
        self.version = legibility.__version__
        self.created = self.manifest.created[:10]
        self.seed, self.reward = self.config.seed, self.config.reward.kind
        self.prover = _model_name(run, "prover", self.config.prover.model)
        self.verifier = _model_name(run, "verifier", self.config.verifier.model)
        self.level = f"{self.config.evaluation.confidence_level:.0%}".replace("%", " %")
        decoding = self.summary.decoding
        self.test_problems, self.samples = decoding.test_problems, decoding.samples
        self.temperature = f"{decoding.temperature:g}"

    @property
    def quick(self) -> bool:
        """Whether the run was a quick look, whose numbers measure nothing."""
        return getattr(self.manifest, "quick", None) is not None

    @property
    def summary_rounds(self) -> list[RoundSummary]:
        """The summary's line of every finished round."""
        return self.summary.arms.game.rounds

    @property
    def rounds(self) -> int:
        """How many rounds are finished."""
        return len(self.summary_rounds)

    @property
    def start(self) -> StartSummary:
        """The prover before the game."""
        return self.summary.arms.init

    @property
    def correctness(self) -> CorrectnessSummary | None:
        """The correctness-only arm."""
        return self.summary.arms.correctness

    def policy_of(self, arm: str | None, index: int | None) -> PolicySummary | None:
        """What is known of a prover's honest text; arm None: the start. None where it was not measured."""
        if arm is None:
            return self.start
        if arm == CORRECTNESS:
            return self.correctness
        return (self.summary.arms.others or {}).get(Condition(arm, index or 0, HELPFUL))

    @cached_property
    def _prompt_set(self) -> PromptSet | None:
        try:
            return load_prompts(self.config.prover.prompts, self.folder.base_dir)
        except UserError:  # a file that is not there any more
            return None

    @property
    def prompts(self) -> list[tuple[str, str]]:
        """The roles' prompts."""
        found = self._prompt_set
        return [] if found is None else [(HELPFUL, found.helpful), (SNEAKY, found.sneaky)]

    @property
    def system(self) -> str:
        """The system message, "" for none."""
        return "" if self._prompt_set is None else self._prompt_set.system.strip()

    @property
    def chat(self) -> bool:
        """Whether prompts go through a chat template."""
        return self.config.prover.chat_template not in (None, False)

    @cached_property
    def licence(self) -> Licence:
        """Apache-2.0 where problems and models are the package's own; otherwise what is known, for the user to settle."""
        problems, own = self.config.problems, []
        for source in [problems.train, *([problems.test] if problems.test else [])]:
            if isinstance(source, GeneratedSource):
                own.append("problems of the built-in generator (Apache-2.0)")
            elif isinstance(source, GSM8KSource):
                own.append("problems of GSM8K (MIT)")
            else:
                own.append("problems of another source, whose licence is to be looked up (docs/data.md names some)")
        built_in = all(BUILT_IN in model.split("-") for model in (self.config.prover.model, self.config.verifier.model))
        own.append("the package's models (Apache-2.0)" if built_in else "models under their own licences")
        parts = list(dict.fromkeys(own))
        if built_in and parts[:-1] == ["problems of the built-in generator (Apache-2.0)"]:
            return Licence("apache-2.0", "Apache-2.0, as the package, its generator of problems and its models.")
        return Licence("other", f"Made from {', '.join(parts)}. Settle what that allows before you share it.")


def dataset_card(facts: CardFacts, data: CompletionSet) -> str:
    """README.md of the data set."""
    tables = ((COMPLETIONS, data.completions), (PROBLEMS, data.problems))
    head = {
        "license": facts.licence.name,
        "language": ["en"],
        "pretty_name": f"Legibility game {facts.name}",
        "task_categories": ["text-generation"],
        "tags": ["prover-verifier-game", "legibility", "scalable-oversight", "synthetic"],
        "size_categories": [_size(data.total)],
        "configs": [
            {
                "config_name": table,
                **({"default": True} if table == COMPLETIONS else {}),
                # `datasets` keeps what it has read under the folder's name and this head: alike, it serves other data
                "description": f"{table} of {facts.name}, content {data.content[table]}",
                "data_files": [{"split": split, "path": f"{table}/{split}.parquet"} for split in splits],
            }
            for table, splits in tables
        ],
    }
    return _card("dataset_card.md.j2", head, facts, data=data)


def model_card(facts: CardFacts, model: SharedModel, *, weights: bool) -> str:
    """README.md of a model. weights: whether they stand beside it. Raises UserError for files that were changed."""
    base = next((m for m in facts.manifest.models or [] if m.role == model.kind and m.commit is not None), None)
    head: dict[str, Any] = {
        "license": facts.licence.name,
        "language": ["en"],
        "library_name": "transformers",
        "tags": ["prover-verifier-game", "legibility", model.kind],
        **({} if base is None else {"base_model": base.model}),
    }
    if model.kind == "prover":
        rounds = {r.round: r for r in facts.summary_rounds}
        head["pipeline_tag"] = "text-generation"
        return _card(
            "prover_card.md.j2",
            head,
            facts,
            model=model,
            weights=weights,
            round=None if model.round is None or model.arm != GAME else rounds[model.round],
            policy=facts.policy_of(model.arm, model.round),
        )
    assert model.judge is not None, "a verifier is a judge"
    settings = model.judge.settings(facts.config)
    judged = facts.summary.held_out_judge if model.judge == HELD_OUT_JUDGE else None
    plain = settings.score == "last_token" and settings.ensemble == 1
    head["pipeline_tag"] = "text-classification"
    return _card(
        "verifier_card.md.j2",
        head,
        facts,
        model=model,
        weights=weights,
        settings=settings,
        plain=plain,
        started_from=_model_name(facts.folder, str(model.judge), settings.model),
        training=facts.folder.stored(model.phase, TRAINING, VerifierTraining),
        judged=judged,
        remarks=_remarks(judged) if judged else [],
        verified=next((r.verifier for r in facts.summary_rounds if r.round == model.judge.round), None),
    )


def _card(template: str, head: dict[str, Any], facts: CardFacts, **values: Any) -> str:
    made = Environment(
        loader=PackageLoader("legibility.sharing"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(
        number=lambda value, digits=0: number(value, digits),
        percent=percent,
        bounds=_bounds,
        thousands=lambda value: f"{value:,}",
        capitalised=lambda text: text[:1].upper() + text[1:],
        cell=lambda text: str(text).replace("|", "\\|"),
        fenced=_fenced,
        python=repr,
    )
    text = made.get_template(template).render(run=facts, **values)
    start = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    return f"---\n{start}---\n\n" + re.sub(r"\n{3,}", "\n\n", text)


def _bounds(bounds: Iterable[float | None]) -> str:
    low, high = bounds
    return f" ({NO_INTERVAL})" if low is None or high is None else f" [{percent(low)}, {percent(high)}]"


def _fenced(text: str) -> str:
    """Text as a block of code, whatever backticks it holds."""
    longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _model_name(run: RunFolder, role: str, model: str) -> str:
    """A hub id with its commit, a built-in model, or the last name of a folder."""
    found = next((m for m in run.manifest().models or [] if m.role in (role, role.split()[0])), None)
    if found is not None and found.commit is not None and found.model == model:
        return f"[{model}](https://huggingface.co/{model}) at {found.commit[:12]}"
    return f"`{printable(Path(model).name)}`"


def _remarks(judge: JudgeSummary) -> list[str]:
    """What a held-out judge can and cannot do; a model in a folder goes by its last name."""
    told = "\n".join(judge.remarks)
    for model in (judge.model, judge.verifier_model):
        if Path(model).is_absolute():
            told = told.replace(model, Path(model).name)
    return told.splitlines()


def _size(count: int) -> str:
    """The hub's word for a number of rows."""
    for limit, name in ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")):
        if count < limit:
            return name
    return "1M<n<10M"
