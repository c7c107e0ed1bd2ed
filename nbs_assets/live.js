// Added to a page only while `nbs run --watch` serves it; the file on the disk does not have it.
(() => {
  "use strict";
  const number = (version) => Number((version || "v0").slice(1));
  const shown = number(document.currentScript.dataset.version);

  const style = document.createElement("style");
  style.textContent = `
    .nbs-live { position: fixed; left: 0; right: 0; bottom: 0; z-index: 20; margin: 0; padding: 8px 16px; max-height: 45vh; overflow: auto;
      font: 14px/1.45 var(--sans, system-ui, sans-serif); white-space: pre-wrap; overflow-wrap: anywhere;
      background: var(--wash, Canvas); color: var(--ink, CanvasText); border-top: 3px solid var(--accent, #0072b2); }
    .nbs-live[hidden] { display: none; }
    .nbs-live.failed { border-top-color: var(--alarm, #d55e00); }
    .nbs-live:not(.failed) span { color: var(--grey, GrayText); }
    @media print { .nbs-live { display: none; } }`;
  document.head.append(style);
  const bar = document.createElement("div");
  bar.className = "nbs-live";
  bar.setAttribute("role", "status");
  bar.hidden = true;
  const word = document.createElement("b");
  const detail = document.createElement("span");
  bar.append(word, " ", detail);
  document.body.append(bar);

  const words = { running: "A run is going on.", failed: "The last run failed.", gone: "Nobody is watching any more." };
  const say = (state, text = "") => {
    bar.hidden = !(state in words);
    bar.classList.toggle("failed", state === "failed");
    if (word.textContent !== (words[state] || "")) word.textContent = words[state] || "";
    detail.textContent = text;
    // a screen reader hears that a run began, and why one failed; not each cell
    detail.setAttribute("aria-hidden", String(state === "running"));
  };

  const events = new EventSource("/.events");
  events.addEventListener("message", (e) => {
    const now = JSON.parse(e.data);
    if (number(now.version) > shown) location.reload(); // the browser keeps the place
    else say(now.state, now.text);
  });
  events.addEventListener("error", () => say("gone", "Start nbs run --watch again, and this page comes back to life."));
})();
