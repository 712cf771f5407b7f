"""study.yaml: errors name file and field, and old names are told or read."""

from __future__ import annotations

import pytest

from legibility.errors import UserError
from tests.judging.world import made_up_study


def test_protocol_errors_name_file_and_field(tmp_path):
    for text, part in (
        ("time_limit_seconds: -1", "time_limit_seconds"),
        ("exclusion: {chance: 1}", "exclusion.chance"),
        ("a: [", "YAML"),
        ("- 1", "mapping"),
    ):
        with pytest.raises(UserError, match=part):
            made_up_study(tmp_path / "s", text)
