"""An experiment's summary as Markdown tables: for docs/results.md and the grid runner."""

from __future__ import annotations

from pathlib import Path

from legibility.reporting.markdown import markdown_table
from legibility.weak_to_strong.experiment_page import accuracy, gap
from legibility.weak_to_strong.experiment_schema import (
    AutoAlignerSection,
    ExperimentSummary,
    GameTeacherSection,
    GenerationSection,
    InContextSection,
    StudentEntry,
)


def experiment_tables(summary: ExperimentSummary) -> str:
    """Every table of one experiment."""
    parts = [_intro(summary), _supervisors(summary), _grid(summary), _during(summary), _focus(summary)]
    parts += [_aligner(summary.auto_aligner)] if summary.auto_aligner else []
    parts += [_game(summary.game_teacher)] if summary.game_teacher else []
    parts += [_in_context(summary.in_context)] if summary.in_context else []
    parts += [_generation(summary.generation)] if summary.generation else []
    return "\n\n".join(p for p in parts if p) + "\n"


def _intro(s: ExperimentSummary) -> str:
    items = ", ".join(f"{n} {p}" for p, n in s.items.items())
    seeds = f"{len(s.seeds)} seed{'s' if len(s.seeds) > 1 else ''}"
    return (
        f"Task `{s.task}`{' on text of ' + Path(str(s.text)).name if s.text else ''}; {items} items; {seeds}; brackets are "
        f"{100 * s.confidence_level:g} % bootstrap intervals over {s.test_groups} test problems and the seeds. Accuracies in percent."
    )


def _supervisors(s: ExperimentSummary) -> str:
    rows = [(w.model, w.teacher, w.oversight, f"{w.parameters:,}", accuracy(w.accuracy)) for w in s.weak]
    rows += [
        (
            c.model,
            "*ceiling*" + (" (probe)" if c.objective == "probe" else ""),
            "",
            f"{c.parameters:,}",
            accuracy(c.accuracy),
        )
        for c in s.ceiling
    ]
    return markdown_table(["model", "teacher", "oversight", "parameters", "test accuracy"], rows)


def _grid(s: ExperimentSummary) -> str:
    """PGR of the plain students: one row per pair, one column per objective."""
    plain = [x for x in s.students if x.plain]
    objectives = list(dict.fromkeys(x.objective for x in plain))
    cells = {(x.pair, x.objective): f"{_share(x.accuracy.value)}; {gap(x.pgr)}" for x in plain}
    rows = [
        (" → ".join(pair), *(cells.get((pair, objective), "–") for objective in objectives))
        for pair in dict.fromkeys(x.pair for x in plain)
    ]
    return "Accuracy; PGR of the last step (– : not run, or no size in between):\n\n" + markdown_table(
        ["weak → strong", *objectives], rows
    )


def _during(s: ExperimentSummary) -> str:
    """What training on weak labels does to truth: the last step against chosen ones, for the widest gap of the grid."""
    plain = [x for x in s.students if x.plain and len(x.curve) > 1]
    if not plain:
        return ""
    widest = max((x.sizes.ratio, x.pair) for x in plain)[1]
    rows = [
        (
            x.objective,
            " → ".join(_share(p.true) for p in x.curve),
            " → ".join(_share(p.weak) for p in x.curve),
            accuracy(x.accuracy),
            accuracy(x.best.accuracy),
            accuracy(x.oracle_best.accuracy),
            _agreement(x),
        )
        for x in plain
        if x.pair == widest
    ]
    header = [
        "objective",
        "truth during training",
        "weak labels during training",
        "last step",
        "best on weak labels",
        "best on truth (oracle)",
        "agrees where supervisor right / wrong",
    ]
    return (
        f"{' → '.join(widest)} during training, test accuracies; the best step is chosen on validation, by weak labels (a choice open to a user) or by truth "
        f"(open to nobody):\n\n{markdown_table(header, rows)}"
    )


