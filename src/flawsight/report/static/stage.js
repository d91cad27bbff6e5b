"use strict";
/* The photo under its map, or under the attention of one word. */
(() => {
  const { colourScale, decode, draw, el, gradient, mapCanvas, mapOfWord, percent } = globalThis.flawsight;
  const DIM = 0.64; // how dark the photo gets where a word has no attention

  /** A slider in [0, 1] with its name and value. */
  function slider(name, value, onInput) {
    const output = el("output", {}, percent(value));
    const input = el("input", { type: "range", min: 0, max: 1, step: 0.01, value });
    input.addEventListener("input", () => {
      output.textContent = percent(input.value);
      onInput(Number(input.value));
    });
    return el("label", { class: "fs-slider" }, el("span", {}, name), input, output);
  }

  /** The largest value of the map; filtering and shrinking it for the page lowers that. */
  function maximum(peak, shown) {
    const both = peak != null && percent(peak) !== percent(shown);
    return both ? `maximum ${percent(peak)}, smoothed here ${percent(shown)}` : `maximum ${percent(shown)}`;
  }

  /** The photo under the anomaly map; `show(word)` shows a word's attention, `show(null)` the map. */
  function stage(view, maps) {
    const map = decode(view.map);
    const whole = map && {
      rows: map.rows, cols: map.cols, values: Float32Array.from(map.cells, (cell) => cell / 255),
    };
    const colours = colourScale(view.scale);
    const [height, width] = view.image_size || (map ? [map.rows, map.cols] : [1, 1]);
    const canvas = mapCanvas(width, height);
    const photo = view.photo
      ? el("img", { class: "fs-photo", src: view.photo, alt: `The photo ${view.name}` })
      : el("p", { class: "fs-missing" }, "The photo is missing.");
    const frame = el("div", { class: "fs-frame" }, photo, canvas);
    frame.style.setProperty("--aspect", width / height);
    let opacity = 1;
    let threshold = 0;
    let shown = null;
    function redraw() {
      canvas.dataset.shows = shown ? shown.text : "map";
      if (shown && maps) {
        const dim = (value) => [0, 0, 0, opacity * DIM * (1 - value) ** 1.5];
        draw(canvas, mapOfWord(maps, shown), dim, 0.5, "rgb(255 190 60)");
      } else if (whole && !view.photo_has_map) {
        const paint = (value) => {
          const [r, g, b, alpha] = colours(value);
          return [r, g, b, value < threshold ? 0 : alpha * opacity];
        };
        draw(canvas, whole, paint, threshold, "white");
      } else canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    }
    redraw();
    const legend = el("i", { class: "fs-scale", "aria-hidden": "true" });
    legend.style.backgroundImage = gradient(view.scale);
    const controls = whole && !view.photo_has_map
      ? el(
        "div", { class: "fs-controls", role: "group", "aria-label": "Anomaly map" },
        slider("Map opacity", opacity, (value) => { opacity = value; redraw(); }),
        slider("Only values above", threshold, (value) => { threshold = value; redraw(); }),
        el("p", { class: "fs-legend" }, "normal", legend,
          `anomalous (${maximum(view.map_peak, Math.max(...whole.values))})`),
      )
      : null;
    return { frame, controls, show: (word) => { shown = word; redraw(); } };
  }

  /** Call `onPoint` with the pointer position on an element, in [0, 1]; null when it leaves. */
  function watchPointer(element, onPoint) {
    element.addEventListener("pointermove", (event) => {
      const box = element.getBoundingClientRect();
      onPoint((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    });
    element.addEventListener("pointerleave", () => onPoint(null, null));
  }

  Object.assign(globalThis.flawsight, { stage, watchPointer });
})();
