"use strict";
/* The histogram of a run's scores with a threshold to move, and, if labels are known, the confusion
 * matrix at that threshold. */
(() => {
  const { el, percent, score } = globalThis.flawsight;
  const BINS = 25;
  const [WIDTH, HEIGHT] = [500, 130];

  function svg(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const binOf = (value) => Math.min(BINS - 1, Math.floor(value * BINS));
  const seriesOf = (item) => (item.label == null ? "unknown" : item.label ? "bad" : "good");

  function bars(items, series) {
    const counts = Object.fromEntries(series.map((name) => [name, new Array(BINS).fill(0)]));
    for (const item of items) counts[seriesOf(item)][binOf(item.pred_score)] += 1;
    const highest = Math.max(1, ...Array.from({ length: BINS }, (_, bin) =>
      series.reduce((sum, name) => sum + counts[name][bin], 0)));
    const step = WIDTH / BINS;
    const group = svg("g", {});
    for (let bin = 0; bin < BINS; bin++) {
      let base = HEIGHT;
      for (const name of series) {
        const height = (counts[name][bin] / highest) * (HEIGHT - 4);
        base -= height;
        if (height) {
          group.append(svg("rect", {
            class: `fs-bar-${name}`, x: bin * step + 1, y: base, width: step - 2, height,
          }));
        }
      }
    }
    return group;
  }

  /** Counts of verdicts against labels; `verdictOf(item)` is true for defective. */
  function confusion(items, verdictOf) {
    const counts = { tp: 0, fn: 0, fp: 0, tn: 0 };
    for (const item of items) {
      if (item.label == null) continue;
      const called = verdictOf(item);
      counts[item.label ? (called ? "tp" : "fn") : (called ? "fp" : "tn")] += 1;
    }
    return counts;
  }

  function matrix({ tp, fn, fp, tn }) {
    const cell = (count, name, kind) =>
      el("td", { class: kind }, el("strong", {}, String(count)), el("small", {}, name));
    return el(
      "table", { class: "fs-matrix" },
      el("caption", {}, "Confusion matrix"),
      el("thead", {}, el("tr", {}, el("td", {}),
        el("th", { scope: "col" }, "predicted defective"), el("th", { scope: "col" }, "predicted good"))),
      el("tbody", {},
        el("tr", {}, el("th", { scope: "row" }, "is defective"),
          cell(tp, "found", "fs-right"), cell(fn, "missed", "fs-wrong")),
        el("tr", {}, el("th", { scope: "row" }, "is good"),
          cell(fp, "false alarms", "fs-wrong"), cell(tn, "passed", "fs-right"))),
    );
  }

  /** Return the element with the charts of gallery items; null if none has a score.
   *
   * The slider starts at `tried` if it was moved before, else at `threshold`. */
  function charts(items, threshold, tried = null) {
    const scored = items.filter((item) => item.pred_score != null
      && item.pred_score >= 0 && item.pred_score <= 1);
    if (!scored.length) return null;
    const labelled = scored.some((item) => item.label != null);
    const series = labelled ? ["good", "bad", "unknown"] : ["unknown"];
    const line = svg("line", { class: "fs-threshold", y1: 0, y2: HEIGHT });
    const plot = svg(
      "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "fs-histogram", role: "img",
        preserveAspectRatio: "none", "aria-label": `Histogram of ${scored.length} scores from 0 to 1` },
      bars(scored, series), line,
    );
    const start = tried ?? threshold ?? 0.5;
    const result = el("p", { class: "fs-status", role: "status" });
    const table = el("div");
    const input = el("input", { type: "range", min: 0, max: 1, step: 0.005, value: start,
      "aria-label": "Try a threshold" });
    function update(value, moved) {
      line.setAttribute("x1", value * WIDTH);
      line.setAttribute("x2", value * WIDTH);
      const called = (item) => (moved ? item.pred_score > value : item.pred_label);
      const count = scored.filter(called).length;
      const rule = moved ? `Above ${score(value)}` : "As inspected";
      const counts = confusion(scored, called);
      const rate = (part, whole, name) => (whole ? [`${percent(part / whole)} ${name}`] : []);
      const rates = [
        ...rate(counts.tp, counts.tp + counts.fn, "of the defective found"),
        ...rate(counts.fp, counts.fp + counts.tn, "false alarms among the good"),
      ].join(", ");
      result.textContent = `${rule}: ${count} of ${scored.length} predicted defective`
        + `${rates && `; ${rates}`}.`;
      if (labelled) table.replaceChildren(matrix(counts));
    }
    input.addEventListener("input", () => update(Number(input.value), true));
    update(start, tried != null);
    const key = labelled
      ? el("p", { class: "fs-key" }, el("i", { class: "fs-key-good" }), "good",
        el("i", { class: "fs-key-bad" }), "defective",
        ...(scored.some((item) => item.label == null)
          ? [el("i", { class: "fs-key-unknown" }), "unknown"] : []))
      : null;
    return el(
      "details", { class: "fs-charts", open: labelled },
      el("summary", {}, labelled ? "Scores and errors" : "Scores"),
      el("div", { class: "fs-charts-body" },
        el("div", { class: "fs-plot" }, plot, input,
          el("p", { class: "fs-axis", "aria-hidden": "true" },
            el("span", {}, "0"), el("span", {}, "score; drag to try a threshold"), el("span", {}, "1")),
          key, result),
        labelled ? table : null),
    );
  }

  Object.assign(globalThis.flawsight, { charts });
})();
