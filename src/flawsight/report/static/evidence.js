"use strict";
/* Where the verdict comes from, and what a region should look like, by the good photos. */
(() => {
  const { el } = globalThis.flawsight;
  const CONTEXT = 1.8; // side of what is shown around a region, in sides of the region
  const LONG_SIDE = 360; // of a shown piece, in canvas pixels
  const SOURCES = [
    ["reference", "Distance from the good photos"],
    ["words", "Answer to the photo"],
    ["crops", "Answers to crops of it"],
  ];

  /** What speaks for a defect; null if it is only the answer. */
  function evidence(view) {
    const given = SOURCES.filter(([name]) => view.evidence?.[name] != null);
    const compared = view.evidence?.reference != null;
    if (!compared && given.length < 2) return null;
    const rows = given.flatMap(([name, title]) => {
      const bar = el("span", { class: "fs-bar", "aria-hidden": "true" });
      bar.style.setProperty("--value", view.evidence[name]);
      return [el("dt", {}, title), el("dd", {}, bar, view.evidence[name].toFixed(3))];
    });
    const score = compared
      ? "The distance from the good photos is the score. "
      : "The score merges the answers. ";
    const map = !compared ? ""
      : view.unasked ? "The map shows that distance alone."
        : "The map is that distance times the attention of the words.";
    return el("section", { class: "fs-evidence", "aria-label": "Evidence" },
      el("h3", {}, "Evidence of a defect"), el("dl", {}, ...rows),
      el("p", { class: "fs-soft" }, score + map));
  }

  const between = (value, low, high) => Math.max(low, Math.min(high, value));

  /** A box of `side` around a middle, in an image of `whole`; all [x, y] in shares of the image. */
  const around = (middle, side) => middle.map((at, i) => between(at - side[i] / 2, 0, 1 - side[i]));

  /** Draw a window of an image, both in shares of it, and frame a box. */
  function paint(canvas, image, start, side, box) {
    const context = canvas.getContext("2d");
    const size = [image.naturalWidth, image.naturalHeight];
    const [sx, sy, sw, sh] = [start[0] * size[0], start[1] * size[1], side[0] * size[0], side[1] * size[1]];
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(image, sx, sy, sw, sh, 0, 0, canvas.width, canvas.height);
    const [x, y] = [0, 1].map((i) => (box[i] - start[i]) / side[i]);
    const frame = [x * canvas.width, y * canvas.height,
      (box[2] / side[0]) * canvas.width, (box[3] / side[1]) * canvas.height];
    for (const [colour, width] of [["rgb(0 0 0 / .7)", 4], ["white", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(...frame);
    }
  }

  const images = new Map();
  /** The image of a URL, once it has been loaded. */
  function loaded(url) {
    if (!images.has(url)) {
      const image = el("img", { src: url });
      images.set(url, image.decode().then(() => image));
    }
    return images.get(url);
  }

  /** A region beside the place in a good photo; `show(region)` chooses it. Null without good photos. */
  function comparison(view) {
    const pictures = new Map(Object.entries(view.pictures ?? globalThis.flawsight.pictures ?? {}));
    const shown = (view.regions ?? []).filter((one) => one.good && pictures.has(one.good.photo));
    if (!shown.length || !view.photo || view.photo_has_map) return null;
    const [height, width] = view.image_size;
    const half = (title) => {
      const canvas = el("canvas", { role: "img" });
      return { canvas, figure: el("figure", {}, canvas, title) };
    };
    const [own, good] = [half(el("figcaption", {}, "This photo")), half(el("figcaption"))];
    const element = el("div", { class: "fs-compare", role: "group", "aria-label": "Comparison with a good photo" },
      own.figure, good.figure);
    let latest = null;
    async function show(region) {
      if (!shown.includes(region)) return;
      latest = region;
      const { photo, box } = region.good;
      const number = view.regions.indexOf(region) + 1;
      const [left, top, w, h] = region.box;
      let pair;
      try {
        pair = await Promise.all([view.photo, pictures.get(photo)].map(loaded));
      } catch { // a picture is gone or damaged
        element.hidden = true;
        return;
      }
      if (latest !== region) return; // another one was chosen meanwhile
      element.hidden = false;
      // The same share of both: square on the photo, as far as it reaches.
      const size = [pair[1].naturalWidth, pair[1].naturalHeight];
      const place = [box[2] / size[0], box[3] / size[1]];
      const pixels = CONTEXT * Math.max(place[0] * width, place[1] * height);
      const side = [Math.min(1, pixels / width), Math.min(1, pixels / height)];
      const aspect = (side[0] * width) / (side[1] * height);
      for (const { canvas } of [own, good]) {
        canvas.width = Math.round(LONG_SIDE * Math.min(1, aspect));
        canvas.height = Math.round(LONG_SIDE * Math.min(1, 1 / aspect));
      }
      const share = [w / width, h / height];
      const middle = [(left + w / 2) / width, (top + h / 2) / height];
      paint(own.canvas, pair[0], around(middle, side), side, [left / width, top / height, ...share]);
      const there = [(box[0] + box[2] / 2) / size[0], (box[1] + box[3] / 2) / size[1]];
      const corner = there.map((at, i) => at - share[i] / 2);
      paint(good.canvas, pair[1], around(there, side), side, [...corner, ...share]);
      own.canvas.setAttribute("aria-label", `Region ${number} in this photo`);
      good.canvas.setAttribute("aria-label", `What region ${number} should look like, in ${photo}`);
      own.figure.lastChild.textContent = `Region ${number} in this photo`;
      good.figure.lastChild.textContent = `What it should look like: ${photo.split(/[\\/]/).at(-1)}`;
      good.figure.lastChild.title = photo;
    }
    show(shown[0]);
    return { element, show };
  }

  Object.assign(globalThis.flawsight, { comparison, evidence });
})();
