"""A task travels as JSON."""

from __future__ import annotations

from harness.task import Task


def test_task_survives_json_and_keeps_prompts_in_steps(tmp_path):
    task = Task("t", "folder", problem_steps=((2, 1.0),), prompts=4, warm=1, steps=2)
    task.save(tmp_path / "task.json")
    again = Task.load(tmp_path / "task.json")
    assert [len(step) for step in again.items()] == [4, 4, 4]
    assert again.items() == task.items() and again.prompt_texts() == task.prompt_texts()
    assert [role for _, role in again.items()[0]] == ["helpful", "helpful", "sneaky", "sneaky"]
