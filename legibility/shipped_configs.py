"""The configs that come with the package: where their files stand, what each needs, and what a CONFIG means.

Wherever a command takes a CONFIG it takes the name of one of these or the path of a file. In a clone the files
stand in `configs/`; a wheel holds them inside the package (setup.py).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from legibility.errors import UserError
from legibility.printable import printable


@dataclass(frozen=True)
class ShippedConfig:
    """A config that comes with the package. `needs`, `takes` and `shows` are for people, a line each."""

    name: str
    command: Literal["train", "weak-to-strong"]
    shows: str
    needs: str
    takes: str

    @property
    def file(self) -> Path:
        """Where its file stands."""
        return configs_folder() / f"{self.name}.yaml"

    @property
    def line(self) -> str:
        """The command that plays it."""
        return f"legibility {self.command} {self.name}"


ASSETS = "assets/ in the working folder, which scripts/fetch_assets.py of a clone writes"

SHIPPED = (
    ShippedConfig(
        "nano",
        "train",
        shows="the whole game: four rounds, a verifier that reads, the correctness-only arm",
        needs="a CPU; problems and models are built in",
        takes="7 to 8 minutes on 2 quiet cores; with --quick one small round in about a minute",
    ),
    ShippedConfig(
        "nano-full",
        "train",
        shows="a longer game with the paper's verifier, a head on the last token, which learns style",
        needs="a CPU; problems and models are built in",
        takes="15 minutes or more on 2 quiet cores",
    ),
    ShippedConfig(
        "nano-arms",
        "train",
        shows="the game and seven rivals under one budget, a reader for each, for legibility frontier",
        needs="a CPU; problems and models are built in",
        takes="not timed yet; about three times nano",
    ),
    ShippedConfig(
        "bring-your-own",
        "train",
        shows="a game on problems of yours, 30 or more, which it takes from problems.jsonl in the working folder",
        needs="that file, and the Hugging Face hub for SmolLM2-135M; a CPU will do",
        takes="not timed; some hours on 2 cores",
    ),
    ShippedConfig(
        "paper",
        "train",
        shows="the paper's settings on GSM8K, as close as open models allow; not played by us yet",
        needs="one large GPU, and the Hugging Face hub for GSM8K, Qwen2.5-7B and SmolLM2-135M",
        takes="208 hours on an H100 at most, counted and not timed",
    ),
    ShippedConfig(
        "qwen2.5-1.5b-gsm8k",
        "train",
        shows="a pretrained prover and a verifier that reads on GSM8K, sized by legibility plan; not played by us yet",
        needs="a GPU of 80 GB, and the Hugging Face hub for GSM8K, Qwen2.5-1.5B-Instruct and Qwen2.5-0.5B",
        takes="13 hours on an H100 at most, counted and not timed",
    ),
    ShippedConfig(
        "qwen2.5-7b-gsm8k",
        "train",
        shows="the same with a prover of seven billion weights; not played by us yet",
        needs="eight GPUs of 80 GB, and the Hugging Face hub for GSM8K, Qwen2.5-7B-Instruct and Qwen2.5-0.5B",
        takes="7 hours on eight H100 at most, counted and not timed",
    ),
    ShippedConfig(
        "smollm2-asdiv",
        "train",
        shows="three rounds of a real pretrained model on problems that people wrote (ASDiv)",
        needs=ASSETS,
        takes="two to three hours on 2 cores, counted and not timed",
    ),
    ShippedConfig(
        "smollm2-gsm8k",
        "train",
        shows="a real pretrained model on real GSM8K text: one round, too small to measure anything",
        needs=ASSETS,
        takes="half an hour on 2 cores",
    ),
    ShippedConfig(
        "weak-to-strong-nano",
        "weak-to-strong",
        shows="strong students of weak teachers: performance gap recovered by objective, teacher and oversight",
        needs="a CPU; problems and models are built in",
        takes="12 minutes or more on 2 cores; with --quick under 3 minutes",
    ),
    ShippedConfig(
        "weak-to-strong-smollm2",
        "weak-to-strong",
        shows="a real pretrained student on GSM8K: which of two solutions is right?",
        needs=ASSETS,
        takes="6 minutes on 2 cores",
    ),
)


def configs_folder() -> Path:
    """The folder of the shipped files: inside the package where it was installed from a wheel, else of the clone."""
    package = Path(__file__).parent
    return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def shipped(config: str | Path) -> ShippedConfig | None:
    """The shipped config that a CONFIG names, as "nano" or by the path of its very file; None for any other."""
    for known in SHIPPED:
        if str(config) == known.name or (Path(config).name == known.file.name and _same(Path(config), known.file)):
            return known
    return None


@dataclass(frozen=True)
class ConfigFile:
    """What a CONFIG stands for: its file, and the folder in which its relative paths start."""

    file: Path
    base_dir: Path
    by_name: bool

    def paths_from_here(self, data: Any) -> Any:
        """The file's data with relative paths as `base_dir` has them.

        Files in configs/ name what stands beside that folder (`../assets`). One that is taken by its name stands in
        for a file of the working folder, wherever the package is installed.
        """
        return _without_parent(data) if self.by_name else data


def find_config(config: str | Path) -> ConfigFile:
    """The file behind a CONFIG: a shipped one by its name, any other by its path.

    Raises UserError for a name that is neither.
    """
    known = next((c for c in SHIPPED if c.name == str(config)), None)
    if known is not None:
        return ConfigFile(known.file, Path.cwd(), by_name=True)
    path = Path(config)
    if path.name == str(config) and not path.suffix and not path.exists():
        names = [c.name for c in SHIPPED]
        close = [f"{path}.yaml"] if Path(f"{path}.yaml").is_file() else difflib.get_close_matches(path.name, names, n=1)
        hint = f"did you mean {printable(close[0])}?" if close else "legibility configs lists them"
        raise UserError(f"{path}: no such file, and no shipped config of that name; {hint}")
    return ConfigFile(path, path.resolve().parent, by_name=False)


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.samefile(other)


def _without_parent(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_parent(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_without_parent(value) for value in data]
    return data.removeprefix("../") if isinstance(data, str) else data
