"""Processes that share a phase: what one would have done alone, and a clear end when one of them fails."""

from __future__ import annotations

import copy
import os
import signal
import time

import numpy as np
import pytest
import torch

from legibility import forked_team
from legibility.config import PPOSettings, VerifierSettings
from legibility.config_file import load_config
from legibility.errors import WorkerDied
from legibility.forked_team import ForkedTeam, can_fork
from legibility.game.solutions import read_solutions
from legibility.models.verifier import Verifier
from legibility.play import train
from legibility.ppo import PPO, Batch
from legibility.problems.records import Problem
from legibility.rollouts import sample
from legibility.team import Team, workers_peak_mb
from legibility.verifier_training import LabelledSolution, train_verifier
from tests.support import llama, prover_of, quiet

forks = pytest.mark.skipif(not can_fork(), reason="processes are forked on Linux without a GPU only")
PROMPTS = [[9, 12, 15], [20, 21, 22, 23, 24, 25], [30, 31], [40, 41, 42, 43], [50, 51, 52]]


class Counter:
    """A member: every process has one of its own."""

    def __init__(self) -> None:
        self.count = 0

    def up(self, by: int) -> int:
        self.count += by
        return self.count


def whoami(team: Team) -> tuple[int, int, int]:
    return team.rank, team.size, os.getpid()


def dealt(team: Team, items: list[int]) -> list[int]:
    return team.share(items)


def summed(team: Team, times: int) -> list[list[float]]:
    sums = []
    for k in range(times):
        tensors = [torch.full((2, 2), float(team.rank + k)), torch.tensor([10.0**team.rank], dtype=torch.bfloat16)]
        team.add(tensors)
        sums.append([tensors[0][1, 1].item(), tensors[1].item()])
    return sums


def gathered(team: Team) -> list[str]:
    return team.gather("abc"[team.rank])


def fail(team: Team, rank: int, how: str) -> None:
    if team.rank == rank:
        if how == "raise":
            raise ValueError("no such thing")
        os.kill(os.getpid(), signal.SIGKILL)
    team.gather(None)


def torch_threads() -> int:
    return torch.get_num_threads()


# ---------------------------------------------------------------- the team itself


@forks
def test_everyone_works_and_members_stay_where_they_are():
    counter, team = Counter(), ForkedTeam(3)
    with team.together(counter, gradients=5):
        assert team.knows(counter) and team.knows(team, counter) and not team.knows(Counter())
        ranks, sizes, processes = zip(*team.run(whoami, team), strict=True)
        assert ranks == (0, 1, 2) and set(sizes) == {3} and len(set(processes)) == 3 and processes[0] == os.getpid()
        assert team.run(Counter.up, counter, 2) == [2, 2, 2]
        assert team.run(Counter.up, counter, 3) == [5, 5, 5]
        assert team.run(gathered, team) == [["a", "b", "c"]] * 3
        # ranks 0, 1, 2 plus k each; 1 + 10 + 100 in bfloat16
        assert team.run(summed, team, 4) == [[[3.0 + 3 * k, 111.0] for k in range(4)]] * 3
        assert sorted(x for part in team.run(dealt, team, list(range(8))) for x in part) == list(range(8))
    assert counter.count == 5 and team.size == 1 and not team.knows(counter)


@forks
def test_threads_one_inside_and_as_before_after():
    torch.set_num_threads(2)
    team = ForkedTeam(2)
    with team.together():
        assert team.run(torch_threads) == [1, 1]
    assert torch.get_num_threads() == 2


@forks
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_anywhere_reaches_the_caller(rank):
    team = ForkedTeam(2)
    with pytest.raises(ValueError, match="no such thing"), team.together():
        team.run(fail, team, rank, "raise")
    with team.together():  # and the team can be used again
        assert len(team.run(whoami, team)) == 2


@forks
def test_a_worker_that_vanishes_is_noticed():
    team = ForkedTeam(2)
    with pytest.raises(WorkerDied, match=r"compute\.workers"), team.together():
        team.run(fail, team, 1, "kill")


