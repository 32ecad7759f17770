"""Draw docs/figures/METHOD.svg, one small figure a method, from the loss functions themselves.

python docs/figures/method_figures.py
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from loss_vs_margin import COLOURS, Curve, losses, relative, text

from boresight.methods import grpo, kto, orpo
from boresight.methods.inputs import LabeledLogps, PolicyPairLogps
from boresight.methods.rloo import leave_one_out

FOLDER = Path(__file__).parent
WIDTH, HEIGHT, LEFT, TOP, RIGHT = 560, 230, 62, 46, 24
LN2 = math.log(2)


@dataclass(frozen=True)
class Line:
    """One curve: what it is called, and its height at each place."""

    label: str
    at: Callable[[torch.Tensor], torch.Tensor]
    dashes: str = ""


@dataclass(frozen=True)
class Figure:
    """Curves over one axis. `across` and `up` are the ticks, whose ends are the ends of the axes."""

    title: str
    x: str
    y: str
    across: tuple[float, ...]
    up: tuple[float, ...]
    lines: tuple[Line, ...]
    points: int = 161


def line(label: str, method: str, dashes: str = "", *, share: bool = False, **settings: object) -> Line:
    """A method's loss over the margin; with `share`, as a share of the loss at margin 0."""
    curve = Curve(label, method, dict(settings))
    return Line(label, lambda h: relative(curve, h) if share else losses(curve, h), dashes)


def advantage_of(right: bool, share: float = 1.0) -> Callable[[torch.Tensor], torch.Tensor]:
    """`share` of the leave-one-out advantage of a right or a wrong answer in a group of eight with `count`
    right ones."""

    def at(counts: torch.Tensor) -> torch.Tensor:
        rewards = (torch.arange(8) < counts.unsqueeze(-1)).double()
        found = share * leave_one_out(rewards)
        wanted = rewards == float(right)
        return torch.where(wanted.any(-1), (found * wanted).sum(-1) / wanted.sum(-1), torch.nan)

    return at


