// Figures: each holds its data as JSON, says its kind, and is drawn by what registered for that kind.
//
//   ferbench.chart("KIND", (figure, data, width) => element)
//
// Colours are CSS variables, so that a change of theme redraws nothing.
"use strict";
window.ferbench = window.ferbench || {};
(() => {
  const kinds = new Map();
  const drawn = new WeakMap();

  ferbench.chart = (kind, draw) => kinds.set(kind, draw);

  // The colour of a series: eight of them, told apart in both themes; beyond, they begin again.
  ferbench.series = (index) => `var(--series-${(index % 8) + 1})`;

  // Marks beside colours, for those who do not see them, in the same order.
  ferbench.symbols = ["circle", "square", "triangle", "diamond", "star", "cross", "wye", "asterisk"];
  ferbench.symbol = (index) => ferbench.symbols[index % ferbench.symbols.length];
  ferbench.dashes = ["", "6 3", "2 3", "8 3 2 3", "12 4", "4 2", "1 4", "10 2 2 2 2 2"];
  ferbench.dash = (index) => ferbench.dashes[index % ferbench.dashes.length];

  // What every plot has in common; `Plot.plot(ferbench.options(width, {...}))`.
  ferbench.options = (width, options) => ({
    width,
    style: { background: "transparent", color: "currentColor", fontFamily: "inherit", fontSize: "12px", overflow: "visible" },
    ...options,
  });

  ferbench.percent = (fraction, digits = 1) => (100 * fraction).toFixed(digits);

  const area = (figure) => {
    let found = figure.querySelector(":scope > .chart-area");
    if (!found) {
      found = document.createElement("div");
      found.className = "chart-area";
      found.setAttribute("role", "img");
      const caption = figure.querySelector("figcaption");
      found.setAttribute("aria-label", figure.dataset.label || (caption ? caption.textContent.trim() : ""));
      figure.insertBefore(found, figure.firstChild);
    }
    return found;
  };

  const draw = (figure) => {
    const kind = kinds.get(figure.dataset.chart);
    if (!kind) return;
    const place = area(figure);
    const width = Math.floor(place.clientWidth);
    if (!width || drawn.get(figure) === width) return;
    drawn.set(figure, width);
    try {
      const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
      place.replaceChildren(kind(figure, data, width));
      figure.dataset.drawn = "yes";
    } catch (error) {
      // Its table says the same: it takes the drawing's place.
      figure.dataset.drawn = "no";
      place.remove();
      const table = figure.querySelector("details");
      if (table) table.open = true;
      console.error(`chart ${figure.dataset.chart}:`, error);
    }
  };

  const start = () => {
    const figures = document.querySelectorAll("figure.chart");
    figures.forEach(draw);
    document.documentElement.dataset.charts = "drawn";
    const resized = new ResizeObserver((changes) => {
      requestAnimationFrame(() => changes.forEach((change) => draw(change.target)));
    });
    figures.forEach((figure) => resized.observe(figure));
  };

  if (document.readyState === "complete") start();
  else document.addEventListener("DOMContentLoaded", start);
})();
