// Tables that are wider than the screen are scrolled by keyboard in every browser; some do so only where a tab stop is.
const reachable = () => document.querySelectorAll(".md-typeset__scrollwrap").forEach((table) => {
  if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
  else table.removeAttribute("tabindex");
});
addEventListener("load", reachable);
addEventListener("resize", reachable);
