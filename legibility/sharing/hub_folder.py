"""A run as folders for the Hugging Face hub: `dataset/` with every completion, `models/NAME/` with a card for each model.

Each is ready for `hf upload` (`huggingface_hub.upload_folder`); a model with its weights also for `push_to_hub`.
Weights are copied only when asked for.
"""

from __future__ import annotations

from pathlib import Path

from legibility.files import write_atomic
from legibility.game.run_folder import RunFolder
from legibility.pasted import pasted
from legibility.sharing.cards import CardFacts, dataset_card, model_card
from legibility.sharing.completion_set import write_completion_set
from legibility.sharing.shared_models import copy_model, models_of

CARD, DATASET, MODELS = "README.md", "dataset", "models"


def write_hub_folder(run: RunFolder, work: Path, out: Path, *, weights: bool) -> list[str]:
    """Write the folders into `work`, which will be `out`. Raises UserError for files of the run that were changed."""
    facts = CardFacts(run)
    (work / DATASET).mkdir()
    data = write_completion_set(run, work / DATASET)
    write_atomic(work / DATASET / CARD, dataset_card(facts, data))
    models = list(models_of(run))
    for model in models:
        folder = work / MODELS / model.folder
        folder.mkdir(parents=True)
        if weights:
            copy_model(run, model, folder)
        write_atomic(folder / CARD, model_card(facts, model, weights=weights))
    sort = "models with their cards" if weights else "model cards (add --weights for the models)"
    upload = pasted("hf", "upload", "USER/NAME", out / DATASET, "--repo-type", "dataset")
    return [
        f"{out / DATASET}: {data.total:,} completions, {sum(data.problems.values()):,} problems",
        f"{out / MODELS}: {len(models)} {sort}",
        f"read the licence in each card, then: {upload}",
        *([f"a model: {pasted('hf', 'upload', 'USER/NAME', out / MODELS / models[-1].folder)}"] if weights else []),
    ]
