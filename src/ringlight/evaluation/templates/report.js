"use strict";
// Two things a page cannot do without script: sort a table by a click on its header, and unfold everything on paper.
(() => {
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  const compare = (a, b, numeric) => (numeric ? Number(a) - Number(b) : collator.compare(a, b));

  const sort = (table, header, column) => {
    const direction = header.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
    const first = header.getAttribute("aria-sort") === null && !header.classList.contains("number");
    const order = first ? "ascending" : direction; // names from A, numbers from the largest
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => row.cells[column].dataset.sort;
    const rows = Array.from(table.tBodies[0].rows);
    const numeric = rows.every((row) => key(row) === "" || Number.isFinite(Number(key(row))));
    rows.sort((a, b) => {
      if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === ""); // what is undefined stays last
      return sign * compare(key(a), key(b), numeric);
    });
    table.tBodies[0].append(...rows);
  };

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sort(table, header, column));
      header.append(button);
    });
  }

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = Array.from(document.querySelectorAll("details:not([open])"));
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of folded) part.open = false;
  });

  // A link to a folded section opens it; `#sort=SECTION.COLUMN` sorts a table, so that an order can be handed on.
  const follow = () => {
    const hash = decodeURIComponent(location.hash.slice(1));
    const order = /^sort=([\w-]+)\.(\d+)$/.exec(hash);
    const target = document.getElementById(order ? order[1] : hash);
    if (!target) return;
    const part = target.querySelector("details");
    if (part) part.open = true;
    if (order) target.querySelectorAll("table[data-sortable] thead button")[Number(order[2])]?.click();
  };
  addEventListener("hashchange", follow);
  follow();
})();
