// Run in the page by looks.py: a sentence for each text that is pale, cut off or covered.
() => {
  const found = [];
  const numbers = (color) => {
    const parts = color.match(/[\d.]+/g).map(Number);
    return color.startsWith("color(") ? [...parts.slice(0, 3).map((x) => 255 * x), parts[3] ?? 1] : [...parts.slice(0, 3), parts[3] ?? 1];
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const channel = (x) => (x / 255 <= 0.03928 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ratio = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  function background(node) {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.unshift(numbers(getComputedStyle(at).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  }
  function opacity(node) {
    let all = 1;
    for (let at = node; at; at = at.parentElement) all *= Number(getComputedStyle(at).opacity);
    return all;
  }
  const isShown = (node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest(".unseen");
  const quoted = (text) => JSON.stringify(text.trim().slice(0, 40));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || ["SCRIPT", "STYLE"].includes(node.tagName) || !isShown(node)) continue;
    const style = getComputedStyle(node), size = parseFloat(style.fontSize);
    const [r, g, b, a] = numbers(node instanceof SVGElement ? style.fill : style.color);
    const below = background(node), contrast = ratio(over([r, g, b, a * opacity(node)], below), below);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    if (contrast < least) found.push(`${quoted(text.data)} has a contrast of ${contrast.toFixed(2)}, below ${least}`);
  }
  for (const path of document.querySelectorAll(".series path:last-child")) {
    const below = background(path), contrast = ratio(numbers(getComputedStyle(path).stroke), below);
    if (contrast < 3) found.push(`curve ${quoted(path.parentElement.dataset.label)} has a contrast of ${contrast.toFixed(2)}, below 3`);
  }
  if (document.documentElement.scrollWidth > innerWidth) found.push(`the page is ${document.documentElement.scrollWidth} wide on a screen of ${innerWidth}`);
  for (const svg of document.querySelectorAll(".plot > svg")) {
    const card = svg.closest("figure").getBoundingClientRect();
    const places = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    for (const [words, box] of places)
      if (box.left < card.left || box.right > card.right || box.top < card.top || box.bottom > card.bottom)
        found.push(`${quoted(words)} leaves the card of ${quoted(svg.getAttribute("aria-label"))}`);
    places.forEach(([words, a], i) => places.slice(i + 1).forEach(([others, b]) => {
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
        found.push(`${quoted(words)} covers ${quoted(others)} in ${quoted(svg.getAttribute("aria-label"))}`);
    }));
  }
  for (const node of document.querySelectorAll(".scroll"))
    if (node.scrollWidth > node.clientWidth && (node.tabIndex < 0 || getComputedStyle(node).backgroundImage === "none"))
      found.push(`a table scrolls, and neither a shadow nor the keyboard shows it: ${quoted(node.textContent)}`);
  return [...new Set(found)];
}
