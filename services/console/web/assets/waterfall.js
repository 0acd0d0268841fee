// The waterfall of a trace. The server's rows are there first; once the tree has come as arrays this module draws
// only the rows in view, so that 50,000 spans scroll like fifty. What is chosen stands in the address.
import { Rows } from "./rows.js";
import { Details } from "./details.js";
import { zooming } from "./zoom.js";
import { say } from "./live.js";
import { typing } from "./console.js";

const root = document.querySelector("[data-waterfall]");
if (root) start();

async function start() {
  const data = await load();
  if (!data) return;
  new Waterfall(data);
}

async function load() {
  const answer = await fetch(root.dataset.src).catch(() => null);
  return answer?.ok ? complete(await answer.json()) : null;
}

// complete adds what follows from the order and depth of the nodes, and finds critical parts and inner bars by node.
function complete(d) {
  const n = d.depth.length, above = [];
  d.parent = new Int32Array(n).fill(-1);
  d.below = new Int32Array(n);
  for (let i = 0; i < n; i++) {
    if (d.depth[i]) d.parent[i] = above[d.depth[i] - 1];
    above[d.depth[i]] = i;
  }
  for (let i = n - 1; i > 0; i--) if (d.parent[i] >= 0) d.below[d.parent[i]] += d.below[i] + 1;
  d.parts = new Map();
  for (let at = 0; at < d.critical.length; at += 3) {
    const i = d.critical[at], parts = d.parts.get(i);
    parts ? parts.push(d.critical[at + 1], d.critical[at + 2]) : d.parts.set(i, [d.critical[at + 1], d.critical[at + 2]]);
  }
  d.halves = new Map();
  for (let at = 0; at < d.inner.length; at += 3) d.halves.set(d.inner[at], [d.inner[at + 1], d.inner[at + 2]]);
  return d;
}

class Waterfall {
  constructor(data) {
    this.root = root;
    this.collapsed = new Set();
    this.matches = null;
    this.details = new Details(root, (id, open) => this.opened(id, open));
    this.rows = new Rows(root, this);
    this.zoom = zooming(this);
    this.take(data, true);
    this.fromAddress();
    this.listen();
    root.dataset.ready = "1";
    performance.mark("waterfall");
  }

  // take sets the tree; on later calls what was collapsed and chosen stays, by span id.
  take(data, first) {
    const shut = first ? null : new Set([...this.collapsed].map((i) => this.data.id[i]));
    const at = this.current === undefined ? null : this.data?.id[this.current];
    this.data = data;
    const n = data.parent.length;
    this.place = new Int32Array(n);
    this.size = new Int32Array(n + 1);
    for (let i = 0; i < n; i++) this.place[i] = ++this.size[data.parent[i] + 1];
    this.collapsed = new Set();
    for (let i = 0; i < n; i++) if (shut ? data.id[i] && shut.has(data.id[i]) : data.kind[i] === 2) this.collapsed.add(i);
    if (shut) for (let i = 0; i < n; i++) if (data.kind[i] === 2) this.collapsed.add(i);
    this.current = at ? Math.max(0, data.id.indexOf(at)) : 0;
    root.querySelector("table").setAttribute("aria-rowcount", n + 1);
    this.layout();
  }

  fromAddress() {
    const q = new URLSearchParams(location.search), d = this.data;
    this.zoom.set(Number(q.get("zoom-from")) || 0, Number(q.get("zoom-to")) || d.duration, false);
    const level = Number(q.get("level"));
    if (level) this.level(level, false);
    const open = q.getAll("span").map((id) => id.padStart(16, "0"));
    this.details.show(open);
    const filter = document.querySelector(".wf-tools [data-filter]");
    filter.value = q.get("q") || "";
    this.filter(filter.value, false);
    const chosen = open.map((id) => d.id.indexOf(id)).filter((i) => i >= 0);
    if (chosen.length) this.go(chosen.at(-1), false);
  }

  address(change, push = false) {
    const url = new URL(location.href);
    change(url.searchParams);
    url.hash = "";
    if (url.href === location.href) return;
    history[push ? "pushState" : "replaceState"](null, "", url);
  }

