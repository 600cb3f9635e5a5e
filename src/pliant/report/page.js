// Values by mouse, finger and arrow keys; tables sorted by their headers. Without it the page says the same.
"use strict";

const REACH = 32; // Pixels from a mark at which it is still meant.
const tip = document.body.appendChild(document.createElement("div"));
tip.className = "tip";
tip.setAttribute("role", "status");

let shown = null;

function hide() {
  if (shown) shown.classList.remove("on");
  shown = null;
  tip.classList.remove("on");
}

function show(mark) {
  if (mark === shown) return;
  hide();
  shown = mark;
  mark.classList.add("on");
  tip.textContent = mark.querySelector("title").textContent;
  tip.classList.add("on");
  const [x, y] = centre(mark);
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, x - width / 2), document.documentElement.clientWidth - width - 8);
  tip.style.left = `${left}px`;
  tip.style.top = `${y - height - 12 < 4 ? y + 14 : y - height - 12}px`;
}

function centre(mark) {
  const box = mark.querySelector(".shape").getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}

function nearest(marks, x, y) {
  let best = null, least = REACH;
  for (const mark of marks) {
    const [mx, my] = centre(mark);
    const far = Math.hypot(mx - x, my - y);
    // Of two at the same place the one on top, which comes later.
    if (far <= least) [best, least] = [mark, far];
  }
  return best;
}

function enliven(svg) {
  const marks = [...svg.querySelectorAll(".mark")];
  if (!marks.length) return;
  // On top of all, so that the browser's own tooltips, of marks and figure, do not come as well.
  const hit = document.createElementNS(svg.namespaceURI, "rect");
  hit.setAttribute("class", "hit");
  hit.setAttribute("width", "100%");
  hit.setAttribute("height", "100%");
  hit.append(document.createElementNS(svg.namespaceURI, "title"));
  svg.append(hit);
  const point = (event) => {
    const mark = nearest(marks, event.clientX, event.clientY);
    if (mark) show(mark);
    else hide();
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());

  svg.tabIndex = 0;
  let ordered = null;
  svg.addEventListener("keydown", (event) => {
    ordered ??= marks.map((mark) => [centre(mark)[0], mark]).sort((a, b) => a[0] - b[0]).map(([, mark]) => mark);
    const now = ordered.indexOf(shown), last = ordered.length - 1;
    const to = { ArrowRight: Math.min(now + 1, last), ArrowLeft: Math.max(now - 1, 0), Home: 0, End: last }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      show(ordered[to]);
    } else if (event.key === "Escape") hide();
  });
  svg.addEventListener("blur", hide);
}

function key(row, column) {
  const cell = row.cells[column];
  const text = cell ? (cell.dataset.v ?? cell.textContent.trim()) : "";
  const value = Number(text.replaceAll(",", "").replace("−", "-"));
  return text === "" || text === "–" ? null : Number.isNaN(value) ? text : value;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(header) {
  const table = header.closest("table");
  const way = header.ariaSort === "ascending" ? "descending" : "ascending";
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", way);
  const sign = way === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
    const keyed = rows.map((row) => [key(row, header.cellIndex), row]);
    // What is not known comes last, whichever way.
    keyed.sort(([a], [b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)));
    body.append(...keyed.map(([, row]) => row));
  }
}

function sortable(table) {
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sort(header));
  }
}

document.querySelectorAll("figure svg").forEach(enliven);
document.querySelectorAll("table.sortable").forEach(sortable);
addEventListener("scroll", hide, { passive: true });
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
