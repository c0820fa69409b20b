"use strict";
// Tables of rows: sorted by their headings, chosen by a form; what is asked for stands behind # in the address.
(() => {
  const tables = [...document.querySelectorAll("table[data-rows]")];
  const form = document.getElementById("filters");
  const count = document.getElementById("count");
  if (!tables.length || !form) return;

  const collator = new Intl.Collator("en", { numeric: true });
  const selects = [...form.querySelectorAll("select[data-filter]")];
  const order = form.elements.sort;
  const search = form.elements.text;
  const headings = [...tables[0].tHead.rows[0].cells].filter((cell) => cell.dataset.sort);

  const read = (table) => {
    const body = table.tBodies[0];
    const columns = new Map();
    [...table.tHead.rows[0].cells].forEach((cell, index) => {
      if (cell.dataset.sort) columns.set(cell.dataset.key, { cell, index, number: cell.dataset.sort === "number" });
    });
    const lines = [...body.rows].map((row, place) => ({ row, place, fixed: "fixed" in row.dataset, text: null }));
    return { table, body, columns, lines, sorted: "rank", section: table.closest("[data-section]") };
  };
  const boards = tables.map(read);

  // Values as they are sorted; null for what is not known, which comes last either way.
  const value = (line, column) => {
    const cell = line.row.cells[column.index];
    const text = cell ? cell.dataset.value : undefined;
    if (text === undefined || text === "") return null;
    return column.number ? Number(text) : text;
  };

  const sort = (board, key, descending) => {
    const column = board.columns.get(key) || board.columns.get("rank");
    const by = column.cell.dataset.key;
    const turn = descending ? -1 : 1;
    if (by === "rank") {
      // As they are ranked: those of one rank stay in their order, and the majority line where it belongs.
      board.lines.sort((a, b) => turn * (a.place - b.place));
    } else {
      const values = new Map(board.lines.map((line) => [line, value(line, column)]));
      board.lines.sort((a, b) => {
        const [left, right] = [values.get(a), values.get(b)];
        if (left === null || right === null) {
          return (left === null) - (right === null) || a.place - b.place;
        }
        const difference = column.number ? left - right : collator.compare(left, right);
        return turn * difference || a.place - b.place;
      });
    }
    const parts = document.createDocumentFragment();
    board.lines.forEach((line) => parts.append(line.row));
    board.body.append(parts);
    board.columns.forEach(({ cell }) => cell.removeAttribute("aria-sort"));
    column.cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
  };

  const fits = (line, wanted, words) => {
    if (wanted.some(([key, text]) => line.row.dataset[key] !== text)) return false;
    if (!words.length) return true;
    if (line.text === null) line.text = line.row.textContent.toLowerCase().replace(/\s+/g, " ");
    return words.every((word) => line.text.includes(word));
  };

  const choose = () => {
    const wanted = selects.filter((each) => each.value).map((each) => [each.name, each.value.slice(1)]);
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let [shown, all] = [0, 0];
    boards.forEach((board) => {
      let own = 0;
      board.lines.forEach((line) => {
        if (line.fixed) return;
        const kept = fits(line, wanted, words);
        line.row.hidden = !kept;
        own += kept;
        all += 1;
      });
      shown += own;
      if (board.section) board.section.dataset.empty = own ? "no" : "yes";
    });
    const rows = (number) => `${number.toLocaleString("en")} ${number === 1 ? "row" : "rows"}`;
    const said = shown === all ? rows(all) : `${shown.toLocaleString("en")} of ${rows(all)}`;
    if (count.textContent !== said) count.textContent = said;
  };

  const state = { sort: "rank", descending: false };

  const apply = () => {
    boards.forEach((board) => sort(board, state.sort, state.descending));
    order.value = `${state.sort}${state.descending ? "-" : ""}`;
  };

  const write = () => {
    const words = new URLSearchParams();
    if (state.sort !== "rank" || state.descending) words.set("sort", order.value);
    selects.forEach((each) => each.value && words.set(each.name, each.value.slice(1)));
    if (search.value) words.set("text", search.value);
    const hash = words.toString() ? `#${words}` : "";
    if (hash === location.hash) return;
    try {
      history.replaceState(null, "", hash || location.pathname + location.search);
    } catch {
      // Some browsers refuse this to pages from disk.
      location.replace(hash || "#");
    }
  };

  const readHash = () => {
    const hash = location.hash.slice(1);
    // A plain fragment is a place on the page.
    if (hash && !hash.includes("=")) return false;
    const words = new URLSearchParams(hash);
    const asked = words.get("sort") || "rank";
    const known = headings.some((cell) => cell.dataset.key === asked.replace(/-$/, ""));
    state.sort = known ? asked.replace(/-$/, "") : "rank";
    state.descending = known && asked.endsWith("-");
    selects.forEach((each) => {
      const text = words.has(each.name) ? `=${words.get(each.name)}` : "";
      each.value = [...each.options].some((option) => option.value === text) ? text : "";
    });
    search.value = words.get("text") || "";
    return true;
  };

  const ask = (key, descending) => {
    state.sort = key;
    state.descending = descending;
    apply();
    write();
  };

  const name = (cell) => cell.dataset.name;
  boards.forEach((board) =>
    board.columns.forEach(({ cell }, key) => {
      const button = document.createElement("button");
      button.type = "button";
      cell.dataset.name = cell.querySelector(".title").textContent;
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => {
        const first = cell.dataset.first === "descending";
        ask(key, state.sort === key ? !state.descending : first);
      });
    }),
  );
  headings.forEach((cell) => {
    const first = cell.dataset.first === "descending";
    [first, !first].forEach((descending) => {
      const words = cell.dataset.sort === "text" ? ["a to z", "z to a"] : ["least first", "most first"];
      const title = cell.dataset.key === "rank" ? (descending ? "rank, last first" : "rank") : `${name(cell)}, ${words[+descending]}`;
      order.add(new Option(title, `${cell.dataset.key}${descending ? "-" : ""}`));
    });
  });

  order.addEventListener("change", () => ask(order.value.replace(/-$/, ""), order.value.endsWith("-")));
  selects.forEach((each) => each.addEventListener("change", () => (choose(), write())));
  search.addEventListener("input", () => (choose(), write()));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => (choose(), ask("rank", false))));
  // What the address asks for and no row has is taken out of it.
  addEventListener("hashchange", () => readHash() && (apply(), choose(), write()));

  const choices = form.closest("details");
  const narrow = matchMedia("(max-width: 46rem)");
  const unfold = () => { choices.open = !narrow.matches; };
  narrow.addEventListener("change", unfold);
  unfold();
  choices.hidden = false;
  const asked = location.hash && readHash();
  if (state.sort !== "rank" || state.descending) apply();
  else order.value = "rank";
  choose();
  if (asked) write();
  document.documentElement.dataset.rows = "ready";
})();
