"use strict";
/* report.html: its data → the gallery. A view is in the page or in a script next to it. */
(() => {
  const { el, charts, gallery } = globalThis.flawsight;
  const { about, items, pictures } = JSON.parse(document.getElementById("run").textContent);
  const root = document.getElementById("report");

  globalThis.flawsight.pictures = pictures;
  // A page opened from disk may not fetch, but it may run a script.
  const waiting = new Map();
  globalThis.flawsight.receive = (view) => waiting.get(view.id)?.(view);
  function load(item) {
    const inPage = document.getElementById(`view-${item.id}`);
    if (inPage) return Promise.resolve(JSON.parse(inPage.textContent));
    return new Promise((resolve, reject) => {
      waiting.set(item.id, resolve);
      const script = el("script", { src: `${about.views}/${item.id}.js`, onerror: reject });
      script.addEventListener("load", () => script.remove());
      document.head.append(script);
    });
  }

  const failed = items.filter((item) => item.error != null).length;
  const bad = items.filter((item) => item.pred_label).length;
  const title = `${bad} of ${items.length - failed} images look defective`
    + (failed ? `; ${failed} could not be inspected` : "");
  const rule = about.threshold == null
    ? "verdict: the model's answer"
    : `verdict: defective above ${Number(about.threshold.toFixed(3))}`
      + (about.false_alarm_rate == null ? "" : ` (calibrated, false alarm rate ${about.false_alarm_rate})`);
  const model = about.model ? `Model ${about.model}${about.sha256 ? ` (${about.sha256.slice(0, 12)})` : ""}, ` : "";
  root.append(el("header", { class: "fs-title" },
    el("h1", {}, title),
    about.results ? null : el("p", {}, `${model}${about.created}, flawsight ${about.version}; ${rule}.`)));
  root.append(...[charts(items, about.threshold)].filter(Boolean));
  if (about.open) location.hash = about.open;
  gallery(root, { items, load });
})();
