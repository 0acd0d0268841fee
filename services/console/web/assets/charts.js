// The scatter plot's brush and the topology's zoom. Both change only what a link or the viewBox could say too.
const XLINK = 800, YTOP = 10, YLOW = 170, XLOW = 10, XHIGH = 790;

export function charts() {
  document.querySelectorAll("[data-graph]").forEach(graph);
  brush();
  document.addEventListener("refreshed", brush);
}

function brush() {
  for (const figure of document.querySelectorAll("[data-scatter]:not([data-ready])")) {
    figure.dataset.ready = "1";
    const svg = figure.querySelector("svg"), box = figure.querySelector(".brush");
    let from = null, moved = false;
    const at = (event) => {
      const r = svg.getBoundingClientRect();
      return [Math.max(0, Math.min(XLINK, (event.clientX - r.left) / r.width * XLINK)), Math.max(0, Math.min(180, (event.clientY - r.top) / r.height * 180))];
    };
    svg.addEventListener("pointerdown", (event) => { if (event.button === 0) { from = at(event); moved = false; } });
    svg.addEventListener("dragstart", (event) => event.preventDefault());
    svg.addEventListener("pointermove", (event) => {
      if (!from) return;
      const to = at(event);
      if (!moved && Math.hypot(to[0] - from[0], to[1] - from[1]) < 6) return;
      if (!moved) { moved = true; svg.setPointerCapture(event.pointerId); figure.classList.add("brushing"); }
      box.setAttribute("x", Math.min(from[0], to[0]));
      box.setAttribute("y", Math.min(from[1], to[1]));
      box.setAttribute("width", Math.abs(to[0] - from[0]));
      box.setAttribute("height", Math.abs(to[1] - from[1]));
    });
    svg.addEventListener("pointerup", (event) => {
      if (from && moved) choose(figure, from, at(event));
      from = null;
    });
    svg.addEventListener("click", (event) => { if (moved) event.preventDefault(); }, true);
  }
}

function choose(figure, a, b) {
  const d = figure.dataset, share = (x) => (x - XLOW) / (XHIGH - XLOW);
  const time = (x) => Math.round(Number(d.from) + share(x) * (d.to - d.from));
  const length = (y) => Number(d.low) * Math.pow(d.high / d.low, (YLOW - y) / (YLOW - YTOP));
  const url = new URL(location.href), q = url.searchParams;
  q.delete("range");
  q.set("from", time(Math.min(a[0], b[0])));
  q.set("to", time(Math.max(a[0], b[0])) + 1);
  q.set("min", `${(Math.max(0, length(Math.max(a[1], b[1]))) / 1e6).toPrecision(4) * 1}ms`);
  q.set("max", `${(length(Math.min(a[1], b[1])) / 1e6).toPrecision(4) * 1}ms`);
  location.href = url;
}

function graph(figure) {
  const svg = figure.querySelector("svg");
  const whole = { x: -12, y: -30, w: Number(svg.dataset.w) + 24, h: Number(svg.dataset.h) + 60 };
  let view = { ...whole };
  const show = () => svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
  const zoom = (by, cx = view.x + view.w / 2, cy = view.y + view.h / 2) => {
    const w = Math.max(whole.w / 8, Math.min(whole.w * 2, view.w * by)), k = w / view.w;
    view = { x: cx - (cx - view.x) * k, y: cy - (cy - view.y) * k, w, h: view.h * k };
    show();
  };
  show();
  figure.querySelectorAll("[data-zoom]").forEach((button) => button.addEventListener("click", () => {
    if (button.dataset.zoom === "fit") { view = { ...whole }; show(); } else zoom(button.dataset.zoom === "in" ? 0.75 : 1 / 0.75);
  }));
  let last = null, dragged = false;
  const scale = () => Math.max(view.w / svg.clientWidth, view.h / svg.clientHeight);
  svg.addEventListener("pointerdown", (event) => { if (event.button === 0) { last = [event.clientX, event.clientY]; dragged = false; } });
  svg.addEventListener("pointermove", (event) => {
    if (!last) return;
    const dx = event.clientX - last[0], dy = event.clientY - last[1];
    if (!dragged && Math.hypot(dx, dy) < 5) return;
    if (!dragged) { dragged = true; svg.setPointerCapture(event.pointerId); }
    view.x -= dx * scale();
    view.y -= dy * scale();
    last = [event.clientX, event.clientY];
    show();
  });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { last = null; });
  svg.addEventListener("dragstart", (event) => event.preventDefault());
  svg.addEventListener("click", (event) => { if (dragged) event.preventDefault(); }, true);
  // The wheel zooms only with Ctrl, as in maps, so that the page still scrolls.
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const r = svg.getBoundingClientRect();
    zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, view.x + (event.clientX - r.left) * scale(), view.y + (event.clientY - r.top) * scale());
  }, { passive: false });
}
