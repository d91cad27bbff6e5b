"use strict";
/* One inspection: the photo under its map, and the reasoning, where each word shows its attention.
 *
 *   document.body.append(flawsight.inspectionView(view));
 *
 * `view` is the JSON that report/view.py describes. Only `view.photo` and the pictures of good photos
 * are loaded. All text goes
 * through textContent. Needs dom.js, maps.js, stage.js, tokens.js, evidence.js and regions.js before
 * it, in this order, and viewer.css; works under a CSP without inline styles.
 */
(() => {
  const {
    decode, diagnostics, el, evidence, reasoning, regionList, score, stage, verdict, verdictClass, watchPointer,
  } = globalThis.flawsight;

  /** Return the element that shows one inspection. */
  function inspectionView(view) {
    const maps = decode(view.token_maps);
    const shown = stage(view, maps);
    const { section, point, elements } = reasoning(view, maps, shown.show);
    const regions = regionList(view, shown.frame, elements);
    watchPointer(shown.frame, point);
    const truth = view.label == null || view.pred_label == null ? null : view.label === view.pred_label;
    return el(
      "article", { class: "fs-view" },
      el(
        "header", {},
        el("h2", { class: "fs-name", tabindex: -1, title: view.path }, view.name),
        el(
          "p", { class: "fs-verdict" },
          el("strong", { class: verdictClass(view.pred_label) }, verdict(view.pred_label)),
          el("span", { class: "fs-score" }, `score ${score(view.pred_score)}`),
          truth == null ? null : el(
            "span", { class: truth ? "fs-truth" : "fs-truth fs-wrong" },
            truth ? "right" : `wrong: the part is ${verdict(view.label).toLowerCase()}`,
          ),
        ),
        view.warning ? el("p", { class: "fs-warning" }, view.warning) : null,
      ),
      el("div", { class: "fs-stage" }, shown.frame, shown.controls),
      el("div", { class: "fs-side" }, section, regions, evidence(view), diagnostics(view)),
    );
  }

  Object.assign(globalThis.flawsight, { inspectionView });
})();
