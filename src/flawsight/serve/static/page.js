"use strict";
/* The page at /: upload, the view of the report, reviews, references, drift, products, history. All text goes through textContent;
 * only this service is contacted, by relative paths: a proxy may serve it below any path. */
(() => {
  const {
    charts, el, inspectionView, verdict, verdictClass, score, references, drift, filters, reviewQueue, productTable,
    camera,
  } = globalThis.flawsight;
  const PAGE = 100;
  const KEPT = 3 * PAGE;
  const status = el("p", { role: "status" });
  const shown = el("section", { "aria-label": "Inspection" });
  const rows = el("tbody");
  const more = el("button", { class: "sv-more", type: "button", onclick: () => older() }, "Older");
  const plots = el("div");
  const past = []; // inspections in the table
  const damaged = new Set(); // ids of those that the store cannot read
  const unreadable = el("div");
  const pictures = new Map();
  let next = null;
  let latest = 0; // number of the latest attempt
  let tried = null; // the threshold that the slider was moved to

  async function call(path, options) {
    const answer = await fetch(path, options);
    const body = await answer.json();
    if (!answer.ok && !body.results) throw new Error(body.error.message);
    return body;
  }

  /** Run `work`, and show its status or its error. */
  async function attempt(doing, work) {
    const turn = ++latest;
    status.className = "";
    status.textContent = doing;
    try {
      const said = (await work()) ?? "";
      if (turn === latest) status.textContent = said; // else a later one has something to say
    } catch (error) {
      status.className = "sv-failed";
      status.textContent = error.message;
    }
  }

  /** Inspect files and show the first; with `focus`, go there. */
  async function upload(files, focus = true) {
    if (!files.length) return;
    await attempt(`Inspecting ${files.length} photo${files.length > 1 ? "s" : ""} …`, async () => {
      const form = new FormData();
      for (const file of files) form.append("images", file);
      if (product.value.trim()) form.append("product", product.value.trim());
      const { results } = await call("v1/inspect", { method: "POST", body: form });
      const inspected = results.filter((result) => !result.error);
      if (inspected.some(filter.hides)) {
        filter.clear();
        await search();
      } else past.unshift(...inspected);
      if (past.length > KEPT) { // a camera may run for hours
        for (const one of past.splice(PAGE)) pictures.delete(one.id);
        next = past.at(-1).id;
      }
      list();
      await count();
      if (inspected.length) await open(inspected[0].id, undefined, focus);
      return results.filter((result) => result.error)
        .map((result) => `${result.name ?? "A photo"}: ${result.error.message}`).join(" ");
    });
  }

  /** Put a changed inspection into the table in its place. */
  function replace(changed) {
    const at = past.findIndex((one) => one.id === changed.id);
    if (at >= 0) past[at] = changed;
    list();
  }

  async function open(id, row = past.find((other) => other.id === id), focus = true) {
    const view = await call(`v1/inspections/${id}/view`);
    const review = el("div", { class: "sv-review", role: "group", "aria-label": "Review" },
      "Is the verdict right?");
    for (const [word, right] of [["right", true], ["wrong", false]]) {
      const chosen = view.label != null && (view.label === view.pred_label) === right;
      review.append(el("button", {
        type: "button", "aria-pressed": String(chosen),
        onclick: () => attempt("Saving …", async () => {
          const reviewed = await call(`v1/inspections/${id}/review`, {
            method: "PUT",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ verdict: word }),
          });
          replace(reviewed);
          await open(id, reviewed);
          await count();
          return `Marked ${word}.`;
        }),
      }, word === "right" ? "Right" : "Wrong"));
    }
    const one = row;
    const reference = good.of(one.product);
    if (view.label === false && good.canAdd(one.product, id)) {
      review.append(el("button", {
        type: "button",
        onclick: () => attempt("Learning …", async () => {
          const said = await good.add(one.product, id);
          await open(id, one);
          return said;
        }),
      }, "Add to the reference"));
    }
    const article = inspectionView(view);
    shown.replaceChildren(article, ...[comparison(one, reference), review].filter(Boolean));
    if (focus) article.querySelector("h2").focus();
  }

  /** Say what an inspection was compared with; null if with nothing. */
  function comparison(one, reference) {
    if (!one.reference_sha256) return null;
    const changed = reference?.sha256 !== one.reference_sha256;
    return el("p", { class: "sv-compared" },
      `Compared with good photos of ${one.product}: defective above ${score(one.threshold)}. `,
      changed ? "The reference has changed since." : "");
  }

  /** The thumbnail of an inspection, reused when the list is rebuilt. */
  function pictureOf(id) {
    if (!pictures.has(id)) {
      pictures.set(id, el("img", {
        src: `v1/inspections/${id}/thumb.jpg`, loading: "lazy", decoding: "async", alt: "",
      }));
    }
    return pictures.get(id);
  }

  function list() {
    rows.replaceChildren(...past.map((one) => el("tr", {},
      el("td", {}, pictureOf(one.id)),
      el("th", { scope: "row" }, el("a", {
        href: `#${one.id}`,
        onclick: (event) => {
          event.preventDefault();
          attempt("Opening …", () => open(one.id));
        },
      }, one.name ?? one.id)),
      el("td", { class: verdictClass(one.pred_label) }, `${verdict(one.pred_label)} `,
        one.contradiction ? el("span", { class: "fs-tag" }, "contradiction") : null),
      el("td", {}, score(one.pred_score)),
      el("td", {}, one.review ? one.review.verdict : "–"),
      el("td", {}, one.product ?? "–"),
      el("td", {}, new Date(one.created).toLocaleString()))));
    more.hidden = next == null;
    unreadable.replaceChildren(...(damaged.size ? [el("details", { class: "sv-failed" },
      el("summary", {}, `Damaged in the store, and left out here: ${damaged.size}`),
      el("p", {}, `Restore row and folder from a backup: ${[...damaged].join(", ")}`))] : []));
    plot();
  }

  /** Plot the scores in the table, and try other thresholds on them. */
  function plot() {
    const product = filter.product();
    const mixed = !product && good.count() > 1; // each product has its own threshold
    if (mixed) return plots.replaceChildren();
    const wasClosed = plots.firstChild?.open === false;
    const own = (product ? products.of(product) : good.only())?.threshold ?? 0.5;
    const shown = charts(past.map((one) => ({ ...one, label: one.review?.true_label })), own, tried);
    if (shown) shown.open = !wasClosed;
    return plots.replaceChildren(...[shown].filter(Boolean));
  }

  async function older() {
    const page = await call(`v1/inspections?${filter.parameters({ limit: PAGE, before: next ?? "" })}`);
    past.push(...page.inspections);
    for (const id of page.damaged) damaged.add(id);
    next = page.next;
    list();
  }

  /** Load the first page of the history again. */
  async function search() {
    past.length = 0;
    damaged.clear();
    next = null;
    await older();
  }

  /** Load the products again: their counts have changed. */
  async function count() {
    const names = (await products.load()).map((one) => one.product).filter((name) => name != null);
    filter.offer(names);
  }

  /** Load the references; with any, the product is chosen among theirs. */
  async function begin() {
    const known = (await good.load()).map((one) => one.product);
    if (known.length) {
      const choice = el("select", { "aria-label": "Product" }, ...known.map((name) => el("option", {}, name)));
      if (known.length > 1) choice.prepend(el("option", { value: "", selected: true }, "Choose one"));
      product.replaceWith(choice);
      product = choice;
    }
    await count();
    await older();
    await drifts.load();
  }

  const good = references(call, attempt);
  const drifts = drift(call);
  const filter = filters(() => attempt("Loading …", search));
  const products = productTable({
    call,
    attempt,
    list: () => attempt("Loading …", async () => {
      filter.only("reviewed", "true");
      await search();
      history.scrollIntoView();
    }),
  });
  const queue = reviewQueue({
    call,
    attempt,
    open,
    parameters: filter.parameters,
    reviewed: replace,
    left: () => attempt("Loading …", async () => { await count(); await search(); }),
  });
  const pick = (attributes) => el("input", {
    type: "file", accept: "image/*", onchange: (event) => upload([...event.target.files]), ...attributes,
  });
  let product = el("input", { maxlength: 200, autocomplete: "off" });
  plots.addEventListener("input", (event) => { tried = Number(event.target.value); });
  const drop = el("div", { class: "sv-drop" },
    el("label", {}, "Photos (or drop them here)", pick({ multiple: true })),
    el("label", {}, "Camera", pick({ capture: "environment" })),
    el("label", {}, "Product", product));
  for (const type of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.toggle("sv-over", type === "dragover");
      if (type === "drop") upload([...event.dataTransfer.files]);
    });
  }
  const head = ["", "Photo", "Verdict", "Score", "Review", "Product", "Time"];
  const history = el("section", { "aria-label": "History" },
    el("h2", {}, "History"),
    filter.fields,
    queue.begin,
    unreadable,
    plots,
    el("div", { class: "sv-scroll" }, el("table", { class: "sv-history" },
      el("thead", {}, el("tr", {}, ...head.map((name) =>
        (name ? el("th", { scope: "col" }, name) : el("td"))))), rows)),
    more);
  document.getElementById("page").append(
    drop, camera((files) => upload(files, false)), status, queue.bar, shown, good.section, drifts.section, products.section, history);
  attempt("Loading …", begin);
})();
