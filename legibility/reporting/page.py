"""The HTML page: one file, no external requests, model text always escaped.

Completions are text a model wrote, so they are data, never markup: jinja2 escapes everything, control
characters are made visible, and the page forbids scripts by its own content policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from legibility.evaluation.text_sets import arm_key, text_key, verdict_key
from legibility.files import write_atomic
from legibility.game.run_folder import RunFolder
from legibility.metrics import LEAST_UNITS, NO_INTERVAL
from legibility.pasted import own_command
from legibility.reporting.contents import anchored
from legibility.reporting.data import ReportData, read_run
from legibility.reporting.drawing import DARK, LIGHT
from legibility.reporting.evaluation_figures import pooled_texts
from legibility.reporting.figures import figures
from legibility.reporting.images import Image, save_image
from legibility.reporting.marked_solution import printable
from legibility.reporting.robustness_figure import last_rates
from legibility.stored import Interval

HERE, UNDEFINED = "legibility.reporting", "undefined"


def write_report(run: RunFolder) -> Path:
    """Write `<run>/report.html` and `<run>/figures/*.png`; returns the page's path.

    Raises UserError where no round is finished yet or the run's files were changed.
    """
    data = read_run(run)
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    light, dark = figures(data, LIGHT), figures(data, DARK)
    images = {name: save_image(folder / f"{name}.png", figure, dark[name]) for name, figure in light.items()}
    target = run.path / "report.html"
    write_atomic(target, render(data, images))
    return target


def render(data: ReportData, images: Mapping[str, Image]) -> str:
    """The page as text. `images`: figure name -> image."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            summary=data.summary,
            rounds=data.summary_rounds,
            people=any(policy.checked_by("people") is not None for policy in data.policies),
            pooled_texts=pooled_texts,
            last_rates=last_rates,
            images=images,
            settings=settings_line(data),
            decoding=decoding_line(data),
            duration=duration,
            cards=cards(data),
        )
    )


