"""The public face: what `import legibility` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import legibility

PUBLIC = {
    "train", "evaluate", "attack", "compare", "report", "load_run", "load_config",
    "Config", "Problem", "RunFolder", "Verifier", "Prover",
}  # fmt: skip


def test_public_names_are_exactly_these():
    assert set(legibility.__all__) == PUBLIC | {"__version__"}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_public_name_resolves_and_is_documented(name):
    value = getattr(legibility, name)
    assert callable(value) and value.__doc__, name
    assert name in dir(legibility)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        legibility.trian  # noqa: B018


def test_completion_offers_the_public_names_and_nothing_else():
    assert {name for name in dir(legibility) if not name.startswith("_")} == PUBLIC


def test_no_module_hides_a_public_name():
    """A module `legibility.train` would replace the function `legibility.train` once imported."""
    from pkgutil import iter_modules

    assert not {module.name for module in iter_modules(legibility.__path__)} & PUBLIC


def test_importing_loads_nothing_heavy():
    code = "import legibility, sys; print(sorted({'torch', 'transformers', 'numpy', 'pandas'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_settings_load_without_torch():
    code = "import legibility, sys; legibility.load_config, legibility.Config, legibility.Problem; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
