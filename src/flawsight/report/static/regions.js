"use strict";
/* The suspect regions with their phrases, and a warning about attention sinks. */
(() => {
  const { comparison, el, percent, watchPointer } = globalThis.flawsight;
  const SINKS = 0.25; // share of attention on sinks above which the reader is warned

  /** What drew the regions. */
  function rule({ threshold, peak, calibrated }) {
    const source = calibrated ? "calibrated map threshold" : "setting region_threshold";
    return `Where the map exceeds ${percent(threshold)} (${source}) and peaks above ${percent(peak)}; `
      + "else around its maximum.";
  }

  /** The smallest region around a pixel of the photo; null if there is none. */
  function regionAt(view, x, y) {
    const inside = ({ box: [left, top, w, h] }) => x >= left && x < left + w && y >= top && y < top + h;
    const found = view.regions.filter(inside);
    return found.sort((one, other) => one.area - other.area)[0] ?? null;
  }

  /** The list of regions; pointing at one frames it on the photo and marks its words. */
  function regionList(view, frame, words) {
    if (!view.regions?.length) return null;
    const [height, width] = view.image_size;
    const compared = comparison(view);
    const mark = el("i", { class: "fs-box", "aria-hidden": "true", hidden: true });
    frame.append(mark);
    function show(region) {
      if (region) compared?.show(region);
      mark.hidden = region == null;
      if (region) {
        const [left, top, w, h] = region.box;
        const place = { left: left / width, top: top / height, width: w / width, height: h / height };
        for (const [side, share] of Object.entries(place)) mark.style[side] = `${100 * share}%`;
      }
      const chosen = new Set(region?.tokens);
      words.forEach(({ element, indices }) =>
        element.classList.toggle("fs-in-region", indices.some((index) => chosen.has(index))));
    }
    const area = (share) => (share < 0.001 ? "below 0.1 %" : `${(100 * share).toFixed(1)} %`);
    const item = (region) => el("li", {}, el(
      "button", {
        class: "fs-region", type: "button", onpointerenter: () => show(region),
        onpointerleave: () => show(null), onfocus: () => show(region), onblur: () => show(null),
      },
      el("span", { class: "fs-score" }, `maximum ${percent(region.score)} · ${area(region.area)} of the image`),
      region.phrases ? el("q", {}, region.phrases)
        : view.unasked ? null : el("span", { class: "fs-soft" }, "no phrase attends to it"),
    ));
    const [first, rest] = [view.regions.slice(0, 5), view.regions.slice(5)];
    watchPointer(frame, (x, y) => show(x == null ? null : regionAt(view, x * width, y * height)));
    const list = [
      compared?.element,
      view.region_rule ? el("p", { class: "fs-soft" }, rule(view.region_rule)) : null,
      el("ol", {}, ...first.map(item)),
      rest.length ? el("details", {}, el("summary", {}, `${rest.length} weaker regions`),
        el("ol", { start: 6 }, ...rest.map(item))) : null,
    ];
    const count = view.regions.length === 1 ? "1 region" : `${view.regions.length} regions`;
    const name = view.pred_label ? "Suspect regions" : "Attended regions";
    return el(
      "section", { class: "fs-regions", "aria-label": name },
      ...(view.pred_label
        ? [el("h3", {}, count.replace("region", "suspect region")), ...list]
        // Tokens attend to something on a normal part, too.
        : [el("details", {}, el("summary", {}, `${count} attended to, none judged a defect`), ...list)]),
    );
  }

  /** The share of attention on sinks, as a warning if it is high. */
  function diagnostics(view) {
    if (view.sink_share == null) return null;
    const heavy = view.sink_share > SINKS;
    return el(
      "p", { class: heavy ? "fs-warning" : "fs-soft" },
      `${percent(view.sink_share)} of the attention is on sinks (patches that attract attention on normal images)`,
      heavy ? "; the map is unreliable." : ".",
    );
  }

  Object.assign(globalThis.flawsight, { diagnostics, regionList });
})();
