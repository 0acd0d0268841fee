// Note dialog, completion of tag expressions, at most two traces to compare, import by drop.
import { say } from "./live.js";

export function forms() {
  note();
  document.querySelectorAll("[data-complete]").forEach(complete);
  document.addEventListener("change", (event) => {
    if (!event.target.matches('input[name="t"]')) return;
    const marked = document.querySelectorAll('input[name="t"]:checked');
    if (marked.length > 2) { event.target.checked = false; say("Two traces can be compared, not more"); }
  });
  drop();
}

function note() {
  const form = document.querySelector("form[data-note]"), dialog = document.getElementById("note");
  if (!form || !dialog) return;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    for (const el of dialog.querySelectorAll("[data-say]")) {
      const value = form.elements[el.dataset.say].value.trim();
      el.textContent = value === "" || value === "0" ? "unlimited" : value;
    }
    dialog.showModal();
  });
  dialog.querySelector("[data-cancel]").addEventListener("click", () => dialog.close());
  dialog.querySelector("[data-ok]").addEventListener("click", () => {
    const ok = document.createElement("input");
    Object.assign(ok, { type: "hidden", name: "ok", value: "1" });
    form.append(ok);
    dialog.close();
    form.submit();
  });
}

// Completes the word before the cursor: a key, or after a comparison a value of that key.
function complete(input) {
  const list = document.createElement("datalist");
  list.id = "tag-words";
  input.after(list);
  input.setAttribute("list", list.id);
  let asked = 0;
  input.addEventListener("input", async () => {
    const before = input.value, turn = ++asked;
    const value = before.match(/([\w.:/@*-]+|"[^"]*")\s*(?:!=|>=|<=|=|<|>)\s*"?([^"\s()]*)$/);
    const key = before.match(/([\w.:/@*-]*)$/);
    const query = value ? { key: value[1].replaceAll('"', ""), prefix: value[2] } : { prefix: key[1] };
    const answer = await fetch(`/complete?${new URLSearchParams(query)}`).catch(() => null);
    if (!answer?.ok || turn !== asked) return;
    const head = before.slice(0, before.length - (value ? value[2].length : key[1].length)).replace(/"$/, "");
    list.replaceChildren(...(await answer.json()).map((word) => {
      const option = document.createElement("option");
      option.value = head + (/^[\w.:/@*-]+$/.test(word) ? word : JSON.stringify(word));
      return option;
    }));
  });
}

function drop() {
  const form = document.querySelector("form[data-drop]");
  if (!form) return;
  addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
  addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    form.elements.file.files = event.dataTransfer.files;
    form.submit();
  });
}
