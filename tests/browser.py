"""A headless Chromium for pages that lie in files: how wide they are, and what sticks out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver
    from typing_extensions import Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

STICKING_OUT = """
const edge = document.documentElement.clientWidth, out = [];
if (document.documentElement.scrollWidth > edge) out.push('the page itself');
for (const e of document.querySelectorAll('body *')) {
  const box = e.getBoundingClientRect();
  if (!box.width || box.right <= edge + 1 && box.left >= -1) continue;
  let by = e.parentElement;  // what scrolls it
  while (by && !['auto', 'scroll'].includes(getComputedStyle(by).overflowX)) by = by.parentElement;
  const shadowed = by && getComputedStyle(by).backgroundImage.split('gradient').length > 4;
  if (!shadowed || by.getBoundingClientRect().right > edge + 1) out.push(e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40));
}
return out;
"""


WIDTHS = (390, 1000, 1400, 1900)
"""A phone, a small window, a laptop and a wide screen, in CSS pixels."""


PATIENCE = 60  # seconds


def chromium(profile: Path | None = None) -> WebDriver:
    """A headless Chromium; with a profile of its own it keeps what it asked for and what its console said.

    Skips the test where there is no selenium, chromium or chromedriver.
    """
    pytest.importorskip("selenium")
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(flag)
    if profile is not None:
        for flag in ("--window-size=900,800", "--disable-background-networking", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": str(profile / "downloads")})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


class Person:
    """Somebody who uses a page by keyboard, in a browser with a profile of its own."""

    def __init__(self, profile: Path, **media: str) -> None:
        self.driver = chromium(profile)
        if media:
            self.media(**media)

    def media(self, **features: str) -> None:
        """What the screen prefers: prefers_color_scheme="dark"."""
        found = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": found})

    def until(self, what: Callable[[], object]) -> None:
        """Wait for something to be so."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, PATIENCE, poll_frequency=0.05).until(lambda driver: what())

    def press(self, *keys: str) -> Self:
        """Press keys where the focus is."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)
        return self


class Browser:
    """One headless Chromium, for pages in files."""

    def __init__(self) -> None:
        """Skip the test where there is no selenium, chromium or chromedriver."""
        self.driver = chromium()

    def open(self, page: Path, width: int, *, height: int = 900) -> None:
        """Show a page in a window of a width."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.get(page.resolve().as_uri())

    def sticking_out(self) -> list[str]:
        """What reaches beyond the window and is in no box that scrolls and shows so by a shadow."""
        return list(self.driver.execute_script(STICKING_OUT))

    def dead_links(self) -> list[str]:
        """Links to places that the page does not have."""
        script = "return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href')).filter(h => !document.querySelector(h))"
        return list(self.driver.execute_script(script))

    def faults(self, page: Path) -> list[str]:
        """What is wrong with a page at any of `WIDTHS`: what sticks out, and links that lead nowhere."""
        found = []
        for width in WIDTHS:
            self.open(page, width)
            found += [f"{width} px: {fault}" for fault in [*self.sticking_out(), *self.dead_links()]]
        return found

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()
