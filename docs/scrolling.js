// What is wider than the screen is scrolled by keyboard in every browser; some do so only where a tab stop is.
const WIDE = ".md-typeset__scrollwrap, .equation, .md-typeset pre code";
const reachable = () => document.querySelectorAll(WIDE).forEach((part) => {
  if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
  else part.removeAttribute("tabindex");
});
addEventListener("load", reachable);
addEventListener("resize", reachable);
