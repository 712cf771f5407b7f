"""Screens of pages in a headless Chromium, as docs/figures/pages/ keeps them.

    python scripts/page_screens.py report=runs/nano/report.html weak-to-strong=runs/w2s/report.html --out docs/figures/pages

Writes NAME-WIDTH.webp of the whole page for each width (at most 16,000 pixels high), and NAME-dark-WIDTH.webp of a dark
screen for the widest. A page may be the address of a server that runs (`inspect view`, say): then it is as high as the
window, and not made dark. Needs selenium, chromium and chromedriver.
"""

from __future__ import annotations

import base64
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from legibility.script import run_script

HIGHEST = 16_000  # pixels; WebP holds no more


def main(
    pages: Annotated[list[str], typer.Argument(help="Pages to show, as NAME=FILE or NAME=http://…")],
    out: Annotated[Path, typer.Option(help="Folder the screens are written to.")],
    height: Annotated[int, typer.Option(help="Height of the window, for the page of a server.")] = 900,
    wait: Annotated[int, typer.Option(help="Seconds after which the page of a server is there.")] = 10,
    widths: Annotated[str, typer.Option(help="Widths of the window in CSS pixels, separated by commas.")] = "1400,390",
) -> None:
    """Write a screen of every page at every width."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    out.mkdir(parents=True, exist_ok=True)
    sizes = [int(width) for width in widths.split(",")]
    for page in pages:
        name, _, file = page.partition("=")
        served = file.startswith("http://")
        for scheme, width in [("light", w) for w in sizes] + ([] if served else [("dark", max(sizes))]):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            _resize(driver, width, height)
            driver.get(file if served else Path(file).resolve().as_uri())
            if not served:
                whole = driver.execute_script("return document.documentElement.scrollHeight")
                _resize(driver, width, min(HIGHEST, whole))
            time.sleep(wait if served else 1)  # for the figures to be there
            shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 70})
            dark = "-dark" if scheme == "dark" else ""
            target = out / f"{name}{dark}-{width}.webp"
            target.write_bytes(base64.b64decode(shot["data"]))
            typer.echo(str(target))
    driver.quit()


def _resize(driver: Any, width: int, height: int) -> None:
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


if __name__ == "__main__":
    run_script(main)
