import numpy as np

from legibility.game.solutions import read_solutions


def test_longer_text_is_paid_less(tiny_arms_run):
    rows = read_solutions(tiny_arms_run.path / "arms/correctness-short/prover/solutions.parquet")
    config = tiny_arms_run.config()
    paid = np.where(rows.verdict == "correct", 1.0, -1.0) - rows.completion_tokens / config.sampling.max_new_tokens
    np.testing.assert_allclose(rows.reward, paid, rtol=1e-6)


def test_an_evaluation_does_not_train_it_again(tiny_arms_run):
    from legibility.evaluation.run import EvaluationRun
    from legibility.evaluation.short_arm import train
    from legibility.evaluation.texts import SHORT

    train(EvaluationRun(tiny_arms_run.path))
    assert not tiny_arms_run.is_done(SHORT)
