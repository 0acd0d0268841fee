// Draws the rows of the waterfall that are in view, reusing the elements of those that left it.
const NS = "http://www.w3.org/2000/svg";
const KINDS = ["span", "missing", "fold", "fragment"];
const OVER = 8; // rows drawn above and below the view

export class Rows {
  constructor(root, tree) {
    this.root = root;
    this.tree = tree;
    this.body = root.querySelector("tbody");
    this.live = new Map(); // node → element
    this.spare = [];
    this.top = spacer();
    this.bottom = spacer();
    this.height = Math.round(this.body.rows[0]?.getBoundingClientRect().height) || 28;
    this.body.replaceChildren(this.top, this.bottom);
    let asked = 0;
    root.addEventListener("scroll", () => { asked ||= requestAnimationFrame(() => { asked = 0; this.draw(false); }); }, { passive: true });
    this.body.addEventListener("click", (event) => this.click(event));
    this.body.addEventListener("focusin", (event) => {
      const row = event.target.closest("tr[data-i]"), was = this.live.get(tree.current);
      if (!row || row === was) return;
      if (was) was.tabIndex = -1;
      row.tabIndex = 0;
      tree.current = Number(row.dataset.i);
    });
  }

  head() { return this.root.querySelector("thead").offsetHeight; }
  inView() { return Math.floor((this.root.clientHeight - this.head()) / this.height); }

  draw(all) {
    const t = this.tree, n = t.order.length;
    if (all) {
      const fits = Math.max(180, Math.min(innerHeight - 150, n * this.height + this.head() + 3));
      if (fits !== this.fits) this.root.style.setProperty("--wf-height", `${this.fits = fits}px`);
    }
    const first = Math.max(0, Math.floor(this.root.scrollTop / this.height) - OVER);
    const last = Math.min(n, first + Math.ceil((this.fits || 600) / this.height) + 2 * OVER);
    if (!all && first === this.first && last === this.last) return;
    this.first = first;
    this.last = last;
    const wanted = new Set(t.order.slice(first, last));
    const held = document.activeElement;
    let lost = false;
    for (const [i, row] of this.live) {
      if (wanted.has(i)) continue;
      lost ||= row === held;
      this.live.delete(i);
      this.spare.push(row);
    }
    if (lost) this.root.focus({ preventScroll: true });
    let before = this.top;
    for (let at = first; at < last; at++) {
      const i = t.order[at];
      let row = this.live.get(i);
      if (!row) {
        row = this.spare.pop() || make();
        this.live.set(i, row);
        this.fill(row, i);
      } else if (all) this.fill(row, i);
      if (before.nextSibling !== row) before.after(row);
      before = row;
    }
    for (const row of this.spare) row.remove();
    this.top.firstChild.style.height = `${first * this.height}px`;
    this.bottom.firstChild.style.height = `${Math.max(0, n - last) * this.height}px`;
  }

  reveal(at, focus) {
    const y = at * this.height, high = this.root.clientHeight - this.head() - 4;
    if (y < this.root.scrollTop) this.root.scrollTop = y;
    else if (y + this.height > this.root.scrollTop + high) this.root.scrollTop = y - high + this.height * 2;
    this.draw(true);
    if (focus) this.live.get(this.tree.order[at])?.focus({ preventScroll: true, focusVisible: true });
  }

  click(event) {
    const row = event.target.closest("tr[data-i]");
    if (!row || event.ctrlKey || event.metaKey || getSelection().toString()) return;
    const t = this.tree, i = Number(row.dataset.i);
    event.preventDefault();
    t.current = i;
    if (event.target.closest(".twist") || !t.data.id[i]) t.toggle(i);
    else t.details.toggle(t.data.id[i]);
    this.live.get(i)?.focus({ preventScroll: true });
  }

  fill(row, i) {
    const t = this.tree, d = t.data, f = d.flags[i], kind = KINDS[d.kind[i]], cells = row.cells, id = d.id[i];
    const open = d.below[i] && (!t.collapsed.has(i) || t.kept);
    row.dataset.i = i;
    row.id = id ? `s${id}` : `n${i}`;
    row.tabIndex = i === t.current ? 0 : -1;
    row.className = `k-${kind}${f & 1 ? " bad-row" : ""}${f & 2 ? " broken" : ""}${t.matches && t.isMatch.has(i) ? " match" : ""}${id && t.details.has(id) ? " opened" : ""}`;
    row.ariaLevel = d.depth[i] + 1;
    row.ariaRowIndex = i + 2;
    row.ariaPosInSet = t.place[i];
    row.ariaSetSize = t.size[d.parent[i] + 1];
    d.below[i] ? row.ariaExpanded = String(Boolean(open)) : row.removeAttribute("aria-expanded");
    cells[0].style.setProperty("padding-left", `${6 + Math.min(d.depth[i], 24) * 14}px`, "important");
    const [twist, notes, link, half] = cells[0].firstChild.children;
    twist.textContent = d.below[i] ? (open ? "▾" : "▸") : "";
    notes.replaceChildren();
    if (d.notes[i]) notes.append(chip("flag", "⚠", d.notes[i].join(" ")));
    for (const text of d.findings[i] || []) notes.append(chip("chip warn", text, text));
    link.textContent = d.texts[d.name[i]];
    id ? link.href = `?span=${id}#s${id}` : link.removeAttribute("href");
    link.title = link.textContent;
    half.textContent = d.texts[d.half[i]];
    cells[1].textContent = id ? clock(d.start + d.from[i] + d.length[i] + d.late[i]) : "";
    cells[2].textContent = id ? (f & 1 ? "✕ " : "") + d.texts[d.status[i]] : "";
    cells[2].className = `status ${f & 1 ? "bad" : "ok"}`;
    cells[3].textContent = d.texts[d.place[i]];
    cells[4].firstChild.textContent = d.texts[d.service[i]];
    cells[4].firstChild.className = id ? `svc h${d.hue[i]}` : "";
    this.bar(cells[5], i, kind);
  }

