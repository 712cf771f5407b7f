"""Result files that are gone on with."""

from __future__ import annotations

import pytest
from harness import stored

from legibility.errors import UserError


def test_a_result_file_is_gone_on_with_only_if_it_was_measured_alike(tmp_path):
    path, fresh = tmp_path / "out.json", {"schema": 1, "benchmark": "x", "commit": "abc", "points": []}
    assert stored.opened(None, fresh, True) is fresh and stored.opened(path, fresh, True) is fresh
    stored.store(path, {**fresh, "points": [1]})
    assert stored.opened(path, fresh, True)["points"] == [1] and list(tmp_path.iterdir()) == [path]
    with pytest.raises(UserError, match="exists already; go on with it by --resume"):
        stored.opened(path, fresh, False)
    with pytest.raises(UserError, match="not measured with the same commit"):
        stored.opened(path, {**fresh, "commit": "def"}, True)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not a result file"):
        stored.opened(path, fresh, True)
