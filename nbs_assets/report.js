// Works without: everything here only adds to a page that is complete on its own.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // the table of contents follows the reader
  const links = new Map(all(".toc a").map((a) => [decodeURIComponent(a.hash.slice(1)), a]));
  const heads = [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean);
  const follow = () => {
    let here = heads[0];
    for (const head of heads) if (head.getBoundingClientRect().top < innerHeight * 0.3) here = head;
    if (innerHeight + scrollY >= document.documentElement.scrollHeight - 4) here = heads.at(-1);
    for (const [id, a] of links) {
      const on = Boolean(here) && id === here.id;
      a.classList.toggle("here", on);
      if (on) a.setAttribute("aria-current", "location");
      else a.removeAttribute("aria-current");
    }
  };
  if (heads.length) {
    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; follow(); });
    };
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    follow();
  }
  const toc = document.querySelector("details.toc");
  if (toc) {
    const narrow = matchMedia("(max-width: 1020px)");
    const fit = () => { toc.open = !narrow.matches; };
    narrow.addEventListener("change", fit);
    fit();
    toc.addEventListener("click", (e) => { if (e.target.closest("a") && narrow.matches) toc.open = false; });
  }

  // a link into a fold opens it
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let e = target; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();

  // tables sort; folded rows take part
  const value = (cell) => {
    if (!cell) return [2, ""];
    if (cell.dataset.v !== undefined) return [0, Number(cell.dataset.v)];
    const text = cell.textContent.trim();
    return text === "" || text === "\u2013" ? [2, ""] : [1, text];
  };
  const compare = (a, b) => a[0] - b[0] || (a[0] === 0 ? a[1] - b[1] : String(a[1]).localeCompare(String(b[1]), undefined, { numeric: true }));
  const sort = (figure, column, down) => {
    const bodies = all("tbody", figure);
    const rows = bodies.flatMap((body) => [...body.rows]);
    const first = bodies[0].rows.length;
    const keyed = rows.map((row) => [value(row.cells[column]), row]);
    keyed.sort(([a], [b]) => (a[0] === 2 || b[0] === 2 ? a[0] - b[0] : down ? compare(b, a) : compare(a, b)));
    keyed.forEach(([, row], i) => bodies[i < first || bodies.length === 1 ? 0 : 1].append(row));
    for (const head of all("thead tr", figure))
      [...head.cells].forEach((th, i) => (i === column ? th.setAttribute("aria-sort", down ? "descending" : "ascending") : th.removeAttribute("aria-sort")));
  };
  const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const csv = (figure) => {
    const lines = [[...figure.querySelector("thead tr").cells].map((c) => c.textContent)];
    for (const row of all("tbody tr", figure)) lines.push([...row.cells].map((c) => c.dataset.v ?? c.textContent));
    // a cell that a spreadsheet would run as a formula stays text
    const tame = (text) => (/^[=+@\t\r]|^-(?![\d.])/.test(text) ? `'${text}` : text);
    return lines.map((line) => line.map((t) => quote(tame(t))).join(",")).join("\n");
  };
  for (const figure of all(".nbs-tabular")) {
    for (const head of all("thead tr", figure)) {
      [...head.cells].forEach((th, i) => {
        const button = document.createElement("button");
        button.append(...th.childNodes);
        th.append(button);
        button.addEventListener("click", () => {
          const was = th.getAttribute("aria-sort");
          sort(figure, i, was ? was === "ascending" : th.classList.contains("n"));
        });
      });
    }
    if (all("tbody tr", figure).length > 3 && !figure.querySelector("a[download]")) {
      const button = document.createElement("button");
      button.className = "csv";
      button.textContent = "CSV";
      button.title = "Save the rows of this table";
      button.addEventListener("click", () => {
        const a = document.createElement("a");
        a.href = URL.createObjectURL(new Blob(["\ufeff" + csv(figure)], { type: "text/csv" }));
        a.download = "table.csv";
        a.click();
        setTimeout(() => URL.revokeObjectURL(a.href), 1000);
      });
      const caption = figure.querySelector("figcaption");
      if (caption) caption.append(" ", button);
      else figure.append(button);
    }
  }

  // all code at once
  for (const button of all("[data-code]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const folds = all("details.code");
      const open = folds.some((d) => !d.open);
      folds.forEach((d) => { d.open = open; });
      button.textContent = open ? "hide code" : "show code";
    });
  }

  // how long ago, in the reader's time
  for (const time of all("time[data-age]")) {
    const days = Math.floor((Date.now() - Date.parse(time.dateTime)) / 864e5);
    if (days >= 0) time.textContent += days === 0 ? ", today" : days === 1 ? ", yesterday" : `, ${days} days ago`;
  }

  // the list of studies: search and order
  const box = document.getElementById("search");
  const order = document.getElementById("order");
  const list = document.getElementById("studies");
  if (box && list) {
    document.querySelector(".tools").hidden = false;
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const study of list.children) {
        study.hidden = !words.every((w) => study.textContent.toLowerCase().includes(w));
        shown += !study.hidden;
      }
      document.getElementById("found").textContent = words.length ? `${shown} of ${list.children.length}` : "";
    });
    order.addEventListener("change", () => {
      const key = order.value;
      const by = {
        name: (a, b) => a.dataset.name.localeCompare(b.dataset.name),
        open: (a, b) => b.dataset.open - a.dataset.open,
        created: (a, b) => b.dataset.created.localeCompare(a.dataset.created),
      };
      const rows = [...list.children].sort((a, b) => by[key](a, b) || by.name(a, b));
      list.append(...rows);
    });
  }

  // on paper every fold but the code is open
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open]):not(.code)");
    opened.forEach((d) => { d.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((d) => { d.open = false; }));
})();
