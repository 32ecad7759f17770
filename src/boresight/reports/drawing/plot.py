"""Draw a plot as SVG: axes with their units, curves, bands, guides and numbered findings.

A drawing fills the width of its page while its text keeps its size: curves are in a box that is stretched,
text and axes around it. Colors are variables of the page's style sheet, so that a plot follows the page's
light or dark mode; a drawing in a file of its own defines them itself. `curves.js` reads values back from the
drawing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from markupsafe import Markup, escape

from boresight.reports.drawing.finding_labels import FindingLabel, finding_labels
from boresight.reports.drawing.scales import PlotScale

BOX = 1000
"""Width and height of the stretched box in its own units."""
AREA, RIGHT, FOOT, ROW = 170, 14, 40, 17
"""Sizes in pixels: height of the plot area, space at its right, space below it, height of a row of
findings."""
HALO = "paint-order:stroke;stroke:var(--card);stroke-width:4px"
"""Style of text over curves: an outline in the color of the background."""
DASHES = {"solid": "", "dash": "7 4", "dot": "2 3"}
STYLE = (
    ":root{--ink:#1c1e22;--muted:#5f626a;--grid:#e5e2dc;--card:#fff;--guide:#8f8b83;--run-1:#2456c8;"
    "--run-2:#d9730d;--run-3:#0c8063;--run-4:#a03aa8;--run-5:#8a6d00;--run-6:#c01f4e}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e6e1;--muted:#989ba4;--grid:#2c3038;--card:#1a1d22;"
    "--guide:#7b808b;--run-1:#7da6ff;--run-2:#f4a14e;--run-3:#4cc79c;--run-4:#dc8be2;--run-5:#d6bd52;"
    "--run-6:#ff86a5}}"
)
"""Colors of a drawing that is a file of its own."""


@dataclass(frozen=True)
class PlotLine:
    """One curve. `low` and `high`, where given, are the interval limits of every point.

    A faint line is drawn behind the others, and the page does not show its values.
    """

    label: str
    color: str
    x: Sequence[float]
    y: Sequence[float]
    dash: str = "solid"
    mode: Literal["line", "dots", "both"] = "line"
    is_faint: bool = False
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class PlotBand:
    """A filled area between two curves."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Plot:
    """The content of a plot. The axes' titles name the quantity and its unit."""

    title: str
    x_axis: str
    y_axis: str
    x: PlotScale
    y: PlotScale
    lines: Sequence[PlotLine]
    band: PlotBand | None = None
    guide: tuple[float, str] | None = None
    """Y value and label of a dashed horizontal line."""
    findings: Mapping[float, Sequence[int]] = field(default_factory=dict)
    """Numbers of the findings at each x value."""

    @property
    def height(self) -> int:
        """Height of the drawing in pixels."""
        return self._top + AREA + FOOT

    @property
    def svg(self) -> Markup:
        """The plot as SVG for a page that defines the colors; it is as wide as its container."""
        margin = f"{self._top}px {RIGHT}px {FOOT}px {self._left}px"
        return Markup(
            f'<svg class="curve" role="img" aria-label="{escape(self.summary)}" height="{AREA}" '
            f'style="width:calc(100% - {self._left + RIGHT}px);margin:{margin}" overflow="visible" '
            f"{self._data()}>{self._body()}</svg>"
        )

    def fixed(self, width: int) -> str:
        """Return the plot as SVG of a fixed width in pixels, for a file."""
        left, top = self._left, self._top
        return (
            f'<svg x="{left}" y="{top}" width="{width - left - RIGHT}" height="{AREA}" overflow="visible">'
            f"{self._body()}</svg>"
        )

    @property
    def summary(self) -> str:
        """The plot as text, for screen readers: the first and last value of every curve."""
        shown = [line for line in self.lines if not line.is_faint and len(line.x)]
        ends = [
            f"{line.label}: {line.y[0]:.4g} at {line.x[0]:,.6g}, {line.y[-1]:.4g} at {line.x[-1]:,.6g}"
            for line in shown
        ]
        unit = f", {self.y_axis}" if self.y_axis else ""
        return f"{self.title}{unit}, by {self.x_axis}. {'; '.join(ends)}."

    @property
    def _labels(self) -> list[FindingLabel]:
        return finding_labels({self.x.at(x): numbers for x, numbers in self.findings.items()})

    @property
    def _top(self) -> int:
        rows = 1 + max((label.row for label in self._labels), default=-1)
        return 8 + (16 if self.y_axis else 0) + ROW * rows

    @property
    def _left(self) -> int:
        return round(14 + 7 * max((len(text) for _, text in self.y.marks()), default=1))

    def _data(self) -> str:
        """Return the attribute with the axes, by which the page's script reads values back."""
        axes: dict[str, dict[str, Any]] = {
            name: {"low": scale.low, "high": scale.high, "kind": scale.kind, "names": scale.names}
            for name, scale in (("x", self.x), ("y", self.y))
        }
        axes["x"]["title"], axes["x"]["whole"] = self.x_axis, self.x.is_whole
        axes["y"]["share"] = self.y.is_share
        return f'data-axes="{escape(json.dumps(axes, separators=(",", ":")))}"'

    def _body(self) -> str:
        return "".join(
            [
                self._axes(),
                self._marks(),
                self._box(),
                self._guide_label(),
                *map(self._numbered, self._labels),
            ]
        )

    def _axes(self) -> str:
        parts = []
        for value, text in self.y.marks():
            y = AREA * (1 - self.y.at(value))
            parts.append(_rule(f'x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"', "grid"))
            parts.append(svg_text(-7, y + 4, text, "end"))
        for value, text in self.x.marks():
            anchor = {0.0: "start"}.get(round(self.x.at(value), 2), "middle")
            parts.append(svg_text(f"{100 * self.x.at(value):.2f}%", AREA + 17, text, anchor))
        parts.append(svg_text("100%", AREA + 34, self.x_axis, "end"))
        if self.y_axis:
            parts.append(svg_text(4 - self._left, 11 - self._top, self.y_axis, "start"))
        return "".join(parts)

    def _marks(self) -> str:
        """Draw a dotted vertical line at the step of every finding, below its label."""
        parts = []
        for label in self._labels:
            x, top = f"{100 * label.at:.2f}%", ROW * (label.row + 1) - self._rows_height
            line = f'x1="{x}" x2="{x}" y1="{top}" y2="{AREA}" stroke-dasharray="2 3"'
            parts.append(_rule(line, "marker"))
        return "".join(parts)

    @property
    def _rows_height(self) -> int:
        return ROW * (1 + max((label.row for label in self._labels), default=-1))

    def _numbered(self, label: FindingLabel) -> str:
        y = ROW * label.row - self._rows_height
        at = f"{100 * label.at:.2f}%"
        return (
            f'<svg x="{at}" y="{y}" overflow="visible"><rect x="{-label.width / 2:.1f}" y="0" '
            f'width="{label.width:.1f}" height="{ROW - 3}" rx="4" style="fill:var(--card);'
            f'stroke:var(--marker)"/>{svg_text(0, 11, label.text, "middle", "marker", 11)}</svg>'
        )

    def _guide_label(self) -> str:
        if self.guide is None or not self.guide[1]:
            return ""
        y = AREA * (1 - self.y.at(self.guide[0]))
        return svg_text("100%", y - 5 if y > 16 else y + 14, self.guide[1], "end", more=HALO)

    def _box(self) -> str:
        """Draw band, guide and curves in the stretched box, in units of the box."""
        parts = [self._band()] if self.band else []
        if self.guide is not None:
            y = self._down(self.guide[0])
            parts.append(_path(f"M0 {y}H{BOX}", "guide", 1, "5 4"))
        ordered = sorted(self.lines, key=lambda line: not line.is_faint)
        parts += [self._line(line) for line in ordered if len(line.x)]
        return (
            f'<svg viewBox="0 0 {BOX} {BOX}" width="100%" height="{AREA}" preserveAspectRatio="none" '
            f'overflow="visible">{"".join(parts)}</svg>'
        )

    def _band(self) -> str:
        assert self.band is not None
        there = [self._point(x, y) for x, y in zip(self.band.x, self.band.high, strict=True)]
        back = [self._point(x, y) for x, y in zip(self.band.x, self.band.low, strict=True)]
        return f'<polygon points="{" ".join(there + back[::-1])}" style="fill:var(--band)"/>'

    def _line(self, line: PlotLine) -> str:
        points = [self._point(x, y) for x, y in zip(line.x, line.y, strict=True)]
        if line.is_faint:
            return _path("M" + " ".join(points), line.color, 1, DASHES[line.dash], "opacity:.28")
        parts = []
        if line.low:
            bars = (
                f"M{self._across(x)} {self._down(low)}V{self._down(high)}"
                for x, low, high in zip(line.x, line.low, line.high, strict=True)
            )
            parts.append(_path("".join(bars), line.color, 1.2, more="opacity:.7"))
        if line.mode != "line" or len(points) == 1:
            # Round ends of lines without length: dots that are not stretched.
            dots = "".join(f"M{point}h0" for point in points)
            parts.append(_path(dots, line.color, 6.5, more="stroke-linecap:round"))
        if line.mode != "dots":
            parts.append(_path("M" + " ".join(points), line.color, 2, DASHES[line.dash]))
        color, label = escape(line.color), escape(line.label)
        return f'<g class="series" data-label="{label}" data-color="{color}">{"".join(parts)}</g>'

    def _point(self, x: float, y: float) -> str:
        return f"{self._across(x)},{self._down(y)}"

    def _across(self, x: float) -> str:
        return f"{BOX * self.x.at(x):.4f}".rstrip("0").rstrip(".")

    def _down(self, y: float) -> str:
        return f"{BOX * (1 - self.y.at(y)):.1f}".removesuffix(".0")


def svg_text(
    x: float | str, y: float, words: str, anchor: str, color: str = "muted", size: float = 12, more: str = ""
) -> str:
    """Return an SVG text element with escaped words.

    Args:
        anchor: `start`, `middle` or `end`.
        color: name of a color variable.
        size: font size in pixels.
        more: further CSS declarations.
    """
    at = f"{x:.1f}" if isinstance(x, float) else x
    style = f"fill:var(--{color});font-size:{size:g}px{';' + more if more else ''}"
    return f'<text x="{at}" y="{y:.1f}" text-anchor="{anchor}" style="{style}">{escape(words)}</text>'


def _rule(where: str, color: str) -> str:
    return f'<line {where} style="stroke:var(--{color})"/>'


def _path(points: str, color: str, width: float, dashes: str = "", more: str = "") -> str:
    dashed = f";stroke-dasharray:{dashes}" if dashes else ""
    style = f"stroke:var(--{color});stroke-width:{width:g}{dashed}{';' + more if more else ''}"
    return f'<path d="{points}" style="{style}" fill="none" vector-effect="non-scaling-stroke"/>'
