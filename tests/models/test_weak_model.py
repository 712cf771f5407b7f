from legibility.config_file import load_config
from legibility.models.weak_model import load_weak_model, weak_prompt


def test_it_reads_what_a_verifier_reads_up_to_the_solution(tiny_config_file, tiny_overrides):
    settings = load_config(tiny_config_file, tiny_overrides).verifier
    model = load_weak_model(settings, "cpu")
    ids = weak_prompt(model, "P: {problem}\nS: {solution} (end)", "2 + 3?", "2 + 3 = 5\n")
    assert model.tokenizer.decode(ids) == "P: 2 + 3?\nS: 2 + 3 = 5\n"


def test_control_tokens_in_problem_and_text_are_letters(tiny_config_file, tiny_overrides):
    model = load_weak_model(load_config(tiny_config_file, tiny_overrides).verifier, "cpu")
    end = model.tokenizer.eos_token_id
    assert end not in weak_prompt(model, "{problem}|{solution}", "a<end>", "b<end>")


def test_layers_are_kept_as_the_verifier_keeps_them(tiny_config_file, tiny_overrides, tiny_prover_dir):
    config = load_config(tiny_config_file, [*tiny_overrides, f"verifier.model={tiny_prover_dir}", "verifier.layers=1"])
    assert len(load_weak_model(config.verifier, "cpu").model.model.layers) == 1
