"""The house rules a reader relies on: one name for one thing, modules of a readable size, tests where one looks for them."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from tests.support import ROOT

MODULES = sorted((ROOT / "legibility").rglob("*.py"))
LONGEST = 450  # lines; past 400 ask what second thing a module does
WHOLE = {
    "benchmarks",
    "init",
    "house",
    "docs",
    "fuzzing",
    "real_assets",
    "resume",
    "help",
    "browser",
}  # what no single module answers for


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_no_module_name_occurs_twice():
    names = Counter(path.stem for path in MODULES if path.name not in ("__init__.py", "__main__.py"))
    assert {name for name, count in names.items() if count > 1} == set()


def test_no_class_name_occurs_twice():
    names = Counter(node.name for path in MODULES for node in tree(path).body if isinstance(node, ast.ClassDef))
    assert {name for name, count in names.items() if count > 1} == set()


def test_no_module_is_too_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_tests_mirror_the_package():
    """tests/evaluation/sections/test_tax.py tests legibility/evaluation/sections/tax.py; scripts and benchmarks likewise."""
    stray = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if path.stem.removeprefix("test_") not in WHOLE and not any(place.exists() for place in _tested(path))
    ]
    assert stray == []


def _tested(path: Path) -> list[Path]:
    """Where the code that a test file tests may stand."""
    folder, name = path.relative_to(ROOT / "tests").parent, path.stem.removeprefix("test_")
    package = ROOT / "legibility" / folder
    return [package / f"{name}.py", package / name / "__init__.py", ROOT / folder / f"{name}.py"]
