"use strict";
/* The filters and the order of the history. Needs dom.js before it. */
(() => {
  const { el } = globalThis.flawsight;
  const DAY = 86_400_000;

  /** Make the filters; `changed` is called whenever one is. */
  function filters(changed) {
    const choice = (label, ...options) => el("select", { "aria-label": label, onchange: changed },
      ...options.map(([value, text]) => el("option", { value }, text)));
    const input = (label, attributes) => el("input", { "aria-label": label, onchange: changed, ...attributes });
    const score = { type: "number", min: 0, max: 1, step: "any", inputmode: "decimal" };

    const product = choice("Show", ["", "All products"]);
    const parts = {
      verdict: choice("Verdict", ["", "Any"], ["good", "Good"], ["defective", "Defective"]),
      reviewed: choice("Review", ["", "Any"], ["false", "Not reviewed"], ["true", "Reviewed"]),
      disagreement: choice("Disagreement", ["", "Any"], ["true", "Yes"], ["false", "No"]),
      min_score: input("Lowest score", score),
      max_score: input("Highest score", score),
      since: input("From", { type: "date" }),
      until: input("Until", { type: "date" }),
    };
    const order = choice("Order", ["", "Newest first"], ["uncertain", "Uncertain first"]);
    const labelled = (part) => el("label", {}, part.getAttribute("aria-label"), part);
    const shown = el("label", { hidden: true }, "Show", product);
    const fields = el("div", { class: "sv-filters", role: "group", "aria-label": "Filters" },
      shown, ...[...Object.values(parts), order].map(labelled),
      el("button", { type: "button", onclick: () => { clear(); changed(); } }, "Clear"));

    /** Return the value of a part for the API; days are local ones, the last one included. */
    function valueOf(name, part) {
      if (!part.value || !part.checkValidity()) return "";
      if (part.type !== "date") return part.value;
      const day = new Date(`${part.value}T00:00`);
      if (name === "until") day.setTime(day.getTime() + DAY);
      return day.toISOString();
    }

    /** Return the parameters of a search. */
    function parameters(more = {}) {
      const all = Object.entries(parts).map(([name, part]) => [name, valueOf(name, part)]);
      const given = [...all, ["product", product.value], ["order", order.value], ...Object.entries(more)];
      return new URLSearchParams(Object.entries(Object.fromEntries(given)).filter(([, value]) => value));
    }

    function clear() {
      for (const part of [product, order, ...Object.values(parts)]) part.value = "";
    }

    /** Whether an inspection that was just made may be missing in the list. */
    const hides = (one) => Boolean((product.value && one.product !== product.value) || order.value
      || Object.entries(parts).some(([name, part]) => valueOf(name, part)));

    /** Offer these products. */
    function offer(names) {
      const chosen = product.value;
      product.replaceChildren(el("option", { value: "" }, "All products"),
        ...names.map((name) => el("option", {}, name)));
      product.value = names.includes(chosen) ? chosen : "";
      shown.hidden = names.length < 2;
    }

    /** Set one part, clear the others. */
    function only(name, value) {
      clear();
      parts[name].value = value;
    }

    return { fields, parameters, clear, hides, offer, only, product: () => product.value };
  }

  globalThis.flawsight.filters = filters;
})();