  // layout lists the rows that show: kept by the filter and under nothing collapsed.
  layout() {
    const d = this.data, order = [];
    for (let i = 0; i < d.parent.length;) {
      if (this.kept && !this.kept.has(i)) { i++; continue; }
      order.push(i);
      i += this.collapsed.has(i) && !this.kept ? d.below[i] + 1 : 1;
    }
    this.order = order;
    this.rows.draw(true);
    const hidden = document.querySelector("[data-hidden]");
    if (hidden) hidden.textContent = d.parent.length > order.length ? `${d.parent.length - order.length} rows hidden by filter, level or fold` : "";
  }

  toggle(i, open = this.collapsed.has(i)) {
    if (!this.data.below[i]) return;
    open ? this.collapsed.delete(i) : this.collapsed.add(i);
    this.layout();
  }

  // level n shows the first n levels.
  level(n, note = true) {
    const d = this.data;
    this.collapsed = new Set();
    for (let i = 0; i < d.parent.length; i++) if (d.below[i] && (n && d.depth[i] >= n - 1 || d.kind[i] === 2)) this.collapsed.add(i);
    this.shown = n;
    while (this.current > 0 && this.covered(this.current)) this.current = d.parent[this.current];
    this.layout();
    for (const a of document.querySelectorAll("[data-level]")) {
      Number(a.dataset.level) === n || a.dataset.level === "All" && !n ? a.setAttribute("aria-current", "true") : a.removeAttribute("aria-current");
    }
    if (note) this.address((q) => n ? q.set("level", n) : q.delete("level"), true);
  }

  covered(i) {
    for (let p = this.data.parent[i]; p >= 0; p = this.data.parent[p]) if (this.collapsed.has(p)) return true;
    return false;
  }

  async filter(text, note = true) {
    const turn = this.asked = (this.asked || 0) + 1, count = document.querySelector("[data-match-count]");
    let found = null;
    if (text.trim()) {
      const url = new URL(root.dataset.src, location.href);
      url.pathname = url.pathname.replace("nodes.json", "matches.json");
      url.searchParams.set("q", text);
      const answer = await fetch(url).catch(() => null);
      if (turn !== this.asked || !answer?.ok) return;
      found = await answer.json();
    }
    this.matches = found;
    this.isMatch = new Set(found || []);
    this.kept = found && new Set();
    for (let i of found || []) for (; i >= 0 && !this.kept.has(i); i = this.data.parent[i]) this.kept.add(i);
    count.textContent = found ? `${found.length} ${found.length === 1 ? "match" : "matches"}` : "";
    for (const act of ["prev-match", "next-match"]) document.querySelector(`[data-act=${act}]`).disabled = !found?.length;
    this.layout();
    if (note) {
      this.address((q) => text ? q.set("q", text) : q.delete("q"));
      if (found) say(count.textContent);
    }
  }

  // go makes a row the current one: opens what covers it, scrolls to it, focuses it.
  go(i, focus = true) {
    if (i === undefined || i < 0) return;
    let changed = false;
    for (let p = this.data.parent[i]; p >= 0; p = this.data.parent[p]) changed = this.collapsed.delete(p) || changed;
    if (this.kept && !this.kept.has(i)) {
      document.querySelector(".wf-tools [data-filter]").value = "";
      this.filter("");
      changed = true;
    }
    if (changed) this.layout();
    this.current = i;
    this.rows.reveal(this.at(i), focus);
  }

