"use strict";
/* The page at /: photos in, the same view as in the report, reviews, history. All text goes through
 * textContent; nothing is fetched but from this service. */
(() => {
  const { el, inspectionView, verdict, verdictClass, score } = globalThis.flawsight;
  const PAGE = 100;
  const status = el("p", { role: "status" });
  const shown = el("section", { "aria-label": "Inspection" });
  const rows = el("tbody");
  const more = el("button", { class: "sv-more", type: "button", onclick: () => older() }, "Older");
  const effect = el("output");
  const past = []; // inspections in the table, newest first
  let next = null;

  async function call(path, options) {
    const answer = await fetch(path, options);
    const body = await answer.json();
    if (!answer.ok && !body.results) throw new Error(body.error.message);
    return body;
  }

  /** Do something that may fail, and say so if it does. */
  async function attempt(doing, work) {
    status.className = "";
    status.textContent = doing;
    try {
      status.textContent = (await work()) ?? "";
    } catch (error) {
      status.className = "sv-failed";
      status.textContent = error.message;
    }
  }

  function upload(files) {
    if (!files.length) return;
    attempt(`Inspecting ${files.length} photo${files.length > 1 ? "s" : ""} …`, async () => {
      const form = new FormData();
      for (const file of files) form.append("images", file);
      if (product.value.trim()) form.append("product", product.value.trim());
      const { results } = await call("/v1/inspect", { method: "POST", body: form });
      const inspected = results.filter((result) => !result.error);
      past.unshift(...inspected);
      list();
      if (inspected.length) await open(inspected[0].id);
      return results.filter((result) => result.error)
        .map((result) => `${result.name ?? "A photo"}: ${result.error.message}`).join(" ");
    });
  }

  async function open(id) {
    const view = await call(`/v1/inspections/${id}/view`);
    const review = el("div", { class: "sv-review", role: "group", "aria-label": "Review" },
      "Is the verdict right?");
    for (const [word, right] of [["right", true], ["wrong", false]]) {
      const chosen = view.label != null && (view.label === view.pred_label) === right;
      review.append(el("button", {
        type: "button", "aria-pressed": String(chosen),
        onclick: () => attempt("Saving …", async () => {
          const reviewed = await call(`/v1/inspections/${id}/review`, {
            method: "PUT",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ verdict: word }),
          });
          past.splice(past.findIndex((one) => one.id === id), 1, reviewed);
          list();
          await open(id);
          return `Marked ${word}.`;
        }),
      }, word === "right" ? "Right" : "Wrong"));
    }
    const article = inspectionView(view);
    shown.replaceChildren(article, review);
    article.querySelector("h2").focus();
  }

  function list() {
    rows.replaceChildren(...past.map((one) => el("tr", {},
      el("th", { scope: "row" }, el("a", {
        href: `#${one.id}`,
        onclick: (event) => {
          event.preventDefault();
          attempt("Opening …", () => open(one.id));
        },
      }, one.name ?? one.id)),
      el("td", {}, new Date(one.created).toLocaleString()),
      el("td", {}, one.product ?? "–"),
      el("td", { class: verdictClass(one.pred_label) }, verdict(one.pred_label)),
      el("td", {}, score(one.pred_score)),
      el("td", {}, one.review ? one.review.verdict : "–"))));
    more.hidden = next == null;
    weigh();
  }

  /** Say what the inspections in the table would have been called at the slider's threshold. */
  function weigh() {
    const above = (one) => one.pred_score > Number(threshold.value);
    const reviewed = past.filter((one) => one.review);
    const alarms = reviewed.filter((one) => above(one) && !one.review.true_label).length;
    const missed = reviewed.filter((one) => !above(one) && one.review.true_label).length;
    effect.textContent = `${Number(threshold.value).toFixed(2)}: ${past.filter(above).length} of `
      + `${past.length} below would be called defective; of ${reviewed.length} reviewed ones `
      + `${alarms} wrongly, and ${missed} would be missed.`;
  }

  async function older() {
    const before = next ? `&before=${next}` : "";
    const page = await call(`/v1/inspections?limit=${PAGE}${before}`);
    past.push(...page.inspections);
    next = page.next;
    list();
  }

  const pick = (attributes) => el("input", {
    type: "file", accept: "image/*", onchange: (event) => upload([...event.target.files]), ...attributes,
  });
  const product = el("input", { maxlength: 200, autocomplete: "off" });
  const threshold = el("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0.5, oninput: weigh });
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
  const head = ["Photo", "Time", "Product", "Verdict", "Score", "Review"];
  document.getElementById("page").append(drop, status, shown,
    el("section", { "aria-label": "History" },
      el("h2", {}, "History"),
      el("div", { class: "sv-threshold" },
        el("label", {}, "A threshold of ", threshold), " ", effect),
      el("div", { class: "sv-scroll" }, el("table", { class: "sv-history" },
        el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))), rows)),
      more));
  attempt("Loading …", older);
})();
