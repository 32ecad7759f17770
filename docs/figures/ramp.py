"""Draw docs/figures/ramp.svg from the ramp of the demo that is kept in benchmarks/forecast.

python docs/figures/ramp.py
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from loss_vs_margin import COLOURS, text

from boresight.checks.forecast.ramp import LARGEST_KL, Ramp, RampPoint
from boresight.checks.forecast.row_mean import RowMean
from boresight.core.files import read_jsonl

ROOT = Path(__file__).parents[2]
SVG = Path(__file__).with_suffix(".svg")
PREDICTIONS = ROOT / "benchmarks" / "forecast" / "predictions.jsonl"
CASE = "starter × demo × lora"
WIDTH, HEIGHT, TOP, LEFT, GAP = 380, 230, 56, 56, 76
Line = tuple[str, Callable[[RampPoint], RowMean | None]]


def ramp_of(case: str) -> Ramp:
    """The ramp of a case, as it was measured."""
    return Ramp.from_dict(next(line["ramp"] for line in read_jsonl(PREDICTIONS) if line["case"] == case))


class Axes:
    """A panel with sums of learning rates on a logarithmic axis, and nats on a linear one."""

    def __init__(self, left: float, sums: Sequence[float], low: float, high: float) -> None:
        self.left, self.low, self.high = left, low, high
        self._from, self._to = math.log(min(sums) / 1.2), math.log(max(sums) * 1.2)

    def across(self, budget: float) -> float:
        """Horizontal place of a sum of learning rates."""
        return self.left + (math.log(budget) - self._from) / (self._to - self._from) * WIDTH

    def down(self, nats: float) -> float:
        """Vertical place of a value."""
        return TOP + (self.high - nats) / (self.high - self.low) * HEIGHT

    def frame(self, title: str, ticks: Sequence[float], sums: Sequence[float]) -> list[str]:
        """Title, grid and the labels of both axes."""
        parts = [text(self.left, TOP - 18, title, 'font-weight="600" font-size="14"')]
        for tick in ticks:
            parts.append(f'<path class="grid" d="M{self.left} {self.down(tick):.1f}h{WIDTH}"/>')
            parts.append(text(self.left - 8, self.down(tick) + 4, f"{tick:g}", 'text-anchor="end"'))
        below = TOP + HEIGHT + 18
        parts += [text(self.across(at), below, f"{at:g}", 'text-anchor="middle"') for at in sums]
        axis = "sum of learning rates"
        return [*parts, text(self.left + WIDTH / 2, TOP + HEIGHT + 38, axis, 'text-anchor="middle"')]

    def curve(self, points: Sequence[RampPoint], line: Line, color: str, row: int) -> list[str]:
        """Means with their 95 % intervals, joined, and the entry of the legend."""
        label, read = line
        known = [(self.across(p.budget), mean) for p in points if (mean := read(p)) is not None]
        joined = " ".join(f"{x:.1f},{self.down(mean.mean):.1f}" for x, mean in known)
        parts = [f'<polyline stroke="{color}" points="{joined}"/>']
        for x, mean in known:
            top, length = self.down(mean.mean + mean.half_width), 2 * mean.half_width
            height = length / (self.high - self.low) * HEIGHT
            parts.append(f'<path class="bar" stroke="{color}" d="M{x:.1f} {top:.1f}v{height:.1f}"/>')
        y = TOP + HEIGHT + 62 + 18 * row
        parts.append(f'<path class="key" stroke="{color}" d="M{self.left} {y - 4}h34"/>')
        return [*parts, text(self.left + 44, y, label)]

    def mark(self, budget: float, label: str) -> list[str]:
        """A vertical line at a sum of learning rates."""
        x = self.across(budget)
        return [
            f'<path class="mark" d="M{x:.1f} {TOP}v{HEIGHT}"/>',
            text(x - 6, TOP + 12, label, 'text-anchor="end" fill="#666"'),
        ]


def svg() -> str:
    """The whole figure."""
    ramp = ramp_of(CASE)
    sums, rows = [point.budget for point in ramp.points], ramp.points[0].gain.n
    ticks = [10.0**power for power in range(-5, 0) if min(sums) <= 10.0**power <= max(sums)]
    gain = Axes(LEFT, sums, 0.0, math.ceil(max(p.gain.mean + p.gain.half_width for p in ramp.points)))
    per_token = Axes(LEFT + WIDTH + GAP, sums, -0.4, 0.4)
    lines: tuple[Line, ...] = (
        ("chosen answers", lambda p: p.chosen_per_token),
        ("rejected answers", lambda p: p.rejected_per_token),
        ("KL to the start model", lambda p: p.kl_per_token),
    )
    body = gain.frame("Gain in the margin, nats", range(int(gain.high) + 1), ticks)
    body += gain.curve(ramp.points, ("margin of chosen over rejected", lambda p: p.gain), COLOURS[0], 0)
    body += gain.mark(ramp.limit.budget, "harmless up to here")
    body += per_token.frame("Change, nats per token", (-0.4, -0.2, 0, 0.2, 0.4), ticks)
    for number, line in enumerate(lines):
        body += per_token.curve(ramp.points, line, COLOURS[number + 2], number)
    body += per_token.mark(ramp.limit.budget, f"KL {LARGEST_KL:g}")
    width, height = 2 * WIDTH + LEFT + GAP + 24, TOP + HEIGHT + 62 + 18 * len(lines)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
            "<title>A learning-rate ramp</title>",
            "<desc>Gain and changes per token over the sum of learning rates.</desc>",
            "<style>polyline,.key{fill:none;stroke-width:2}.bar{fill:none;stroke-width:1.2;opacity:.6}"
            ".grid{stroke:#e3e3e3}.mark{stroke:#888;stroke-dasharray:4 3}</style>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            text(LEFT, 18, f"The demo's pairs, LoRA: 16 steps, {rows} pairs, 95 % intervals", 'fill="#666"'),
            *body,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    SVG.write_text(svg(), encoding="utf-8")
