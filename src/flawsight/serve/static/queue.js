"use strict";
/* The review queue: inspections that nobody has reviewed, the uncertain first, one key a verdict.
 * Needs dom.js before it. `call` and `attempt` are those of page.js, and `open` shows an inspection. */
(() => {
  const { el, score } = globalThis.flawsight;
  const PAGE = 20;

  function reviewQueue({ call, attempt, open, parameters, reviewed, left }) {
    let waiting = []; // the first is shown
    let running = false;
    let busy = false;
    const done = []; // verdicts to take back: the inspection and its review before
    const skipped = new Set();
    const begin = el("button", { type: "button", class: "sv-more", onclick: () => act(start) },
      "Review, the uncertain first");
    const said = el("p", {});
    const bar = el("div", { class: "sv-queue", role: "group", "aria-label": "Review queue", hidden: true });
    const keys = {
      g: ["Good", () => judge(false)],
      d: ["Defective", () => judge(true)],
      s: ["Skip", skip],
      u: ["Undo", undo],
      Escape: ["Stop", stop],
    };
    bar.append(said, ...Object.entries(keys).map(([key, [text, work]]) => el("button", {
      type: "button", "aria-keyshortcuts": key, onclick: () => act(work),
    }, text, " ", el("kbd", {}, key === "Escape" ? "Esc" : key))));

    /** Do one thing at a time, and show its error. */
    async function act(work) {
      if (busy) return;
      busy = true;
      await attempt("…", work);
      busy = false;
    }

    async function start() {
      running = true;
      bar.hidden = false;
      begin.hidden = true;
      skipped.clear();
      done.length = 0;
      waiting = [];
      await show();
    }

    function stop() {
      running = false;
      bar.hidden = true;
      begin.hidden = false;
      begin.focus();
      left();
    }

    async function fill() {
      const limit = Math.min(500, PAGE + skipped.size);
      const query = parameters({ order: "uncertain", reviewed: "false", limit });
      const page = await call(`v1/inspections?${query}`);
      waiting = page.inspections.filter((one) => !skipped.has(one.id));
    }

    async function show() {
      if (!waiting.length) await fill();
      const [one] = waiting;
      if (!one) {
        said.textContent = "Nothing is left to review.";
        return;
      }
      const threshold = one.threshold == null ? "the answer decides" : `threshold ${score(one.threshold)}`;
      said.textContent = `Score ${score(one.pred_score)}, ${threshold}. Is the part good or defective?`;
      await open(one.id, one);
    }

    const put = (id, verdict) => call(`v1/inspections/${id}/review`, {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ verdict }),
    });

    async function judge(defective) {
      const [one] = waiting;
      if (!one) return "";
      reviewed(await put(one.id, defective === one.pred_label ? "right" : "wrong"));
      done.push(one);
      waiting.shift();
      await show();
      return `${one.name ?? one.id}: ${defective ? "defective" : "good"}.`;
    }

    async function skip() {
      const one = waiting.shift();
      if (one) skipped.add(one.id);
      await show();
      return "";
    }

    async function undo() {
      const one = done.at(-1);
      if (!one) return "There is nothing to take back.";
      reviewed(await call(`v1/inspections/${one.id}/review`, { method: "DELETE" }));
      done.pop();
      waiting.unshift(one);
      await show();
      return `${one.name ?? one.id}: taken back.`;
    }

    document.addEventListener("keydown", (event) => {
      const typing = event.target.matches?.("input, select, textarea");
      if (!running || typing || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (!(key in keys)) return;
      event.preventDefault();
      act(keys[key][1]);
    });

    return { begin, bar };
  }

  globalThis.flawsight.reviewQueue = reviewQueue;
})();
