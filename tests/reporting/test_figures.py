"""The report's figures: what is drawn, what is left out, and that matplotlib stays as it was."""

from __future__ import annotations

from dataclasses import replace

import matplotlib

from legibility.game.run_records import Discrimination
from legibility.reporting.drawing import DARK
from legibility.reporting.figures import checkers, figures
from legibility.stored import Interval


def test_figures_leave_matplotlib_alone(data) -> None:
    before = dict(matplotlib.rcParams)
    light, dark = figures(data), figures(data, DARK)
    assert dict(matplotlib.rcParams) == before
    assert light.keys() == dark.keys()
    assert matplotlib.colors.to_hex(dark["health"].get_facecolor()) == DARK.background
    assert not any(hasattr(figure, "number") for figure in light.values())  # pyplot numbers its figures


def test_the_exploit_step_is_marked(data) -> None:
    phase = replace(data.rounds[0], training=data.rounds[0].training.model_copy(update={"steps_to_exploit": 2}))
    figure = figures(replace(data, rounds=[phase, data.rounds[1]]))["rounds"]
    titles = [ax.get_title(loc="right") for ax in figure.axes]
    assert titles[0] == "fooled at step 2" and "fooled" not in titles[1]


def test_many_rounds_wrap_and_undefined_numbers_are_left_out(data) -> None:
    rows = [r.model_copy(update={"round": i}) for i, r in enumerate(data.summary_rounds * 3)]
    rows[1] = rows[1].model_copy(
        update={
            "verifier": rows[1].verifier.model_copy(
                update={"auroc_previous_round": Discrimination(pooled=None, within_role=None, pairwise=None)}
            )
        }
    )
    arms = data.summary.arms.model_copy(update={"game": data.summary.arms.game.model_copy(update={"rounds": rows})})
    summary = data.summary.model_copy(update={"arms": arms, "legibility_tax": Interval()})
    checked = {"last_verifier": Interval(value=0.7), "held_out_judge": Interval()}
    game = [replace(p, checkability=checked) for p in data.game * 3]
    many = replace(
        data, rounds=data.rounds * 3, summary=summary, start=replace(data.start, checkability=checked), game=game
    )
    made = figures(many)
    assert made["rounds"].get_figheight() > made["rounds"].get_figwidth() * 0.8  # two rows of rounds
    assert checkers(many) == ["last_verifier"]
    assert len(made["tax"].axes) == 1
    assert "tax" not in figures(replace(many, game=[replace(game[0], checkability={}), *game[1:]]))


def test_people_need_not_have_judged_every_round(data) -> None:
    """A judge model scores everything; a study may leave rounds out."""
    judged = Interval(value=0.7, low=0.6, high=0.8)
    start = replace(data.start, checkability={"people": judged, "held_out_judge": judged})
    game = [replace(data.game[0], checkability={}), replace(data.game[1], checkability=start.checkability)]
    seen = replace(data, start=start, game=game, correctness_only=None)
    assert checkers(seen) == ["people"]
    (panel,) = figures(seen)["tax"].axes
    assert panel.get_title(loc="left") == "checked by people"
    assert [text.get_text() for text in panel.texts] == ["1", "game", "start"]  # no round 0, no bracket of the tax
    heights = [tuple(line.get_ydata()) for line in panel.lines if len(line.get_ydata()) == 2]
    assert heights.count((0.6, 0.8)) == 2  # the interval of the start and of round 1


def test_the_tax_stands_between_the_last_round_and_the_correctness_arm(data) -> None:
    checked = {"held_out_judge": Interval(value=0.7)}
    policies = {
        "start": replace(data.start, checkability=checked),
        "game": [replace(p, checkability=checked) for p in data.game],
        "correctness_only": replace(data.correctness_only, checkability=checked),
    }
    summary = data.summary.model_copy(update={"legibility_tax": Interval(value=-0.125, low=-0.2, high=0.1)})
    (panel,) = figures(replace(data, summary=summary, **policies))["tax"].axes
    texts = {text.get_text() for text in panel.texts}
    assert {"0", "1", "game", "start", "correctness-only", "legibility tax −12.5 points"} <= texts
