"use strict";
// Blind voting: shows one duel at a time, sends each vote, goes on when the server has it on disk.
// The page does not know which system stands where; text of models is only ever a text node.
(() => {
  const payload = JSON.parse(document.getElementById("payload").textContent);
  const byId = (id) => document.getElementById(id);
  const queue = payload.duels.slice();
  let standing = payload.standing;
  let last = null; // the duel whose vote can be taken back
  let busy = false;

  function turnOf(message) {
    const turn = document.createElement("div");
    turn.className = "turn";
    if (queue[0].prompt.length > 1 || message.role !== "user") {
      const role = document.createElement("span");
      role.className = "role";
      role.textContent = message.role;
      turn.append(role);
    }
    const text = document.createElement("div");
    text.className = "text";
    text.dir = "auto";
    text.textContent = message.content;
    turn.append(text);
    return turn;
  }

  function draw() {
    const finished = standing.votes >= standing.total;
    const duel = finished ? undefined : queue[0];
    byId("reveal").hidden = !finished;
    byId("later").hidden = finished;
    byId("duel").hidden = byId("buttons").hidden = byId("skip").hidden = !duel;
    byId("undo").disabled = !last;
    byId("progress").textContent = `${standing.votes.toLocaleString("en")} of ${standing.total.toLocaleString("en")} judged`;
    byId("folder").textContent = "Votes are kept in " + payload.folder;
    byId("question").textContent = duel ? "Which answer is better?" : "All votes are in";
    if (!duel) return;
    byId("prompt").replaceChildren(...duel.prompt.map(turnOf));
    for (const side of ["left", "right"]) {
      byId(side).textContent = duel[side];
      byId(side).scrollTop = 0;
      byId(`${side}-cut`).textContent = duel.cuts[side];
    }
    markScrolling();
    scrollTo(0, 0);
  }

  async function send(path, body) {
    busy = true;
    byId("trouble").hidden = true;
    try {
      const response = await fetch(path, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Token": payload.token },
        body: JSON.stringify(body),
      });
      const found = await response.json();
      if (!response.ok) throw new Error(found.error);
      standing = found;
      return found;
    } catch (error) {
      // The duel stays where it is, so nothing is lost but the click.
      const gone = error instanceof TypeError;
      byId("trouble").textContent = gone ? "The arena cannot be reached; start it again and reload this page." : error.message;
      byId("trouble").hidden = false;
      return null;
    } finally {
      busy = false;
    }
  }

  async function vote(choice) {
    if (busy || !queue.length || standing.votes >= standing.total) return;
    const duel = queue[0];
    if (!(await send("/vote", { id: duel.id, choice }))) return;
    last = queue.shift();
    draw();
  }

  async function undo() {
    if (busy || !last) return;
    if (!(await send("/undo", { id: last.id }))) return;
    queue.unshift(last);
    last = null;
    draw();
  }

  async function reveal() {
    if (busy || !(await send("/reveal", {}))) return;
    location.reload(); // the same address shows the result now
  }

  function skip() {
    if (busy || queue.length < 2) return;
    queue.push(queue.shift());
    draw();
  }

  // Up and down are no votes: they scroll.
  const keys = {
    ArrowLeft: () => vote("left"), 1: () => vote("left"),
    ArrowRight: () => vote("right"), 2: () => vote("right"),
    t: () => vote("tie"),
    s: skip,
    u: undo,
  };

  // Whether the key scrolls the page, or the part of it that has the focus.
  function scrolls(key, focused) {
    if (key !== "ArrowLeft" && key !== "ArrowRight") return false;
    for (let part = focused; part; part = part.parentElement) {
      const room = key === "ArrowLeft" ? part.scrollLeft : part.scrollWidth - part.clientWidth - part.scrollLeft;
      const canScroll = part === document.scrollingElement || ["auto", "scroll"].includes(getComputedStyle(part).overflowX);
      if (canScroll && room > 1) return true;
    }
    return false;
  }

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return; // a key held down is one vote
    const action = keys[event.key];
    if (!action || scrolls(event.key, event.target)) return;
    event.preventDefault();
    action();
  });
  for (const button of document.querySelectorAll(".vote")) button.addEventListener("click", () => vote(button.dataset.choice));
  byId("skip").addEventListener("click", skip);
  byId("undo").addEventListener("click", undo);
  byId("reveal").addEventListener("click", reveal);
  draw();
})();
