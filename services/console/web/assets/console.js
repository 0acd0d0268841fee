// Frame of every page: shortcuts, live view, Note dialog, tag completion, scatter brush, topology, import by drop.
import { live } from "./live.js";
import { charts } from "./charts.js";
import { forms } from "./forms.js";

document.documentElement.classList.add("js");

const sheet = document.getElementById("shortcuts");
export const typing = (el) => el.closest("input, textarea, select, [contenteditable]") !== null;

let pending = "";
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (sheet.open && event.key !== "?") return;
  const go = { a: "/", t: "/traces", c: "/settings/cluster" };
  if (pending === "g" && go[event.key]) {
    location.href = go[event.key];
    return;
  }
  pending = event.key;
  switch (event.key) {
    case "?":
      sheet.open ? sheet.close() : sheet.showModal();
      break;
    case "/":
      (document.querySelector("main [data-filter]") || document.querySelector(".find input")).focus();
      break;
    case "p":
      document.querySelector("[data-pause]")?.click();
      break;
    default:
      return;
  }
  event.preventDefault();
});
document.querySelector("[data-shortcuts]")?.addEventListener("click", (event) => {
  event.preventDefault();
  sheet.showModal();
});
document.querySelectorAll("[data-submit-on-change] select").forEach((el) => el.addEventListener("change", () => {
  if (el.value === "custom") return;
  // The choice goes into the address that the page has, so that its filters stay.
  const url = new URL(location.href);
  url.searchParams.set(el.name, el.value);
  if (!el.value) url.searchParams.delete(el.name);
  if (el.name === "range") for (const name of ["from", "to"]) url.searchParams.delete(name);
  if (!/^\/($|applications|traces$|topology)/.test(url.pathname)) url.pathname = "/";
  location.href = url;
}));
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

charts();
forms();
live();
