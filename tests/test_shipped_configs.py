"""The configs that come with the package: in the clone, in a wheel, by name and by path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from legibility import shipped_configs
from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.new_config import shipped_settings
from legibility.shipped_configs import SHIPPED, find_config, shipped
from tests.support import ROOT


def test_every_file_of_the_folder_is_listed_and_every_line_has_a_file():
    assert {c.name for c in SHIPPED} == {p.stem for p in (ROOT / "configs").glob("*.yaml")}
    assert all(c.shows and c.needs and c.takes and c.file.is_file() for c in SHIPPED)


def test_a_name_and_the_path_in_a_clone_are_the_same_game(tmp_path, monkeypatch):
    by_path = load_config(ROOT / "configs/nano.yaml", ["seed=3"])
    monkeypatch.chdir(tmp_path)
    assert load_config("nano", ["seed=3"]) == by_path
    assert shipped("nano") is shipped(ROOT / "configs/nano.yaml") and shipped("nano.yaml") is None


@pytest.mark.parametrize("known", SHIPPED, ids=[c.name for c in SHIPPED])
def test_every_shipped_config_is_valid_and_its_paths_start_in_the_working_folder(known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump(shipped_settings(known).model_dump(mode="json"))
    assert ".." not in text and find_config(known.name).base_dir == tmp_path
    uses_assets = "assets/" in text
    assert uses_assets == known.needs.startswith("assets/")


def test_a_file_keeps_its_own_folder_and_what_it_says(tmp_path):
    (tmp_path / "mine.yaml").write_text("problems: {train: {kind: gsm8k, path: ../assets}}\n")
    found = find_config(tmp_path / "mine.yaml")
    assert (found.file, found.base_dir) == (tmp_path / "mine.yaml", tmp_path)
    assert load_config(tmp_path / "mine.yaml").problems.train.path == "../assets"


def test_a_folder_or_file_of_the_name_is_not_in_the_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").mkdir()
    assert find_config("nano").file == shipped_configs.configs_folder() / "nano.yaml"


def test_a_name_that_is_none_is_told_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("{}\n")
    for name, hint in (
        ("nani", "did you mean nano?"),
        ("mine", "did you mean mine.yaml?"),
        ("zzz", "legibility configs"),
    ):
        with pytest.raises(UserError, match=f"^{name}: no such file, and no shipped config of that name; .*{hint}"):
            load_config(name)


def test_a_config_of_the_other_command_says_which():
    with pytest.raises(UserError, match="legibility weak-to-strong weak-to-strong-nano"):
        load_config("weak-to-strong-nano")


def test_a_wheel_holds_them_beside_the_modules(tmp_path):
    """What `pip wheel` copies, run from there without the clone."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    skipped = shutil.ignore_patterns("weights", "__pycache__")
    shutil.copytree(ROOT / "legibility", tmp_path / "legibility", ignore=skipped)
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "built"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    shutil.rmtree(tmp_path / "legibility")
    shutil.rmtree(tmp_path / "configs")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "built")}
    for arguments in (["configs", "nano"], ["configs"]):
        done = subprocess.run(
            [sys.executable, "-m", "legibility", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        expected = (ROOT / "configs/nano.yaml").read_text(encoding="utf-8") if len(arguments) == 2 else "nano-full"
        assert expected in done.stdout
    assert sorted(p.name for p in (tmp_path / "built/legibility/configs").iterdir()) == sorted(
        p.name for p in (ROOT / "configs").glob("*.yaml")
    )
