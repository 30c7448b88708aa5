"use strict";
(() => {
  const root = document.documentElement;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const FILTERS = ["q", "task", "protocol", "data", "epochs", "labels"];
  const THEMES = ["system", "light", "dark"];
  const form = one("#filters"), dialog = one("#record"), tip = one("#tip");
  const boards = all("section.board").map((section) => ({
    section,
    key: section.id.slice("table-".length),
    heading: one("h2", section).textContent.toLowerCase(),
    table: one("table", section),
    overview: one(`[data-board="${section.id.slice("table-".length)}"]`),
    rows: all("tbody tr:not(.heading)", section).map((tr) => ({
      tr, text: tr.textContent.toLowerCase(), published: tr.parentNode.className === "published",
    })),
  }));
  const state = { theme: "system", sort: {}, open: "" };
  let records = null; // parsed when the first record is opened
  root.classList.add("js");

  // Filters

  function accepts(row, wanted) {
    const { d, e, l } = row.tr.cells[0].dataset;
    for (const [asked, said] of [[wanted.data, d], [wanted.epochs, e], [wanted.labels, l]]) {
      if (asked && asked !== said && !(said === "" && wanted.unsaid)) return false;
    }
    return !row.published || wanted.published;
  }

  function apply() {
    const wanted = Object.fromEntries(FILTERS.map((name) => [name, form[name].value]));
    wanted.published = form.published.checked;
    wanted.unsaid = form.unsaid.checked;
    const parts = wanted.q.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, total = 0, tables = 0;
    for (const board of boards) {
      const { task, protocol } = board.section.dataset;
      const fits = (!wanted.task || task === wanted.task) && (!wanted.protocol || protocol === wanted.protocol);
      let here = 0, quoted = 0;
      for (const row of board.rows) {
        const found = parts.every((part) => row.text.includes(part) || board.heading.includes(part));
        const visible = fits && found && accepts(row, wanted);
        row.tr.hidden = !visible;
        here += visible;
        quoted += visible && row.published;
      }
      total += board.rows.length;
      shown += here;
      tables += here > 0;
      board.section.hidden = here === 0;
      board.overview.hidden = here === 0;
      const heading = one("tr.heading", board.section);
      if (heading) heading.hidden = quoted === 0;
      rove(board.table);
    }
    root.classList.toggle("no-published", !wanted.published);
    one("#count").textContent = `${shown} of ${total} rows in ${tables} of ${boards.length} tables`;
    one("#nothing").hidden = shown > 0 || total === 0;
  }

  // Sorting

  function sort(board, column, direction) {
    const heads = all("thead th", board.table);
    const numeric = heads[column].classList.contains("num");
    const sign = direction === "ascending" ? 1 : -1;
    const value = (tr) => {
      const cell = tr.cells[column];
      const text = numeric ? cell.dataset.v : cell.textContent.trim();
      return text === "" || text === "-" ? null : numeric ? Number(text) : text.toLowerCase();
    };
    for (const body of board.table.tBodies) {
      const rows = [...body.rows].filter((tr) => tr.className !== "heading").map((tr) => [value(tr), tr]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null); // what is not known is last, always
        return sign * (numeric ? a - b : a < b ? -1 : a > b ? 1 : 0);
      });
      body.append(...rows.map(([, tr]) => tr));
    }
    heads.forEach((head, place) => {
      if (place === column) head.setAttribute("aria-sort", direction);
      else head.removeAttribute("aria-sort");
    });
    rove(board.table);
  }

  for (const board of boards) {
    all("thead th:not([data-fixed])", board.table).forEach((head) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const low = !head.classList.contains("num") || "low" in head.dataset;
        const first = low ? "ascending" : "descending", second = low ? "descending" : "ascending";
        const direction = head.getAttribute("aria-sort") === first ? second : first;
        state.sort[board.key] = `${head.cellIndex}${direction[0]}`;
        sort(board, head.cellIndex, direction);
        save();
      });
    });
  }

  // The state in the address

  function save() {
    const found = new URLSearchParams();
    for (const name of FILTERS) if (form[name].value) found.set(name, form[name].value);
    if (!form.published.checked) found.set("published", "0");
    if (!form.unsaid.checked) found.set("unsaid", "0");
    const sorts = Object.entries(state.sort).map(([key, how]) => `${key}.${how}`);
    if (sorts.length) found.set("sort", sorts.join(","));
    if (state.theme !== "system") found.set("theme", state.theme);
    if (state.open) found.set("record", state.open);
    history.replaceState(null, "", `${location.pathname}${location.search}#${found}`);
  }

  function restore() {
    const text = location.hash.slice(1);
    if (text && !text.includes("=")) return; // a place in the page
    const found = new URLSearchParams(text);
    for (const name of FILTERS) form[name].value = found.get(name) ?? "";
    form.published.checked = found.get("published") !== "0";
    form.unsaid.checked = found.get("unsaid") !== "0";
    theme(THEMES.includes(found.get("theme")) ? found.get("theme") : "system");
    state.sort = {};
    for (const part of (found.get("sort") ?? "").split(",")) {
      const [, key, column, letter] = /^(\d+)\.(\d+)([ad])$/.exec(part) ?? [];
      const board = boards.find((each) => each.key === key);
      if (!board || !all("thead th", board.table)[column]) continue;
      state.sort[key] = `${column}${letter}`;
      sort(board, Number(column), letter === "a" ? "ascending" : "descending");
    }
    if (found.get("record")) open(found.get("record"));
  }

  function theme(name) {
    state.theme = name;
    if (name === "system") delete root.dataset.theme;
    else root.dataset.theme = name;
    one("#theme").textContent = `Theme: ${name}`;
  }

  one("#theme").addEventListener("click", () => {
    theme(THEMES[(THEMES.indexOf(state.theme) + 1) % THEMES.length]);
    save();
  });
  for (const event of ["input", "change"]) form.addEventListener(event, () => { apply(); save(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { apply(); save(); }));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link) {
      event.preventDefault();
      show(document.getElementById(link.getAttribute("href").slice(1)));
    }
  });

  function show(target) {
    const details = target.closest("details");
    if (details) details.open = true;
    target.scrollIntoView();
    (one("h2", target) ?? target).focus({ preventScroll: true });
  }

  // Moving in a table: one stop of Tab, then arrow keys

  const STOPS = "tbody tr:not([hidden]) button";

  function rove(table, current = one(STOPS, table)) {
    for (const button of all("tbody button", table)) button.tabIndex = button === current ? 0 : -1;
  }

  document.addEventListener("keydown", (event) => {
    const button = event.target.closest(".board tbody button");
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!button || !(event.key in steps || ["Home", "End"].includes(event.key))) return;
    event.preventDefault();
    const table = button.closest("table");
    const [down, right] = steps[event.key] ?? [0, 0];
    let next;
    if (down) {
      const rows = [...new Set(all(STOPS, table).map((each) => each.closest("tr")))];
      const row = rows[rows.indexOf(button.closest("tr")) + down];
      next = row && (one("button", row.cells[button.closest("td, th").cellIndex]) ?? one("button", row));
    } else {
      const near = all("button", button.closest("tr"));
      next = event.key === "Home" ? near[0] : event.key === "End" ? near.at(-1) : near[near.indexOf(button) + right];
    }
    if (next) {
      rove(table, next);
      next.focus();
    }
  });

  // What is said on hover and on focus

  let told = null; // what the words on the screen are about

  function say(target) {
    const element = target?.closest?.("[title], [data-tip]");
    told = element && !element.closest("svg") ? element : null;
    tip.hidden = !told;
    if (!told) return;
    if (element.title) {
      element.dataset.tip = element.title;
      element.setAttribute("aria-description", element.title);
      element.removeAttribute("title"); // else the browser shows it a second time
    }
    tip.textContent = element.dataset.tip;
    (element.closest("dialog") ?? document.body).append(tip);
    const at = element.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const below = at.bottom + 6 + size.height < innerHeight;
    tip.style.left = `${Math.max(4, Math.min(at.left, innerWidth - size.width - 4))}px`;
    tip.style.top = `${below ? at.bottom + 6 : at.top - size.height - 6}px`;
  }

  document.addEventListener("pointerover", (event) => say(event.target));
  document.addEventListener("focusin", (event) => say(event.target.matches(":focus-visible") ? event.target : null));
  document.addEventListener("focusout", () => say(null));
  document.addEventListener("scroll", () => say(told === document.activeElement ? told : null), true);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") say(null); });

  // The records behind a row. All of it is put in as text, never as markup.

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function pairs(lines) {
    return make("dl", {}, ...lines.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  }

  function fold(name, open, ...children) {
    return make("details", open ? { open: "" } : {}, make("summary", {}, name), ...children);
  }

  function table(name, heads, lines) {
    const row = (cells, tag) => make("tr", {}, ...cells.map((text, place) =>
      make(place ? tag : "th", place ? { class: "num" } : { scope: tag === "th" ? "col" : "row" }, text)));
    return make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": name },
      make("table", {}, make("thead", {}, row(heads, "th")), make("tbody", {}, ...lines.map((line) => row(line, "td")))));
  }

  function command(text) {
    const code = make("code", {}, text), button = make("button", { type: "button", class: "plain" }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
    });
    return make("div", { class: "command" }, code, button);
  }

  function bars(names, scores) {
    const known = names.map(([name], place) => [name, scores[place]]).filter(([, score]) => score !== null);
    known.sort(([, a], [, b]) => b - a);
    const top = Math.max(...known.map(([, score]) => score), 1);
    return make("ul", { class: "classes" }, ...known.map(([name, score]) => {
      const bar = make("i");
      bar.style.width = `${(100 * score) / top}%`;
      return make("li", {}, make("span", { title: name }, name), bar, make("span", { class: "num" }, score.toFixed(1)));
    }));
  }

  function record(row, each, shared, isOpen) {
    const children = [];
    if (each.reproduce) children.push(make("h3", {}, "Reproduce"), command(each.reproduce));
    children.push(make("h3", {}, "Its command"), command(each.command));
    children.push(make("h3", {}, "Commit and hashes"), pairs([["commit", each.commit], ["made", each.made], ...each.hashes]));
    children.push(make("h3", {}, "Environment"), pairs([...shared[each.machine], ...shared[each.packages]]));
    if (each.scores.length) {
      children.push(fold(row.score, isOpen, bars(shared[row.classes], each.scores)));
    }
    if (shared[each.details].length) children.push(fold("What else it keeps", false, pairs(shared[each.details])));
    return fold(`Seed ${each.seed}: record ${each.id}`, isOpen, ...children);
  }

  function sheet(row, shared, id) {
    const close = make("button", { type: "button", class: "plain close" }, "Close");
    close.addEventListener("click", () => dialog.close());
    const metrics = row.metrics.map(([name, shown, interval, values]) => [name, shown, interval, ...values]);
    const children = [
      close, make("h2", { id: "record-title", tabindex: "-1" }, row.title), make("p", { class: "sub" }, row.place),
      make("h3", {}, "Numbers"),
      table("Numbers", ["metric (%)", "mean ± std", "95 % interval", ...row.seeds.map((seed) => `seed ${seed}`)], metrics),
      make("p", { class: "caption" }, row.seeds.length === 1 ? "One trial: no spread, no interval, no rank."
        : `Rank ${row.rank} by ${row.metrics[0][0]}; ${row.seeds.length} trials.`),
    ];
    if (row.differences.length) {
      children.push(make("h3", {}, "Difference to baselines"),
        table("Differences", ["baseline", "metric", "difference", "standard error", "95 % interval", ""], row.differences));
    }
    if (row.verdicts.length) {
      children.push(make("h3", {}, "Against published numbers"), make("ul", {}, ...row.verdicts.map((text) => make("li", {}, text))));
    }
    children.push(make("h3", {}, row.records.length === 1 ? "Record" : "Records"));
    const chosen = row.records.some((each) => each.id === id) ? id : row.records[0].id;
    children.push(...row.records.map((each) => record(row, each, shared, each.id === chosen)));
    children.push(make("h3", {}, "Common to all of them"),
      fold("Configuration: every field that moves the number", true, pairs(shared[row.protocol])),
      fold("Weights", false, pairs(shared[row.weights])), fold("Data", false, pairs(shared[row.data])));
    return children;
  }

  function open(id) {
    records ??= JSON.parse(one("#data").textContent);
    const row = (Object.hasOwn(records.rows, id) && records.rows[id]) || Object.values(records.rows).find((each) => each.records.some((kept) => kept.id === id));
    if (!row) return;
    const place = one(".sheet", dialog);
    place.replaceChildren(...sheet(row, records.shared, id));
    state.open = row.records.some((kept) => kept.id === id) ? id : row.records[0].id;
    dialog.addEventListener("close", () => { state.open = ""; save(); }, { once: true });
    dialog.showModal();
    one("h2", place).focus();
    dialog.scrollTop = 0;
    save();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".board tbody button");
    if (event.target === dialog) dialog.close(); // on what is around it
    if (!button) return;
    rove(button.closest("table"), button);
    if (button.classList.contains("mark")) show(document.getElementById(button.dataset.note));
    else open(button.closest("tr").dataset.row);
  });

  restore();
  apply();
  addEventListener("hashchange", () => { restore(); apply(); });
})();
