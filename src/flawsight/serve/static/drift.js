"use strict";
/* Whether the scores of the products have drifted, as a table. Needs dom.js before it. */
(() => {
  const { el, percent, score } = globalThis.flawsight;
  const [WIDTH, HEIGHT] = [160, 40];

  function svg(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  /** Draw the reference weeks as bars and the latest week as a line, each by its share. */
  function histograms(one) {
    const shares = [one.reference, one.latest].map((weeks) =>
      weeks.histogram.map((count) => count / weeks.count));
    const highest = Math.max(...shares.flat());
    const step = WIDTH / shares[0].length;
    const top = (share) => HEIGHT - (share / highest) * (HEIGHT - 2);
    const bars = shares[0].map((share, bin) => svg("rect", {
      class: "sv-before", x: bin * step, y: top(share), width: step - 1, height: HEIGHT - top(share),
    }));
    const line = shares[1].map((share, bin) => `${bin * step},${top(share)} ${(bin + 1) * step},${top(share)}`);
    return svg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "sv-drift", role: "img",
      "aria-label": "Scores from 0 to 1: bars for the reference weeks, a line for the last week",
    }, ...bars, svg("polyline", { class: "sv-after", points: line.join(" ") }));
  }

  const date = (text) => new Date(text).toLocaleDateString(undefined, { timeZone: "UTC" });

  function weeks(found) {
    if (!found) return el("td", {}, "–");
    const last = new Date(new Date(found.until) - 1);
    return el("td", { class: "sv-weeks" }, `${date(found.since)} – ${date(last)}: ${found.count} photos, `
      + `${percent(found.defective)} defective, median score ${score(found.median)}`);
  }

  function row(one) {
    const said = one.drifted == null ? "Too few photos" : one.drifted ? "Drifted" : "Stable";
    const p = one.p_value != null && one.p_value < 0.001 ? "< 0.001" : score(one.p_value);
    return el("tr", {},
      el("th", { scope: "row" }, one.product ?? "No product"),
      el("td", { class: one.drifted ? "fs-bad" : "" }, said),
      el("td", {}, score(one.distance)),
      el("td", {}, p),
      el("td", {}, one.reference && one.latest ? histograms(one) : null),
      weeks(one.reference),
      weeks(one.latest));
  }

  function drift(call) {
    const section = el("section", { "aria-label": "Drift", hidden: true });
    const head = ["Product", "Scores", "Distance", "p-value", "", "Reference weeks", "Last week"];

    async function load() {
      const { products } = await call("v1/drift");
      section.hidden = !products.length;
      const changed = products.filter((one) => one.drifted);
      section.replaceChildren(el("h2", {}, "Drift"),
        el("details", { open: changed.length > 0 },
          el("summary", {}, changed.length
            ? `The scores of ${changed.map((one) => one.product ?? "photos without product").join(", ")} have drifted`
            : "No product's scores have drifted"),
          el("p", {}, "The scores of the last week, up to yesterday, compared with those of the first "
            + "weeks with the same model, reference and threshold. Bars are the first weeks, the line is "
            + "the last one."),
          el("div", { class: "sv-scroll", tabindex: 0, role: "region", "aria-label": "Drift by product" },
            el("table", { class: "sv-table" },
              el("thead", {}, el("tr", {}, ...head.map((name) =>
                (name ? el("th", { scope: "col" }, name) : el("td"))))),
              el("tbody", {}, ...products.map(row))))));
    }

    return { section, load };
  }

  globalThis.flawsight.drift = drift;
})();