def standardized(right: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same as GRPO standardizes it."""

    def at(counts: torch.Tensor) -> torch.Tensor:
        rewards = (torch.arange(8) < counts.unsqueeze(-1)).double()
        found, wanted = grpo.advantages(rewards, True), rewards == float(right)
        return torch.where(wanted.any(-1), (found * wanted).sum(-1) / wanted.sum(-1), torch.nan)

    return at


def pull_of_preference(h: torch.Tensor) -> torch.Tensor:
    """|d loss / d log pi| of the preference term at beta 0.1: beta times sigmoid of minus beta h."""
    return 0.1 * torch.sigmoid(-0.1 * h)


def pull_of_odds(mean_logp: torch.Tensor) -> torch.Tensor:
    """|d loss / d mean log-probability| of ORPO's odds ratio, weight 0.25, rejected answer at -1."""
    chosen = mean_logp.clone().requires_grad_()
    one = torch.ones_like(chosen)
    out = orpo.loss(PolicyPairLogps(chosen, -one, one, one), orpo.Config(odds_weight=0.25))
    (pull,) = torch.autograd.grad(out.per_example.sum(), chosen)
    return -pull - 1  # the likelihood's own is 1


def value_of(good: bool, beta: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """KTO's loss of a good or a bad answer over its log-ratio, with the reference point at 5 nats."""

    def at(ratios: torch.Tensor) -> torch.Tensor:
        ones = torch.ones_like(ratios)
        x = LabeledLogps(ratios, 0 * ones, ones, torch.full_like(ratios, good, dtype=torch.bool), 5 * ones)
        return kto.loss(x, kto.Config(beta=beta)).per_example

    return at


def level(height: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same height everywhere."""
    return lambda places: torch.full_like(places, height)


def pushed_down(alpha: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Change of the offline loss, at beta 0.1, when only the rejected answer falls by `nats`."""
    return lambda nats: -torch.nn.functional.logsigmoid(0.1 * nats) - LN2 - alpha * nats


MARGIN, LOSS = "margin h, nats", "loss, nats"
FIGURES = {
    "sft": Figure(
        "How much of the gradient one of two answers gets",
        "its length, tokens (the other has 100)",
        "share",
        (0, 100, 200, 300, 400),
        (0, 0.25, 0.5, 0.75, 1),
        (
            Line("here: the mean runs over tokens", lambda n: n / (n + 100)),
            Line("a mean over answers", level(0.5), "7 4"),
        ),
    ),
    "reward": Figure(
        "The loss of a reward model",
        "reward of chosen minus reward of rejected",
        LOSS,
        (-4, -2, 0, 2, 4, 6),
        (0, 1, 2, 3, 4),
        (
            line("no margin", "reward"),
            line("margin 1: scores one apart, margin_scale 1", "reward", "7 4", margin_scale=1.0),
        ),
    ),
    "dpo": Figure(
        "The same margin, read at four betas",
        MARGIN,
        LOSS,
        (0, 5, 10, 15, 20),
        (0, 0.2, 0.4, 0.6, 0.8),
        (
            line("beta 0.01", "dpo", beta=0.01),
            line("beta 0.05", "dpo", "7 4", beta=0.05),
            line("beta 0.1", "dpo", "2 3", beta=0.1),
            line("beta 0.5", "dpo", "10 3 2 3", beta=0.5),
        ),
    ),
    "ipo": Figure(
        "How far a margin gets towards the target",
        MARGIN,
        "loss, share of the start",
        (0, 5, 10, 15, 20),
        (0, 0.25, 0.5, 0.75, 1),
        (
            line("tau 0.1: target 5 nats, starts at 25", "ipo", share=True, tau=0.1),
            line("tau 0.05: target 10 nats, starts at 100", "ipo", "7 4", share=True, tau=0.05),
            line("tau 0.01: target 50 nats, starts at 2500", "ipo", "2 3", share=True, tau=0.01),
        ),
    ),
    "simpo": Figure(
        "Gamma is the lead that is asked for (beta 2)",
        "lead of chosen over rejected, nats per token",
        LOSS,
        (-1, 0, 1, 2, 3),
        (0, 1, 2, 3, 4),
        (
            line("gamma 0", "simpo", gamma=0.0),
            line("gamma 1", "simpo", "7 4", gamma=1.0),
            line("gamma 2", "simpo", "2 3", gamma=2.0),
        ),
    ),
    "orpo": Figure(
        "Pulls on the chosen answer (lambda 0.25, rejected at -1)",
        "mean log-probability of the chosen answer, nats per token",
        "size of the gradient, per nat per token",
        (-4, -3, -2, -1, 0),
        (0, 0.25, 0.5, 0.75, 1),
        (
            Line("the likelihood", level(1.0)),
            Line("the odds ratio: strong while the rejected answer leads", pull_of_odds, "7 4"),
        ),
    ),
    "kto": Figure(
        "Gains and losses around the reference point (z = 5)",
        "log-ratio r of the answer, nats",
        "loss",
        (-40, -20, 0, 20, 40),
        (0, 0.25, 0.5, 0.75, 1),
        (
            Line("good answer, beta 0.1", value_of(True, 0.1)),
            Line("bad answer, beta 0.1", value_of(False, 0.1), "7 4"),
            Line("good answer, beta 0.5: flat past a few nats", value_of(True, 0.5), "2 3"),
        ),
    ),
    "xpo": Figure(
        "What pulls on the reference's sample (beta 0.1)",
        MARGIN,
        "size of the gradient",
        (0, 20, 40, 60, 80),
        (0, 0.025, 0.05, 0.075, 0.1),
        (
            Line("the preference: fades as the margin grows", pull_of_preference),
            Line("alpha 0.1: never fades", level(0.1), "7 4"),
            Line("alpha 0.01", level(0.01), "2 3"),
            Line("alpha 0.00001, the default", level(0.00001), "10 3 2 3"),
        ),
    ),
    "xpo_offline": Figure(
        "Only the rejected answer falls (beta 0.1)",
        "nats by which it falls",
        "change of the loss",
        (0, 20, 40, 60, 80, 100),
        (-8, -6, -4, -2, 0),
        (
            Line("alpha 0: nothing left to gain", pushed_down(0.0)),
            Line("alpha 0.01", pushed_down(0.01), "7 4"),
            Line("alpha 0.1: no floor", pushed_down(0.1), "2 3"),
        ),
    ),
    "online_dpo": Figure(
        "Prompts that make a pair, reward 0 or 1",
        "share of samples that are right",
        "share of prompts with a pair",
        (0, 0.25, 0.5, 0.75, 1),
        (0, 0.25, 0.5, 0.75, 1),
        (
            Line("two samples of the policy", lambda p: 2 * p * (1 - p)),
            Line(
                "one of a reference that is right a quarter of the time",
                lambda p: 0.75 * p + 0.25 * (1 - p),
                "7 4",
            ),
            Line(
                "for comparison: eight samples that are not all alike",
                lambda p: 1 - p**8 - (1 - p) ** 8,
                "2 3",
            ),
        ),
    ),
    "rloo": Figure(
        "Advantages in a group of eight, reward 0 or 1",
        "right answers in the group",
        "advantage",
        (0, 2, 4, 6, 8),
        (-1, -0.5, 0, 0.5, 1),
        (
            Line("of a right answer", advantage_of(True)),
            Line("of a wrong answer", advantage_of(False), "7 4"),
        ),
        points=9,
    ),
    "grpo": Figure(
        "Standardized: the rarer an answer, the larger its advantage (k = 8)",
        "right answers in the group",
        "advantage",
        (0, 2, 4, 6, 8),
        (-3, -2, -1, 0, 1, 2, 3),
        (
            Line("of a right answer", standardized(True)),
            Line("of a wrong answer", standardized(False), "7 4"),
            Line("of a right answer, standardize: false", advantage_of(True, 7 / 8), "2 3"),
        ),
        points=9,
    ),
}


def svg(figure: Figure) -> str:
    """The figure as a file."""
    x0, x1, y0, y1 = figure.across[0], figure.across[-1], figure.up[0], figure.up[-1]
    bottom = TOP + HEIGHT

    def across(value: float) -> float:
        return LEFT + (value - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def down(value: float) -> float:
        return bottom - (value - y0) / (y1 - y0) * HEIGHT

    body = [text(LEFT, 22, figure.title, 'font-weight="600" font-size="14"')]
    body.append(text(LEFT, 38, figure.y, 'fill="#666"'))
    for tick in figure.up:
        body.append(f'<path class="grid" d="M{LEFT} {down(tick):.1f}H{WIDTH - RIGHT}"/>')
        body.append(text(LEFT - 8, down(tick) + 4, f"{tick:g}".replace("-", "−"), 'text-anchor="end"'))
    for tick in figure.across:
        words = f"{tick:g}".replace("-", "−")
        body.append(text(across(tick), bottom + 18, words, 'text-anchor="middle"'))
    body.append(text((LEFT + WIDTH - RIGHT) / 2, bottom + 38, figure.x, 'text-anchor="middle"'))
    places = torch.linspace(x0, x1, figure.points, dtype=torch.float64)
    for i, each in enumerate(figure.lines):
        style = f'stroke="{COLOURS[-1 - i]}"' + (f' stroke-dasharray="{each.dashes}"' if each.dashes else "")
        seen = zip(places.tolist(), each.at(places).tolist(), strict=True)
        points = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in seen if y0 <= y <= y1)
        body.append(f'<polyline {style} points="{points}"/>')
        y = bottom + 62 + 19 * i
        body.append(f'<path class="key" {style} d="M{LEFT} {y - 4}h34"/>')
        body.append(text(LEFT + 44, y, each.label))
    height = bottom + 54 + 19 * len(figure.lines)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            'font-family="system-ui, sans-serif" font-size="12" fill="#222">',
            f"<title>{figure.title}</title>",
            "<style>polyline,.key{fill:none;stroke-width:2}.grid{stroke:#e3e3e3}</style>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            *body,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    for name, figure in FIGURES.items():
        (FOLDER / f"{name}.svg").write_text(svg(figure), encoding="utf-8")