  bar(cell, i, kind) {
    const t = this.tree, d = t.data, z = t.zoom, svg = cell.firstChild, label = cell.lastChild;
    const left = z.x(d.from[i]), right = z.x(d.from[i] + d.length[i]);
    const inner = d.halves.get(i), critical = d.parts.get(i) || [];
    const rects = [];
    if (inner) {
      rects.push([`outer h${d.hue[i]}`, left, right, 4, 14], [`h${d.hue[i]}`, z.x(inner[0]), z.x(inner[0] + inner[1]), 7, 8]);
    } else rects.push(kind === "span" ? [`h${d.hue[i]}${d.flags[i] & 1 ? " bad" : ""}`, left, right, 5, 12] : ["hull", left, right, 7, 8]);
    for (let c = 0; c < critical.length; c += 2) rects.push(["critical", z.x(critical[c]), z.x(critical[c + 1]), 18, 3]);
    while (svg.childNodes.length > rects.length) svg.lastChild.remove();
    while (svg.childNodes.length < rects.length) svg.append(document.createElementNS(NS, "rect"));
    rects.forEach(([name, a, b, y, h], at) => {
      const rect = svg.childNodes[at];
      rect.setAttribute("class", name);
      rect.setAttribute("x", `${a}%`);
      rect.setAttribute("width", `${Math.max(b - a, 0.15)}%`);
      rect.setAttribute("y", y);
      rect.setAttribute("height", h);
    });
    label.textContent = duration(d.length[i]);
    label.className = `bar-label${right > 82 ? " left" : ""}`;
  }
}

function spacer() {
  const row = document.createElement("tr"), cell = document.createElement("td");
  row.setAttribute("role", "presentation");
  cell.setAttribute("role", "presentation");
  cell.colSpan = 6;
  cell.className = "spacer";
  row.append(cell);
  return row;
}

function make() {
  const row = document.createElement("tr");
  row.setAttribute("role", "row");
  const names = ["span-cell", "mono", "status", "mono", "service-cell", "timeline"];
  for (const name of names) {
    const cell = document.createElement("td");
    cell.setAttribute("role", "gridcell");
    cell.className = name;
    row.append(cell);
  }
  const line = el("span", "line"), twist = el("span", "twist"), link = el("a", "");
  twist.ariaHidden = "true";
  link.tabIndex = -1;
  line.append(twist, el("span", "notes"), link, el("small", "half"));
  row.cells[0].append(line);
  row.cells[4].append(el("span", ""));
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("class", "bar");
  svg.setAttribute("height", "22");
  svg.setAttribute("aria-hidden", "true");
  row.cells[5].append(svg, el("span", "bar-label"));
  return row;
}

function el(name, className) {
  const e = document.createElement(name);
  if (className) e.className = className;
  return e;
}

function chip(className, text, title) {
  const e = el("span", className);
  e.textContent = text;
  e.title = title;
  if (title !== text) {
    const said = el("span", "hidden");
    said.textContent = ` ${title} `;
    e.append(said);
  }
  return e;
}

// duration of microseconds with three significant digits, as the server writes it.
export function duration(us) {
  const digits = (v) => String(Number(v.toFixed(v < 10 ? 2 : v < 100 ? 1 : 0)));
  if (us < 0) return `−${duration(-us)}`;
  if (us === 0) return "0";
  if (us < 1e3) return `${digits(us)} µs`;
  if (us < 1e6) return `${digits(us / 1e3)} ms`;
  if (us < 6e7) return `${digits(us / 1e6)} s`;
  if (us < 3.6e9) return `${Math.floor(us / 6e7)} min ${Math.floor(us / 1e6) % 60} s`;
  return `${Math.floor(us / 3.6e9)} h ${Math.floor(us / 6e7) % 60} min`;
}

function clock(us) {
  const at = new Date(us / 1e3), two = (v, n = 2) => String(v).padStart(n, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(Math.floor(us / 1e3) % 1000, 3)}`;
}
