"""The script that plays a game around verl: what it says to do next, and one line for bad input."""

from __future__ import annotations

import sys

from tests.support import script


def run(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["scripts/verl_game.py", *map(str, arguments)])
    module = script("verl_game")
    try:
        module.run_script(module.main)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_bad_input_is_one_line(monkeypatch, tmp_path, capsys):
    (tmp_path / "game.yaml").write_text("ppo: {stepz: 3}\n")
    assert run(monkeypatch, tmp_path / "game.yaml", "--out", tmp_path / "run") == 2
    said = capsys.readouterr()
    assert "stepz" in said.out + said.err and (said.out + said.err).count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_phase_is_handed_over_with_the_commands_to_run(
    monkeypatch, tmp_path, capsys, tiny_overrides, tiny_prover_dir
):
    import shutil

    from legibility.models.loading import load_tokenizer

    folder = tmp_path / "prover"
    shutil.copytree(tiny_prover_dir, folder)
    tokenizer = load_tokenizer(str(folder), "prover")
    tokenizer.chat_template = "{{ messages[-1].content }}"
    tokenizer.save_pretrained(folder)
    (tmp_path / "game.yaml").write_text("{}\n")
    changes = [*tiny_overrides, "game.rounds=1", f"prover.model={folder}", "prover.chat_template=true"]
    assert run(monkeypatch, tmp_path / "game.yaml", *changes, "--out", tmp_path / "run", "--gpus", "2") == 0
    said, handed = capsys.readouterr().out, tmp_path / "run-verl" / "rounds-00-prover"
    assert f"cd {handed}" in said and f"--trained {handed / 'prover'}" in said
    assert {"round.json", "train.parquet", "verl.yaml"} <= {p.name for p in handed.iterdir()}
    assert "n_gpus_per_node: 2" in (handed / "verl.yaml").read_text()
