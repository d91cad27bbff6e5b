"use strict";
/* One inspection to look at: the photo under its map, and the reasoning whose every word shows
 * where it looked.
 *
 *   document.body.append(flawsight.inspectionView(view));
 *
 * `view` is the JSON that report/view.py describes. Nothing is loaded but `view.photo`. All of its
 * text goes through textContent. Needs viewer.css; works under a CSP without inline styles.
 */
(() => {
  const LONG_SIDE = 160; // of the field that is computed, in pixels; a map's grid is far coarser
  const SHARPER = 6; // the canvas is so many times larger, for the line around a region
  const SINKS = 0.25; // share of attention on sinks from which on the reader is warned
  const DIM = 0.64; // how dark the photo gets where a word did not look

  /** Make an element: attributes by name, `on…` being listeners; children are nodes or text. */
  function el(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value != null) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child != null));
    return element;
  }

  const percent = (value) => `${Math.round(100 * value)} %`;
  const score = (value) => (value == null ? "–" : value.toFixed(3));
  const verdict = (label) => (label == null ? "No verdict" : label ? "Defective" : "Good");
  const verdictClass = (label) => (label == null ? "" : label ? "fs-bad" : "fs-good");

  /** Decode grids of bytes: {rows, cols, cells} with one Uint8Array of all of them. */
  function decode(grid) {
    if (!grid) return null;
    const cells = Uint8Array.from(atob(grid.data), (letter) => letter.charCodeAt(0));
    return { rows: grid.rows, cols: grid.cols, cells };
  }

  /** The words of a text made of tokens: pieces of a word belong together, punctuation does not. */
  function wordsOf(text, tokens) {
    const words = [];
    let end = -1;
    tokens.forEach((token, index) => {
      const piece = text.slice(token.start, token.end);
      const start = token.start + piece.length - piece.trimStart().length;
      const stop = token.start + piece.trimEnd().length;
      if (stop <= start) return;
      const joins = /[\p{L}\p{N}]/u;
      const last = words.at(-1);
      const continues = last && start === end
        && joins.test(text[start]) && joins.test(text[start - 1]);
      if (continues) {
        last.indices.push(index);
        last.end = stop;
      } else words.push({ start, end: stop, indices: [index] });
      end = stop === token.end ? stop : -1;
    });
    return words.map((word) => {
      const own = word.indices.map((index) => tokens[index]);
      const greatest = (name) => Math.max(...own.map((token) => token[name]));
      return {
        ...word,
        text: text.slice(word.start, word.end),
        kept: own.some((token) => token.kept),
        weight: Math.max(0, ...own.filter((token) => token.kept).map((token) => token.weight)),
        S_T: greatest("S_T"),
        S_I: greatest("S_I"),
        peak: own.some((token) => token.peak != null) ? greatest("peak") : null,
      };
    });
  }

  /** The mean of a word's token maps, stretched to [0, 1]: even a faint look is seen, and the status
   * line says how faint it is. */
  function mapOfWord(maps, word) {
    const size = maps.rows * maps.cols;
    const values = new Float32Array(size);
    for (const index of word.indices) {
      for (let cell = 0; cell < size; cell++) values[cell] += maps.cells[index * size + cell];
    }
    const low = Math.min(...values);
    const range = Math.max(...values) - low;
    return {
      rows: maps.rows,
      cols: maps.cols,
      values: range ? values.map((value) => (value - low) / range) : values.fill(0),
    };
  }

  /** Where a map is greatest, in words. */
  function placeOf({ rows, cols, values }) {
    const at = values.indexOf(Math.max(...values));
    const third = (position, count, names) => names[Math.min(2, Math.floor((3 * position) / count))];
    const row = third(Math.floor(at / cols) + 0.5, rows, ["upper", "", "lower"]);
    const column = third((at % cols) + 0.5, cols, ["left", "", "right"]);
    return [row, column].filter(Boolean).join(" ") || "centre";
  }

  /** Interpolate a map to a canvas's pixels; cells are areas, the grid covers the image exactly. */
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

  /** The line where a field crosses a level, cell by cell between the pixels' centres. */
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

  /** Paint a map; `paint(value)` gives [r, g, b, opacity], and a line surrounds what is above `level`. */
  function draw(canvas, map, paint, level, colour) {
    const [width, height] = [canvas.width / SHARPER, canvas.height / SHARPER];
    const field = interpolate(map, width, height);
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

  function scoreBar(name, value, meaning) {
    const meter = el("span", { class: "fs-bar", "aria-hidden": "true" });
    meter.style.setProperty("--value", Math.max(0, Math.min(1, value)));
    return [el("dt", { title: meaning }, name), el("dd", {}, meter, value.toFixed(2))];
  }

  function gradient(stops) {
    const parts = stops.map(([stop, rgb, alpha]) => `rgb(${rgb.join(" ")} / ${alpha}) ${100 * stop}%`);
    return `linear-gradient(to right, ${parts.join(", ")})`;
  }

  /** The photo under a map or a word's spotlight; `show(word)` and `show(null)` change which. */
  function stage(view, maps) {
    const map = decode(view.map);
    const whole = map && {
      rows: map.rows, cols: map.cols, values: Float32Array.from(map.cells, (cell) => cell / 255),
    };
    const colours = colourScale(view.scale);
    const canvas = el("canvas", { class: "fs-map", "aria-hidden": "true" });
    const photo = view.photo
      ? el("img", { class: "fs-photo", src: view.photo, alt: `The photo ${view.name}` })
      : el("p", { class: "fs-missing" }, "The photo is not there any more.");
    const frame = el("div", { class: "fs-frame" }, photo, canvas);
    const [height, width] = view.image_size || (map ? [map.rows, map.cols] : [1, 1]);
    const scale = LONG_SIDE / Math.max(width, height);
    canvas.width = SHARPER * Math.max(1, Math.round(width * scale));
    canvas.height = SHARPER * Math.max(1, Math.round(height * scale));
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
        slider("Only above", threshold, (value) => { threshold = value; redraw(); }),
        el("p", { class: "fs-legend" }, "ordinary", legend,
          `suspect (here at most ${percent(Math.max(...whole.values))})`),
      )
      : null;
    return { frame, controls, show: (word) => { shown = word; redraw(); } };
  }

  /** Call `onPoint` with where the pointer is on an element, as shares of its size; null if off it. */
  function watchPointer(element, onPoint) {
    element.addEventListener("pointermove", (event) => {
      const box = element.getBoundingClientRect();
      onPoint((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    });
    element.addEventListener("pointerleave", () => onPoint(null, null));
  }

  /** Say what a word is and where it looked. */
  function describe(word, maps) {
    if (!maps) return `“${word.text}”: where it looked was not kept.`;
    const times = `${word.peak.toFixed(1)} times the average`;
    return word.peak < 2
      ? `“${word.text}” looked nearly everywhere alike (at most ${times}).`
      : `“${word.text}” looked most at the ${placeOf(mapOfWord(maps, word))}, ${times}.`;
  }

  /** The reasoning: one stop of the Tab key, arrow keys from word to word, a click holds one. */
  function reasoning(view, maps, show) {
    const text = view.explanation;
    const words = wordsOf(text, view.tokens);
    const heaviest = Math.max(0, ...words.map((word) => word.weight));
    const status = el("p", { class: "fs-status", role: "status" });
    const facts = el("dl", { class: "fs-facts" });
    const hint = words.length
      ? "Point at a word, or Tab here and use the arrow keys, to see where it looked. A click "
        + "holds it. Point at the photo to see which words looked there."
      : "No single words were kept of this run.";
    const box = el("div", { class: "fs-words", role: "toolbar", "aria-label": "Words of the reasoning" });
    const buttons = [];
    let held = null;
    function choose(index) {
      const word = index == null ? null : words[index];
      buttons.forEach((button, i) => button.classList.toggle("fs-shown", i === index));
      show(word);
      status.textContent = word ? describe(word, maps) : hint;
      facts.replaceChildren(...(word ? factsOf(word) : []));
    }
    function factsOf(word) {
      return [
        ...scoreBar("S_T", word.S_T, "How much the word attends to the question's anomaly words"),
        ...scoreBar("S_I", word.S_I, "How concentrated its look at the image is"),
        ...scoreBar("Weight", word.kept ? word.weight : 0, "How much it counts in the anomaly map"),
        el("dt", {}, "In the map"), el("dd", {}, word.kept ? "kept" : "dropped"),
      ];
    }
    function hold(index) {
      held = held === index ? null : index;
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === held)));
      choose(held ?? index);
    }
    function move(event) {
      const at = buttons.indexOf(document.activeElement);
      const to = {
        ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + 1, ArrowUp: at - 1,
        Home: 0, End: buttons.length - 1,
      }[event.key];
      if (at < 0 || to == null) return;
      event.preventDefault();
      event.stopPropagation();
      buttons[Math.max(0, Math.min(buttons.length - 1, to))].focus();
    }
    let at = 0;
    words.forEach((word, index) => {
      const button = el("span", {
        class: `fs-word ${word.kept ? "fs-kept" : "fs-dropped"}`,
        role: "button", tabindex: index ? -1 : 0, "aria-pressed": "false",
        onpointerenter: (event) => event.pointerType === "mouse" && choose(index),
        onclick: () => hold(index),
        onfocus: () => {
          buttons.forEach((other, i) => { other.tabIndex = i === index ? 0 : -1; });
          choose(index);
        },
        onkeydown: (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          hold(index);
        },
      }, word.text);
      button.style.setProperty("--strength", heaviest ? word.weight / heaviest : 1);
      buttons.push(button);
      box.append(text.slice(at, word.start), button);
      at = word.end;
    });
    box.append(text.slice(at));
    box.addEventListener("keydown", move);
    box.addEventListener("pointerleave", () => choose(held));
    box.addEventListener("focusout", (event) => {
      if (!box.contains(event.relatedTarget)) choose(held);
    });
    /** Underline the words that looked at a place of the photo, the more the stronger. */
    function point(x, y) {
      box.classList.toggle("fs-pointed", x != null);
      if (x == null || !maps) return;
      const cell = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
      const at = cell(y, maps.rows) * maps.cols + cell(x, maps.cols);
      buttons.forEach((button, i) =>
        button.style.setProperty("--here", mapOfWord(maps, words[i]).values[at]));
    }
    choose(null);
    const section = el(
      "section", { class: "fs-reasoning", "aria-label": "Reasoning" },
      el("h3", {}, "Reasoning"),
      words.length ? box : el("p", { class: "fs-words" }, text || "The model gave no reasoning."),
      status, facts, words.length ? allScores(words) : null,
    );
    const elements = words.map(({ indices }, i) => ({ indices, element: buttons[i] }));
    return { section, point, elements };
  }

  /** The suspect regions; pointing at one frames it on the photo and marks its words. */
  function regionList(view, frame, words) {
    if (!view.regions?.length) return null;
    const [height, width] = view.image_size;
    const mark = el("i", { class: "fs-box", "aria-hidden": "true", hidden: true });
    frame.append(mark);
    function show(region) {
      mark.hidden = region == null;
      if (region) {
        const [left, top, w, h] = region.box;
        const place = { left: left / width, top: top / height, width: w / width, height: h / height };
        for (const [side, share] of Object.entries(place)) mark.style[side] = `${100 * share}%`;
      }
      const told = new Set(region?.tokens);
      words.forEach(({ element, indices }) =>
        element.classList.toggle("fs-told", indices.some((index) => told.has(index))));
    }
    const area = (share) => (share < 0.001 ? "below 0.1 %" : `${(100 * share).toFixed(1)} %`);
    const item = (region) => el("li", {}, el(
      "button", {
        class: "fs-region", type: "button", onpointerenter: () => show(region),
        onpointerleave: () => show(null), onfocus: () => show(region), onblur: () => show(null),
      },
      el("span", { class: "fs-score" }, `${score(region.score)} · ${area(region.area)} of the image`),
      region.words ? el("q", {}, region.words) : el("span", { class: "fs-soft" }, "no words speak of it"),
    ));
    const [first, rest] = [view.regions.slice(0, 5), view.regions.slice(5)];
    return el(
      "section", { class: "fs-regions", "aria-label": "Suspect regions" },
      el("h3", {}, view.regions.length === 1 ? "1 suspect region" : `${view.regions.length} suspect regions`),
      el("ol", {}, ...first.map(item)),
      rest.length ? el("details", {}, el("summary", {}, `${rest.length} fainter ones`),
        el("ol", { start: 6 }, ...rest.map(item))) : null,
    );
  }

  /** What speaks against trusting this inspection. */
  function diagnostics(view) {
    if (view.sink_share == null) return null;
    const heavy = view.sink_share > SINKS;
    return el(
      "p", { class: heavy ? "fs-warning" : "fs-soft" },
      `${percent(view.sink_share)} of the words' attention lies where they look on good images too`,
      heavy ? ": the map says little here." : ".",
    );
  }

  /** A table of all words, made when it is opened. */
  function allScores(words) {
    const details = el("details", { class: "fs-all" }, el("summary", {}, "All words and their scores"));
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("table")) return;
      const head = ["Word", "S_T", "S_I", "Weight", "Peak"].map((name) => el("th", { scope: "col" }, name));
      const body = words.map((word) => el(
        "tr", { class: word.kept ? "" : "fs-dropped" },
        el("th", { scope: "row" }, word.text),
        el("td", {}, word.S_T.toFixed(2)), el("td", {}, word.S_I.toFixed(2)),
        el("td", {}, word.kept ? word.weight.toFixed(2) : "dropped"),
        el("td", {}, word.peak == null ? "–" : `${word.peak.toFixed(1)}×`),
      ));
      details.append(el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)));
    });
    return details;
  }

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
            truth ? "right" : `wrong: it is ${verdict(view.label).toLowerCase()}`,
          ),
        ),
        view.contradiction
          ? el("p", { class: "fs-warning" }, "The reasoning contradicts this verdict.")
          : null,
      ),
      el("div", { class: "fs-stage" }, shown.frame, shown.controls),
      el("div", { class: "fs-side" }, section, regions, diagnostics(view)),
    );
  }

  globalThis.flawsight = { ...globalThis.flawsight, el, inspectionView, verdict, verdictClass, score };
})();
