"""Write the small sample of generated problems in data/sample/ (run from the repository root)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from legibility.problems.generator import FAMILIES, flawed_solution, generate_problems, worked_solution
from legibility.problems.storage import problem_record

OUT = Path("data/sample/problems.jsonl")
COUNT, SEED = 112, 2024


def main() -> None:
    rng = np.random.default_rng(SEED)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with open(OUT, "w", encoding="utf-8") as handle:
        for i, family in enumerate(FAMILIES):
            for problem in generate_problems(
                COUNT // len(FAMILIES), SEED + i, families=[family], prefix=f"sample-{family}"
            ):
                flawed, flaw = flawed_solution(problem, rng)
                record = problem_record(problem) | {
                    "other_style": worked_solution(problem, rng),
                    "flawed": flawed,
                    "flaw": flaw,
                }
                handle.write(json.dumps(record) + "\n")
    print(f"{OUT}: {COUNT} problems")


if __name__ == "__main__":
    main()
