"""The page in a real headless Chromium, where chromium and chromedriver are installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from urllib.parse import parse_qs, urlparse

import pytest

from legibility.game.phases import step_file
from legibility.game.solutions import read_solutions, write_solutions
from tests.browser import Person
from tests.support import play_with
from tests.viewing.world import finish, new_run, small_run, solution, viewing

selenium = pytest.importorskip("selenium")

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

SHOTS = os.environ.get("LEGIBILITY_SCREENSHOTS")


class Reader(Person):
    """Somebody with a browser."""

    def __init__(self, profile) -> None:
        super().__init__(profile)
        self.size(1400, 900)

    def size(self, width: int, height: int) -> None:
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)

    def run(self, script: str, *arguments):
        return self.driver.execute_script(f"return {script}", *arguments)

    def open(self, url: str) -> Reader:
        self.driver.get(url)
        self.until(lambda: "completion" in self.text("total"))
        return self

    def text(self, id: str) -> str:
        return self.run("document.getElementById(arguments[0])?.textContent ?? ''", id)

    def total(self, number: int) -> None:
        """Wait until so many completions are shown."""
        self.until(lambda: self.text("total").startswith(f"{number} completion"))

    def snippets(self) -> list[str]:
        return self.run("[...document.querySelectorAll('.row .snippet')].map(s => s.textContent)")

    def chip(self, facet: str, value: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, f'[data-chip="{facet}={value}"]').click()

    def asked_elsewhere(self, own: str) -> list[str]:
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [u for u in urls if not u.startswith((own, "data:", "blob:", "about:", "chrome"))]

    def complaints(self) -> list[str]:
        """What the console says; that the policy keeps out the style of Plotly's maps, which are not used, is meant."""
        found = [e["message"] for e in self.driver.get_log("browser")]
        return [m for m in found if not ("plotly.js" in m and "inline style" in m)]

    def shot(self, name: str) -> None:
        if SHOTS:
            self.driver.save_screenshot(f"{SHOTS}/{name}.png")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    made = Reader(tmp_path_factory.mktemp("profile"))
    yield made
    made.driver.quit()


@pytest.fixture(autouse=True)
def afresh(reader):
    reader.driver.get("about:blank")  # the page of the test before goes on asking a server that has gone
    reader.size(1400, 900)
    reader.media(prefers_color_scheme="light")
    reader.driver.get_log("browser")
    reader.driver.get_log("performance")


def test_filter_search_read_and_go_back(tmp_path, reader):
    with viewing(small_run(tmp_path / "run")) as url:
        reader.open(url + "/").total(34)
        reader.chip("role", "sneaky")
        reader.total(14)
        reader.chip("phase", "collection")
        reader.total(6)
        reader.run("document.getElementById('sort').value = 'fooled'")
        reader.run("document.getElementById('sort').dispatchEvent(new Event('change'))")
        reader.until(lambda: reader.snippets()[0].startswith("5 + 4 = 10"))
        address = parse_qs(urlparse(reader.driver.current_url).query)
        assert address == {"role": ["sneaky"], "phase": ["collection"], "sort": ["fooled"]}

        reader.press("j")  # by keyboard: the first, the second, and what is on it
        reader.until(lambda: "Tom has 5" in reader.text("chosen"))
        reader.press("j")
        reader.until(lambda: "Tom has 4" in reader.text("chosen"))
        ticks = reader.run("[...document.querySelectorAll('#solution .tick')].map(t => t.textContent)")
        assert ticks == ["✗", ""] and "arithmetic does not hold" in reader.text("solution")
        assert "gold answer 8" in reader.text("chosen") and "round 0 helpful" in reader.text("chosen")
        link = reader.driver.current_url
        reader.driver.back()
        reader.until(lambda: reader.run("document.getElementById('chosen').hidden"))
        reader.driver.get(link)  # a link of its own
        reader.until(lambda: "Tom has 4" in reader.text("chosen"))
        reader.press(Keys.ESCAPE)
        reader.until(lambda: reader.run("document.getElementById('chosen').hidden"))

        reader.driver.find_element(By.ID, "reset").click()
        reader.total(34)
        reader.press("/").press("3 + 4 = 8", Keys.ESCAPE)
        reader.total(1)
        assert "text=3" in reader.driver.current_url
        reader.press("/").press(Keys.CONTROL + "a", "ANN HAS")  # in every question
        reader.total(34)
        assert reader.asked_elsewhere(url) == [] and reader.complaints() == []


