"use strict";
/* The reasoning as words to point at, pin, and read the scores of. */
(() => {
  const { el, mapOfWord, peakOf } = globalThis.flawsight;

  /** Join the tokens of a text into words; punctuation stays apart. */
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
        selected: own.some((token) => token.selected),
        weight: Math.max(0, ...own.filter((token) => token.selected).map((token) => token.weight)),
        S_T: greatest("S_T"),
        S_I: greatest("S_I"),
        peak: own.some((token) => token.peak != null) ? greatest("peak") : null,
      };
    });
  }

  function scoreBar(name, value, meaning) {
    const meter = el("span", { class: "fs-bar", "aria-hidden": "true" });
    meter.style.setProperty("--value", Math.max(0, Math.min(1, value)));
    return [el("dt", { title: meaning }, name), el("dd", {}, meter, value.toFixed(2))];
  }

  /** Say where the attention of a word peaks. */
  function describe(word, maps) {
    if (!maps) return `“${word.text}”: its attention map was not saved.`;
    const times = `${word.peak.toFixed(1)} times the mean`;
    return word.peak < 2
      ? `“${word.text}”: attention is nearly uniform (peak ${times}).`
      : `“${word.text}”: attention peaks in the ${peakOf(mapOfWord(maps, word))}, ${times}.`;
  }

  /** The reasoning: one Tab stop, arrow keys move from word to word, a click pins one. */
  function reasoning(view, maps, show) {
    if (view.unasked) {
      const why = el("p", { class: "fs-soft" }, view.unasked);
      const section = el("section", { class: "fs-reasoning", "aria-label": "Reasoning" },
        el("h3", {}, "Reasoning"), why);
      return { section, point: () => {}, elements: [] };
    }
    const text = view.explanation;
    const words = wordsOf(text, view.tokens);
    const heaviest = Math.max(0, ...words.map((word) => word.weight));
    const status = el("p", { class: "fs-status", role: "status" });
    const facts = el("dl", { class: "fs-facts" });
    const hint = words.length
      ? "Point at a word, or use Tab and the arrow keys, to see its attention on the photo. Click to "
        + "pin it. Point at the photo to see which words attend to that spot."
      : "This run saved no tokens.";
    const box = el("div", { class: "fs-words", role: "toolbar", "aria-label": "Words of the reasoning" });
    const buttons = [];
    let pinned = null;
    function choose(index) {
      const word = index == null ? null : words[index];
      buttons.forEach((button, i) => button.classList.toggle("fs-shown", i === index));
      show(word);
      status.textContent = word ? describe(word, maps) : hint;
      facts.replaceChildren(...(word ? factsOf(word) : []));
    }
    function factsOf(word) {
      return [
        ...scoreBar("S_T", word.S_T, "Semantic relevance: attention to the anomaly words of the question"),
        ...scoreBar("S_I", word.S_I, "Concentration of its attention on the image"),
        ...scoreBar("Weight", word.selected ? word.weight : 0, "Weight in the anomaly map"),
        el("dt", {}, "In the map"), el("dd", {}, word.selected ? "selected" : "not selected"),
      ];
    }
    function pin(index) {
      pinned = pinned === index ? null : index;
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === pinned)));
      choose(pinned ?? index);
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
        class: `fs-word ${word.selected ? "fs-selected" : "fs-unselected"}`,
        role: "button", tabindex: index ? -1 : 0, "aria-pressed": "false",
        onpointerenter: (event) => event.pointerType === "mouse" && choose(index),
        onclick: () => pin(index),
        onfocus: () => {
          buttons.forEach((other, i) => { other.tabIndex = i === index ? 0 : -1; });
          choose(index);
        },
        onkeydown: (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          pin(index);
        },
      }, word.text);
      // Squared, so that the heaviest words stand out even if all are selected.
      const share = heaviest ? word.weight / heaviest : 1;
      button.style.setProperty("--strength", share * share);
      buttons.push(button);
      box.append(text.slice(at, word.start), button);
      at = word.end;
    });
    box.append(text.slice(at));
    box.addEventListener("keydown", move);
    box.addEventListener("pointerleave", () => choose(pinned));
    box.addEventListener("focusout", (event) => {
      if (!box.contains(event.relatedTarget)) choose(pinned);
    });
    /** Underline the words that attend to a spot of the photo. */
    function point(x, y) {
      box.classList.toggle("fs-pointed", x != null);
      if (x == null || !maps) return;
      const cell = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
      const at = cell(y, maps.rows) * maps.cols + cell(x, maps.cols);
      buttons.forEach((button, i) => {
        const { values, shown } = mapOfWord(maps, words[i]);
        button.style.setProperty("--here", shown(values[at]));
      });
    }
    choose(null);
    const section = el(
      "section", { class: "fs-reasoning", "aria-label": "Reasoning" },
      el("h3", {}, "Reasoning"),
      words.length ? box : el("p", { class: "fs-words" }, text || "The response has no reasoning."),
      status, facts, words.length ? allScores(words) : null,
    );
    const elements = words.map(({ indices }, i) => ({ indices, element: buttons[i] }));
    return { section, point, elements };
  }

  /** A table of all words, made when it is first opened. */
  function allScores(words) {
    const details = el("details", { class: "fs-all" }, el("summary", {}, "All words and their scores"));
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("table")) return;
      const head = ["Word", "S_T", "S_I", "Weight", "Peak"].map((name) => el("th", { scope: "col" }, name));
      const body = words.map((word) => el(
        "tr", { class: word.selected ? "" : "fs-unselected" },
        el("th", { scope: "row" }, word.text),
        el("td", {}, word.S_T.toFixed(2)), el("td", {}, word.S_I.toFixed(2)),
        el("td", {}, word.selected ? word.weight.toFixed(2) : "–"),
        el("td", {}, word.peak == null ? "–" : `${word.peak.toFixed(1)}×`),
      ));
      details.append(el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)));
    });
    return details;
  }

  Object.assign(globalThis.flawsight, { reasoning });
})();