  // at finds the place of a node among the rows that show; the order is ascending.
  at(i) {
    let low = 0, high = this.order.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      this.order[mid] < i ? low = mid + 1 : high = mid;
    }
    return low;
  }

  step(by) { this.go(this.order[Math.max(0, Math.min(this.order.length - 1, this.at(this.current) + by))]); }

  // next goes to the nearest node in list before or after the current one, around the end.
  next(list, forward, what) {
    if (!list?.length) return;
    const to = forward ? list.find((i) => i > this.current) ?? list[0] : list.findLast((i) => i < this.current) ?? list.at(-1);
    this.go(to);
    say(`${what} ${list.indexOf(to) + 1} of ${list.length}`);
  }

  errors() { return this.data.flags.flatMap((f, i) => f & 1 ? [i] : []); }

  opened(id, open) {
    this.address((q) => {
      const ids = q.getAll("span").map((s) => s.padStart(16, "0")).filter((s) => s !== id);
      q.delete("span");
      for (const s of open ? [...ids, id] : ids) q.append("span", s);
    }, true);
    this.rows.draw(true);
  }

  act(name) {
    switch (name) {
      case "next-error": return this.next(this.errors(), true, "Error");
      case "prev-error": return this.next(this.errors(), false, "Error");
      case "next-match": return this.next(this.matches, true, "Match");
      case "prev-match": return this.next(this.matches, false, "Match");
      case "zoom-in": return this.zoom.by(0.5);
      case "zoom-out": return this.zoom.by(2);
      case "zoom-reset": return this.zoom.set(0, this.data.duration);
    }
  }

  listen() {
    const tools = document.querySelector(".wf-tools"), input = tools.querySelector("[data-filter]");
    let timer;
    input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => this.filter(input.value), 120); });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); this.act("next-match"); }
      if (event.key === "Escape" && input.value) { input.value = ""; this.filter(""); }
    });
    input.form.addEventListener("submit", (event) => { event.preventDefault(); this.filter(input.value); });
    tools.addEventListener("click", (event) => {
      const act = event.target.closest("[data-act]"), level = event.target.closest("[data-level]");
      if (act) this.act(act.dataset.act);
      if (level) { event.preventDefault(); this.level(Number(level.dataset.level) || 0); }
    });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("[data-goto]");
      if (!link) return;
      const i = this.data.id.indexOf(link.dataset.goto);
      if (i < 0) return;
      event.preventDefault();
      this.go(i);
      this.details.open(link.dataset.goto);
    });
    root.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("keydown", (event) => {
      if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const act = { e: "next-error", E: "prev-error", n: "next-match", N: "prev-match", "+": "zoom-in", "-": "zoom-out", "−": "zoom-out", 0: "zoom-reset" }[event.key];
      if (act) this.act(act);
      else if (event.key === "[" || event.key === "]") this.deeper(event.key === "]");
      else if ((event.key === "j" || event.key === "k") && !root.contains(event.target)) this.step(event.key === "j" ? 1 : -1);
      else if (event.key === "Escape") this.escape();
    });
    addEventListener("popstate", () => this.fromAddress());
    addEventListener("resize", () => this.rows.draw(true));
    document.addEventListener("refreshed", async () => {
      const data = await load();
      if (!data || data.spans === this.data.spans && data.duration === this.data.duration && data.parent.length === this.data.parent.length) return;
      const whole = this.zoom.whole();
      this.take(data, false);
      if (whole) this.zoom.set(0, data.duration, false);
      if (this.matches) this.filter(input.value, false);
      say(`${data.spans} spans`);
    });
  }

  deeper(more) {
    const deepest = this.order.reduce((most, i) => Math.max(most, this.data.depth[i]), 0) + 1;
    const n = Math.max(1, deepest + (more ? 1 : -1));
    this.level(more && this.data.depth.every((d) => d < n) ? 0 : n);
  }

  escape() {
    const input = document.querySelector(".wf-tools [data-filter]");
    if (this.details.any()) this.details.closeAll();
    else if (input.value) { input.value = ""; this.filter(""); }
  }

  // key follows the treegrid pattern of the WAI-ARIA Authoring Practices.
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const d = this.data, i = this.current, page = Math.max(1, this.rows.inView() - 2);
    const open = d.below[i] && !this.collapsed.has(i);
    switch (event.key) {
      case "ArrowDown": case "j": this.step(1); break;
      case "ArrowUp": case "k": this.step(-1); break;
      case "PageDown": this.step(page); break;
      case "PageUp": this.step(-page); break;
      case "Home": this.step(-this.order.length); break;
      case "End": this.step(this.order.length); break;
      case "ArrowRight": d.below[i] && !open ? this.toggle(i, true) : open && this.step(1); break;
      case "ArrowLeft": open ? this.toggle(i, false) : d.parent[i] >= 0 && this.go(d.parent[i]); break;
      case "Enter": case " ": d.id[i] ? this.details.toggle(d.id[i]) : this.toggle(i); break;
      default: return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}