def test_damage_is_told_and_then_left_alone(tmp_path, reader):
    """A head of several lines, a file that cannot be read, problems that are gone, and a link to nothing."""
    run = small_run(tmp_path / "run")
    (run / "base/solutions.parquet").write_bytes(b"PAR1 nothing PAR1")
    (run / "problems.jsonl").write_text("{", encoding="utf-8")
    (finish(run, "rounds/00/verifier") / "model.safetensors").write_bytes(b"weights")
    with viewing(run) as url:
        reader.open(url + "/").total(28)
        reader.until(lambda: "base/solutions.parquet: cannot be read" in reader.text("notes"))
        assert "problems.jsonl" in reader.text("notes")
        height = "document.documentElement.scrollHeight"
        assert reader.run(height) == reader.run("innerHeight")  # no scrollbar outside the parts' own
        chips = "[...document.querySelectorAll('.chip i')].every(i => i.getClientRects().length === 1)"
        assert reader.run(chips)
        time.sleep(5)  # two polls and more
        assert not reader.driver.find_element(By.ID, "fresh").is_displayed()
        reader.press("j")
        reader.until(lambda: "problems.jsonl" in reader.text("chosen"))
        reader.press("1")
        reader.until(lambda: "problems.jsonl" in reader.text("doubt"))
        reader.shot("damaged")

        reader.open(url + "/?item=run~rounds/07~ppo~prover~1~sneaky~0~p0").total(28)
        reader.until(lambda: "no such completion in the runs shown" in reader.text("chosen"))
        time.sleep(1)
        assert "no such completion" in reader.text("chosen") and not reader.text("trouble")
        reader.shot("stale")
        reader.size(390, 844)
        reader.until(lambda: reader.driver.find_element(By.CSS_SELECTOR, "#item .absent").is_displayed())
        reader.driver.find_element(By.CSS_SELECTOR, "#item .back").click()
        reader.until(lambda: reader.driver.find_element(By.ID, "rows").is_displayed())


