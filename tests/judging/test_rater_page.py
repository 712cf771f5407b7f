"""The judging page in a real headless Chromium, where chromium and chromedriver are installed."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from legibility.errors import UserError
from legibility.judging.importing import import_judgments
from legibility.judging.store import LOG, read_log
from legibility.judging.study_schema import JudgmentEvent
from legibility.judging.table import TABLE, read_table
from tests.browser import Person
from tests.judging.world import hand_study, launch, made_up_study, serving

selenium = pytest.importorskip("selenium")

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

SHOTS = os.environ.get("LEGIBILITY_SCREENSHOTS")


class Rater(Person):
    """One browser with a profile of its own, used by keyboard."""

    def open(self, url: str) -> None:
        self.driver.get(url)

    def screen(self) -> str:
        """The id of the visible section."""
        script = "const s=[...document.querySelectorAll('main > section')].find(s=>!s.hidden); return s ? s.id : ''"
        return self.driver.execute_script(script)

    def at(self, name: str) -> Rater:
        self.until(lambda: self.screen() == name)
        return self

    def text(self, name: str) -> str:
        return self.driver.execute_script("return document.getElementById(arguments[0]).textContent", name)

    def hidden(self, name: str) -> bool:
        return self.driver.execute_script("return !document.getElementById(arguments[0]).getClientRects().length", name)

    def judge(self, key: str, *more: str) -> None:
        """From the pause, one item by keyboard: show it, say T or F, perhaps more, go on."""
        self.at("pause").press(Keys.ENTER)
        self.at("item").press(key)
        self.until(lambda: not self.hidden("more"))
        self.press(*more)
        before = self.text("item-title")
        self.press(Keys.ENTER)
        self.until(lambda: self.screen() in ("pause", "done") or self.text("item-title") != before)

    def shot(self, name: str) -> None:
        if SHOTS:
            self.driver.save_screenshot(f"{SHOTS}/{name}.png")

    def asked_elsewhere(self, own: str = "file:") -> list[str]:
        """Network addresses asked for, apart from `own` (which must be among all) and the browser's own pages."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        assert any(u.startswith(own) for u in urls)
        return [u for u in urls if not u.startswith((own, "data:", "blob:", "about:", "chrome"))]

    def close(self) -> None:
        self.driver.quit()


@pytest.fixture
def rater(tmp_path):
    """Makes browsers, and closes them."""
    made = []

    def make(name: str = "one", **media: str) -> Rater:
        made.append(Rater(tmp_path / f"profile-{name}", **media))
        return made[-1]

    yield make
    for browser in made:
        browser.close()


def judgments(study) -> list[JudgmentEvent]:
    return [e for e in read_log(study.path / LOG) if isinstance(e, JudgmentEvent)]


def test_a_whole_study_by_keyboard_two_raters_at_once_and_a_reopened_tab(tmp_path, rater):
    study = made_up_study(tmp_path / "study", "completion_code: DONE42\n", per_rater=4, attention=0)
    with serving(study) as url:
        one, two = rater("one"), rater("two", prefers_color_scheme="dark")
        one.open(f"{url}/?PROLIFIC_PID=P1&STUDY_ID=S&SESSION_ID=X")
        two.open(url)
        one.at("welcome").shot("instructions")
        one.press(Keys.ENTER).at("pause").press(Keys.ENTER)  # two practice items, with their answers
        one.at("item").press("f").at("pause")
        assert "is right" in one.text("pause-title") and "19" in one.text("pause-text")
        one.press(Keys.ENTER).at("item").press("f").at("pause")
        assert one.text("pause-title") == "That is right"
        one.shot("practice")
        one.press(Keys.ENTER)
        one.until(lambda: one.text("pause-title") == "1 of 4")
        one.press(Keys.ENTER).at("item")
        assert one.text("left").endswith("s") and one.text("item-title") == "1 of 4"
        one.shot("item")
        one.press("f")
        one.until(lambda: not one.hidden("more"))
        one.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, "4")
        one.shot("after-false")
        one.driver.set_window_size(450, 800)  # what 200 % leaves of a 900 pixel window
        overflow = one.driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 0
        one.shot("narrow")
        one.driver.set_window_size(900, 800)
        one.press(Keys.ENTER).at("pause")
        (first,) = judgments(study)
        assert (first.answer, first.confidence, first.first_wrong_step, first.timed_out) == (False, 4, 2, False)

        two.at("welcome").press(Keys.ENTER).at("pause")
        for _ in range(2):
            two.press(Keys.ENTER).at("item").press("t").at("pause")
        two.press(Keys.ENTER)
        two.until(lambda: two.text("pause-title") == "1 of 4")
        two.press(Keys.ENTER).at("item").shot("dark")
        shown = two.text("solution")
        profile = two.driver.capabilities["chrome"]["userDataDir"]
        two.close()  # the tab is closed while the clock runs, without an answer
        one.judge("t")
        two = rater("two")
        assert two.driver.capabilities["chrome"]["userDataDir"] == profile
        two.open(url)
        two.at("item")  # straight back to the open item, the clock gone on
        assert two.text("solution") == shown and int(two.text("left").split()[0]) < 45
        two.press("f")
        two.until(lambda: not two.hidden("more"))
        two.driver.refresh()  # said, not sent: still said after a reload
        two.at("item").until(lambda: not two.hidden("more"))
        assert "False" in two.text("chosen")
        two.press(Keys.ENTER).at("pause")
        for browser in (one, two):
            while browser.screen() == "pause":
                browser.judge("t")
            browser.at("done")
            assert browser.text("code").endswith("DONE42")
            assert browser.asked_elsewhere(url) == []
            assert [e for e in browser.driver.get_log("browser") if "Content Security" in e["message"]] == []
        one.shot("done")
    assert [[j.item_id for j in judgments(study) if j.slot == s] for s in (1, 2)] == study.slots[:2]
    assert [j.answer for j in judgments(study) if j.slot == 2] == [False, True, True, True]
    done = import_judgments(study, study.path / LOG, "server")
    assert done.added == 8 and set(read_table(study.path / TABLE).participant) == {"P1", ""}


