// Run in the page by looks.py: colors of texts and curves, which are judged there, and sentences on what is cut off,
// covered, without a name or out of reach of the keyboard.
// Only the part of the page that the selector `within` matches is judged, and the width of the whole.
(within) => {
  const root = document.querySelector(within);
  const faults = [];
  const quoted = (text) => JSON.stringify(text.trim().replace(/\s+/g, " ").slice(0, 40));
  // An element as a selector and its first words, to be found by.
  const place = (node) => {
    const name = node.tagName.toLowerCase() + (node.id ? `#${node.id}` : [...node.classList].map((part) => `.${part}`).join(""));
    const words = node.getAttribute("aria-label") || node.textContent;
    return words.trim() ? `${name} ${quoted(words)}` : name;
  };
  const isShown = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !node.closest(".unseen");
  root.querySelectorAll("details").forEach((node) => { node.open = true; });

  // Colors: red, green and blue from 0 to 255, and alpha ------------------------------------------------------

  const numbers = (color) => {
    const parts = color.match(/[\d.]+/g).map(Number);
    return color.startsWith("color(") ? [...parts.slice(0, 3).map((x) => 255 * x), parts[3] ?? 1] : [...parts.slice(0, 3), parts[3] ?? 1];
  };
  const layersBelow = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(numbers(getComputedStyle(at).backgroundColor));
    return layers.filter(([, , , alpha]) => alpha > 0);
  };
  const opacity = (node) => {
    let all = 1;
    for (let at = node; at; at = at.parentElement) all *= Number(getComputedStyle(at).opacity);
    return all;
  };
  const seen = (node, color) => {
    const [r, g, b, alpha] = numbers(color);
    return { color: [r, g, b, alpha * opacity(node)], layers: layersBelow(node) };
  };
  const texts = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(node.tagName) || !isShown(node) || node.closest(":disabled")) continue;
    const style = getComputedStyle(node);
    const color = node instanceof SVGElement ? style.fill : style.color;
    if (color === "none") continue;
    texts.push({ what: `${quoted(text.data)} in ${place(node)}`, size: parseFloat(style.fontSize), weight: Number(style.fontWeight), ...seen(node, color) });
  }
  const curves = [...root.querySelectorAll(".series path:last-child")].map((path) => ({
    what: `curve ${quoted(path.parentElement.dataset.label)}`, ...seen(path, getComputedStyle(path).stroke),
  }));

  // Width: the page fits, and what is wider scrolls where that is seen and can be done by keyboard ---------------

  const scrolls = (node) => ["auto", "scroll"].includes(getComputedStyle(node).overflowX);
  const isInside = (node, test) => { for (let at = node.parentElement; at; at = at.parentElement) if (test(at)) return true; return false; };
  const clips = (node) => getComputedStyle(node).overflowX !== "visible";
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) {
    const ends = [...document.body.querySelectorAll("*")].filter((node) => isShown(node) && node.getBoundingClientRect().right > innerWidth + 1 && !isInside(node, clips));
    if (root === document.body || ends.some((node) => root.contains(node))) faults.push(`the page is ${wide} wide on a screen of ${innerWidth}: ${ends.slice(-1).map(place)}`);
  }
  const FOCUSABLE = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]";
  for (const node of root.querySelectorAll("*")) {
    const overflows = (node.scrollWidth > node.clientWidth + 1 && scrolls(node)) || (node.scrollHeight > node.clientHeight + 1 && ["auto", "scroll"].includes(getComputedStyle(node).overflowY));
    if (!overflows || !isShown(node) || !node.clientWidth) continue;
    if (!node.matches("[tabindex]") && !node.querySelector(FOCUSABLE)) faults.push(`${place(node)} scrolls, and no key reaches it`);
    if (node.matches(".scroll") && getComputedStyle(node).backgroundImage === "none") faults.push(`${place(node)} scrolls without a shadow`);
  }

  // Drawings: words neither leave their card nor cover each other --------------------------------------------------

  for (const svg of root.querySelectorAll("svg")) {
    if (svg.parentElement.closest("svg") || !isShown(svg)) continue;
    const card = svg.closest("figure")?.getBoundingClientRect();
    const places = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    for (const [words, box] of card ? places : [])
      if (box.left < card.left || box.right > card.right || box.top < card.top || box.bottom > card.bottom)
        faults.push(`${quoted(words)} leaves the card of ${place(svg)}`);
    places.forEach(([words, a], i) => places.slice(i + 1).forEach(([others, b]) => {
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
        faults.push(`${quoted(words)} covers ${quoted(others)} in ${place(svg)}`);
    }));
    const named = svg.getAttribute("aria-label") || [...svg.children].some((part) => part.tagName === "title" && part.textContent.trim());
    const isDecoration = svg.closest("[aria-hidden=true]") || svg.closest("a, button, label, summary");
    if (!named && !isDecoration) faults.push(`${place(svg)} has no text in its place (aria-label or title)`);
  }
  for (const image of root.querySelectorAll("img"))
    if (!image.hasAttribute("alt")) faults.push(`img ${quoted(image.src.slice(0, 80))} has no alt text`);

  // Controls: a name, and a place in the order of the Tab key -------------------------------------------------------

  const nameOf = (node) => {
    const labels = [...(node.labels || [])].map((label) => label.textContent).join("");
    const by = (node.getAttribute("aria-labelledby") || "").split(/\s+/).map((id) => document.getElementById(id)?.textContent || "").join("");
    const inside = [...node.querySelectorAll("img[alt], svg[aria-label]")].map((part) => part.alt || part.getAttribute("aria-label")).join("");
    return (node.getAttribute("aria-label") || by || labels || node.textContent || inside || node.title).trim();
  };
  const CONTROLS = `${FOCUSABLE}, [role=button], [onclick]`;
  for (const node of root.querySelectorAll(CONTROLS)) {
    if (!isShown(node) || node.matches(":disabled, [tabindex='-1']") || node.closest("[inert]")) continue;
    if (!nameOf(node)) faults.push(`${place(node)} has no name`);
    node.focus({ preventScroll: true });
    if (node.tabIndex < 0 || document.activeElement !== node) faults.push(`${place(node)} cannot be reached by the Tab key`);
    node.blur();
  }
  for (const node of root.querySelectorAll("*")) {
    const isPointed = getComputedStyle(node).cursor === "pointer" && getComputedStyle(node.parentElement).cursor !== "pointer";
    if (isPointed && isShown(node) && !node.closest(`${CONTROLS}, label`) && !node.querySelector(CONTROLS)) faults.push(`${place(node)} takes clicks and cannot be reached by the Tab key`);
  }
  return { texts, curves, faults: [...new Set(faults)] };
}