def environment(package: str = HERE) -> Environment:
    """The templates of a package and the page they extend, their escaping and their filters."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(HERE)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["anchored"] = anchored
    made.filters.update(number=number, signed=signed, percent=percent, interval=interval, points=points)
    made.filters.update(printable=printable, text_key=text_key, verdict_key=verdict_key, arm_key=arm_key)
    made.globals.update(beside=beside, least_units=LEAST_UNITS)
    return made


def beside(what: str, *words: str) -> Markup:
    """A command on a folder that a page is about (`what`: "the run"), whose paths begin at its name.

    A page goes where its folder goes, so a path from where it was made would soon lead nowhere: it says where to type.
    """
    return Markup("<code>{}</code>, typed in the folder that holds {}").format(own_command(*words), what)


@dataclass(frozen=True)
class Card:
    """A number on top of the page: its interval ("" where unknown), its colour, and a sentence that says what it means."""

    name: str
    value: str
    interval: str
    colour: str
    meaning: str


def cards(data: ReportData) -> list[Card]:
    """The numbers on top; one that the run has yet to compute says so."""
    last, correctness = data.summary_rounds[-1], data.correctness_only
    tax, retained = data.summary.legibility_tax, data.summary.retained_gain
    equal = data.summary.legibility_tax_equal_helpful_samples
    found = [
        Card(
            "start accuracy",
            percent(data.start.accuracy.value),
            accuracy_bounds(data.start.accuracy),
            "start",
            "Share of test answers the prover gets right before any game.",
        ),
        Card(
            f"helpful accuracy, round {last.round}",
            percent(last.helpful_accuracy),
            interval(last.helpful_interval),
            "helpful",
            "The same prover after the last finished round, asked to be right and to convince the verifier.",
        ),
        Card(
            "correctness-only accuracy",
            percent(correctness.accuracy.value if correctness else None),
            accuracy_bounds(correctness.accuracy) if correctness else "",
            "correctness",
            "The same prover paid for right answers only, with no verifier to convince; same steps and KL penalty.",
        ),
        Card(
            "legibility tax",
            signed(tax.value, 100, " points"),
            _range(tax),
            "text",
            "Accuracy given up for being checkable: correctness-only minus game, at equal PPO steps.",
        ),
        Card(
            "tax at equal helpful samples",
            signed(equal.value, 100, " points"),
            _range(equal),
            "text",
            f"The same with the correctness-only arm after as many helpful training samples as the game's last round{_samples(data)}.",
        ),
        Card(
            "retained gain",
            percent(retained.value),
            _range(retained, "%"),
            "text",
            "Share of the correctness-only arm's gain over the start that the game keeps.",
        ),
    ]
    if data.finished:
        return found
    # undefined is a result; what is still to come is not
    return [replace(card, value="not yet") if card.value == UNDEFINED else card for card in found]


def _samples(data: ReportData) -> str:
    """How many helpful samples a problem and in all each arm has seen there; the arm without a sneaky role draws twice
    as many problems a step."""
    correctness, ppo = data.summary.arms.correctness, data.config.ppo
    if correctness is None:
        return ""
    of_a_step = ppo.problems_per_step * ppo.samples_per_role
    game, other = data.summary_rounds[-1].steps * of_a_step, max(1, correctness.steps // 2) * 2 * of_a_step
    seen = f"{game:,}" if game == other else f"{game:,} and {other:,}"
    return f": {seen}, {ppo.samples_per_role} a problem; both are read on {data.summary.decoding.samples} samples of every test problem"


def settings_line(data: ReportData) -> str:
    """The settings that matter most, in one line."""
    c = data.config
    adapters = f" with LoRA (rank {c.prover.lora.r})" if c.prover.lora else ""
    stop = "or until the verifier is fooled" if c.stop.rule == "fooled" else "fixed"
    return (
        f"{c.game.rounds} round{'s' if c.game.rounds > 1 else ''} of at most {c.ppo.steps} PPO steps ({stop}), reward {c.reward.kind.upper()} on "
        f"{'raw' if c.reward.scale == 'none' else c.reward.scale + '-scale'} scores, KL coefficient {c.ppo.kl_coefficient:g}; "
        f"prover {Path(c.prover.model).name}{adapters}, verifier {Path(c.verifier.model).name} "
        f"({data.summary_rounds[0].verifier.parameters:,} parameters, {c.verifier.loss.replace('_', '-')} loss)"
    )


def decoding_line(data: ReportData) -> str:
    """n and decoding of every test figure."""
    d = data.summary.decoding
    return (
        f"{d.test_problems} test problems × {d.samples} samples per role, temperature {d.temperature:g}, "
        f"at most {data.config.sampling.max_new_tokens} new tokens"
    )


# --- Formatting ------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 2) -> str:
    """A plain number with a true minus sign."""
    return UNDEFINED if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, factor: float = 1, unit: str = "", digits: int = 1) -> str:
    """A difference, with its sign and unit."""
    return UNDEFINED if value is None else f"{value * factor:+.{digits}f}{unit}".replace("-", "−")


def percent(value: float | None) -> str:
    """A share of 1 in percent."""
    return UNDEFINED if value is None else f"{100 * value:.1f}%".replace("-", "−")


def interval(bounds: Sequence[float | None], factor: float = 100, digits: int = 1) -> str:
    """Bounds times `factor`; too few units, or resamples that all agree, give none, and it says so."""
    low, high = bounds
    if low is None or high is None:
        return NO_INTERVAL
    return f"{factor * low:.{digits}f} to {factor * high:.{digits}f}".replace("-", "−")


def accuracy_bounds(accuracy: Interval) -> str:
    """`interval` of an accuracy."""
    return interval((accuracy.low, accuracy.high))


def _range(estimate: Interval, unit: str = "") -> str:
    if estimate.value is None:
        return ""
    found = accuracy_bounds(estimate)
    return found if found == NO_INTERVAL else found + unit


def points(difference: Interval) -> str:
    """A difference of accuracies in points, with its interval."""
    known = difference.low is not None
    bounds = f"[{_points(difference.low)}, {_points(difference.high)}]" if known else f"({NO_INTERVAL})"
    return UNDEFINED if difference.value is None else f"{_points(difference.value)} points {bounds}"


def _points(share: float | None) -> str:
    return number(None if share is None else 100 * share, 1)


def duration(seconds: float) -> str:
    """A time in hours, minutes and seconds, for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
