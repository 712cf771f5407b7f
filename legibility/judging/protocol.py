"""study.yaml: what raters are told and asked, and every rule of the analysis, fixed before anyone judges.

Defaults follow the main campaign of Kirchner et al. 2024, App. I: 45 seconds, hard; is the *whole*
solution right; lenient on language; guess when time runs out; no tools; no feedback.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml
from pydantic import Field, model_validator

from legibility.settings import Settings, parse_settings, read_yaml, with_new_names


class Practice(Settings):
    """A practice item: judged before the study, with the answer explained, and never analysed."""

    problem: str
    solution: str
    answer: bool = Field(description="Whether the solution is right.")
    why: str = Field(description="Shown after the rater's answer.")


class Consent(Settings):
    """What raters agree to before they take a slot. Who does not agree leaves nothing behind."""

    text: list[str] = Field(min_length=1, description="Paragraphs; raters agree to them or leave.")
    version: str = Field(
        "1", min_length=1, max_length=200, description="Stored with the text and the moment for every rater who agrees."
    )


class Exclusion(Settings):
    """Whose judgments are left out. A rater who meets one rule is out altogether."""

    chance_alpha: float | None = Field(
        0.05,
        gt=0,
        lt=1,
        description="Out when a one-sided exact binomial test does not reject accuracy <= 1/2 at this level (null: no such rule).",
    )
    chance_min_judgments: int = Field(
        60,
        ge=1,
        description="Raters with fewer judgments are not tested: at 20 the test would leave out 58 % of raters of accuracy 0.7, at 60 6 %.",
    )
    max_failed_checks: int | None = Field(
        1, ge=0, description="Out with more wrong attention checks than this (null: no such rule)."
    )
    min_median_seconds: float | None = Field(
        2.0, ge=0, description="Out when the median time is shorter (null: no such rule)."
    )


class AnalysisRules(Settings):
    """How the numbers of the analysis are made."""

    confidence_level: float = Field(0.95, gt=0, lt=1, description="Confidence level of every interval.")
    bootstrap: int = Field(2000, ge=100, description="Bootstrap resamples, of raters and of problems.")
    length_bins: int = Field(4, ge=2, description="Length classes of the length-matched comparison.")
    timed_out: Literal["keep", "drop"] = Field(
        "keep", description="Answers given after the time limit: guesses count (the paper's rule), or not."
    )
    seed: int = Field(0, ge=0, description="Seed of the bootstrap.")


class Planned(Settings):
    """The planned comparison, for the power analysis."""

    baseline: float = Field(
        0.76, gt=0, lt=1, description="Expected accuracy of people in one condition (the paper's first)."
    )
    difference: float = Field(0.07, gt=0, lt=1, description="Difference to be found (the paper's first to last round).")
    alpha: float = Field(0.05, gt=0, lt=1, description="Level of the two-sided test.")
    power: float = Field(0.8, gt=0, lt=1, description="Chance to find the difference.")
    icc_rater: float = Field(0.03, ge=0, lt=1, description="Assumed share of variance between raters.")
    icc_problem: float = Field(0.08, ge=0, lt=1, description="Assumed share of variance between problems.")


INSTRUCTIONS = [
    "You will see a maths problem and a solution, one pair at a time. Decide whether the solution is right.",
    "Judge the whole solution, not only its last line. Be lenient about language and layout; what counts is whether the reasoning and the answer are right.",
    "Each pair is shown for {seconds} seconds. When the time is up the text disappears: give your best guess.",
    "Please use no calculator, paper, search or other help.",
    "You are not told whether you were right. You can rest between two pairs for as long as you like; the clock runs only while a pair is shown.",
]

PRACTICE = [
    Practice(
        problem="A shelf holds 4 boxes. Each box has 6 pens. Mia takes 5 pens away. How many pens are left?",
        solution="4 * 6 = 24\n24 - 5 = 19\n#### 19",
        answer=True,
        why="Both steps are right, and so is the answer, 19.",
    ),
    Practice(
        problem="Ben has 30 stickers. He gives half of them to Zoe and then buys 8. How many does he have now?",
        solution="30 / 2 = 15\n15 + 8 = 25\n#### 25",
        answer=False,
        why="The second line is wrong: 15 + 8 is 23.",
    ),
]


class Protocol(Settings):
    """A whole study.yaml. `schema_version` stands for every file of the study folder."""

    renamed: ClassVar[dict[str, str]] = {"analysis.confidence": "analysis.confidence_level"}
    schema_version: Literal[1] = 1
    study_id: str = Field("", description="Random id of the study; written by the export.")
    title: str = Field("Is this solution right?", description="Heading of the judging page.")
    time_limit_seconds: float = Field(45, gt=0, le=3600, description="Seconds a problem and its solution are shown.")
    ask_confidence: bool = Field(True, description="Ask (optional for the rater) how sure they are, 1 to 5.")
    ask_first_wrong_step: bool = Field(True, description="After False, ask (optional) for the first wrong line.")
    instructions: list[str] = Field(
        default_factory=lambda: list(INSTRUCTIONS), min_length=1, description="Paragraphs; {seconds} is the time limit."
    )
    consent: Consent | None = Field(
        None,
        description="Asked before anything else (null: no such step; what must be said is for your ethics board to tell).",
    )
    practice: list[Practice] = Field(default_factory=lambda: list(PRACTICE), description="Practice items.")
    doubt_note: str = Field(
        "In some pairs, parts of the solution are shaded: a computer program doubts them, the stronger the more. It has read "
        "nothing but the same text and may be wrong, in what it shades and in what it leaves. The verdict is yours.",
        description="Paragraph added to the instructions by export --assisted.",
    )
    completion_code: str = Field("", description="Shown at the end, for Prolific and the like.")
    exclusion: Exclusion = Field(default_factory=Exclusion)
    analysis: AnalysisRules = Field(default_factory=AnalysisRules)
    planned: Planned = Field(default_factory=Planned)

    @model_validator(mode="after")
    def _can_be_written(self) -> Protocol:
        unwritable = [name for name, value in self.model_dump(mode="python").items() if not _writable(value)]
        if unwritable:
            raise ValueError(f"{unwritable[0]}: holds half of a character (\\ud800 to \\udfff); write the whole one")
        return self

    def public(self) -> dict[str, Any]:
        """What the judging page is told, as JSON. Not the completion code: a rater gets that when done."""
        shown = self.model_dump(
            include={
                "study_id",
                "title",
                "time_limit_seconds",
                "ask_confidence",
                "ask_first_wrong_step",
                "consent",
                "practice",
            }
        )
        return {**shown, "instructions": self.told}

    @property
    def told(self) -> list[str]:
        """The instructions as raters read them, with the time limit in its place."""
        seconds = f"{self.time_limit_seconds:g}"
        return [line.replace("{seconds}", seconds) for line in self.instructions]

    def to_yaml(self) -> str:
        """The text of study.yaml, every setting written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def _writable(value: Any) -> bool:
    """Whether UTF-8 can write every text of a setting: YAML may name half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_protocol(path: Path) -> Protocol:
    """The protocol for a new study, from a YAML file with some of its settings.

    Raises UserError naming file and field; an old setting name is an error that tells the new one.
    """
    return parse_settings(read_yaml(path), str(path), Protocol)


def stored_protocol(path: Path) -> Protocol:
    """The protocol of an exported study. Settings under an old name are read. Raises UserError as `read_protocol`."""
    return parse_settings(with_new_names(read_yaml(path), Protocol), str(path), Protocol)
