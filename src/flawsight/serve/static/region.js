"use strict";
/* The region of interest of a product, drawn on its latest photo or typed in percent.
 * Needs dom.js before it. `call` and `attempt` are those of page.js. */
(() => {
  const { el } = globalThis.flawsight;
  const NAMES = ["Left", "Top", "Width", "Height"];
  const limited = (value) => Math.min(100, Math.max(0, value));
  const rounded = (value) => Math.round(value * 10) / 10;

  /** The numbers of a saved box; all of the photo without one, null of a mask. */
  function numbersOf(roi) {
    if (roi == null) return [0, 0, 100, 100];
    const numbers = roi.split(",").map((part) => Number.parseFloat(part));
    return numbers.length === 4 && roi.includes("%") ? numbers : null;
  }

  /** Make the editor of a product's region; `done` takes a sentence once it is saved. */
  function regionEditor({ call, attempt, one, name, close, done }) {
    const fields = NAMES.map((label) => el("input", {
      type: "number", min: 0, max: 100, step: 0.1, inputmode: "decimal", oninput: () => show(),
    }));
    const box = el("div", { class: "sv-box" });
    const photo = el("img", { alt: `The latest photo of ${name}`, draggable: "false" });
    const frame = el("div", { class: "sv-region", hidden: true }, photo, box);
    const said = el("p", { role: "status" });
    const keep = el("button", { type: "button", onclick: () => save(text()) }, "Save the region");
    let from = null; // where a stroke began, in percent

    const values = () => fields.map((field) => Number(field.value));
    const text = () => values().map((value) => `${value}%`).join(",");

    function set(numbers) {
      numbers.forEach((value, index) => { fields[index].value = rounded(value); });
      show();
    }

    /** Show the numbers on the photo; they can be saved if they lie in it. */
    function show() {
      const [left, top, width, height] = values();
      const typed = fields.every((field) => field.value !== "" && field.checkValidity());
      const lies = typed && width > 0 && height > 0 && left + width <= 100.001 && top + height <= 100.001;
      keep.disabled = !lies;
      said.textContent = lies ? "" : "The region must have an extent, and end within the photo.";
      for (const [side, value] of Object.entries({ left, top, width, height })) {
        box.style[side] = `${limited(value)}%`;
      }
    }

    function place(event) {
      const rectangle = photo.getBoundingClientRect();
      return [
        limited(100 * (event.clientX - rectangle.left) / rectangle.width),
        limited(100 * (event.clientY - rectangle.top) / rectangle.height),
      ];
    }

    frame.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      from = place(event);
      frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", (event) => {
      if (!from) return;
      const to = place(event);
      const low = [0, 1].map((side) => rounded(Math.min(from[side], to[side])));
      const high = [0, 1].map((side) => rounded(Math.max(from[side], to[side])));
      set([...low, high[0] - low[0], high[1] - low[1]]);
    });
    for (const type of ["pointerup", "pointercancel"]) frame.addEventListener(type, () => { from = null; });

    const save = (roi) => attempt("Saving …", async () => {
      await call("v1/rois", {
        method: "PUT",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ product: one.product, roi }),
      });
      await done();
      return roi == null ? `Later photos of ${name} are inspected whole.`
        : `Later photos of ${name} are inspected inside of the region alone.`;
    });

    /** Take the latest photo of the product to draw on. */
    async function begin() {
      set(numbersOf(one.roi) ?? numbersOf(null));
      if (one.roi != null && !numbersOf(one.roi)) said.textContent = "A mask is saved; a box would replace it.";
      fields[0].focus();
      const query = one.product == null ? "no_product=true" : `product=${encodeURIComponent(one.product)}`;
      const { inspections } = await call(`v1/inspections?limit=1&${query}`);
      if (!inspections.length) {
        said.textContent = "There is no photo to draw on yet; type the region in percent.";
        return;
      }
      photo.src = `v1/inspections/${inspections[0].id}/photo.jpg`;
      frame.hidden = false;
    }

    const element = el("div", { class: "sv-regions" },
      el("h3", {}, `Region of interest of ${name}`),
      el("p", {}, "Draw it on the photo, or type it in percent. Nothing outside of it is inspected."),
      frame,
      el("div", { class: "sv-live" }, ...NAMES.map((label, index) =>
        el("label", {}, `${label}, %`, fields[index]))),
      said,
      el("div", { class: "sv-live" }, keep,
        one.roi == null ? null : el("button", { type: "button", onclick: () => save(null) }, "Remove the region"),
        el("button", { type: "button", onclick: close }, "Close the region")));
    return { element, begin };
  }

  globalThis.flawsight.regionEditor = regionEditor;
})();
