"use strict";
/* Maps: grids of bytes → values → a painted canvas. */
(() => {
  const { el } = globalThis.flawsight;
  const LONG_SIDE = 160; // of the interpolated map, in pixels; grids are far coarser
  const HALF = 4; // the density that a map shows as 0.5, see real/anomaly_map.py
  const SHARPER = 6; // canvas pixels per map pixel, for a sharp contour

  /** Decode grids of bytes: {rows, cols, cells} with one Uint8Array of all of them. */
  function decode(grid) {
    if (!grid) return null;
    const cells = Uint8Array.from(atob(grid.data), (letter) => letter.charCodeAt(0));
    return { rows: grid.rows, cols: grid.cols, cells };
  }

  /** The mean density of a word's tokens; `shown` stretches it to [0, 1]: weak attention shows too. */
  function mapOfWord(maps, word) {
    const size = maps.rows * maps.cols;
    const values = new Float32Array(size);
    for (const index of word.indices) {
      for (let cell = 0; cell < size; cell++) {
        const level = maps.cells[index * size + cell];
        values[cell] += (HALF * level) / (255.5 - level) / word.indices.length;
      }
    }
    const scaled = (density) => density / (density + HALF);
    const low = scaled(Math.min(...values));
    const range = scaled(Math.max(...values)) - low;
    const shown = (density) => (range ? (scaled(density) - low) / range : 0);
    return { rows: maps.rows, cols: maps.cols, values, shown };
  }

  /** Where a map peaks, in words. */
  function peakOf({ rows, cols, values }) {
    const at = values.indexOf(Math.max(...values));
    const third = (position, count, names) => names[Math.min(2, Math.floor((3 * position) / count))];
    const row = third(Math.floor(at / cols) + 0.5, rows, ["upper", "", "lower"]);
    const column = third((at % cols) + 0.5, cols, ["left", "center", "right"]);
    return `${row} ${column}`.trim();
  }

  /** Interpolate a map to width × height pixels; cells are areas that cover the image exactly. */
  function interpolate({ rows, cols, values }, width, height) {
    const out = new Float32Array(width * height);
    const clamp = (value, limit) => Math.max(0, Math.min(limit, value));
    for (let y = 0; y < height; y++) {
      const v = clamp(((y + 0.5) * rows) / height - 0.5, rows - 1);
      const top = Math.floor(v);
      const bottom = Math.min(rows - 1, top + 1);
      for (let x = 0; x < width; x++) {
        const u = clamp(((x + 0.5) * cols) / width - 0.5, cols - 1);
        const left = Math.floor(u);
        const right = Math.min(cols - 1, left + 1);
        const mix = u - left;
        const above = values[top * cols + left] * (1 - mix) + values[top * cols + right] * mix;
        const below = values[bottom * cols + left] * (1 - mix) + values[bottom * cols + right] * mix;
        out[y * width + x] = above + (below - above) * (v - top);
      }
    }
    return out;
  }

  /** The colour scale as a function of a value in [0, 1]: [red, green, blue, opacity]. */
  function colourScale(stops) {
    return (value) => {
      let next = stops.findIndex(([stop]) => stop >= value);
      if (next < 1) next = Math.max(1, next < 0 ? stops.length - 1 : 1);
      const [low, from, fromAlpha] = stops[next - 1];
      const [high, to, toAlpha] = stops[next];
      const mix = Math.max(0, Math.min(1, (value - low) / (high - low)));
      return [...from.map((c, i) => c + (to[i] - c) * mix), fromAlpha + (toAlpha - fromAlpha) * mix];
    };
  }

  function gradient(stops) {
    const parts = stops.map(([stop, rgb, alpha]) => `rgb(${rgb.join(" ")} / ${alpha}) ${100 * stop}%`);
    return `linear-gradient(to right, ${parts.join(", ")})`;
  }

  /** The contour of a field at a level (marching squares). */
  function contour(field, width, height, level) {
    const path = new Path2D();
    for (let y = 0; y + 1 < height; y++) {
      for (let x = 0; x + 1 < width; x++) {
        const corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]];
        const values = corners.map(([cx, cy]) => field[cy * width + cx] - level);
        if (values.every((value) => value >= 0) || values.every((value) => value < 0)) continue;
        const crossings = [];
        for (let i = 0; i < 4; i++) {
          const [one, other] = [values[i], values[(i + 1) % 4]];
          if (one >= 0 === other >= 0) continue;
          const mix = one / (one - other);
          crossings.push(corners[i].map((from, axis) =>
            from + 0.5 + mix * (corners[(i + 1) % 4][axis] - from)));
        }
        for (let i = 0; i < crossings.length; i += 2) {
          path.moveTo(...crossings[i]);
          path.lineTo(...crossings[i + 1]);
        }
      }
    }
    return path;
  }

  /** A canvas with the aspect of an image of width × height pixels. */
  function mapCanvas(width, height) {
    const scale = LONG_SIDE / Math.max(width, height);
    const pixels = (side) => SHARPER * Math.max(1, Math.round(side * scale));
    return el("canvas", {
      class: "fs-map", "aria-hidden": "true", width: pixels(width), height: pixels(height),
    });
  }

  /** Paint a map, or what its `shown` makes of it: `paint(value)` gives [r, g, b, opacity]; a contour
   *  surrounds values above `level`. */
  function draw(canvas, map, paint, level, colour) {
    const [width, height] = [canvas.width / SHARPER, canvas.height / SHARPER];
    const field = interpolate(map, width, height).map(map.shown ?? ((value) => value));
    const image = new ImageData(width, height);
    const table = Array.from({ length: 256 }, (_, value) => paint(value / 255));
    field.forEach((value, at) => {
      const [r, g, b, alpha] = table[Math.round(255 * value)];
      image.data.set([r, g, b, 255 * alpha], 4 * at);
    });
    const small = el("canvas", { width, height });
    small.getContext("2d").putImageData(image, 0, 0);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (level <= 0) return;
    const path = contour(field, width, height, level);
    context.save();
    context.scale(SHARPER, SHARPER);
    for (const [stroke, line] of [["rgb(0 0 0 / .6)", 1], [colour, 0.5]]) {
      context.strokeStyle = stroke;
      context.lineWidth = line;
      context.stroke(path);
    }
    context.restore();
  }

  Object.assign(globalThis.flawsight, { colourScale, decode, draw, gradient, mapCanvas, mapOfWord, peakOf });
})();
