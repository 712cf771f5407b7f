"""Figures as files and inside a page: PNG that holds no date, and data URLs for a light and a dark screen."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from legibility.files import write_atomic

CSS_INCH = 104  # CSS pixels per inch of a figure, so that text has one size in all figures


@dataclass(frozen=True)
class Image:
    """A figure as the page embeds it: width in CSS pixels, and a data URL for each colour scheme."""

    width: int
    light: str
    dark: str


def save_image(path: Path, light: Figure, dark: Figure) -> Image:
    """Write the light version of a figure to `path`, a PNG; returns both versions as a page embeds them."""
    content = png(light)
    write_atomic(path, content)
    return Image(round(CSS_INCH * light.get_figwidth()), data_url(content), data_url(png(dark)))


def png(figure: Figure) -> bytes:
    """A figure as PNG, without a date in it: the same figure is the same bytes."""
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return out.getvalue()


def data_url(content: bytes) -> str:
    """A PNG as a data URL, so that a page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
