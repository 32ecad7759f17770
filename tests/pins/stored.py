"""The stored files of pins: where they are, how they are written, and how data differ from them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.pins import cli, curves, folders, formats, public, recipes, shown_paths


@dataclass(frozen=True)
class Pin:
    """A name, what observes it anew, and how far numbers may differ: by a share, or by an amount."""

    name: str
    observe: Callable[[], Any]
    share: float = 0.0
    amount: float = 0.0
    renew: Callable[[], Any] | None = None
    """What the writer calls, where that is not `observe`."""

    @property
    def path(self) -> Path:
        """The stored file."""
        return Path(__file__).parent / f"{self.name}.json"

    def read(self) -> Any:
        """The stored data."""
        return json.loads(self.path.read_text(encoding="utf-8"))

    def write(self) -> None:
        """Store what is observed now."""
        text = json.dumps((self.renew or self.observe)(), indent=1, sort_keys=True, ensure_ascii=False)
        self.path.write_text(text + "\n", encoding="utf-8")

    def differences(self) -> list[str]:
        """A line for each value that is not what is stored."""
        return list(self._compare(self.read(), json.loads(json.dumps(self.observe())), ""))

    def _compare(self, was: Any, now: Any, place: str) -> Iterator[str]:
        if isinstance(was, dict) and isinstance(now, dict):
            for key in sorted({*was, *now}):
                below = f"{place} / {key}" if place else key
                if key not in now:
                    yield f"gone       {below}: {was[key]!r}"
                elif key not in was:
                    yield f"new        {below}: {now[key]!r}"
                else:
                    yield from self._compare(was[key], now[key], below)
        elif isinstance(was, list) and isinstance(now, list):
            yield from self._compare_lists(was, now, place)
        elif not self._same(was, now):
            yield f"changed    {place}: {was!r} is now {now!r}"

    def _compare_lists(self, was: list[Any], now: list[Any], place: str) -> Iterator[str]:
        """Words by what they say, anything else by its number."""
        if all(isinstance(item, str) for item in was + now):
            yield from (f"gone       {place or self.name}: {word}" for word in was if word not in now)
            yield from (f"new        {place or self.name}: {word}" for word in now if word not in was)
            if was != now and set(was) == set(now):
                yield f"reordered  {place or self.name}: {was!r} is now {now!r}"
        elif len(was) != len(now):
            yield f"changed    {place}: {was!r} is now {now!r}"
        else:
            for number, (one, other) in enumerate(zip(was, now, strict=True)):
                yield from self._compare(one, other, f"{place} / {number}")

    def _same(self, was: Any, now: Any) -> bool:
        if type(was) is type(now) is float:
            return math.isclose(was, now, rel_tol=self.share, abs_tol=self.amount)
        return type(was) is type(now) and was == now


PINS = (
    Pin("cli", cli.observe),
    Pin("recipe_keys", recipes.observe),
    Pin("public", public.observe),
    Pin("shown_paths", shown_paths.observe, renew=shown_paths.find),
    Pin("run_folders", folders.observe),
    Pin("formats", formats.observe),
    # Numbers are logged with six digits, so a last digit that is rounded otherwise is a share of 1e-5.
    Pin("loss_curves", curves.observe, share=1e-5, amount=1e-5),
)
