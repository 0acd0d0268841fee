// The part of the trace that the timeline shows: chosen by dragging over the minimap or the timeline's head.
import { duration } from "./rows.js";

export function zooming(tree) {
  const mini = document.querySelector("[data-mini]"), svg = mini.querySelector("svg");
  const ticks = tree.root.querySelector("svg.ticks");
  const [left, right, box] = ["left", "right"].map((c) => svg.querySelector(`.mini-off.${c}`)).concat(svg.querySelector(".mini-brush"));
  const z = {
    from: 0, to: 1,
    whole: () => z.from === 0 && z.to >= tree.data.duration,
    // x places microseconds on the timeline, in percent, cut a little outside of it.
    x: (us) => Math.round(Math.max(-1, Math.min(101, 100 * (us - z.from) / (z.to - z.from))) * 100) / 100,
    set(from, to, note = true) {
      const d = Math.max(1, tree.data.duration);
      z.from = Math.max(0, Math.min(from, d - 1));
      z.to = Math.max(z.from + 1, Math.min(to || d, d));
      const a = 100 * z.from / d, b = 100 * z.to / d;
      left.setAttribute("width", `${a}%`);
      right.setAttribute("x", `${b}%`);
      right.setAttribute("width", `${100 - b}%`);
      ticks.querySelectorAll("text").forEach((text, i) => { text.textContent = duration(Math.round(z.from + (z.to - z.from) * i / 4)); });
      ticks.setAttribute("aria-label", `Timeline from ${duration(z.from)} to ${duration(z.to)}`);
      tree.rows.draw(true);
      if (note) tree.address((q) => {
        if (z.whole()) { q.delete("zoom-from"); q.delete("zoom-to"); } else { q.set("zoom-from", Math.round(z.from)); q.set("zoom-to", Math.round(z.to)); }
      }, true);
    },
    by(k) {
      const mid = (z.from + z.to) / 2, half = (z.to - z.from) * k / 2;
      z.set(mid - half < 0 ? 0 : mid - half, mid + half);
    },
  };
  drag(mini, svg, (a, b) => z.set(a * tree.data.duration, b * tree.data.duration), box);
  drag(ticks, ticks, (a, b) => { const w = z.to - z.from, f = z.from; z.set(f + a * w, f + b * w); });
  mini.addEventListener("dblclick", () => z.set(0, tree.data.duration));
  return z;
}

function drag(target, svg, choose, box) {
  let from = null;
  const at = (event) => {
    const r = svg.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - r.left) / r.width));
  };
  target.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = at(event);
    target.setPointerCapture(event.pointerId);
  });
  target.addEventListener("pointermove", (event) => {
    if (from === null || !box) return;
    const to = at(event);
    box.setAttribute("x", `${100 * Math.min(from, to)}%`);
    box.setAttribute("width", `${100 * Math.abs(to - from)}%`);
  });
  const end = (event) => {
    if (from === null) return;
    const a = from, b = at(event);
    from = null;
    box?.setAttribute("width", 0);
    if (event.type === "pointerup" && Math.abs(b - a) > 0.005) choose(Math.min(a, b), Math.max(a, b));
  };
  target.addEventListener("pointerup", end);
  target.addEventListener("pointercancel", end);
}
