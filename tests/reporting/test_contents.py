"""The contents list of a page is its headings."""

from __future__ import annotations

from legibility.reporting.contents import Entry, anchored


def test_headings_get_anchors_and_the_list_names_them() -> None:
    found = anchored("<h2>What’s it?</h2><h3>Round 0</h3><h2>Then &amp; now</h2><h3>Round 0</h3>")
    assert found.contents == [Entry("what-s-it", "What’s it?"), Entry("then-now", "Then & now")]
    assert '<h3 id="what-s-it-round-0">Round 0' in found.body and '<h3 id="then-now-round-0">' in found.body


def test_two_headings_of_one_name_have_two_anchors() -> None:
    found = anchored("<h2>Same</h2><h2>Same</h2><h2>!</h2>")
    assert [e.anchor for e in found.contents] == ["same", "same-2", "section"]


def test_escaped_text_is_no_heading() -> None:
    assert anchored("&lt;h2&gt;x&lt;/h2&gt;").contents == []
