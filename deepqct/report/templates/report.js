// Without this script the page reads the same: tables keep their order, and what is folded opens by a click.
"use strict";

const told = (cell) => cell.innerText.replace(/\s+/g, " ").trim();

// A cell's first number, its text, or null for what is empty or not estimable and stands last in either order.
function worth(cell) {
  if (cell.dataset.value) return Number(cell.dataset.value);
  const text = told(cell);
  if (["", "–", "not estimable"].includes(text)) return null;
  const number = text.replace("−", "-").match(/^[<“]?\s*([+-]?\d+(\.\d+)?(e[+-]?\d+)?)/);
  return number ? Number(number[1]) : text;
}

function compared(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return direction * (a - b);
  return direction * String(a).localeCompare(String(b), "en");
}

function sort(table, head, column) {
  const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  head.parentElement.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => row.cells.length > column);
    rows.sort((a, b) => compared(worth(a.cells[column]), worth(b.cells[column]), direction));
    body.append(...rows);
  }
}

async function copy(table, button) {
  const rows = [...table.rows].map((row) => [...row.cells].map(told).join("\t"));
  const mark = document.body.dataset.mark;
  const text = [...rows, ...(mark ? [mark] : [])].join("\n");
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
}

for (const table of document.querySelectorAll("table")) {
  if (!table.tHead) continue;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head, column));
    head.append(button);
  });
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "copy";
  button.setAttribute("aria-live", "polite");
  button.title = "Copy this table as tab-separated text";
  button.addEventListener("click", () => copy(table, button));
  table.parentElement.before(button);
}

function unfold() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", unfold);
unfold();
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (link && link.hash === location.hash) unfold();
});

let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open]):not(.unprinted)")];
  folded.forEach((part) => { part.open = true; });
});
addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));
