"use strict";
/* Elements, and the text of verdicts and scores. */
(() => {
  /** Make an element: `on…` attributes are listeners, children are nodes or text. */
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

  globalThis.flawsight = { el, percent, score, verdict, verdictClass };
})();
