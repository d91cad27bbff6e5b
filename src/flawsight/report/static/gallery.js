"use strict";
/* Many inspections: a gallery to search, filter and sort, and one of them open at a time.
 *
 *   flawsight.gallery(root, { items, load });
 *
 * `items` are the summaries of report/view.py; `load(item)` promises the view of one. Cards are made
 * as the reader scrolls to them. The #id in the address says which one is open.
 */
(() => {
  const { el, inspectionView, verdict, verdictClass, score } = globalThis.flawsight;
  const CHUNK = 48; // cards made at once

  /** At least 0 for a wrong verdict: missed defects rank above false alarms, confident ones first. */
  function wrongness(item) {
    if (item.label == null || item.pred_label == null || item.label === item.pred_label) return -1;
    const value = item.pred_score ?? 0.5;
    return item.label ? 2 - value : value;
  }

  const rank = (item) => (item.pred_score ?? -1) + (item.pred_label ? 2 : 0);
  const byName = (one, other) => one.name.localeCompare(other.name, undefined, { numeric: true });
  const ORDERS = {
    worst: ["Worst errors first", (one, other) => wrongness(other) - wrongness(one)],
    high: ["Highest score first", (one, other) => rank(other) - rank(one)],
    low: ["Lowest score first", (one, other) => rank(one) - rank(other)],
    name: ["By name", byName],
    run: ["In order of inspection", () => 0],
  };
  const differ = (pair) => pair.replace("/", " ≠ ");
  const FILTERS = {
    all: ["All", () => true],
    bad: ["Defective", (item) => item.pred_label === true],
    good: ["Good", (item) => item.pred_label === false],
    missed: ["Missed", (item) => item.label === true && item.pred_label === false],
    alarm: ["False alarms", (item) => item.label === false && item.pred_label === true],
    ...Object.fromEntries(["Verdict/answer", "Verdict/reasoning", "Answer/reasoning"].map((pair) =>
      [pair, [differ(pair), (item) => item.disagreements.includes(pair.toLowerCase())]])),
    forced: ["Answer forced", (item) => item.answer_forced],
    warned: ["Photo warnings", (item) => item.photo_warned],
    failed: ["Not inspected", (item) => item.error != null],
  };

  function card(item) {
    const picture = item.thumb
      ? el("img", { src: item.thumb, loading: "lazy", decoding: "async", alt: "" })
      : el("span", { class: "fs-missing" }, "no photo");
    if (item.error != null) {
      return el("li", { class: "fs-card fs-failed" },
        el("p", { class: "fs-name", title: item.path }, item.name), el("p", {}, item.error));
    }
    const wrong = item.label != null && item.pred_label != null && item.label !== item.pred_label;
    const bar = el("span", { class: "fs-bar", "aria-hidden": "true" });
    bar.style.setProperty("--value", item.pred_score ?? 0);
    return el(
      "li", { class: "fs-card" },
      el(
        "a", { href: `#${item.id}`, "data-id": item.id },
        el("span", { class: "fs-thumb" }, picture),
        el("span", { class: "fs-line" },
          el("strong", { class: verdictClass(item.pred_label) }, verdict(item.pred_label)),
          el("span", { class: "fs-score" }, score(item.pred_score))),
        bar,
        el("span", { class: "fs-name", title: item.path }, item.name),
        wrong ? el("span", { class: "fs-tag fs-wrong" }, item.label ? "missed" : "false alarm") : null,
        ...item.disagreements.map((pair) =>
          el("span", { class: "fs-tag", title: item.warning }, differ(pair))),
        item.answer_forced ? el("span", { class: "fs-tag", title: item.warning }, "answer forced") : null,
        item.photo_warned ? el("span", { class: "fs-tag", title: item.warning }, "photo warning") : null,
      ),
    );
  }

  /** Fill `root` with a gallery. */
  function gallery(root, { items, load }) {
    const known = new Map(items.map((item) => [item.id, item]));
    const labelled = items.some((item) => item.label != null);
    let [order, filter, wanted] = [labelled ? "worst" : "high", "all", ""];
    let shown = [];
    let made = 0;
    const list = el("ul", { class: "fs-cards" });
    const count = el("p", { class: "fs-count", role: "status" });
    const more = el("button", { type: "button", class: "fs-more", onclick: () => extend() }, "Show more");
    const detail = el("section", { class: "fs-detail", hidden: true, "aria-label": "One image" });

    function extend() {
      const next = shown.slice(made, made + CHUNK);
      made += next.length;
      list.append(...next.map(card));
      more.hidden = made >= shown.length;
    }
    function refresh() {
      const holds = (item) => [item.path, item.explanation].some((text) =>
        text.toLowerCase().includes(wanted));
      shown = items.filter((item) => FILTERS[filter][1](item) && holds(item)).sort(ORDERS[order][1]);
      made = 0;
      list.replaceChildren();
      extend();
      count.textContent = shown.length === items.length
        ? `${items.length} images` : `${shown.length} of ${items.length} images`;
    }

    const search = el("input", { type: "search", placeholder: "File or word", "aria-label": "Search" });
    search.addEventListener("input", () => { wanted = search.value.trim().toLowerCase(); refresh(); });
    const sort = el("select", { "aria-label": "Order" }, ...Object.entries(ORDERS)
      .filter(([name]) => name !== "worst" || labelled)
      .map(([name, [title]]) => el("option", { value: name }, title)));
    sort.addEventListener("change", () => { order = sort.value; refresh(); });
    const chips = Object.entries(FILTERS)
      .map(([name, [title, test]]) => [name, title, items.filter(test).length])
      .filter(([name, , size]) => size || name === "all")
      .map(([name, title, size]) => el("button", {
        type: "button", class: "fs-chip", "aria-pressed": String(name === "all"), "data-filter": name,
        onclick: () => {
          filter = name;
          chips.forEach((chip) => chip.setAttribute("aria-pressed", String(chip.dataset.filter === name)));
          refresh();
        },
      }, title, el("b", {}, String(size))));
    const browse = el(
      "section", { class: "fs-browse", "aria-label": "Images" },
      el("div", { class: "fs-tools" },
        el("div", { class: "fs-chips", role: "group", "aria-label": "Filter" }, ...chips),
        el("div", { class: "fs-find" }, search, sort)),
      count, list, more,
    );

    // Scroll position and focused card when the gallery was left.
    let left = null;
    async function follow() {
      const item = known.get(decodeURIComponent(location.hash.slice(1)));
      if (!item || item.error != null) {
        const was = !detail.hidden;
        detail.hidden = true;
        browse.hidden = false;
        root.classList.remove("fs-open");
        detail.replaceChildren();
        if (was && left) {
          scrollTo(0, left.scroll);
          list.querySelector(`[data-id="${CSS.escape(left.id)}"]`)?.focus({ preventScroll: true });
        }
        return;
      }
      if (detail.hidden) left = { scroll: scrollY };
      left.id = item.id;
      try {
        const view = await load(item);
        if (location.hash.slice(1) !== item.id) return; // another one was opened meanwhile
        detail.replaceChildren(bar(item), inspectionView({ ...view, name: item.name, label: item.label }));
      } catch {
        detail.replaceChildren(bar(item), el("p", { class: "fs-warning", role: "alert" },
          `${item.name} cannot be loaded. Copy the whole run folder along with this page.`));
      }
      detail.hidden = false;
      browse.hidden = true;
      root.classList.add("fs-open");
      scrollTo(0, 0);
      detail.querySelector("h2")?.focus({ preventScroll: true });
    }
    function neighbour(item, step) {
      const open = shown.filter((other) => other.error == null);
      return open[open.indexOf(item) + step];
    }
    function bar(item) {
      const link = (step, text) => {
        const other = neighbour(item, step);
        return other ? el("a", { href: `#${other.id}`, "data-step": step }, text) : null;
      };
      return el("nav", { class: "fs-nav", "aria-label": "Images" },
        el("a", { href: "#", "data-step": 0 }, `All ${items.length} images`), link(-1, "← Previous"), link(1, "Next →"));
    }
    addEventListener("keydown", (event) => {
      if (detail.hidden || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.target.closest("input, select, textarea")) return;
      const step = { ArrowLeft: -1, ArrowRight: 1, Escape: 0 }[event.key];
      if (step != null) detail.querySelector(`[data-step="${step}"]`)?.click();
    });
    addEventListener("hashchange", follow);
    if ("IntersectionObserver" in globalThis) {
      new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && extend(),
        { rootMargin: "800px" }).observe(more);
    }
    root.append(browse, detail);
    refresh();
    follow();
  }

  Object.assign(globalThis.flawsight, { gallery });
})();
