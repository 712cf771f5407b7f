"""A figure as a file and as a page embeds it."""

from __future__ import annotations

import base64

from matplotlib.figure import Figure

from legibility.reporting.images import CSS_INCH, data_url, png, save_image


def figure(colour: str) -> Figure:
    drawn = Figure(figsize=(2.0, 1.0), facecolor=colour)
    drawn.subplots().plot([0, 1], [0, 1])
    return drawn


def test_the_same_figure_is_the_same_bytes() -> None:
    assert png(figure("white")) == png(figure("white")) != png(figure("black"))
    assert png(figure("white")).startswith(b"\x89PNG")


def test_the_light_version_is_the_file_and_the_page_has_both(tmp_path) -> None:
    image = save_image(tmp_path / "a.png", figure("white"), figure("black"))
    assert (tmp_path / "a.png").read_bytes() == png(figure("white"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]  # no temporary file stays
    assert image.width == 2 * CSS_INCH
    assert (image.light, image.dark) == (data_url(png(figure("white"))), data_url(png(figure("black"))))


def test_a_data_url_holds_the_bytes() -> None:
    head, _, body = data_url(b"\x89PNG").partition(",")
    assert head == "data:image/png;base64" and base64.b64decode(body) == b"\x89PNG"
