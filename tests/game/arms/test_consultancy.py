from legibility.game.phases import arm_prover
from legibility.game.solutions import read_solutions


def test_a_coin_gives_every_problem_one_role(tiny_arms_run):
    rows = read_solutions(tiny_arms_run.folder(arm_prover("consultancy")) / "solutions.parquet")
    for _, step in rows.groupby("step"):
        assert step.groupby("problem_id").role.nunique().eq(1).all()
        assert step.problem_id.nunique() == 2 * 4  # twice the game's problems: as many completions
        assert len(step) == 2 * 4 * 4
    assert set(rows.role) == {"helpful", "sneaky"}


def test_the_game_and_consultancy_spend_alike(tiny_arms_run):
    game = read_solutions(tiny_arms_run.path / "rounds/01/solutions.parquet").query("phase == 'ppo'")
    mine = read_solutions(tiny_arms_run.folder(arm_prover("consultancy")) / "solutions.parquet")
    assert len(game) == len(mine)


def test_text_is_scored_by_a_verifier_that_has_read_base_text_alone(tiny_arms_run):
    from legibility.game.reopen import reopen

    rows = read_solutions(tiny_arms_run.folder(arm_prover("consultancy")) / "solutions.parquet").head(8)
    game = reopen(tiny_arms_run)
    scores = game.saved_verifier(0).score([game.problems[p] for p in rows.problem_id], list(rows.text))
    assert max(abs(scores - rows.score.to_numpy())) < 1e-4


def test_both_roles_are_collected(tiny_arms_run):
    rows = read_solutions(tiny_arms_run.path / "arms/consultancy/collection/solutions.parquet")
    assert set(zip(rows.split, rows.role, strict=True)) == {
        (split, role) for split in ("verifier", "validation", "test") for role in ("helpful", "sneaky")
    }
