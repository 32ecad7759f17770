"use strict";
// Draws the payload that the page carries: samples as text nodes.
// Everything a model wrote reaches the page through textContent, never through markup.
(() => {
  const payload = JSON.parse(document.getElementById("payload").textContent);
  const byId = (id) => document.getElementById(id);

  function element(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
  }

  // Word diff -------------------------------------------------------------------------------------------

  const MOST_CELLS = 4e6; // memory of the table below, in entries
  const words = (text) => text.match(/\s+|[^\s]+/g) || [];

  // Which words of a and of b belong to their longest common subsequence; null when there are too many words.
  function common(a, b) {
    if ((a.length + 1) * (b.length + 1) > MOST_CELLS) return null;
    const width = b.length + 1;
    const best = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        best[i * width + j] = a[i] === b[j]
          ? best[(i + 1) * width + j + 1] + 1
          : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    const inA = new Array(a.length).fill(false), inB = new Array(b.length).fill(false);
    for (let i = 0, j = 0; i < a.length && j < b.length; ) {
      if (a[i] === b[j]) inA[i++] = inB[j++] = true;
      else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i++;
      else j++;
    }
    return [inA, inB];
  }

  // Text in pieces, changed runs wrapped in `tag`; spaces between two changed words belong to the run.
  function marked(tokens, kept, tag) {
    const changed = tokens.map((t, i) => !kept[i] && t.trim() !== "");
    tokens.forEach((t, i) => { if (t.trim() === "" && changed[i - 1] && changed[i + 1] && !t.includes("\n")) changed[i] = true; });
    const pieces = [];
    for (let i = 0; i < tokens.length; ) {
      let stop = i + 1;
      while (stop < tokens.length && changed[stop] === changed[i]) stop++;
      const text = tokens.slice(i, stop).join("");
      pieces.push(changed[i] ? element(tag, "", text) : text);
      i = stop;
    }
    return pieces;
  }

  // Marked pieces of both texts, or null when marking would not help: too long, or next to nothing shared.
  function wordDiff(before, after) {
    const a = words(before), b = words(after);
    const found = common(a, b);
    if (!found) return null;
    const shared = found[0].filter((same, i) => same && a[i].trim()).length;
    const most = Math.max(a.length, b.length) / 2;
    return shared >= 0.2 * most ? [marked(a, found[0], "del"), marked(b, found[1], "ins")] : null;
  }

  // Marked pieces of each answer: two against each other, several against the first, which stays plain.
  function marksOf([first, ...others]) {
    const found = others.map((other) => (first === null || other === null ? null : wordDiff(first, other)));
    return others.length === 1 ? found[0] || [] : [undefined, ...found.map((both) => both && both[1])];
  }

  // Samples ---------------------------------------------------------------------------------------------

  const PAGE = 20;
  const samples = payload.samples.map((sample) => ({
    ...sample,
    text: [...sample.prompt.map((m) => m.content), ...sample.answers].join("\n").toLowerCase(),
  }));
  const first = (s) => s.checks[0], last = (s) => s.checks[s.checks.length - 1];
  const shared = (s) => Object.keys(last(s)).filter((name) => name in first(s));
  const metBy = (s, name) => s.checks.filter((checks) => checks[name]).length;
  const ofTwo = [
    [payload.outcomes[0], (s) => shared(s).some((name) => !first(s)[name] && last(s)[name])],
    [payload.outcomes[1], (s) => shared(s).some((name) => first(s)[name] && !last(s)[name])],
    [payload.outcomes[2], (s) => shared(s).some((name) => !first(s)[name] && !last(s)[name])],
  ];
  const ofMany = [
    ["Met by some", (s) => shared(s).some((name) => metBy(s, name) > 0 && metBy(s, name) < s.checks.length)],
    ["Met by none", (s) => shared(s).some((name) => metBy(s, name) === 0)],
  ];
  // Long answers are shortened; their lengths and whether they are equal are those of the whole texts.
  const length = (s, column) => (s.answers[column] === null ? NaN : s.answers[column].length + s.left_out[column]);
  const LONGER_BY = 1.1;
  const ofLength = [
    ["Longer", (s) => length(s, 1) > LONGER_BY * length(s, 0)],
    ["Shorter", (s) => length(s, 0) > LONGER_BY * length(s, 1)],
  ];
  // A page that sorts its samples itself gives each one tags, and a label for every tag.
  const tagged = (payload.kinds || []).map(([label, tag]) => [label, (s) => s.tags.includes(tag)]);
  const kinds = [
    ["All", () => true],
    ...(tagged.length ? tagged : payload.columns.length === 2 ? [...ofTwo, ...ofLength] : ofMany),
    ["Same answer", (s) => s.same],
    ["Asked during training", (s) => !tagged.length && s.notes && s.notes.length > 0],
    ["Cut at the token limit", (s) => s.answers.some((_, column) => cutOf(s, column))],
    ["Missing", (s) => s.answers.some((answer) => answer === null)],
  ];
  const state = { query: "", kind: 0, diff: true, shown: [], drawn: 0, current: -1 };

  function promptOf(sample) {
    const turns = sample.prompt.map((message) => {
      const text = element("div", "text", message.content);
      text.dir = "auto";
      return sample.prompt.length > 1 || message.role !== "user"
        ? element("div", "turn", element("span", "role", message.role), text)
        : element("div", "turn", text);
    });
    const link = element("a", "link", "#" + sample.id);
    link.href = "#sample=" + encodeURIComponent(sample.id);
    link.title = "Link to this sample";
    const outcome = sample.outcome ? element("span", "badge outcome " + sample.outcome[1], sample.outcome[0]) : "";
    return element("div", "prompt", element("div", "turns", ...turns), outcome, link);
  }

  function checksOf(found) {
    const badges = Object.entries(found).map(([name, met]) => element("span", "check badge " + (met ? "better" : "worse"), name));
    return badges.length ? element("div", "checks", ...badges) : "";
  }

  const cutOf = (sample, column) => (sample.cuts || [])[column] || "";
  const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  const wordCount = (text) => plural((text.match(/\S+/g) || []).length, "word");

  const lengthOf = (sample, column) =>
    sample.left_out[column] ? plural(length(sample, column), "character") : wordCount(sample.answers[column]);

  function answerOf(sample, column, pieces) {
    const answer = sample.answers[column];
    const text = answer === null ? element("div", "text absent", "no answer") : element("div", "text", ...(pieces || [answer]));
    text.dir = "auto";
    const cut = cutOf(sample, column) ? [" ", element("span", "badge", cutOf(sample, column))] : [];
    const head = element("div", "role", element("span", "", payload.columns[column], ...cut), element("span", "", answer === null ? "" : lengthOf(sample, column)));
    const rest = sample.left_out[column] ? element("div", "absent", `… ${plural(sample.left_out[column], "character")} left out`) : "";
    return element("div", "answer", head, text, rest, checksOf(sample.checks[column]));
  }

  // What a judge said, or the policy on the way, folded away until it is asked for.
  function notesOf(sample) {
    return (sample.notes || []).map(([title, said]) => {
      const text = element("div", "text", said);
      text.dir = "auto";
      return element("details", "note", element("summary", "", title), text);
    });
  }

  function cardOf(sample) {
    const pieces = canDiff && state.diff ? marksOf(sample.answers) : [];
    const answers = element("div", "answers", ...sample.answers.map((_, column) => answerOf(sample, column, pieces[column])));
    answers.style.setProperty("--columns", sample.answers.length);
    if (sample.answers.length > 2) asRegion(answers, "Answers");
    const card = element("article", "sample", promptOf(sample), answers, ...notesOf(sample));
    card.addEventListener("click", () => select(state.shown.indexOf(sample), false));
    return card;
  }

  function drawMore() {
    const next = state.shown.slice(state.drawn, state.drawn + PAGE);
    byId("samples").append(...next.map(cardOf));
    markScrolling();
    state.drawn += next.length;
    const left = state.shown.length - state.drawn;
    byId("more").hidden = left === 0;
    byId("count").dataset.printed = left === 0 ? "" : `, of which the first ${state.drawn.toLocaleString("en")} are printed`;
    byId("more").textContent = `Show ${Math.min(PAGE, left)} more of ${left.toLocaleString("en")}`;
  }

  function drawSamples() {
    const matches = kinds[state.kind][1];
    state.shown = samples.filter((s) => s.text.includes(state.query) && matches(s));
    state.drawn = 0;
    state.current = -1;
    byId("samples").replaceChildren();
    byId("count").textContent = state.shown.length === samples.length
      ? plural(samples.length, "prompt")
      : `${state.shown.length.toLocaleString("en")} of ${plural(samples.length, "prompt")}`;
    drawMore();
  }

  function select(index, scroll = true) {
    if (index < 0 || index >= state.shown.length) return;
    while (state.drawn <= index) drawMore();
    const cards = byId("samples").children;
    if (state.current >= 0) cards[state.current].classList.remove("current");
    state.current = index;
    cards[index].classList.add("current");
    if (scroll) cards[index].scrollIntoView({ block: "nearest" });
  }

  function redraw() {
    const kept = state.current;
    drawSamples();
    select(kept, false);
  }

  const canDiff = payload.columns.length > 1;

  function toggleDiff() {
    if (!canDiff) return;
    state.diff = !state.diff;
    byId("diff").setAttribute("aria-pressed", state.diff);
    redraw();
  }

  function toggleNotes() {
    const notes = state.current < 0 ? [] : [...byId("samples").children[state.current].querySelectorAll(".note")];
    const open = notes.some((note) => !note.open);
    notes.forEach((note) => { note.open = open; });
  }

  function followLink() {
    const wanted = /^#sample=(.*)$/.exec(location.hash);
    if (!wanted) return;
    const id = decodeURIComponent(wanted[1]);
    const index = state.shown.findIndex((s) => s.id === id);
    if (index >= 0) { select(index); byId("samples").children[index].scrollIntoView(); }
  }

  function search(query) {
    byId("filter").value = query;
    state.query = query.toLowerCase();
    drawSamples();
  }

  function chooseKind(chosen) {
    state.kind = chosen;
    [...byId("kinds").children].forEach((chip) => chip.setAttribute("aria-pressed", Number(chip.dataset.kind) === chosen));
    drawSamples();
  }

  function setUpSamples() {
    kinds.forEach(([label, matches], index) => {
      const count = samples.filter(matches).length;
      if (index > 0 && count === 0) return;
      const chip = element("button", "chip", label, element("small", "", count.toLocaleString("en")));
      chip.type = "button";
      chip.dataset.kind = index;
      chip.addEventListener("click", () => chooseKind(index));
      byId("kinds").append(chip);
    });
    byId("filter").addEventListener("input", (event) => search(event.target.value));
    byId("more").addEventListener("click", drawMore);
    byId("diff").hidden = !canDiff;
    if (payload.columns.length > 2) byId("diff").title = `What differs from ${payload.columns[0]}`;
    byId("diff").addEventListener("click", toggleDiff);
    addEventListener("hashchange", followLink);
    addEventListener("keydown", onKey);
    chooseKind(0);
    followLink();
  }

  const keys = {
    j: () => select(state.current + 1),
    k: () => select(state.current - 1),
    d: toggleDiff,
    r: toggleNotes,
    "/": () => byId("filter").focus(),
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === byId("filter")) {
      if (event.key === "Escape") search("");
      if (event.key === "Escape" || event.key === "Enter") byId("filter").blur();
      return;
    }
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  if (byId("samples")) setUpSamples();
})();
