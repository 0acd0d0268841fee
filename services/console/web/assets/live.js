// New spans refresh the parts of the page that show them, at most twice a second (a trace, which someone waits for, five
// times), one refresh after the other, unless the view is paused.
export const say = (text) => { document.getElementById("say").textContent = text; };

// What is found in a trace is known some seconds after its last span came.
const settled = 7000;

let stream, timer, later, paused = false, cleared = 0, dirty = false, changes = 0;

export function live() {
  const address = document.body.dataset.live;
  const bar = document.querySelector("[data-livebar]");
  const waiting = document.querySelector("[data-waiting]");
  if (!address || (!bar && !waiting)) return;
  if (bar) controls(bar);
  stream = new EventSource(address);
  stream.addEventListener("trace", () => { dirty = true; changes++; schedule(); again(); });
  // What came between the rendering of the page and the start of the stream is fetched once.
  stream.addEventListener("ready", () => { if (waiting || document.querySelector("[data-arriving]")) { dirty = true; schedule(); } });
  addEventListener("pagehide", () => stream.close());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  if (document.querySelector("[data-arriving]")) setTimeout(settle, 2100);
  again();
}

function again() {
  clearTimeout(later);
  later = setTimeout(() => { dirty = true; schedule(); }, settled);
}

function settle() {
  dirty = true;
  schedule();
  if (document.querySelector("[data-arriving]")) setTimeout(settle, 2100);
}

function schedule() {
  if (paused || timer || document.hidden && !document.querySelector("[data-waiting]")) return;
  timer = setTimeout(async () => {
    const seen = changes;
    dirty = false;
    await refresh().catch(() => {}); // the next change asks again
    timer = 0;
    if (changes !== seen) schedule();
  }, document.querySelector("[data-waterfall], [data-waiting]") ? 200 : 400);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden && dirty) schedule(); });

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer) return;
  if (document.querySelector("[data-waiting]")) {
    if (answer.ok) location.reload();
    return;
  }
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  // Someone who is choosing in a part keeps it as it is until done.
  for (const part of document.querySelectorAll("[data-live-part]")) {
    const fresh = page.querySelector(`[data-live-part="${CSS.escape(part.dataset.livePart)}"]`);
    if (!fresh || part.parentElement.closest("[data-live-part]")) continue;
    if (part.contains(document.activeElement) && document.activeElement !== part) { dirty = true; continue; }
    if (part.querySelector("input:checked, .brushing")) continue;
    const known = new Set([...part.querySelectorAll("a.id")].map((a) => a.href));
    part.replaceChildren(...document.adoptNode(fresh).childNodes);
    let arrived = 0;
    for (const row of part.querySelectorAll("tr[data-since]")) {
      if (Number(row.dataset.since) < cleared) row.hidden = true;
      else if (!known.has(row.querySelector("a.id").href)) { row.classList.add("arrived"); arrived++; }
    }
    if (arrived && known.size) say(`${arrived} new traces`);
  }
  document.dispatchEvent(new CustomEvent("refreshed"));
}

function controls(bar) {
  bar.hidden = false;
  const pause = bar.querySelector("[data-pause]"), state = bar.querySelector("[data-live-state]");
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", paused);
    pause.textContent = paused ? "Resume" : "Pause";
    state.textContent = paused ? "Paused" : "Live";
    bar.classList.toggle("paused", paused);
    say(state.textContent);
    if (!paused) schedule();
  });
  const clear = bar.querySelector("[data-clear]");
  if (!document.querySelector('[data-live-part="explorer"]')) clear.hidden = true;
  clear.addEventListener("click", () => {
    cleared = Date.now();
    for (const row of document.querySelectorAll("tr[data-since]")) row.hidden = true;
    say("List cleared; new traces will appear");
  });
}
