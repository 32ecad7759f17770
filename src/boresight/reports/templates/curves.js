"use strict";
// Reads the values of a drawn curve back at the pointer, or step by step with the arrow keys.
// Without this script a plot shows the same curves; its label has the ends of each.
(() => {
  const BOX = 1000; // units of the stretched box, as in drawing/plot.py
  const SVG = "http://www.w3.org/2000/svg";
  const POINT = /(-?[\d.]+),(-?[\d.]+)/g;

  function element(tag, className, ...children) {
    const node = document.createElement(tag);
    node.className = className;
    node.append(...children);
    return node;
  }

  // The value at a share of an axis.
  function valueAt(axis, share) {
    if (axis.kind !== "log") return axis.low + share * (axis.high - axis.low);
    return axis.low * (axis.high / axis.low) ** share;
  }

  const digits = (value, most) => Number(value.toPrecision(most)).toLocaleString("en", { maximumSignificantDigits: most });

  function xText(axis, share) {
    const value = valueAt(axis, share);
    if (axis.names.length) return axis.names[Math.round(value)];
    return axis.whole ? Math.round(value).toLocaleString("en") : digits(value, 5);
  }

  function yText(axis, share) {
    const value = valueAt(axis, share);
    const scale = axis.kind === "log" ? Math.abs(value) : Math.max(Math.abs(axis.low), Math.abs(axis.high));
    const shown = Math.abs(value) < 1e-4 * scale ? 0 : value;
    const text = axis.share ? digits(100 * shown, 3) + "\u00a0%" : digits(shown, 3);
    return text.replace("-", "\u2212");
  }

  // Points of every curve, as shares of the axes.
  function seriesOf(svg) {
    return [...svg.querySelectorAll(".series")].map((group) => {
      const drawn = group.lastElementChild.getAttribute("d");
      const points = [...drawn.matchAll(POINT)].map(([, x, y]) => [x / BOX, 1 - y / BOX]);
      return { label: group.dataset.label, color: group.dataset.color, points };
    });
  }

  function closest(points, x) {
    return points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
  }

  function setUp(place) {
    const svg = place.querySelector(".curve");
    const axes = JSON.parse(svg.dataset.axes);
    const series = seriesOf(svg).filter(({ points }) => points.length);
    const places = [...new Set(series.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
    if (!places.length) return;
    const line = document.createElementNS(SVG, "line");
    for (const [name, value] of [["y1", 0], ["y2", "100%"], ["class", "cursor"], ["visibility", "hidden"]]) line.setAttribute(name, value);
    svg.append(line);
    const readout = element("div", "readout");
    readout.setAttribute("role", "status");
    place.append(readout);
    place.tabIndex = 0;
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", "Plot; the left and right arrow keys read its values");
    let current = -1;

    function show(index) {
      current = Math.max(0, Math.min(places.length - 1, index));
      const x = places[current];
      const reach = 0.5 / Math.min(places.length, 50);
      const rows = series.flatMap(({ label, color, points }) => {
        const point = closest(points, x);
        if (Math.abs(point[0] - x) > reach) return [];
        const swatch = element("i", "swatch " + color);
        const at = Math.abs(point[0] - x) > 1e-5 ? ` (at ${xText(axes.x, point[0])})` : "";
        return [element("div", "", swatch, `${label}${at} `, element("b", "", yText(axes.y, point[1])))];
      });
      readout.replaceChildren(element("div", "role", `${axes.x.title} ${xText(axes.x, x)}`), ...rows);
      for (const name of ["x1", "x2"]) line.setAttribute(name, 100 * x + "%");
      line.setAttribute("visibility", "visible");
      readout.classList.toggle("left", x > 0.5);
      readout.classList.add("shown");
    }

    function hide() {
      readout.classList.remove("shown");
      line.setAttribute("visibility", "hidden");
    }

    function follow(event) {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width;
      show(places.reduce((best, at, index) => (Math.abs(at - x) < Math.abs(places[best] - x) ? index : best), 0));
    }

    const keys = { ArrowRight: () => current + 1, ArrowLeft: () => current - 1, Home: () => 0, End: () => places.length - 1 };
    place.addEventListener("pointermove", follow);
    place.addEventListener("pointerdown", follow);
    place.addEventListener("pointerleave", hide);
    place.addEventListener("focus", () => place.matches(":focus-visible") && show(current < 0 ? places.length - 1 : current));
    place.addEventListener("blur", hide);
    place.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return hide();
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      show(keys[event.key]());
    });
  }

  document.querySelectorAll(".plot").forEach(setUp);
})();
