"use strict";
// Makes every answer that scrolls a region: keys reach it, and screen readers name it.

function asRegion(node, name) {
  node.tabIndex = 0;
  node.setAttribute("role", "region");
  node.setAttribute("aria-label", name);
}

function markScrolling() {
  for (const text of document.querySelectorAll(".answer .text")) {
    if (text.scrollHeight > text.clientHeight + 1) asRegion(text, text.dataset.name || "Answer");
    else for (const name of ["tabindex", "role", "aria-label"]) text.removeAttribute(name);
  }
}

markScrolling();
addEventListener("resize", markScrolling);