def _focus(s: ExperimentSummary) -> str:
    """Students whose teacher is an ensemble or has help."""
    rows = [
        (
            " → ".join(x.pair),
            x.teacher,
            x.oversight,
            x.objective,
            accuracy(x.accuracy),
            gap(x.pgr),
            gap(x.pgr_over_supervisor),
            _agreement(x),
        )
        for x in s.students
        if not x.plain
    ]
    if not rows:
        return ""
    header = [
        "weak → strong",
        "teacher",
        "oversight",
        "objective",
        "student accuracy",
        "PGR",
        "PGR over its supervisor",
        "agrees where supervisor right / wrong",
    ]
    return "Better teachers and oversight:\n\n" + markdown_table(header, rows)


def _aligner(a: AutoAlignerSection) -> str:
    rows = [
        (
            d.generation,
            d.model,
            d.seeds,
            _share(d.trusted_agreement),
            _share(d.agreement_with_generation_0),
            _share(d.test_accuracy),
            d.alarms,
        )
        for d in a.drift
    ]
    drift = markdown_table(
        [
            "generation",
            "model",
            "seeds that reached it",
            "agrees with trusted set",
            "with generation 0",
            "test accuracy",
            "alarms",
        ],
        rows,
    )
    compared = (
        ("auto-aligner", a.auto_aligner),
        ("one jump, calibrated as the auto-aligner's", a.one_jump_calibrated),
        ("one jump", a.one_jump),
        ("bootstrapping", a.bootstrapping),
    )
    paths = markdown_table(
        ["path", "accuracy", "PGR"], [(n, accuracy(path.accuracy), gap(path.pgr)) for n, path in compared if path]
    )
    return f"Recursive auto-aligner ({' → '.join(a.generations)}):\n\n{drift}\n\n{paths}"


def _game(g: GameTeacherSection) -> str:
    rows = []
    for found in g.sets:
        rows += [
            (
                found.text,
                f"verifier of round {t.round}",
                accuracy(t.teacher_accuracy),
                accuracy(t.student_accuracy),
                accuracy(found.ceiling),
                gap(t.pgr),
            )
            for t in found.teachers
        ]
        rows.append(
            (
                found.text,
                "last − first",
                accuracy(found.teacher_last_minus_first),
                accuracy(found.student_last_minus_first),
                "",
                "",
            )
        )
    said = ", ".join(f"round {r} {_share(a)}" for r, a in g.label_accuracy.items())
    return (
        f"The game as a teacher: {g.student} taught by the first and the last verifier on {g.student_items} prover-half solutions (label accuracy: {said}).\n\n"
        + markdown_table(["test text", "teacher", "teacher's accuracy", "student's accuracy", "ceiling", "PGR"], rows)
    )


def _in_context(c: InContextSection) -> str:
    rows = [
        (
            r.select,
            "yes" if r.confidence else "no",
            accuracy(r.accuracy),
            f"{r.auroc:.2f}",
            _share(r.says_right),
            f"{_share(r.otherwise.accuracy)} ({_share(r.otherwise.says_right)})",
        )
        for r in c.rows
    ]
    kinds = ("uncalibrated", "calibrated")
    reading, other = kinds if c.reading == "raw" else kinds[::-1]
    taught = f", after {c.format_steps} steps on the form with {c.trusted} trusted items" if c.format_steps else ""
    return (
        f"In context: {c.model}{taught}, with {c.demonstrations} demonstrations labelled by {c.weak} (itself {accuracy(c.weak_accuracy)}, "
        f"AUROC {c.weak_auroc:.2f}, on the {c.queries} queries):\n\n"
        + markdown_table(
            [
                "demonstrations",
                "confidence shown",
                f"accuracy, {reading}",
                "AUROC",
                "says “right”",
                f"accuracy (says “right”), {other}",
            ],
            rows,
        )
    )


def _generation(g: GenerationSection) -> str:
    row = (
        f"{g.sizes.weak} → {g.sizes.strong}",
        accuracy(g.weak),
        _share(g.weak_label_accuracy),
        accuracy(g.start),
        accuracy(g.accuracy),
        accuracy(g.ceiling),
        gap(g.pgr),
    )
    header = [
        "weak → strong",
        "weak accuracy",
        "right among its labels",
        "strong, untaught",
        "student accuracy",
        "ceiling",
        "PGR",
    ]
    return f"Generating answers ({g.test_problems} test problems):\n\n" + markdown_table(header, [row])


def _agreement(x: StudentEntry) -> str:
    return f"{_share(x.agreement.supervisor_right)} / {_share(x.agreement.supervisor_wrong)}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
