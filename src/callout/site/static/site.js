// Search and the switch of colours. Works from a file as well as from a server; asks nothing of any host.
(() => {
  "use strict";
  const root = document.body.dataset.root;
  const input = document.getElementById("search");
  const list = document.getElementById("results");
  const pages = window.calloutIndex.map(([path, name, kind, summary, names, title, text]) => ({
    path, name, kind, summary, title, text,
    plain: name.toLowerCase(),
    names: names.split(" ").filter(Boolean),
    about: summary.toLowerCase(),
  }));
  let chosen = -1;

  // How well a word fits a page; 0: not at all.
  function fit(page, word) {
    if (page.plain === word) return 100;
    if (page.names.includes(word)) return 60;
    if (page.plain.startsWith(word)) return 40;
    if (page.plain.includes(word)) return 25;
    if (page.title.includes(word)) return 15;
    if (page.about.includes(word)) return 8;
    return page.text.includes(word) ? 3 : 0;
  }

  function found(query) {
    const words = query.toLowerCase().replace(/\((\d)\)/g, "").split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    const hits = [];
    pages.forEach((page, order) => {
      let score = page.path.startsWith("scenario/") ? -30 : 0;
      for (const word of words) {
        const points = fit(page, word);
        if (!points) return;
        score += points;
      }
      hits.push({ page, score, order });
    });
    hits.sort((a, b) => b.score - a.score || a.order - b.order);
    return hits.slice(0, 12).map((hit) => hit.page);
  }

  function show() {
    const hits = found(input.value);
    chosen = hits.length ? 0 : -1;
    list.replaceChildren(...hits.map((page, number) => {
      const item = document.createElement("li");
      item.role = "option";
      item.id = `result-${number}`;
      const link = document.createElement("a");
      link.href = root + page.path.split("/").map(encodeURIComponent).join("/");
      link.tabIndex = -1;
      const name = document.createElement("b");
      name.textContent = page.name;
      const kind = document.createElement("i");
      kind.textContent = page.kind;
      const summary = document.createElement("span");
      summary.textContent = page.summary.replaceAll("`", "");
      link.append(name, kind, summary);
      item.append(link);
      return item;
    }));
    if (!hits.length && input.value.trim()) {
      const item = document.createElement("li");
      item.className = "none";
      item.textContent = "Nothing found.";
      list.append(item);
    }
    list.hidden = !list.children.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    mark();
  }

  function mark() {
    [...list.children].forEach((item, number) => {
      const here = number === chosen;
      item.setAttribute("aria-selected", String(here));
      if (here) {
        input.setAttribute("aria-activedescendant", item.id);
        item.scrollIntoView({ block: "nearest" });
      }
    });
    if (chosen < 0) input.removeAttribute("aria-activedescendant");
  }

  function hide() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
  }

  input.addEventListener("input", show);
  input.addEventListener("focus", () => { if (input.value.trim()) show(); });
  input.addEventListener("keydown", (event) => {
    const links = list.querySelectorAll("a");
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!links.length) return;
      event.preventDefault();
      chosen = (chosen + (event.key === "ArrowDown" ? 1 : links.length - 1)) % links.length;
      mark();
    } else if (event.key === "Escape") {
      hide();
      input.blur();
    }
  });
  input.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const links = list.querySelectorAll("a");
    if (links[chosen]) links[chosen].click();
  });
  document.addEventListener("click", (event) => { if (!input.form.contains(event.target)) hide(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && document.activeElement !== input) {
      event.preventDefault();
      input.focus();
      input.select();
    }
  });

  // On narrow screens a row stands below another, so each cell says what it is.
  for (const table of document.querySelectorAll(".wide table")) {
    const heads = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent);
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, number) => { if (number) cell.dataset.label = heads[number]; });
    }
  }

  // The list of topics is closed on narrow screens until it is asked for; the page's own entry is in view.
  const topics = document.querySelector(".side details");
  const narrow = matchMedia("(max-width: 55rem)");
  const fold = () => { topics.open = !narrow.matches; };
  fold();
  narrow.addEventListener("change", fold);
  const side = document.querySelector(".side");
  const current = side.querySelector("[aria-current]");
  if (current && !narrow.matches) side.scrollTop = current.offsetTop - side.clientHeight / 2;

  const button = document.getElementById("theme");
  const words = { "": "as the system has them", light: "light", dark: "dark" };
  function theme() {
    return document.documentElement.dataset.theme ?? "";
  }
  function label() {
    button.setAttribute("aria-label", `Colours: ${words[theme()]}`);
    button.title = `Colours: ${words[theme()]}`;
    button.textContent = { "": "◐", light: "☀", dark: "☾" }[theme()];
  }
  button.addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const order = dark ? ["", "light", "dark"] : ["", "dark", "light"];
    const next = order[(order.indexOf(theme()) + 1) % order.length];
    if (next) document.documentElement.dataset.theme = next;
    else delete document.documentElement.dataset.theme;
    try {
      if (next) localStorage.setItem("callout-theme", next);
      else localStorage.removeItem("callout-theme");
    } catch {
      // storage is forbidden: the choice lasts as long as the page
    }
    label();
  });
  label();
  document.documentElement.dataset.ready = "";
})();
