"""Draw docs/figures/loss_vs_margin.svg from the loss functions themselves.

    python docs/figures/loss_vs_margin.py

Each curve is a method's loss divided by its loss at margin 0, so that losses in nats and in squared
nats share an axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from boresight import methods
from boresight.methods.inputs import PairLogps, PairScores, PolicyPairLogps

SVG = Path(__file__).with_suffix(".svg")
COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

PANEL_WIDTH, HEIGHT, TOP, LEFT, GAP, POINTS = 380, 250, 60, 56, 76, 241


@dataclass(frozen=True)
class Curve:
    """One method with some settings."""

    label: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    dashes: str = ""


@dataclass(frozen=True)
class Panel:
    """Curves over one kind of margin, from `low` to `high`; the loss axis ends at `top`."""

    title: str
    axis: str
    low: float
    high: float
    top: float
    ticks: tuple[float, ...]
    curves: tuple[Curve, ...]


PANELS = (
    Panel(
        "Margin of the whole answer",
        "margin h, nats",
        -10,
        20,
        3.0,
        (-10, -5, 0, 5, 10, 15, 20),
        (
            Curve("DPO, beta 0.1", "dpo", {"beta": 0.1}),
            Curve("DPO, beta 0.01", "dpo", {"beta": 0.01}, "7 4"),
            Curve("DPO, label smoothing 0.2", "dpo", {"beta": 0.1, "label_smoothing": 0.2}, "2 3"),
            Curve("DPO, hinge", "dpo", {"beta": 0.1, "loss_type": "hinge"}, "10 3 2 3"),
            Curve("IPO, tau 0.1 (target 5 nats)", "ipo", {"tau": 0.1}),
        ),
    ),
    Panel(
        "Margin per token, or score gap",
        "lead, nats per token (reward model: score)",
        -1,
        3,
        3.0,
        (-1, 0, 1, 2, 3),
        (
            Curve("SimPO, beta 2, gamma 1", "simpo"),
            Curve("DPO per token, beta 2", "dpo", {"beta": 2.0, "length_normalised": True}, "7 4"),
            Curve("Reward model", "reward", {}, "2 3"),
            Curve("Reward model, margin 1", "reward", {"margin_scale": 1.0}, "10 3 2 3"),
            Curve("IPO averaged, tau 0.5 (target 1)", "ipo", {"tau": 0.5, "reduction": "mean"}),
        ),
    ),
)


def losses(curve: Curve, margins: torch.Tensor) -> torch.Tensor:
    """The method's loss at each margin: answers of one token, whose lead is all on the chosen one."""
    zero, one = torch.zeros_like(margins), torch.ones_like(margins)
    inputs = {
        PairLogps: lambda: PairLogps(margins, zero, zero, zero, one, one),
        PolicyPairLogps: lambda: PolicyPairLogps(margins, zero, one, one),
        PairScores: lambda: PairScores(margins, zero, one),
    }
    method = methods.get(curve.method)
    return method.loss(inputs[method.Input](), method.Config(**curve.settings)).per_example


def relative(curve: Curve, margins: torch.Tensor) -> torch.Tensor:
    """Losses in units of the loss at margin 0."""
    return losses(curve, margins) / losses(curve, torch.zeros(1, dtype=margins.dtype))


def text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{words}</text>'


def draw_panel(panel: Panel, left: float) -> list[str]:
    """Axes, ticks, curves and legend of one panel."""

    def across(h: float) -> float:
        return left + (h - panel.low) / (panel.high - panel.low) * PANEL_WIDTH

    def down(loss: float) -> float:
        return TOP + (1 - loss / panel.top) * HEIGHT

    bottom = TOP + HEIGHT
    parts = [text(left, TOP - 20, panel.title, 'font-weight="600" font-size="14"')]
    for level in range(int(panel.top) + 1):
        y = down(level)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}h{PANEL_WIDTH}"/>')
        parts.append(text(left - 8, y + 4, str(level), 'text-anchor="end"'))
    parts += [text(across(tick), bottom + 18, f"{tick:g}", 'text-anchor="middle"') for tick in panel.ticks]
    parts.append(f'<path class="axis" d="M{across(0):.1f} {TOP}v{HEIGHT}"/>')
    parts.append(text(left + PANEL_WIDTH / 2, bottom + 38, panel.axis, 'text-anchor="middle"'))
    margins = torch.linspace(panel.low, panel.high, POINTS, dtype=torch.float64)
    for i, curve in enumerate(panel.curves):
        style = f'stroke="{COLOURS[i]}"' + (f' stroke-dasharray="{curve.dashes}"' if curve.dashes else "")
        seen = [(h, v) for h, v in zip(margins.tolist(), relative(curve, margins).tolist(), strict=True)]
        points = " ".join(f"{across(h):.1f},{down(v):.1f}" for h, v in seen if v <= panel.top)
        parts.append(f'<polyline {style} points="{points}"/>')
        y = bottom + 64 + 19 * i
        parts.append(f'<path class="key" {style} d="M{left} {y - 4}h34"/>')
        parts.append(text(left + 44, y, curve.label))
    return parts


def svg() -> str:
    """The whole figure."""
    width = 2 * PANEL_WIDTH + LEFT + GAP + 24
    height = TOP + HEIGHT + 64 + 19 * 5
    body: list[str] = []
    for i, panel in enumerate(PANELS):
        body += draw_panel(panel, LEFT + i * (PANEL_WIDTH + GAP))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
            "<title>Loss against margin</title>",
            "<desc>Each loss relative to its value at margin zero.</desc>",
            "<style>polyline,.key{fill:none;stroke-width:2}.grid{stroke:#e3e3e3}.axis{stroke:#888}</style>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            text(LEFT, 20, "Loss relative to the loss at margin 0", 'fill="#666"'),
            *body,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    SVG.write_text(svg(), encoding="utf-8")
