"""`legibility simulate-raters`: a study judged by made-up raters (`simulated_raters`), to plan it and try the analysis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from legibility.errors import UserError
from legibility.judging.coverage import coverage
from legibility.judging.joined_table import study_conditions
from legibility.judging.simulated_raters import SimulatedRaters, draw, parse_accuracy
from legibility.judging.study_folder import SIMULATION_FOLDER, StudyFolder
from legibility.judging.study_schema import Coverage, SimulationTruth
from legibility.judging.table import SIMULATION, TABLE, Judgment, to_frame, write_table
from legibility.pasted import own_command
from legibility.stored import write_stored


@dataclass(frozen=True)
class Simulated:
    """What a simulation made: `judgments` of `raters` in `table`, and the coverage where it was asked for."""

    study: Path
    table: Path
    judgments: int
    raters: int
    coverage: Coverage | None

    def lines(self) -> list[str]:
        """For the terminal."""
        return [
            f"SIMULATION, not people: {self.judgments} judgments of {self.raters} made-up raters in {self.table}",
            *(self.coverage.lines() if self.coverage is not None else []),
            f"next: {own_command('analyze', self.study, '--simulated')}",
        ]


def simulate_study(
    study: StudyFolder,
    *,
    accuracy: str,
    lapse: float,
    careless: float,
    raters: int | None,
    seed: int,
    repeats: int = 0,
    gain: float = 0.0,
) -> Simulated:
    """Write STUDY/simulation/judgments.csv and truth.json, and with `repeats` coverage.json of that many studies.

    accuracy: as `parse_accuracy` reads it; lapse, careless, gain: see `SimulatedRaters`; raters: how many come (None: all
    slots). Raises UserError for more raters than slots, or an accuracy that does not fit the study.
    """
    key = study.key()
    count = raters or len(study.slots)
    if count > len(study.slots):
        raise UserError(f"--raters {count}: the study has {len(study.slots)} slots; export it with more --raters")
    if gain and not study.doubts:
        raise UserError(f"--gain {gain:g}: no doubts are shown in this study; export it with --assisted item")
    asked = parse_accuracy(accuracy, study_conditions(key))
    model = SimulatedRaters(asked, lapse=lapse, careless=careless, gain=gain)
    drawn = draw(study, key, model, count, np.random.default_rng([seed, 0x51]))
    folder = study.path / SIMULATION_FOLDER
    folder.mkdir(exist_ok=True)
    rows = [
        Judgment(
            r.item_id, r.rater, bool(r.verdict), round(float(r.seconds), 2), tool=SIMULATION, assisted=bool(r.assisted)
        )
        for r in drawn.itertuples(index=False)
    ]
    write_table(folder / TABLE, to_frame(rows))
    truth = SimulationTruth(
        seed=seed,
        lapse=lapse,
        careless=careless,
        raters=count,
        gain=gain,
        truth={c: model.truth(c) for c in model.accuracy},
        careless_raters=sorted(drawn.rater[drawn.careless].unique().tolist()),
    )
    write_stored(folder / "truth.json", truth)
    found = coverage(study, model, count, repeats, seed=seed) if repeats else None
    if found is not None:
        write_stored(folder / "coverage.json", found)
    return Simulated(study.path, folder / TABLE, len(drawn), count, found)
