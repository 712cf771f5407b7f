"""The documentation says what is there: generated pages, names, settings, links, commands and code."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from legibility.config import Config, GateSettings
from legibility.config_file import load_config
from legibility.settings import models_in
from tests.support import ROOT, legibility, script

DOCS = ROOT / "docs"
HISTORY = {"log.md"}  # tells what was called how at the time; never edited
GENERATED = {"configuration.md", "weak-to-strong-configuration.md", "cli.md"}
PAGES = [*sorted(p for p in DOCS.glob("*.md") if p.name not in HISTORY), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
WRITTEN = [p for p in PAGES if p.name not in GENERATED]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = {"train", "report", "ask", "evaluate", "attack", "compare", "frontier", "weak-to-strong"} | {
    "export", "judge", "import", "analyze", "simulate-raters", "configs", "view", "new", "plan",
}  # fmt: skip


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of the languages ("" for none named)."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def ids(pages: list[Path]) -> dict[str, Any]:
    return {"argvalues": pages, "ids": [p.name for p in pages]}


# ---------------------------------------------------------------- generated pages


def test_cli_reference_is_up_to_date():
    module = script("cli_reference")
    assert module.PAGE.read_text(encoding="utf-8") == module.render(module.app)


def test_cli_reference_shows_arguments_options_switches_and_choices():
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert {line.removeprefix("## `legibility ").rstrip("`") for line in page.splitlines() if line[:3] == "## "} == (
        COMMANDS
    )
    for row in (
        "| `CONFIG` | path | required |",
        "| `--resume` | switch | off |",
        "| `--report/--no-report` | switch | on |",
        "| `--reward` | `src`, `cgc`, `goodhart` |  |",
        "| `--samples` | integer | `2` |",
    ):
        assert row in page
    assert "legibility train [OPTIONS] CONFIG [OVERRIDES...]" in page


def test_configuration_references_are_up_to_date():
    module = script("config_reference")
    for name, page in module.PAGES.items():
        assert (DOCS / name).read_text(encoding="utf-8") == module.render(*page), (
            f"run scripts/config_reference.py --write: {name}"
        )


@pytest.mark.parametrize("page", ["configuration.md", "weak-to-strong-configuration.md"])
def test_every_row_of_the_configuration_tables_is_one_line(page):
    """A default with a line break, or an unescaped bar, would break the table."""
    rows = [line for line in (DOCS / page).read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert rows and all(len(re.findall(r"(?<!\\)\|", row)) == 5 and row.endswith("|") for row in rows)


def test_results_page_keeps_the_section_in_words():
    module = script("results")
    page = "# Results\n\n" + module.WORDS_BEGIN + "\n\nplanted words\n\n" + module.WORDS_END + "\n\n## Claims\n"
    assert module.in_words(page) == module.WORDS_BEGIN + "\n\nplanted words\n\n" + module.WORDS_END + "\n"
    assert module.in_words("# Results\n") == ""
    assert "## In words" in module.in_words((DOCS / "results.md").read_text(encoding="utf-8"))


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("page", **ids(PAGES))
def test_every_file_named_exists(page):
    """`legibility/x/y.py`, `scripts/x.py`, `configs/x.yaml` …; a path without a root stands in the package."""
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/.<])((?:[\w-]+/)*[\w-]+\.py)\b", text))
    named |= set(
        re.findall(r"(?<![\w/.])((?:legibility|scripts|configs|tests|benchmarks|docs|data/sample)/[\w./-]*\w)", text)
    )
    roots = (ROOT, ROOT / "legibility", ROOT / "tests", DOCS)
    missing = [n for n in named if "NAME" not in n and not any((root / n).exists() for root in roots)]
    assert not missing, f"{page.name} names {missing}"


@pytest.mark.parametrize("page", **ids(PAGES))
def test_every_dotted_name_exists(page):
    """`legibility.x.y`, and in code spans `module.name` or `section.setting`."""
    text = page.read_text(encoding="utf-8")
    dotted = set(re.findall(r"(?<![\w/.-])legibility(?:\.[A-Za-z_]\w*)+", text))
    wrong = [name for name in dotted if not name.endswith((".yaml", ".py")) and not resolves(name)]
    heads = set(Config.model_fields) | {p.stem for p in (ROOT / "legibility").glob("*.py")}
    heads |= {p.name for p in (ROOT / "legibility").iterdir() if p.is_dir()}
    for span in re.findall(r"`([^`\n]+)`", prose(page)):
        for name in re.findall(r"(?<![\w/.'\"-])([a-z_]+(?:\.[a-zA-Z_]\w*)+)(?![\w/(]*\.(?:md|json|yaml|py))", span):
            known = is_setting(name) or resolves(f"legibility.{name}")
            if (
                name.split(".")[0] in heads
                and not known
                and not name.endswith(FILE_ENDINGS)
                and name not in OTHER_NAMES
            ):
                wrong.append(name)
    assert not wrong, f"{page.name} names {wrong}"


FILE_ENDINGS = (".md", ".json", ".jsonl", ".yaml", ".py", ".html", ".parquet", ".csv", ".png", ".cff")
OTHER_NAMES = {"verifier.auroc_base"}  # keys of files, written like settings


@pytest.mark.parametrize("page", **ids(WRITTEN))
def test_every_override_in_a_command_is_a_setting(page):
    for line in shell_lines(page):
        for name in re.findall(r"(?<=[\s`])([a-z_]+(?:\.[a-z_]+)+)=", line):
            assert is_setting(name), f"{page.name}: {line}"


@pytest.mark.parametrize("page", **ids(WRITTEN))
def test_every_command_and_option_exists(page):
    reference = (DOCS / "cli.md").read_text(encoding="utf-8")
    sections = {s.split("`")[0]: s for s in reference.split("## `legibility ")[1:]}
    for line in shell_lines(page):
        for command in re.findall(r"\blegibility (?!\[)([a-z][a-z-]*)([^&|#`]*)", line):
            name, rest = command
            assert name in sections, f"{page.name}: {line}"
            for option in re.findall(r"(?<=\s)(--[a-z-]+)", rest):
                assert option in sections[name] or option == "--help", f"{page.name}: {option} in {line}"


def shell_lines(page: Path) -> list[str]:
    """Lines of the fenced blocks without a language, and code spans that begin with a command."""
    lines = [line for block in blocks(page, "", "bash") for line in block.splitlines()]
    spans = re.findall(r"`(legibility [^`]+)`", prose(page))
    return [line for line in [*lines, *spans] if re.match(r"(pip|legibility|python scripts|pytest)\b", line)]


def is_setting(name: str) -> bool:
    """Whether a dotted name is a setting or a section of a run or of a weak-to-strong experiment."""
    return any(in_schema(schema, name.split(".")) for _, schema, _ in script("config_reference").PAGES.values())


def in_schema(schema: Any, parts: list[str]) -> bool:
    if not parts:
        return True
    field = schema.model_fields.get(parts[0])
    if field is None:
        return False
    inner = models_in(field.annotation)
    return len(parts) == 1 or any(in_schema(model, parts[1:]) for model in inner)


def resolves(name: str) -> bool:
    """Whether `package.module.attribute…` can be imported and looked up."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError as missing:
            if cut == len(parts) and not str(missing.name).startswith("legibility"):
                return True  # it is there, and needs a package that is not installed
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return part in getattr(found, "model_fields", {}) or part in getattr(found, "__annotations__", {})
            found = getattr(found, part)
        return True
    return False