def test_a_point_of_the_curves_shows_the_completions_of_its_step(tmp_path, reader):
    with viewing(small_run(tmp_path / "run")) as url:
        reader.open(url + "/")
        reader.until(lambda: reader.run("document.querySelectorAll('#chart .scatterlayer path.js-line').length") == 2)
        place = reader.driver.find_element(By.CSS_SELECTOR, "#chart .nsewdrag")
        mouse = ActionChains(reader.driver)
        mouse.move_to_element_with_offset(place, place.size["width"] // 2 - 12, 10).perform()  # near the last step
        reader.until(lambda: reader.run("document.querySelectorAll('#chart .hoverlayer text').length"))
        mouse.click().perform()
        reader.total(8)
        assert "step_from=2&step_to=2" in reader.driver.current_url and reader.complaints() == []


def test_a_game_that_is_played_is_followed(tmp_path, reader):
    run = new_run(tmp_path / "run")
    work = run / "rounds/00/.prover.tmp"
    work.mkdir(parents=True)

    def play(step: int) -> None:
        rows = [solution(p, phase="ppo", split="prover", step=step, text=f"step {step}") for p in (0, 1, 2)]
        write_solutions(step_file(work, step), rows)
        with open(work / "metrics.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step, "accuracy_helpful": 1.0, "accuracy_sneaky": 0.0}) + "\n")

    with viewing(run) as url:
        reader.driver.get(url + "/")
        reader.until(lambda: "0 completions" in reader.text("total"))
        play(1)
        reader.total(3)
        play(2)
        reader.total(6)
        reader.until(lambda: "rounds/00/prover, step 2 of at most" in reader.text("runs"))
        assert reader.snippets()[0] == "step 2"
        reader.until(lambda: reader.run("document.getElementById('chart').data?.[0].x.length") == 2)

        reader.press("j")  # somebody reads: nothing moves under them
        reader.until(lambda: not reader.run("document.getElementById('chosen').hidden"))
        play(3)
        reader.until(lambda: reader.driver.find_element(By.ID, "fresh").is_displayed())
        assert reader.snippets()[0] == "step 2"
        rows = [solution(p, phase="ppo", split="prover", step=s, text=f"step {s}") for s in (1, 2, 3) for p in (0, 1, 2)]  # fmt: skip
        link = reader.driver.current_url
        shutil.rmtree(work)  # the phase is whole
        finish(run, "rounds/00/prover", rows)
        reader.driver.get(link)
        reader.until(lambda: "step 2" in reader.text("solution"))
        reader.total(9)
        assert reader.complaints() == []


def test_a_game_is_watched_while_it_plays(tmp_path, tiny_config_file, tiny_overrides, reader):
    """A real one, of one round: the list grows step by step, the head says where it is, and in the end all is there."""
    out, more = tmp_path / "run", ("game.rounds=1", "ppo.steps=24")
    game = threading.Thread(target=play_with, args=(tiny_config_file, tiny_overrides, out, *more))
    game.start()
    reader.until(lambda: (out / "config.yaml").is_file())
    with viewing(out) as url:
        reader.open(url + "/")
        totals, heads = [], set()
        while game.is_alive():
            totals.append(int(re.sub(r"\D", "", reader.text("total"))))
            heads.add(reader.text("runs"))
            time.sleep(0.1)
        game.join()
        assert any("rounds/00/prover, step" in head for head in heads), heads
        stored = sum(len(read_solutions(file)) for file in out.rglob("solutions.parquet"))
        assert totals == sorted(totals) and len({*totals, stored}) >= 3, totals  # it grew, and more than once
        reader.until(lambda: "finished" in reader.text("runs"))
        reader.until(lambda: reader.text("total").replace(",", "").startswith(f"{stored} completions"))
        assert reader.complaints() == []


HOSTILE = (
    '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2"><style>body { display: none }</style>'
    "</textarea></script><script>window.hacked = 3</script>\n\u202eright to left\u202c \u200f\u05d0\n"
    "</div><form action=https://example.org><input></form><a href=javascript:window.hacked=4>x</a>\n<svg onload=window.hacked=5>"
)


def test_hostile_text_neither_runs_nor_restyles(tmp_path, reader):
    run = new_run(tmp_path / '<img src=x onerror="window.hacked = 6">'.replace("/", ""))
    odd = f'p1"><img src=x onerror=window.hacked=7>{HOSTILE[:60]}'
    rows = [solution(1, text=HOSTILE, problem_id=odd, role="x onclick=alert(1)", arm=HOSTILE, step=1), solution(2, text="z" * 60_000), solution(3)]  # fmt: skip
    finish(run, "rounds/00/prover", metrics=[{"step": s, "accuracy_helpful": 1, "<b>m</b><a href='javascript:window.hacked=8'>": s} for s in (1, 2)])  # fmt: skip
    finish(run, "rounds/00/collection", rows)
    with viewing(run) as url:
        reader.open(url + "/").total(3)
        for number in range(3):
            reader.run("document.querySelectorAll('.row')[arguments[0]].click()", number)
            reader.until(lambda n=number: reader.run("document.querySelectorAll('.row')[arguments[0]].getAttribute('aria-current')", n) == "true")  # fmt: skip
            reader.until(lambda: not reader.run("document.getElementById('chosen').hidden"))
        reader.run("document.querySelectorAll('.row')[0].click()")
        reader.until(lambda: "window.hacked = 1" in reader.text("solution"))
        reader.shot("hostile")
        metric = reader.run(
            "[...document.getElementById('metric').options].map(o => o.value).find(v => v.includes('<b>'))"
        )
        reader.run("document.getElementById('metric').value = arguments[0]", metric)
        reader.run("document.getElementById('metric').dispatchEvent(new Event('change'))")
        reader.until(lambda: "‹b›" in (reader.run("document.getElementById('chart').data?.[0].name") or ""))
        time.sleep(0.3)
        assert reader.run("window.hacked ?? null") is None
        own = "#list img, #item img, #item script, #item style, #item form, #item svg, #filters img, #top img, #list script, #chart a"
        assert reader.run("document.querySelectorAll(arguments[0]).length", own) == 0
        assert reader.run("getComputedStyle(document.body).display") == "flex"
        assert "\ufffdright to left\ufffd" in reader.text("solution")
        assert reader.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert reader.asked_elsewhere(url) == [] and reader.complaints() == []


def test_phone_dark_and_no_layout_shift(tmp_path, reader):
    with viewing(small_run(tmp_path / "run")) as url:
        reader.size(390, 844)
        reader.media(prefers_color_scheme="dark")
        reader.open(url + "/").total(34)
        assert reader.run("document.documentElement.scrollWidth") <= 390
        light = reader.run("getComputedStyle(document.body).backgroundColor")
        assert light == "rgb(22, 25, 29)"
        reader.run("document.querySelectorAll('.row')[0].click()")
        reader.until(lambda: not reader.run("document.getElementById('chosen').hidden"))
        assert reader.run("document.documentElement.scrollWidth") <= 390
        assert not reader.driver.find_element(By.ID, "list").is_displayed()
        back = reader.driver.find_element(By.CSS_SELECTOR, ".back")
        assert back.size["height"] >= 38
        back.click()
        reader.until(lambda: reader.driver.find_element(By.ID, "list").is_displayed())

        reader.size(1400, 900)
        reader.driver.get(url + "/?role=sneaky")
        watch = "new PerformanceObserver(l => l.getEntries().forEach(e => { if (!e.hadRecentInput) window.shift = (window.shift || 0) + e.value; })).observe({type: 'layout-shift', buffered: true})"
        reader.run(watch)
        reader.total(14)
        reader.until(lambda: reader.run("document.querySelectorAll('#chart .scatterlayer path.js-line').length") == 2)
        reader.run("document.querySelectorAll('.row')[0].click()")
        reader.until(lambda: not reader.run("document.getElementById('chosen').hidden"))
        time.sleep(0.5)
        assert (reader.run("window.shift") or 0) < 0.1
