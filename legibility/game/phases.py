"""Where each phase of a game stands in the run folder. No other module of the game spells these paths.

A phase goes by its folder's path inside the run: "warm_start", "rounds/02/prover".
"""

from __future__ import annotations

from pathlib import Path

GAME = "game"
"""The arm whose rounds stand at the top of the run folder; those of other arms stand below theirs."""

WARM_START, BASE, JUDGE = "warm_start", "base", "judge"


def round_folder(index: int, arm: str = GAME) -> str:
    """A round's folder. It holds the round's phases and is none itself."""
    return f"rounds/{index:02d}" if arm == GAME else f"arms/{arm}/rounds/{index:02d}"


def round_verifier(index: int, arm: str = GAME) -> str:
    """The phase that trains a round's verifier. Round 0's learns from base text alone, so all arms share the game's."""
    return f"{round_folder(index, arm if index else GAME)}/verifier"


def round_prover(index: int, arm: str = GAME) -> str:
    """The phase that trains a round's prover."""
    return f"{round_folder(index, arm)}/prover"


def round_collection(index: int, arm: str = GAME) -> str:
    """The phase in which a round's prover writes for later verifiers and for the reports."""
    return f"{round_folder(index, arm)}/collection"


def arm_folder(arm: str) -> str:
    """The folder of an arm beside the game. It holds the arm's phases and is none itself."""
    return f"arms/{arm}"


def arm_prover(arm: str) -> str:
    """The phase that trains the prover of an arm beside the game."""
    return f"arms/{arm}/prover"


def arm_collection(arm: str) -> str:
    """The phase in which the prover of an arm beside the game writes for the reports."""
    return f"arms/{arm}/collection"


def arm_warm_start(arm: str) -> str:
    """The phase in which the policy that an arm's provers start from is fine-tuned."""
    return f"arms/{arm}/warm_start"


def arm_figures(arm: str) -> str:
    """The phase in which an arm with rounds measures what only it has."""
    return f"arms/{arm}/figures"


def arm_reader(arm: str) -> str:
    """The phase that trains an arm's reader: a verifier that has learnt from all that the arm wrote."""
    return f"arms/{arm}/reader"


EVALUATION = "evaluation"
"""Folder of what was made of the finished game: phases of its own, no part of the game."""


ALONE = "alone"
"""In place of an arm's name: the weak model alone, with nothing handed over."""


def handoff_folder(name: str) -> str:
    """The phase in which a weak model goes on with the text of an arm."""
    return f"{EVALUATION}/handoff/{name}"


def sufficiency_folder(name: str) -> str:
    """The phase in which a weak model reads the answer from the steps of an arm's text."""
    return f"{EVALUATION}/sufficiency/{name}"


EARLIER = "earlier"
"""Folder of what was moved aside when a run got more rounds. Nothing in it is a phase of the run."""


def earlier_folder(rounds: int) -> str:
    """Where the summary, arms and so on of a game stand that had so many rounds before it got more."""
    return f"{EARLIER}/rounds_{rounds:02d}"


# --- Inside a phase that trains --------------------------------------------------------------------

METRICS_LOG = "metrics.jsonl"
"""Step metrics, a line a step, each line written as its step ends."""

STEPS = ".steps.tmp"
"""In a prover phase under way: a parquet file of completions per step. They are in solutions.parquet in the end."""


def step_file(work: Path, step: int) -> Path:
    """Where a step's completions stand while the phase is under way; makes the folder."""
    (work / STEPS).mkdir(exist_ok=True)
    return work / STEPS / f"{step:05d}.parquet"


_SAVED = "step_"


def saved_prover_name(step: int) -> str:
    """The folder of an intermediate prover, inside its prover phase."""
    return f"{_SAVED}{step:05d}"


def saved_provers(folder: Path) -> list[tuple[int, Path]]:
    """Step and folder of every intermediate prover saved in a prover phase, in order."""
    return [(int(p.name.removeprefix(_SAVED)), p) for p in sorted(folder.glob(f"{_SAVED}*"))]
