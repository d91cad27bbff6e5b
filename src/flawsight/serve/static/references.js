"use strict";
/* The references of good photos, by product: their photos with scores, to remove one or add one.
 * Needs dom.js before it. `call` and `attempt` are those of page.js. */
(() => {
  const { el, score } = globalThis.flawsight;

  function references(call, attempt) {
    let known = [];
    const unfolded = new Set(); // products
    const section = el("section", { "aria-label": "References", hidden: true });
    const at = (product) => `v1/references/${encodeURIComponent(product)}`;
    const of = (product) => known.find((one) => one.product === product);
    const only = () => (known.length === 1 ? known[0] : undefined);
    const count = () => known.length;

    function take(changed) {
      known = known.map((one) => (one.product === changed.product ? changed : one));
      draw();
      return changed;
    }

    async function add(product, inspection) {
      const changed = take(await call(`${at(product)}/photos`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ inspection }),
      }));
      return `Added. ${said(changed)}`;
    }

    /** Return whether an inspection's photo can be added; those that were are called ID/NAME. */
    function canAdd(product, inspection) {
      const one = of(product);
      const there = one?.photos.some((photo) => photo.name.startsWith(`${inspection}/`));
      return Boolean(one) && !one.calibrated && !there;
    }

    function remove(product, photo) {
      const question = `Remove ${nameOf(photo)} from the good photos of ${product}?`;
      if (!globalThis.confirm(question)) return;
      attempt("Learning the others …", async () => {
        const changed = take(await call(`${at(product)}/photos/${photo.id}`, { method: "DELETE" }));
        section.querySelector("summary").focus();
        return `Removed. ${said(changed)}`;
      });
    }

    const nameOf = (photo) => photo.name.split(/[\\/]/).at(-1);
    const said = (one) => `Later photos of ${one.product} are compared with ${one.photos.length} `
      + `good ones; a part is defective above ${score(one.threshold)}.`;

    function card(one, photo) {
      const name = nameOf(photo);
      return el("li", {},
        el("img", { src: `${at(one.product)}/photos/${photo.id}`, loading: "lazy", alt: "" }),
        el("span", { title: photo.name }, name),
        el("span", { class: photo.score > one.threshold ? "fs-bad" : "" }, score(photo.score)),
        one.calibrated ? null : el("button", {
          type: "button", "aria-label": `Remove ${name}`, onclick: () => remove(one.product, photo),
        }, "Remove"));
    }

    function draw() {
      section.hidden = !known.length;
      section.replaceChildren(el("h2", {}, "References"), ...known.map((one) => {
        const photos = [...one.photos].sort((a, b) => b.score - a.score);
        return el("details", {
          open: unfolded.has(one.product),
          ontoggle: (event) => unfolded[event.target.open ? "add" : "delete"](one.product),
        },
        el("summary", {}, `${one.product}: ${one.photos.length} good photos, `
          + `defective above ${score(one.threshold)}`),
        el("p", {}, "Each photo has its score in comparison with the others, highest first. One that "
          + "stands out may show a defect, or be of another product. "
          + (one.calibrated
            ? "A calibration holds for these photos, so they cannot be changed here."
            : `To add one, review its verdict first; ${one.most} are the most.`)),
        el("ul", { class: "sv-good" }, ...photos.map((photo) => card(one, photo))));
      }));
    }

    async function load() {
      known = (await call("v1/references")).references;
      draw();
      return known;
    }

    return { section, load, add, canAdd, of, only, count };
  }

  globalThis.flawsight.references = references;
})();
