// What a span says in full: while it is pointed at or focused beside the pointer, once it is clicked in the dock.
export class Details {
  constructor(root, changed) {
    this.root = root;
    this.changed = changed;
    this.dock = document.querySelector("[data-dock]");
    this.hover = document.querySelector("[data-hover]");
    this.split = root.closest(".wf-split");
    this.cards = new Map();
    let timer;
    const later = (row, x, y, wait) => {
      clearTimeout(timer);
      timer = setTimeout(() => this.peek(row, x, y), wait);
    };
    root.addEventListener("pointerover", (event) => {
      const row = event.target.closest("tr[data-i]");
      if (event.pointerType === "touch" || !row?.id.startsWith("s") || !event.target.closest(".service-cell, .span-cell, .timeline")) return;
      later(row, event.clientX, event.clientY, 120);
    });
    root.addEventListener("pointerout", () => { clearTimeout(timer); this.hide(); });
    root.addEventListener("focusin", (event) => {
      const row = event.target.closest?.("tr[data-i]");
      if (!row?.id.startsWith("s") || !row.matches(":focus-visible")) return;
      const box = row.getBoundingClientRect();
      later(row, box.left + box.width * 0.3, box.bottom, 350);
    });
    root.addEventListener("focusout", () => { clearTimeout(timer); this.hide(); });
    root.addEventListener("scroll", () => { clearTimeout(timer); this.hide(); }, { passive: true });
    this.dock.addEventListener("click", (event) => {
      const close = event.target.closest("[data-close]");
      if (!close) return;
      event.preventDefault();
      this.toggle(close.dataset.close);
    });
  }

  async card(id) {
    if (!this.cards.has(id)) {
      const url = new URL(this.root.dataset.spans + id, location.href);
      url.search = new URL(this.root.dataset.src, location.href).search;
      url.searchParams.set("part", "card");
      const answer = await fetch(url).catch(() => null);
      if (!answer?.ok) return null;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (this.cards.size > 200) this.cards.clear();
      this.cards.set(id, page.querySelector(".card"));
    }
    return this.cards.get(id).cloneNode(true);
  }

  async peek(row, x, y) {
    const id = row.id.slice(1);
    if (this.has(id)) return;
    const turn = this.turn = (this.turn || 0) + 1;
    const card = await this.card(id);
    if (!card || turn !== this.turn || row.id !== `s${id}`) return;
    this.hover.replaceChildren(card);
    this.hover.showPopover?.();
    const box = this.hover.getBoundingClientRect();
    const below = y + 18 + box.height < innerHeight;
    this.hover.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
    this.hover.style.top = `${below ? y + 18 : Math.max(8, y - box.height - 14)}px`;
  }

  hide() {
    this.turn = (this.turn || 0) + 1;
    if (this.hover.matches(":popover-open")) this.hover.hidePopover();
  }

  has(id) { return Boolean(this.dock.querySelector(`[data-card="${id}"]`)); }
  any() { return Boolean(this.dock.firstElementChild); }

  async show(ids) {
    for (const card of [...this.dock.querySelectorAll("[data-card]")]) if (!ids.includes(card.dataset.card)) card.remove();
    for (const id of ids) if (!this.has(id)) { const card = await this.card(id); if (card && !this.has(id)) this.dock.prepend(card); }
    this.split.classList.toggle("open", this.any());
  }

  async open(id) { if (!this.has(id)) await this.toggle(id); }

  async toggle(id) {
    this.hide();
    const there = this.dock.querySelector(`[data-card="${id}"]`);
    if (there) there.remove();
    else {
      const card = await this.card(id);
      if (!card || this.has(id)) return;
      this.dock.prepend(card);
      this.dock.scrollTop = 0;
    }
    this.split.classList.toggle("open", this.any());
    this.changed(id, !there);
  }

  closeAll() { for (const card of [...this.dock.querySelectorAll("[data-card]")]) this.toggle(card.dataset.card); }
}
