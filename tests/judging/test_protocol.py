"""study.yaml: errors name file and field, and old names are told or read."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from legibility.errors import UserError
from legibility.judging.protocol import AnalysisRules, Protocol, read_protocol, stored_protocol
from tests.fuzzing.judging import check_protocol, protocol_files
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


def test_an_old_name_in_a_new_protocol_says_the_new_one(tmp_path):
    path = tmp_path / "protocol.yaml"
    path.write_text("analysis: {confidence: 0.9}\n")
    with pytest.raises(UserError, match=r"analysis\.confidence: .*write analysis\.confidence_level"):
        read_protocol(path)
    assert stored_protocol(path).analysis.confidence_level == 0.9  # in an exported study it is read


def test_a_protocol_survives_its_file(tmp_path):
    rules = Protocol(title="Grüße", analysis=AnalysisRules(confidence_level=0.8, timed_out="drop"))
    (tmp_path / "study.yaml").write_text(rules.to_yaml(), encoding="utf-8")
    assert stored_protocol(tmp_path / "study.yaml") == rules == read_protocol(tmp_path / "study.yaml")


def test_the_page_is_told_the_seconds_but_not_the_code():
    shown = Protocol(time_limit_seconds=30, completion_code="DONE42").public()
    assert "30 seconds" in " ".join(shown["instructions"]) and "DONE42" not in str(shown)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b"title: \xe9\n",
        b"title: 2024-99-99\n",
        b"- a\n",
        b"title: [1]\n",
        b'title: "\\ud800"\n',
        b"\xff\xfe\x00",
    ],
)
def test_files_that_are_no_protocol_are_one_line_that_names_them(tmp_path, content):
    path = tmp_path / "protocol.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        read_protocol(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=protocol_files())
def test_whatever_the_file_the_protocol_is_read_or_refused_in_one_line(tmp_path_factory, content):
    check_protocol(tmp_path_factory.getbasetemp(), content)
