"""What a person would see wrong with a page: text that is too pale, cut off, or on top of other text, and
controls that have no name or that no key reaches.

`faults(page)` takes a page that is open in a browser and returns a sentence for each fault;
`scripts/check_pages.py` does it for every kind of page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEEN = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class PageSetting:
    """How a page is shown: the size of the window in CSS pixels, the color scheme, and screen or print."""

    width: int
    height: int
    scheme: str = "light"
    media: str = "screen"


SETTINGS = {
    "laptop": PageSetting(1280, 900),
    "phone": PageSetting(390, 844),
    "small phone": PageSetting(320, 640),
    "dark": PageSetting(1280, 900, scheme="dark"),
    "dark phone": PageSetting(390, 844, scheme="dark"),
    "print": PageSetting(718, 1000, media="print"),  # A4 between margins
}

LEAST_CONTRAST, LEAST_OF_LARGE_TEXT = 4.5, 3.0
"""WCAG 2.2, 1.4.3 (AA); the second also for curves, by 1.4.11."""
LARGE, LARGE_IF_BOLD, BOLD = 24.0, 18.66, 700
"""Pixels from which text is large, and the weight from which it is bold: 18 and 14 points in WCAG."""

Color = Sequence[float]
"""Red, green and blue from 0 to 255, and maybe alpha from 0 to 1."""
WHITE = (255.0, 255.0, 255.0)


def luminance(color: Color) -> float:
    """Relative luminance of an opaque color, 0 for black and 1 for white (WCAG 2.2)."""
    parts = [c / 255 for c in color[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: Color, b: Color) -> float:
    """Contrast of two opaque colors, from 1 to 21 (WCAG 2.2)."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def painted_over(top: Color, below: Color) -> tuple[float, ...]:
    """The opaque color that is seen where `top`, with its alpha, is painted over the opaque `below`."""
    alpha = top[3] if len(top) > 3 else 1.0
    return tuple(alpha * t + (1 - alpha) * b for t, b in zip(top[:3], below[:3], strict=True))


def contrast_on_page(color: Color, layers: Sequence[Color]) -> float:
    """Contrast of a color with the backgrounds below it, the lowest first, on a white page."""
    background: Color = WHITE
    for layer in layers:
        background = painted_over(layer, background)
    return contrast(painted_over(color, background), background)


def least_contrast(size: float, weight: float) -> float:
    """The contrast that text needs, by its size in pixels and its weight."""
    is_large = size >= LARGE or (size >= LARGE_IF_BOLD and weight >= BOLD)
    return LEAST_OF_LARGE_TEXT if is_large else LEAST_CONTRAST


def faults(page: Any, within: str = "body") -> list[str]:
    """Sentences on what is wrong with a page of playwright as it is shown now; none where all is well.

    `within` is a selector: only what it matches is judged, but for the width of the page.
    """
    seen = page.evaluate(SEEN, within)
    pale = [
        *_pale((text, least_contrast(text["size"], text["weight"])) for text in seen["texts"]),
        *_pale((curve, LEAST_OF_LARGE_TEXT) for curve in seen["curves"]),
    ]
    return [*dict.fromkeys(pale), *seen["faults"]]


def _pale(seen: Iterator[tuple[dict[str, Any], float]]) -> Iterator[str]:
    for each, least in seen:
        found = contrast_on_page(each["color"], each["layers"])
        if found < least:
            yield f"{each['what']} has a contrast of {found:.2f}, below {least:g}"


def show_as(page: Any, setting: PageSetting) -> None:
    """Show an open page in a setting, until it has answered to its new size."""
    page.set_viewport_size({"width": setting.width, "height": setting.height})
    page.emulate_media(color_scheme=setting.scheme, media=setting.media)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def faults_everywhere(page: Any) -> list[str]:
    """The same in all settings; the page is on a laptop afterwards."""
    found = []
    for name, setting in SETTINGS.items():
        show_as(page, setting)
        found += [f"{name}: {fault}" for fault in faults(page)]
    show_as(page, SETTINGS["laptop"])
    return found
