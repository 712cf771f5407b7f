"""Write docs/schemas/: a JSON Schema of every JSON file the package writes, and a page that lists them.

python scripts/file_schemas.py            # show what differs; exit 1 if anything does
python scripts/file_schemas.py --write    # write them anew
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from generated.pages import settle
from pydantic import BaseModel, RootModel

from legibility import checkpoint_files, verifier_course
from legibility.evaluation import doubts, groups, merged_seeds, reading_schema, schema, summary_schema
from legibility.frontier import frontier_schema
from legibility.game import human_record, phase_checkpoints, run_records
from legibility.integrations import verl
from legibility.judging import results_schema, study_schema
from legibility.models import score_heads, verifier_ensemble, warm_start
from legibility.planning import game_plan
from legibility.script import run_script
from legibility.settings import models_in
from legibility.weak_to_strong import cells, experiment_schema
from legibility.weak_to_strong.analyses import game_teacher, generation, in_context

DOCS = Path(__file__).resolve().parents[1] / "docs" / "schemas"


class File(NamedTuple):
    """A kind of file: its place below the folder named, and the model it is written from."""

    place: str
    model: type[BaseModel]


FILES: dict[str, list[File]] = {
    "A run": [
        File("manifest.json", run_records.Manifest),
        File("summary.json", summary_schema.Summary),
        File("resources.json", run_records.Resources),
        File("human.json", human_record.HumanRecord),
        File("…/DONE", run_records.Done),
        File("base/metrics.json", run_records.BaseMetrics),
        File("rounds/NN/verifier/training.json", run_records.VerifierTraining),
        File("rounds/NN/verifier/score_head.json", score_heads.HeadSettings),
        File("rounds/NN/verifier/ensemble.json", verifier_ensemble.EnsembleRecord),
        File("rounds/NN/prover/training.json", run_records.ProverTraining),
        File("warm_start/metrics.json", run_records.WarmStartMetrics),
        File("….tmp/.checkpoints.tmp/…/checkpoint.json", checkpoint_files.CheckpointRecord),
        File("….tmp/.checkpoints.tmp/…/state.json of a prover", phase_checkpoints.ProverSoFar),
        File("….tmp/.checkpoints.tmp/…/state.json of a verifier", verifier_course.VerifierSoFar),
        File("….tmp/.checkpoints.tmp/…/state.json of a warm start", warm_start.WarmStartSoFar),
        File("evaluation/attacks/…/training.json", run_records.AttackTraining),
        File("evaluation/arms/correctness_short/training.json", run_records.LengthPenalisedTraining),
        File("arms/decoupled/rounds/NN/prover/training.json", run_records.TranslationTraining),
        File("arms/decoupled/figures/figures.json", run_records.TranslationFigures),
        File("arms/rft/prover/training.json", run_records.RejectionTraining),
        File("arms/tandem/prover/training.json", run_records.TandemTraining),
        File("evaluation/matrix.json", schema.Matrix),
        File("evaluation/soundness.json", schema.SoundnessFile),
        File("evaluation/best_of_n.json", schema.BestOfNFile),
        File("evaluation/attacks.json", schema.AttacksFile),
        File("evaluation/survival.json", schema.SurvivalFile),
        File("evaluation/robustness.json", schema.RobustnessFile),
        File("evaluation/tax.json", schema.Tax),
        File("evaluation/subtlety.json", schema.SubtletyFile),
        File("evaluation/separability.json", schema.SeparabilityFile),
        File("evaluation/hacking.json", schema.HackingFile),
        File("evaluation/handoff.json", reading_schema.HandoffFile),
        File("evaluation/invariance.json", reading_schema.InvarianceFile),
        File("evaluation/acceptance.json", reading_schema.AcceptanceFile),
        File("evaluation/sufficiency.json", reading_schema.SufficiencyFile),
        File("evaluation/doubts.json", doubts.DoubtsFile),
    ],
    "A prover phase handed over to verl": [
        File("round.json", verl.VerlRound),
        File("checkpoints/global_step_N/score_scale.json", verl.ScaleSoFar),
    ],
    "A plan": [File("what legibility plan --json prints", game_plan.GamePlan)],
    "A comparison of runs": [
        File("compare.json of one group of settings", merged_seeds.Comparison),
        File("compare.json of several", groups.GroupComparison),
        File("frontier.json", frontier_schema.Frontier),
    ],
    "A human study": [
        File("items.jsonl (a line)", study_schema.StudyItem),
        File("doubts.jsonl (a line)", study_schema.ItemDoubts),
        File("assignments.jsonl (a line)", study_schema.Slot),
        File("key.jsonl (a line)", study_schema.KeyEntry),
        File("checksums.json", study_schema.Checksums),
        File("provenance.json", study_schema.Provenance),
        File("invites.jsonl (a line)", study_schema.Invite),
        File("organiser.json", study_schema.Organiser),
        File("server.jsonl (a line)", study_schema.ClaimEvent),
        File("server.jsonl (a line)", study_schema.ShownEvent),
        File("server.jsonl (a line)", study_schema.JudgmentEvent),
        File("refused.jsonl (a line)", study_schema.RefusedRow),
        File("simulation/truth.json", study_schema.SimulationTruth),
        File("simulation/coverage.json", study_schema.Coverage),
        File("analysis/results.json", results_schema.StudyResults),
    ],
    "A weak-to-strong experiment": [
        File("summary.json", experiment_schema.ExperimentSummary),
        File("cells/…/cell.json", cells.CellInfo),
        File("cells/…/cell.json", cells.EnsembleInfo),
        File("cells/…/cell.json", game_teacher.GameTeacherInfo),
        File("cells/…/cell.json", generation.GenerationInfo),
        File("cells/…/cell.json", in_context.InContextInfo),
    ],
}


def main(
    write: Annotated[bool, typer.Option("--write", help="Write what differs; otherwise it is only shown.")] = False,
) -> None:
    """The schemas and the page that lists them: what differs from them, or all of them written again."""
    texts = {DOCS / name: text for name, text in pages().items()}
    settle(texts, write=write, stale=[path for path in DOCS.glob("*") if path not in texts])


def pages() -> dict[str, str]:
    """File name in docs/schemas -> its text."""
    lines = [
        "# File schemas",
        "",
        "Every JSON file the package writes is written from a typed model; these are the models as JSON Schema, generated by",
        "`scripts/file_schemas.py`. `schema` in a file is the version of its layout. A number that is not defined is `null`.",
        "Completions stand in `solutions.parquet` and step metrics in `metrics.jsonl`; [metrics](../metrics.md) explains their columns.",
    ]
    made: dict[str, str] = {}
    for title, files in FILES.items():
        lines += ["", f"## {title}", "", "| file | what it is | schema |", "|---|---|---|"]
        for file in files:
            name = f"{file.model.__name__}.json"
            made[name] = schema_text(file.model)
            lines.append(f"| `{file.place}` | {first_line(file.model)} | [{file.model.__name__}]({name}) |")
    return {"index.md": "\n".join(lines) + "\n", **made}


def schema_text(model: type[BaseModel]) -> str:
    """The JSON Schema of what a model writes."""
    return json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def first_line(model: type[BaseModel]) -> str:
    """What the file holds, from the docstring of the model (of a line, where the file is a list)."""
    if issubclass(model, RootModel):
        (row,) = models_in(model.model_fields["root"].annotation)
        return f"a list: {first_line(row)}"
    line = (model.__doc__ or "").strip().split("\n")[0]
    return (line.partition(": ")[2] or line).split(". ")[0].removesuffix(".")


if __name__ == "__main__":
    run_script(main)