def test_contributing_walks_name_what_the_code_calls():
    """Every function, class, method, column and field named in CONTRIBUTING.md's how-to and walks is in the source."""
    source = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "legibility").rglob("*.py"))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`", text[text.index("## How to add") :])
    names = {part for span in spans if re.fullmatch(r"[A-Za-z_.]+", span) for part in span.split(".") if len(part) > 1}
    files = {"json", "jsonl", "yaml", "parquet", "py"}
    missing = [
        n
        for n in names - files
        if "NAME" not in n and not re.search(rf"\b{n}" + ("" if n.endswith("_") else r"\b"), source)
    ]
    assert len(names) > 50 and not missing


def test_contributing_shows_the_layers_of_the_contract():
    """The picture of the layers has every layer of pyproject.toml, from the highest to the lowest."""
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split('id = "floors"')[1].split("]")[0]
    layers = [set(re.findall(r"\w+", layer)) for layer in re.findall(r'^  "([^"]+)",$', contract, re.MULTILINE)]
    picture = blocks(ROOT / "CONTRIBUTING.md", "")[1]
    shown = [set(re.findall(r"\w+", re.split(r" {2,}", line)[0])) for line in picture.splitlines()]
    assert set.union(*shown) == set.union(*layers)
    floor = {module: k for k, layer in enumerate(layers) for module in layer}
    rows = [[floor[module] for module in row] for row in shown]
    assert all(max(above) < min(below) for above, below in pairwise(rows))


def test_changelog_names_every_renamed_setting_and_todays_modules():
    from legibility.judging.protocol import Protocol

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for schema in (*(page[1] for page in script("config_reference").PAGES.values()), Protocol):
        for old, new in schema.renamed.items():
            assert f"`{old}`" in text and f"`{new}`" in text, old
    todays = re.findall(r"^  \| .* \| `(legibility[\w.]+)`", text, re.MULTILINE)
    assert len(todays) > 20 and not [name for name in todays if not resolves(name)]


def test_metrics_page_explains_every_logged_number(tiny_run):
    """Every key of a step, of a verifier update and of the completion store; `…_incorrect` ends a key begun before."""
    from legibility.game.solutions import SCHEMA

    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    keys = set(SCHEMA.names)
    for log in ("prover", "verifier"):
        keys |= set(json.loads((tiny_run.path / f"rounds/00/{log}/metrics.jsonl").read_text().splitlines()[0]))
    known = set(re.findall(r"`(\w+)`", page)) | {"score_helpful_incorrect", "score_sneaky_incorrect"}
    assert not keys - known


# ---------------------------------------------------------------- code and commands run


@pytest.fixture
def tiny_clone(tiny_overrides, tmp_path, monkeypatch) -> Path:
    """A working directory whose configs/nano.yaml is a game of seconds, so that the pages' code runs as written."""
    settings: dict[str, Any] = {}
    for override in tiny_overrides:
        name, _, value = override.partition("=")
        *parents, leaf = name.split(".")
        section = settings
        for parent in parents:
            section = section.setdefault(parent, {})
        section[leaf] = yaml.safe_load(value)
    settings["evaluation"] |= {"best_of_n_problems": 4, "best_of_n_samples": 8}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "nano.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_page_runs(tiny_clone):
    """Every Python block of docs/python.md, one after another as a reader would."""
    names: dict[str, Any] = {}
    for block in blocks(DOCS / "python.md", "python"):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["page"] == Path("runs/mine/report.html") and names["page"].is_file()
    assert set(names["accuracy"].columns) == {"helpful", "sneaky"} and len(names["accuracy"]) == 2
    assert names["returns"].tolist() == [[pytest.approx(0.2 + 0.2 + 0.95 * 0.6), pytest.approx(1.0)]]


def test_python_page_names_every_public_name():
    import legibility

    page = (DOCS / "python.md").read_text(encoding="utf-8")
    assert not [n for n in legibility.__all__ if n != "__version__" and not re.search(rf"`{n}[`(]|, `{n}`", page)]


@pytest.mark.examples
def test_tutorial_runs(tiny_clone):
    """Every `legibility` command of docs/game.md, in the order of the page."""
    for line in shell_lines(DOCS / "game.md"):
        if line.startswith("legibility "):
            arguments = shlex.split(line)[1:]
            if arguments[0] == "train" and "--out" in arguments:
                arguments += ["game.rounds=1", "game.held_out_judge=false"]
            done = legibility(*arguments)
            assert done.code == 0, f"{line}: {done.err}"
    assert (tiny_clone / "runs/nano/report.html").is_file() and (tiny_clone / "runs/compare/compare.html").is_file()


@pytest.mark.examples
def test_notebook_runs():
    """docs/notebooks/ten_lines.ipynb from its own folder, with the built-in models, as a user would."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    file = DOCS / "notebooks" / "ten_lines.ipynb"
    notebook = nbformat.read(file, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "store the notebook without outputs"
    client = nbclient.NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(file.parent)}})
    client.execute()
    results = [o["data"]["text/plain"] for c in notebook.cells for o in c.get("outputs", []) if "execution_count" in o]
    assert "helpful_accuracy" in results[0] and results[-1] == "'report.html'"


# ---------------------------------------------------------------- links and the site


@pytest.mark.parametrize(
    "page", **ids([*PAGES, DOCS / "log.md", DOCS / "schemas/index.md", ROOT / "CHANGELOG.md", ROOT / "data/README.md"])
)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """Ids that a code host and the site give to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.replace("`", "").lower()).strip().replace(" ", "-") for t in titles}


def test_readme_is_short():
    """One and a half screens: what it is, a figure, two commands, five more, one table, limits."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 70 and len(readme) < 6500
    assert len(blocks(ROOT / "README.md", "")[0].splitlines()) == 2
    assert len(blocks(ROOT / "README.md", "")[1].splitlines()) == 6
    assert 'pip install -e ".[test]" && pytest' in readme
    assert (
        'pip install -e ".[evaluate,view]" && legibility train nano --quick' in readme
    )  # without what tests alone need


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r"[\w/-]+\.(?:md|ipynb)", str(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])))
    assert {p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")} == {n for n in named if n.endswith(".md")}


def test_site_builds_strictly(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "prover" in page
    fetched = re.findall(
        r"""(?:<script[^>]*src|<link[^>]*rel="stylesheet"[^>]*href|<img[^>]*src)="(https?://[^"]+)""", page
    )
    assert not fetched, "reading the site must fetch nothing from elsewhere"


def test_the_card_of_the_weights_names_the_base_that_the_nano_game_uses():
    card = (ROOT / "legibility/weights/README.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"verifier base of `configs/nano.yaml` is `([\w-]+)`", card)
    assert named == load_config(ROOT / "configs/nano.yaml").verifier.model


# ---------------------------------------------------------------- messages and files


def messages() -> str:
    """Every text in the package's code, a line each, with … for what is filled in."""
    found = []
    for path in sorted((ROOT / "legibility").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_troubleshooting_quotes_what_the_program_says():
    said, page = messages(), (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| (`[^`]+`) \|", page, re.MULTILINE)
    assert len(quoted) > 30
    assert [q for q in quoted if q.strip("`") not in said] == []


def test_troubleshooting_has_every_gate():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8").partition("## Training")[0]
    knobs = set(GateSettings.model_fields) - {"enabled", "min_pairs"}  # pairs choose the measure of min_auroc
    assert [k for k in knobs if f"gates.{k}" not in page] == []
