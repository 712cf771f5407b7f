"""The page of a comparison: panels for what is known, every figure and test by its label."""

from __future__ import annotations

from legibility.evaluation.attack_schema import AtRisk
from legibility.evaluation.attacks_over_seeds import RateOverSeeds, SurvivalOverSeeds
from legibility.evaluation.claims import Claim
from legibility.evaluation.groups import ComparedRun, GroupComparison, compare_groups, grouped
from legibility.evaluation.headline import BEST_OF_16, FALSE_POSITIVE_RATE, ROLE_PROBE_AUC, SNEAKY_ACCURACY, STEPS
from legibility.evaluation.merged_seeds import ComparedFigure, Comparison, PairedTest, merge
from legibility.evaluation.over_seeds import over_seeds
from legibility.reporting import write_comparison
from legibility.reporting.comparison import groups_figure, rounds_figure
from legibility.reporting.drawing import LIGHT
from tests.browser import Browser
from tests.evaluation.summaries import summary_of
from tests.reporting.pages import Page


def figure(name: str, label: str, values, index=None, verifier=None) -> ComparedFigure:
    return ComparedFigure(name=name, label=label, round=index, verifier=verifier, **dict(over_seeds(values, 0.95)))


def comparison() -> Comparison:
    """Two rounds, two seeds; nothing is known of best-of-n and the role probe."""
    figures = [figure("legibility_tax", "legibility tax", [0.125, 0.25])]
    for r in (0, 1):
        figures += [
            figure("helpful_accuracy", "helpful accuracy", [0.5 + r / 10, 0.75], r),
            figure(SNEAKY_ACCURACY, "sneaky accuracy", [0.25, None], r),
            figure(STEPS, "PPO steps", [20, 40], r),
            figure(FALSE_POSITIVE_RATE, "false-positive rate of its verifier", [0.1, 0.2], r),
            figure(BEST_OF_16, "balanced best-of-16", [None, None], r),
            figure(ROLE_PROBE_AUC, "role probe AUC at the end", [None, None], r),
        ]
    return Comparison(
        runs=["a", "b<i>"],
        seeds=[3, 4],
        confidence_level=0.9,
        figures=figures,
        paired_tests=[PairedTest(name="x", round=None, label="first against second", difference=0.5, p=0.25, n=2)],
        survival=[
            SurvivalOverSeeds(
                verifier=1,
                reward="src",
                median=None,
                low=None,
                high=None,
                n=3,
                censored=1.0,
                cap=40,
                quick=True,
                at_risk=[AtRisk(step=0, attacks=3), AtRisk(step=20, attacks=2)],
                mean_steps=over_seeds([30, 40], 0.9),
            )
        ],
        robustness=[RateOverSeeds(reward="src", verifier=1, at="kl", target=2.0, **dict(over_seeds([0.2, None], 0.9)))],
        claims=[
            Claim(
                family="headline",
                statement="it is so",
                paper="ours",
                measure="a difference",
                bound=0.0,
                aim=0.5,
                p=0.25,
                p_holm=0.5,
                verdict="too few seeds",
                **dict(over_seeds([0.5, 0.75], 0.9)),
            )
        ],
        settings_differ=["ppo.steps: 4 -> 5"],
    )


def test_nothing_sticks_out_of_the_page_at_any_width(tmp_path, browser: Browser) -> None:
    assert browser.faults(write_comparison(comparison(), tmp_path)) == []


def groups() -> GroupComparison:
    """Two groups of as many seeds, and one of a single run, with long names."""
    runs = [
        ComparedRun(
            summary_of(seed, game=0.4 + seed / 20 + updates / 500),
            {"seed": seed, "verifier": {"updates": updates}, "problems": {"train": "<b>" + "data/" * 30}},
        )
        for updates, seeds in ((10, 3), (20, 3), (30, 1))
        for seed in range(seeds)
    ]
    return compare_groups(grouped(runs), 0.9)


def test_groups_stand_side_by_side(tmp_path, browser: Browser) -> None:
    page = write_comparison(groups(), tmp_path)
    assert (tmp_path / "figures/groups.png").read_bytes().startswith(b"\x89PNG")
    found = Page(page.read_text(encoding="utf-8"))
    for shown in ("verifier.updates", "B less A", "C less B", "Paired:", "too few seeds", "tested here", "r0 (seed 0)"):
        assert shown in found.text, shown
    assert browser.faults(page) == []


def test_a_quick_run_among_them_is_named(tmp_path) -> None:
    small = summary_of(0).model_copy(update={"quick": True, "run": "small"})
    runs = [ComparedRun(small, {"verifier": {"updates": 1}}), ComparedRun(summary_of(0), {"verifier": {"updates": 2}})]
    found = Page(write_comparison(compare_groups(grouped(runs), 0.9), tmp_path / "groups").read_text(encoding="utf-8"))
    assert "A quick game among them: small, which" in found.text
    of_one = merge([small, summary_of(1)])
    assert of_one.quick == ["small"]
    assert (
        "A quick game among them: small" in Page(write_comparison(of_one, tmp_path / "seeds").read_text("utf-8")).text
    )


def test_a_number_of_one_seed_says_that_it_has_no_interval(tmp_path) -> None:
    shown = Page(write_comparison(comparison(), tmp_path / "seeds").read_text(encoding="utf-8")).text
    assert shown.count("no interval") == 4  # the reason, the robustness row, sneaky accuracy of two rounds
    assert "fewer than two seeds have the number" in shown
    assert "no interval" in Page(write_comparison(groups(), tmp_path / "groups").read_text(encoding="utf-8")).text


def test_every_group_has_its_line() -> None:
    panel = groups_figure(groups(), LIGHT).axes[0]
    assert panel.get_title(loc="left") == "accuracy: helpful, sneaky dashed"
    assert {text.get_text() for text in panel.texts} == {"A", "B", "C"}
    assert panel.get_ylim()[1] > 1  # a dot there is whole


def test_panels_are_those_with_numbers() -> None:
    drawn = rounds_figure(comparison(), LIGHT)
    titles = [ax.get_title(loc="left") for ax in drawn.axes]
    assert titles == ["accuracy", "steps until fooled, or all", "false-positive rate"]
    means = drawn.axes[1].lines[-1]
    assert list(means.get_xdata()) == [0, 1] and list(means.get_ydata()) == [30, 30]


def test_the_page_has_every_figure_and_test(tmp_path) -> None:
    target = write_comparison(comparison(), tmp_path)
    assert target == tmp_path / "compare.html" and (tmp_path / "figures/seeds.png").read_bytes().startswith(b"\x89PNG")
    page = Page(target.read_text(encoding="utf-8"))
    assert "i" not in page.tags and "b<i> (seed 4)" in page.text and "90% t intervals" in page.text
    for shown in ("legibility tax", "round 1: helpful accuracy", "first against second", "ppo.steps: 4 -> 5"):
        assert shown in page.text
    assert "round 0: balanced best-of-16" not in page.text  # nobody measured it
    assert "beyond the cap" in page.text and "3 (quick)" in page.text and "3 at 0, 2 at 20" in page.text
    assert "35.0" in page.text and "2 nats" in page.text and "20.0%" in page.text
    for shown in ("it is so", "mean ≥ 0.5, interval above 0", "0.625", "too few seeds", "Fewer than 5 seeds"):
        assert shown in page.text


def test_a_single_round_has_one_tick() -> None:
    one = comparison().model_copy(update={"figures": [f for f in comparison().figures if f.round in (None, 0)]})
    assert [t for t in rounds_figure(one, LIGHT).axes[0].get_xticks() if -0.3 <= t <= 0.3] == [0]
