// What is wider than the screen is scrolled by keyboard in every browser; some do so only where a tab stop is.
const WIDE = ".md-typeset__scrollwrap, .equation, .md-typeset pre code";
const reachable = () => document.querySelectorAll(WIDE).forEach((part) => {
  if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
  else part.removeAttribute("tabindex");
});
// Widths change with the screen, and once more when a font arrives, of which no event of the window tells.
const widths = new ResizeObserver(reachable);
addEventListener("load", () => {
  for (const part of document.querySelectorAll(WIDE)) {
    widths.observe(part);
    if (part.firstElementChild) widths.observe(part.firstElementChild);
  }
});
