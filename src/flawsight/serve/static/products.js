"use strict";
/* The products: their thresholds with what another one would change, and what a training would use.
 * Needs dom.js and region.js before it. `call` and `attempt` are those of page.js; `list` shows the reviewed. */
(() => {
  const { el, regionEditor, score } = globalThis.flawsight;

  function productTable({ call, attempt, list }) {
    let known = [];
    const section = el("section", { "aria-label": "Products and thresholds", hidden: true });
    const editor = el("div", { class: "sv-threshold" });
    const nameOf = (one) => one.product ?? "No product";
    const of = (product) => known.find((one) => one.product === product);
    const named = (one) => (one.product == null ? "" : `&product=${encodeURIComponent(one.product)}`);

    const save = (one, threshold) => attempt("Saving …", async () => {
      const now = await call("v1/thresholds", {
        method: "PUT",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ product: one.product, threshold }),
      });
      await load();
      edit(of(one.product));
      const rule = now.threshold == null ? "judged by the answer" : `defective above ${score(now.threshold)}`;
      return `Later photos of ${nameOf(one)} are ${rule}.`;
    });

    /** Show what a threshold would change before it can be saved. */
    function edit(one) {
      const field = el("input", {
        type: "number", min: 0, max: 1, step: "any", inputmode: "decimal",
        value: one.threshold ?? 0.5, oninput: () => show(),
      });
      const said = el("p", { role: "status" });
      const keep = el("button", { type: "button", onclick: () => save(one, Number(field.value)) }, "Save");
      let asked = 0;

      async function show() {
        const mine = ++asked;
        keep.disabled = true;
        if (field.value === "" || !field.checkValidity()) {
          said.textContent = "A threshold is a number from 0 to 1.";
          return;
        }
        try {
          const effect = await call(`v1/thresholds/effect?threshold=${field.value}${named(one)}`);
          if (mine !== asked) return;
          said.textContent = explained(effect);
          keep.disabled = false;
        } catch (error) {
          said.textContent = error.message;
        }
      }

      editor.replaceChildren(el("h3", {}, `Threshold of ${nameOf(one)}`),
        el("label", {}, "Defective above", field), said, keep,
        one.saved ? el("button", { type: "button", onclick: () => save(one, null) }, "Remove the saved one") : "",
        el("button", { type: "button", onclick: () => editor.replaceChildren() }, "Close"));
      field.focus();
      show();
    }

    /** Draw the region of interest of a product. */
    function draw(one) {
      const { element, begin } = regionEditor({
        call, attempt, one, name: nameOf(one), close: () => editor.replaceChildren(), done: load,
      });
      editor.replaceChildren(element);
      attempt("Loading …", begin);
    }

    function explained(effect) {
      const parts = [
        `Past verdicts with the present model and reference: ${effect.inspections}.`,
        `Defective: ${effect.defective_before} as inspected, ${effect.defective_after} by this threshold.`,
      ];
      if (effect.good) {
        parts.push(`False alarms among the ${effect.good} reviewed as good: `
          + `${effect.false_alarms_before} as inspected, ${effect.false_alarms_after} by this threshold.`);
      }
      if (effect.defective) {
        parts.push(`Missed among the ${effect.defective} reviewed as defective: `
          + `${effect.missed_before} as inspected, ${effect.missed_after} by this threshold.`);
      }
      return parts.join(" ");
    }

    function row(one) {
      const threshold = one.threshold == null ? "by the answer" : score(one.threshold);
      return el("tr", {},
        el("th", { scope: "row" }, nameOf(one)),
        el("td", {}, String(one.inspections)),
        el("td", {}, String(one.good)),
        el("td", {}, String(one.defective)),
        el("td", {}, `${one.inspected ? threshold : "–"}${one.saved ? ", saved" : ""}`),
        el("td", {}, one.inspected ? el("button", {
          type: "button", "aria-label": `Change the threshold of ${nameOf(one)}`, onclick: () => edit(one),
        }, "Change") : ""),
        el("td", {}, one.can_have_roi || one.roi != null ? el("button", {
          type: "button", "aria-label": `Region of interest of ${nameOf(one)}`, onclick: () => draw(one),
        }, one.roi == null ? "Region" : "Region, saved") : ""));
    }

    async function load() {
      known = (await call("v1/products")).products;
      const total = (name) => known.reduce((sum, one) => sum + one[name], 0);
      section.hidden = !known.length;
      const head = ["Product", "Inspected", "Reviewed as good", "As defective", "Threshold", "", ""];
      section.replaceChildren(el("h2", {}, "Products and thresholds"),
        el("p", {}, `A training would use the ${total("good")} photos reviewed as good and the `
          + `${total("defective")} as defective (flawsight labels). `,
        el("button", { type: "button", onclick: list }, "List them")),
        el("div", { class: "sv-scroll", tabindex: 0, role: "region", "aria-label": "Counts and thresholds" },
          el("table", { class: "sv-table" },
            el("thead", {}, el("tr", {}, ...head.map((name) =>
              (name ? el("th", { scope: "col" }, name) : el("td"))))),
            el("tbody", {}, ...known.map(row)))),
        editor);
      return known;
    }

    return { section, load, of };
  }

  globalThis.flawsight.productTable = productTable;
})();
