"""What a person would see wrong with a page: text that is too pale, cut off, or on top of other text.

`faults(page)` takes a page that is open in a browser and returns a sentence for each fault.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

SEEN = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")

SIZES = {"laptop": (1366, 900), "phone": (375, 812), "small-phone": (320, 640)}


def faults(page: Any) -> list[str]:
    """Sentences on text that is hard to see, for a page of playwright; none where all is well."""
    found: list[str] = page.evaluate(SEEN)
    return found


def faults_everywhere(page: Any) -> list[str]:
    """The same on a laptop, on phones and in print, light and dark."""
    found = []
    for name, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, media="screen")
            found += [f"{name}, {scheme}: {fault}" for fault in faults(page)]
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 between margins
    page.emulate_media(color_scheme="light", media="print")
    found += [f"print: {fault}" for fault in faults(page)]
    page.set_viewport_size({"width": 1366, "height": 900})
    page.emulate_media(color_scheme="light", media="screen")
    return found