@forks
def test_workers_end_with_their_caller():
    """A caller that is killed leaves nobody behind."""
    reads, writes = os.pipe()
    caller = os.fork()
    if caller == 0:
        team = ForkedTeam(3)
        with team.together():
            os.write(writes, repr([pid for _, _, pid in team.run(whoami, team)][1:]).encode())
            time.sleep(60)
        os._exit(0)
    workers = eval(os.read(reads, 100))
    os.kill(caller, signal.SIGKILL)
    os.waitpid(caller, 0)
    deadline = time.monotonic() + 20
    while any(map(runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(map(runs, workers))


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie that nobody has collected."""
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@forks
def test_no_team_within_a_team():
    team = ForkedTeam(2)
    with team.together(), pytest.raises(RuntimeError, match="at work already"), team.together():
        pass


@forks
def test_memory_of_workers_is_known():
    team = ForkedTeam(2)
    with team.together():
        team.run(np.ones, 4_000_000)  # 32 MB in either process
    assert 20 < workers_peak_mb() < 4000


def test_without_forks_a_team_is_one_process(monkeypatch):
    monkeypatch.setattr(forked_team.sys, "platform", "darwin")
    team = ForkedTeam(4)
    with team.together(Counter()):
        assert team.size == 1 and len(team.run(whoami, team)) == 1


# ---------------------------------------------------------------- the work that is shared


@pytest.fixture
def prover(byte_tokenizer):
    return prover_of(llama(byte_tokenizer, layers=2), byte_tokenizer)


def draw(prover, team=None, **options):
    return sample(prover, PROMPTS, 3, seed=5, max_new_tokens=12, team=team, **options)


@forks
@pytest.mark.parametrize("engine", ["fast", "hf"])
def test_sampling_is_the_same_text(prover, engine):
    alone, team = draw(prover, engine=engine), ForkedTeam(2)
    assert draw(prover, team, engine=engine) == alone
    with team.together(prover):
        together = draw(prover, team, engine=engine)
    for one, other in zip(alone, together, strict=True):
        assert [c.ids for c in one] == [c.ids for c in other]
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-4)


def a_step(prover, critic: str, team: Team, minibatch: int) -> tuple[dict[str, float], torch.Tensor]:
    """Two PPO steps from the same start; the metrics of the second, and all that was trained."""
    settings = PPOSettings(
        critic=critic,
        samples_per_role=3,
        epochs=2,
        minibatch_size=minibatch,
        micro_batch_size=6 if minibatch > 6 else 3,
        learning_rate=1e-3,
    )
    torch.manual_seed(0)  # the value head's start
    ppo = PPO(prover_of(copy.deepcopy(prover.model), prover.tokenizer), settings, team)
    with team.together(ppo.policy, ppo, ppo.value_head, gradients=sum(p.numel() for p in ppo.trained)):
        for step in range(2):
            drawn = sample(
                ppo.policy, PROMPTS, 3, seed=step, max_new_tokens=12, value_head=ppo.sampling_head, team=team
            )
            rewards = np.array([len(set(c.ids)) / 5 - 1 for group in drawn for c in group])
            metrics = ppo.step(Batch(PROMPTS, drawn, rewards), np.random.default_rng(step))
    return metrics, torch.cat([p.detach().reshape(-1) for p in ppo.trained])


@forks
@pytest.mark.parametrize("critic", ["detached", "shared", "separate"])
@pytest.mark.parametrize(("workers", "minibatch"), [(2, 12), (3, 3)])  # the latter leaves workers without a share
def test_a_ppo_step_is_the_same_step(prover, critic, workers, minibatch):
    alone, trained = a_step(prover, critic, Team(), minibatch)
    together, trained_together = a_step(prover, critic, ForkedTeam(workers), minibatch)
    assert set(together) == set(alone)
    for name, value in alone.items():
        if name not in ("first_ratio_gap", "logprob_gap"):
            assert together[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    assert together["first_ratio_gap"] < 1e-4 and together["logprob_gap"] < 1e-3
    torch.testing.assert_close(trained_together, trained, atol=2e-4, rtol=1e-3)


@forks
@pytest.mark.parametrize("loss", ["pairwise", "cross_entropy"])
@pytest.mark.parametrize("workers", [2, 3])
def test_a_verifier_learns_the_same(tiny_verifier_dir, loss, workers):
    settings = VerifierSettings(
        model=str(tiny_verifier_dir), loss=loss, updates=5, batch_problems=2, learning_rate=1e-3
    )
    problems = [Problem(str(k), f"Tom has {k} pens.", str(k)) for k in range(7)]
    items = [
        LabelledSolution(p, f"{p.answer} {'+' * (j + 1)}", bool(j % 2), "base", "base")
        for p in problems
        for j in range(3)
    ]
    texts = [x.text for x in items]
    scores, updates = [], []
    for team in (Team(), ForkedTeam(workers)):
        verifier = Verifier.load(settings, "cpu", seed=0)
        with team.together(verifier, gradients=verifier.parameter_count()):
            metrics = train_verifier(
                verifier, items, settings, np.random.default_rng(0), lambda k, _: updates.append(k), team
            )
            scores.append((metrics["loss"], verifier.score([x.problem for x in items], texts, team)))
            assert not verifier.model.training
    assert updates == [5, 5]
    assert scores[0][0] == pytest.approx(scores[1][0], rel=1e-4)
    np.testing.assert_allclose(scores[0][1], scores[1][1], atol=1e-4)
    fresh = Verifier.load(settings, "cpu", seed=0).score([x.problem for x in items], texts)
    assert np.abs(scores[0][1] - fresh).max() > 0.01


# ---------------------------------------------------------------- a whole game


@forks
def test_a_game_of_two_workers(tiny_run, tiny_config_file, tiny_overrides, tmp_path):
    """The same base text as alone; the same game to the last byte when it is played again."""
    config = load_config(tiny_config_file, [*tiny_overrides, "compute.workers=2"])
    runs = [train(config, tmp_path / name, progress=quiet()) for name in ("one", "two")]
    frames = [read_solutions(run.folder("base") / "solutions.parquet") for run in (tiny_run, *runs)]
    assert list(frames[0].text) == list(frames[1].text) and list(frames[0].verdict) == list(frames[1].verdict)
    for name in (
        "rounds/01/prover/model.safetensors",
        "rounds/01/verifier/model.safetensors",
        "rounds/01/prover/metrics.jsonl",
    ):
        assert (runs[0].path / name).read_bytes() == (runs[1].path / name).read_bytes()


def test_a_game_without_forks_says_so(tiny_config_file, tiny_overrides, tmp_path, monkeypatch):
    monkeypatch.setattr(forked_team.sys, "platform", "darwin")
    progress, told = quiet(), []
    monkeypatch.setattr(progress, "warn", told.append)
    config = load_config(
        tiny_config_file, [*tiny_overrides, "compute.workers=2", "game.rounds=1", "game.correctness_arm=false"]
    )
    train(config, tmp_path / "run", progress=progress)
    assert any("compute.workers" in text for text in told)