HOSTILE = (
    '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2"><style>body { display: none }</style>'
    "</textarea></script><script>window.hacked = 3</script>\n\u202eright to left\u202c \u200f\u05d0\n"
    "</div><form action=https://example.org><input></form><a href=javascript:window.hacked=4>x</a>\n<svg onload=window.hacked=5>\n#### 1"
)


def test_hostile_text_is_shown_as_text(tmp_path, rater):
    """Script, markup, right-to-left marks, 50 kB and LaTeX, on the server's page."""
    latex = "\\[\\frac{1}{2} \\times 4 = 2\\] and $\\href{javascript:alert(1)}{x}$\n#### 2"
    long = "\n".join(f"{i} + 1 = {i + 1}" for i in range(3000)) + "\n" + "z" * 10_000 + "\n" + "e\u0301\u0302" * 2000
    texts = [
        ("markup </script><script>window.hacked = 6</script>", HOSTILE),
        ("latex", latex),
        ("long", long),
        ("<b>bold</b>", "x\x00\x07y\n#### 1"),
    ]
    assert len(long.encode()) > 50_000
    study = hand_study(tmp_path / "study", texts)
    visible = dict(texts)
    with serving(study) as url:
        one = rater()
        one.open(url)
        one.at("welcome").press(Keys.ENTER)
        for _ in texts:
            one.at("pause").press(Keys.ENTER).at("item")
            raw = visible[one.text("problem")]
            lines = one.driver.execute_script(
                "return [...document.querySelectorAll('#solution .line')].map(l => l.textContent)"
            )
            clean = "".join("\ufffd" if c in "\u202e\u202c\u200f\x00\x07" else c for c in raw)
            assert "\n".join(lines) == clean
            assert (
                one.driver.execute_script(
                    "return document.querySelectorAll('#texts :not(h2):not(div):not(span):not(#shading):not(#shading *)').length"
                )
                == 0
            )
            assert one.driver.execute_script("return getComputedStyle(document.body).display") == "block"
            if raw is HOSTILE:
                one.shot("hostile")
            if raw is long:
                buttons = one.driver.find_element(By.ID, "yes").rect
                top = one.driver.execute_script("return document.getElementById('yes').getBoundingClientRect().top")
                assert 0 < top < 800 and buttons["height"] > 30  # the answers stay in sight
            one.press("f")
            one.until(lambda: not one.hidden("more"))
            one.press(Keys.ENTER)
        one.at("done")
        assert one.driver.execute_script("return window.hacked") is None
        assert one.asked_elsewhere(url) == []
    assert len(judgments(study)) == len(texts)


