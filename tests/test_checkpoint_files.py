"""A checkpoint on disk: whole or not there at whatever moment its writer is killed, and exact."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from legibility import checkpoint_files
from legibility.checkpoint_files import (
    CheckpointRecord,
    Damaged,
    FileSoFar,
    Origin,
    found_checkpoints,
    go_back,
    newest_step,
    phase_files,
    put_back,
    read_checkpoint,
    read_record,
    seconds_so_far,
    start_over,
    trained_tensors,
    write_checkpoint,
)
from legibility.errors import UserError
from legibility.files import sha256
from legibility.stored import Stored


class Counted(Stored):
    count: int


ORIGIN = Origin(phase="p", settings={"a": 1}, packages={"torch": "1"}, inputs={})


def record(work: Path, step: int) -> CheckpointRecord:
    files = {
        name: FileSoFar(size=p.stat().st_size, sha256=sha256(p, p.stat().st_size)) for name, p in phase_files(work)
    }
    return CheckpointRecord(step=step, seconds=1.5 * step, origin=ORIGIN, files=files, sha256={})


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {
        "half": torch.full((3, 2), step, dtype=torch.bfloat16),
        "scalar": torch.tensor(float(step)),
        "bytes": torch.arange(8, dtype=torch.uint8) + step,
    }


def write(work: Path, step: int) -> Path:
    with open(work / "log", "a", encoding="utf-8") as log:
        log.write(f"step {step}\n")
    (work / "steps").mkdir(exist_ok=True)
    (work / "steps" / str(step)).write_text("rows")
    return write_checkpoint(work, record(work, step), tensors(step), Counted(count=step))


def read(work: Path) -> tuple[int, dict[str, torch.Tensor]]:
    place = found_checkpoints(work)[-1]
    found, state = read_checkpoint(work, place, read_record(place), Counted)
    return state.count, found


def test_what_is_written_is_read_to_the_last_bit(tmp_path):
    write(tmp_path, 3)
    step, found = read(tmp_path)
    assert step == newest_step(tmp_path) == 3 and seconds_so_far(tmp_path) == 4.5
    assert found.keys() == tensors(3).keys()
    assert all(torch.equal(found[n], t) and found[n].dtype == t.dtype for n, t in tensors(3).items())


def test_the_last_two_are_kept(tmp_path):
    for step in (2, 10, 100):
        write(tmp_path, step)
    assert [p.name for p in found_checkpoints(tmp_path)] == ["step_00010", "step_00100"]


def test_nothing_that_is_read_is_unpickled(tmp_path):
    """Tensors are safetensors, all else is JSON."""
    place = write(tmp_path, 1)
    assert {p.suffix for p in place.iterdir()} == {".safetensors", ".json"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_write_the_one_before_is_whole(tmp_path):
    """SIGKILL before each opening, flushing and renaming of a file in the writing of a checkpoint."""
    moments = 0
    while True:
        moments += 1
        work = tmp_path / str(moments)
        work.mkdir()
        write(work, 1)
        child = os.fork()
        if child == 0:
            _die_at(moments)
            write(work, 2)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        step, found = read(work)
        assert step in (1, 2) and torch.equal(found["half"], tensors(step)["half"])
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0 and step == 2
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        (at,) = [p for p in found_checkpoints(work) if p.name == f"step_{step:05d}"]
        go_back(work, read_record(at))
        assert not list(work.rglob(".step_*.tmp")) and (work / "log").read_text().count("step") == step
    assert moments > 15


def _die_at(n: int) -> None:
    calls = 0
    for owner, name in ((os, "open"), (os, "fsync"), (os, "replace"), (os, "mkdir"), (checkpoint_files, "sha256")):
        original = getattr(owner, name)

        def die(*arguments, original=original, **keywords):
            nonlocal calls
            calls += 1
            if calls == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **keywords)

        setattr(owner, name, die)


def test_what_fails_leaves_the_others_and_nothing_of_itself(tmp_path, monkeypatch):
    write(tmp_path, 1)
    monkeypatch.setattr(checkpoint_files, "write_stored", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write(tmp_path, 2)
    assert newest_step(tmp_path) == 1 and not list(tmp_path.rglob(".step_*"))


def test_going_back_cuts_what_grew_and_drops_what_came_later(tmp_path):
    write(tmp_path, 1)
    write(tmp_path, 2)
    (tmp_path / "later/deep").mkdir(parents=True)
    (tmp_path / "later/deep/file").write_text("x")
    first, _ = found_checkpoints(tmp_path)
    go_back(tmp_path, read_record(first))
    assert {name: p.read_text() for name, p in phase_files(tmp_path)} == {"log": "step 1\n", "steps/1": "rows"}
    assert found_checkpoints(tmp_path) == [first] and not (tmp_path / "later").exists()
    start_over(tmp_path)
    assert not list(tmp_path.iterdir())


def test_damage_is_told(tmp_path):
    place = write(tmp_path, 1)
    for file in (place / "state.json", *place.glob("*.safetensors"), tmp_path / "log", tmp_path / "steps/1"):
        kept = file.read_bytes()
        file.write_bytes(kept[:-1] + b"?")
        with pytest.raises(Damaged, match=f"{file.name}: missing or changed"):
            read(tmp_path)
        file.write_bytes(kept)
    (place / "checkpoint.json").write_text('{"step": "one"}')
    with pytest.raises(Damaged, match=r"checkpoint\.json"):
        read(tmp_path)
    assert seconds_so_far(tmp_path) == 0


# ---------------------------------------------------------------- tensors


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.out.weight = self.embedding.weight
        self.frozen = nn.Linear(3, 3)
        self.frozen.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.frozen(self.embedding(x)))


def made(seed: int, steps: int) -> tuple[Tied, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = Tied()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    train(model, optimizer, steps)
    return model, optimizer


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        model(torch.tensor([1, 2])).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_an_optimizer_goes_on_as_if_it_had_never_stopped():
    """Tied weights are one tensor, frozen ones are left out, and a fresh optimizer is not moved by being looked at."""
    model, optimizer = made(0, 3)
    saved = {name: tensor.clone() for name, tensor in trained_tensors(model, optimizer).items()}
    assert sorted(saved) == [f"{key}.embedding.weight" for key in ("exp_avg", "exp_avg_sq", "step", "weights")]
    other, fresh = made(0, 0)
    before = other.embedding.weight.detach().clone()
    into = trained_tensors(other, fresh)
    assert torch.equal(other.embedding.weight, before)
    put_back(saved, into)
    train(model, optimizer, 2)
    train(other, fresh, 2)
    assert torch.equal(model.out.weight, other.out.weight)


def test_weights_without_a_gradient_so_far_are_named_too():
    """A layer that is used for the first time after the checkpoint, and one that never is."""

    def of(seed: int) -> tuple[nn.ModuleDict, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        layers = nn.ModuleDict({name: nn.Linear(2, 2, bias=name != "never") for name in ("used", "later", "never")})
        return layers, torch.optim.AdamW(layers.parameters(), lr=0.1, fused=True)

    def steps(model: nn.ModuleDict, optimizer: torch.optim.Optimizer, *names: str) -> None:
        for name in names:
            optimizer.zero_grad()
            model[name](torch.ones(3, 2)).square().sum().backward()
            optimizer.step()

    uninterrupted, optimizer = of(0)
    steps(uninterrupted, optimizer, "used", "used", "later", "used", "later")
    model, optimizer = of(0)
    steps(model, optimizer, "used", "used")
    saved = {name: tensor.clone() for name, tensor in trained_tensors(model, optimizer).items()}
    assert saved["step.later.bias"] == 0 and saved["step.used.bias"] == 2 and not saved["exp_avg.never.weight"].any()
    other, fresh = of(1)
    put_back(saved, trained_tensors(other, fresh))
    for one, its in ((model, optimizer), (other, fresh)):
        steps(one, its, "later", "used", "later")
        assert all(torch.equal(p, q) for p, q in zip(one.parameters(), uninterrupted.parameters(), strict=True))


def test_tensors_of_another_model_are_refused():
    model, optimizer = made(0, 1)
    found = trained_tensors(model, optimizer)
    for wrong in ({"weights.x": torch.zeros(1)}, {**found, "weights.embedding.weight": torch.zeros(2)}):
        with pytest.raises(UserError, match="the phase's checkpoint is of another model"):
            put_back(wrong, found)