def test_the_clock_runs_out(tmp_path, rater):
    study = made_up_study(
        tmp_path / "study", "practice: []\ntime_limit_seconds: 1.5\nask_confidence: false\n", per_rater=2, attention=0
    )
    with serving(study) as url:
        one = rater()
        one.open(url)
        one.at("welcome").press(Keys.ENTER).at("pause").press(Keys.ENTER).at("item")
        one.until(lambda: not one.hidden("expired"))
        assert one.hidden("texts")  # hard: nothing left to read
        one.shot("time-is-up")
        one.driver.refresh()  # and no second look
        one.at("item").until(lambda: not one.hidden("expired"))
        assert one.hidden("texts")
        one.press("f").at("pause")  # neither confidence nor a line to ask for: on to the next
        one.press(Keys.ENTER).at("item").press("t").at("done")
    late, quick = judgments(study)
    assert late.timed_out is True and late.answer is False and late.seconds >= 1.5
    assert quick.timed_out is False and quick.answer is True and quick.seconds < 1.5


def test_an_answer_is_taken_back_before_next_but_buys_no_time(tmp_path, rater):
    study = made_up_study(tmp_path / "study", "practice: []\ntime_limit_seconds: 10\n", per_rater=2, attention=0)
    with serving(study) as url:
        one = rater()
        one.open(url)
        one.at("welcome").press(Keys.ENTER).at("pause").press(Keys.ENTER).at("item").press("f")
        one.until(lambda: not one.hidden("more"))
        one.press(Keys.ARROW_DOWN, "2").shot("undo")
        one.press("u").until(lambda: one.hidden("more"))
        assert one.hidden("chosen") and not one.hidden("texts") and one.driver.execute_script("return clock.value") < 1
        one.driver.refresh()  # taken back is taken back
        one.at("item").until(lambda: not one.hidden("answers"))
        one.press("t").until(lambda: not one.hidden("more"))
        assert one.text("chosen") == "You said: True." and not one.hidden("undo")
        one.until(lambda: one.hidden("undo"))  # the time is over, the text is still there
        one.press("u")
        assert not one.hidden("more") and not one.hidden("texts")
        one.press(Keys.ENTER).at("pause").press(Keys.ENTER).at("item").until(lambda: not one.hidden("expired"))
        one.press("f").until(lambda: not one.hidden("more"))
        one.press("u").until(lambda: not one.hidden("expired"))  # a guess without the text may be taken back
        assert one.hidden("texts")
        one.press("t").until(lambda: not one.hidden("more"))
        one.press(Keys.ENTER).at("done")
    first, second = judgments(study)
    assert (first.answer, first.confidence, first.first_wrong_step, first.timed_out) == (True, None, None, False)
    assert (second.answer, second.timed_out) == (True, True)


def test_consent_comes_before_everything(tmp_path, rater):
    """On the server and in the form: who declines leaves nothing, who agrees is asked once."""
    rules = "practice: []\nconsent: {text: ['We keep your answers.', '<b>Stop</b> when you like.'], version: v2}\n"
    study = made_up_study(tmp_path / "study", rules, per_rater=2, attention=0)
    with serving(study) as url:
        one = rater()
        one.open(url)
        one.at("consent").shot("consent")
        assert one.text("consent-text") == "We keep your answers.<b>Stop</b> when you like."
        one.press(Keys.TAB, Keys.TAB, Keys.ENTER).at("declined")
        assert read_log(study.path / LOG) == []
        one.press(Keys.TAB, Keys.ENTER).at("consent").press(Keys.TAB, Keys.ENTER).at("welcome")
        one.driver.refresh()
        one.at("welcome").press(Keys.ENTER)
        one.judge("t")
        assert read_log(study.path / LOG)[0].consent.version == "v2"
        one.open((study.path / "formats" / "form.html").as_uri() + "#slot=2")
        one.at("welcome").press(Keys.ENTER).at("consent").press(Keys.TAB, Keys.ENTER)
        one.judge("t")
        one.judge("f")
        one.at("done").press(Keys.ENTER)
    saved = tmp_path / "profile-one" / "downloads" / "answers-2.json"
    one.until(saved.is_file)
    agreed = json.loads(saved.read_text())["consent"]
    assert agreed["version"] == "v2" and agreed["text"][0] == "We keep your answers." and agreed["at"].endswith("Z")
    assert import_judgments(study, saved, "html").added == 2
    saved.write_text(saved.read_text().replace('"v2"', '"v1"'))
    with pytest.raises(UserError, match="consent: does not say"):
        import_judgments(study, saved, "html")


def test_doubts_are_shaded_where_they_belong(tmp_path, rater):
    """Counted in characters as people see them, past emoji, line ends and marks that are made visible; on both pages."""
    text = "\U0001f600\U0001f600 12 \u202e345\nso 6 and\n#### 6789"
    study = hand_study(tmp_path / "study", [("first", text), ("second", text)], assisted="item")
    script = "return [...document.querySelectorAll('#solution mark')].map(m => [m.textContent, m.className])"
    expected = [["12", "doubt2"], ["6", "doubt1"], ["6789", "doubt3"]]
    with serving(study) as url:
        one = rater()
        for address in (url, (study.path / "formats" / "form.html").as_uri() + "#slot=1"):
            one.open(address)
            one.at("welcome").press(Keys.ENTER)
            seen = []
            for name in ("a", "b"):
                one.at("pause").press(Keys.ENTER).at("item")
                seen.append(one.driver.execute_script(script))
                lines = one.driver.execute_script(
                    "return [...document.querySelectorAll('#solution .line')].map(l => l.textContent)"
                )
                assert "\n".join(lines) == text.replace("\u202e", "\ufffd")
                assert one.hidden("shading") == (not seen[-1])
                one.shot(f"doubts-{name}")
                one.press("t").until(lambda: not one.hidden("more"))
                one.press(Keys.ENTER)
            assert sorted(seen) == [[], expected]
            assert (seen[0] != []) == (study.slots[0][0] in study.assisted[0])
        assert one.driver.execute_script("return document.querySelectorAll('#texts mark[onclick]').length") == 0


def test_practice_survives_a_reload(tmp_path, rater):
    study = made_up_study(tmp_path / "study", per_rater=2, attention=0)
    with serving(study) as url:
        one = rater()
        one.open(url)
        one.at("welcome").press(Keys.ENTER).at("pause").press(Keys.ENTER).at("item").press("f").at("pause")
        said = one.text("pause-title"), one.text("pause-text")
        one.driver.refresh()  # before the answer was read
        one.at("pause")
        assert (one.text("pause-title"), one.text("pause-text")) == said
        one.press(Keys.ENTER).at("item")
        assert one.text("item-title") == "Practice 2 of 2"
        one.driver.refresh()
        one.at("pause")
        assert one.text("pause-title") == "Practice 2 of 2"
        one.press(Keys.ENTER).at("item").press("f").at("pause").press(Keys.ENTER)
        one.until(lambda: one.text("pause-title") == "1 of 2")
        one.driver.refresh()
        one.at("pause")
        assert one.text("pause-title") == "1 of 2"


def test_the_server_dies_while_an_item_is_judged(tmp_path, rater):
    study = made_up_study(tmp_path / "study", "practice: []\n", per_rater=4, attention=0)
    process, url = launch(study)
    try:
        one = rater()
        one.open(url)
        one.at("welcome").press(Keys.ENTER)
        one.judge("t")
        one.at("pause").press(Keys.ENTER).at("item").press("f")
        one.until(lambda: not one.hidden("more"))
        process.send_signal(signal.SIGKILL)
        process.wait()
        one.press("2", Keys.ENTER)
        one.until(lambda: "No connection" in one.text("trouble"))
        one.shot("no-connection")
        time.sleep(1)
        process, _ = launch(study, int(url.rsplit(":", 1)[1]))
        one.at("pause")  # sent again by itself
        one.judge("t")
        one.judge("f")
        one.at("done")
    finally:
        process.kill()
        process.wait()
    found = judgments(study)
    assert [j.item_id for j in found] == study.slots[0]
    assert [j.answer for j in found] == [True, False, True, False] and found[1].confidence == 2


def test_the_form_from_disk(tmp_path, rater):
    """The same page as a file: judged, closed, opened again, saved, imported."""
    study = made_up_study(tmp_path / "study", "practice: []\n", per_rater=4, attention=0)
    address = (study.path / "formats" / "form.html").as_uri()
    one = rater()
    one.open(address)
    one.at("welcome").press("2", Keys.TAB, Keys.ENTER)
    one.judge("t")
    one.judge("f", Keys.ARROW_DOWN, "5")
    one.open("about:blank")
    one.open(address + "#slot=2")
    one.at("welcome").press(Keys.ENTER)
    one.at("pause")
    assert one.text("pause-title") == "3 of 4"
    one.judge("t")
    one.judge("t")
    one.at("done").press(Keys.ENTER)
    saved = tmp_path / "profile-one" / "downloads" / "answers-2.json"
    one.until(saved.is_file)
    assert one.asked_elsewhere() == []
    done = import_judgments(study, saved, "html")
    assert (done.added, done.refused) == (4, [])
    table = read_table(study.path / TABLE)
    assert list(table.item_id) == study.slots[1] and set(table.rater) == {"html:slot-2"}
    assert table.confidence.tolist()[1] == 5 and table.first_wrong_step.tolist()[1] == 1
