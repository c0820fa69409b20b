// What a board's comparisons draw: accuracy against cost, curves, what was forgotten, and two rows' confusions.
"use strict";
(() => {
  const svgNamespace = "http://www.w3.org/2000/svg";

  const made = (tag, properties = {}, children = []) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // The same symbols as Plot draws, a line through them where series are joined.
  const swatch = (index, joined) => {
    const svg = document.createElementNS(svgNamespace, "svg");
    svg.setAttribute("width", joined ? 34 : 16);
    svg.setAttribute("height", 16);
    svg.setAttribute("aria-hidden", "true");
    if (joined) {
      const line = document.createElementNS(svgNamespace, "line");
      Object.entries({ x1: 0, x2: 34, y1: 8, y2: 8, stroke: ferbench.series(index), "stroke-width": 2, "stroke-dasharray": ferbench.dash(index) }).forEach(([name, value]) => line.setAttribute(name, value));
      svg.append(line);
    }
    const mark = document.createElementNS(svgNamespace, "path");
    mark.setAttribute("d", d3.symbol(symbolOf(index), 60)());
    mark.setAttribute("transform", `translate(${joined ? 17 : 8},8)`);
    mark.setAttribute("fill", ferbench.series(index));
    svg.append(mark);
    return svg;
  };

  const kinds = { circle: d3.symbolCircle, square: d3.symbolSquare, triangle: d3.symbolTriangle, diamond: d3.symbolDiamond, star: d3.symbolStar, cross: d3.symbolCross, wye: d3.symbolWye, asterisk: d3.symbolAsterisk };
  const symbolOf = (index) => kinds[ferbench.symbol(index)];

  const legend = (names, joined) =>
    made("ul", { className: "legend" }, names.map((name, index) => made("li", {}, [swatch(index, joined), made("bdi", { textContent: name })])));

  const interval = ([low, mean, high]) => `${ferbench.percent(mean)} % (${ferbench.percent(low)} to ${ferbench.percent(high)})`;

  // What stands in an area can be reached: it is a group then, and no picture.
  const group = (figure) => figure.querySelector(":scope > .chart-area").setAttribute("role", "group");

  // --- accuracy against cost ---------------------------------------------------------------------------------------

  const letter = 6.4;

  // Texts beside points where there is room: not over each other, points or lines, and within the frame.
  const label = (svg, marks, lines, frame) => {
    const boxes = [...lines, ...marks.map(({ x, y }) => ({ left: x - 5, right: x + 5, top: y - 5, bottom: y + 5 }))];
    const free = (box) => box.left >= frame.left && box.right <= frame.right && box.top >= frame.top && box.bottom <= frame.bottom && boxes.every((other) => box.right < other.left || box.left > other.right || box.bottom < other.top || box.top > other.bottom);
    marks.filter((mark) => mark.label).forEach(({ x, y, label: words }) => {
      const wide = words.length * letter;
      const places = [[8, 4, "start"], [-8, 4, "end"], [0, -9, "middle"], [0, 18, "middle"], [7, -8, "start"], [-7, -8, "end"], [7, 16, "start"], [-7, 16, "end"]];
      for (const [dx, dy, anchor] of places) {
        const left = x + dx - (anchor === "end" ? wide : anchor === "middle" ? wide / 2 : 0);
        const box = { left, right: left + wide, top: y + dy - 10, bottom: y + dy + 3 };
        if (!free(box)) continue;
        boxes.push(box);
        const text = document.createElementNS(svgNamespace, "text");
        Object.entries({ x: x + dx, y: y + dy, "text-anchor": anchor, fill: "currentColor", "font-size": 11.5, stroke: "var(--ground)", "stroke-width": 3, "paint-order": "stroke", "aria-hidden": "true" }).forEach(([name, value]) => text.setAttribute(name, value));
        text.textContent = words;
        // What is pointed at stands over them.
        svg.insertBefore(text, svg.querySelector('g[aria-label="tip"]'));
        return;
      }
    });
  };

  const drawCosts = (data, key, width, say) => {
    const axis = data.axes.find((each) => each.key === key);
    const points = data.points.filter((point) => point.costs[key] !== null);
    const front = axis.front.map((row) => points.find((point) => point.row === row));
    const told = (point) => `${point.label}: ${interval(point.accuracy)}, ${axis.title.replace(" (s)", "")} ${point.words[key]}, ${point.seeds} ${point.seeds === 1 ? "seed" : "seeds"}`;
    const series = (point) => data.strategies.indexOf(point.strategy);
    const cost = (point) => point.costs[key];
    const address = (point) => point.page && `rows/${point.page}.html`;
    const many = points.length > 60;
    const plot = Plot.plot(ferbench.options(width, {
      height: Math.max(300, Math.min(480, width * 0.6)),
      marginLeft: 44,
      marginRight: 16,
      marginBottom: 40,
      x: { type: axis.logarithmic ? "log" : "linear", label: `${axis.title} →`, nice: true, grid: true, ticks: Math.max(3, Math.floor(width / 110)), tickFormat: axis.logarithmic ? (value) => d3.format("~s")(value) : "~s", inset: 8 },
      y: { label: "↑ accuracy %", percent: true, grid: true, nice: true },
      symbol: { type: "identity" },
      marks: [
        Plot.ruleX(points, { x: cost, y1: (point) => point.accuracy[0], y2: (point) => point.accuracy[2], stroke: (point) => ferbench.series(series(point)), strokeOpacity: many ? 0.25 : 0.55, strokeWidth: many ? 1 : 1.5 }),
        Plot.line(front, { x: cost, y: (point) => point.accuracy[1], curve: "step-after", stroke: "currentColor", strokeDasharray: "4 3", strokeWidth: 1.2 }),
        Plot.dot(points, { x: cost, y: (point) => point.accuracy[1], r: many ? 3 : 5, symbol: (point) => ferbench.symbol(series(point)), fill: (point) => ferbench.series(series(point)), stroke: (point) => (axis.front.includes(point.row) ? "var(--text)" : "none"), strokeWidth: 1.5, href: address, ariaLabel: told, className: "rows" }),
        Plot.tip(points, Plot.pointer({ x: cost, y: (point) => point.accuracy[1], title: told, fill: "var(--surface)", stroke: "var(--line-strong)", lineWidth: 24 })),
      ],
    }));
    const [x, y] = [plot.scale("x"), plot.scale("y")];
    const place = (point) => ({ x: x.apply(cost(point)), y: y.apply(100 * point.accuracy[1]), label: "" });
    const ends = points.map((point) => ({ left: x.apply(cost(point)) - 1, right: x.apply(cost(point)) + 1, top: y.apply(100 * point.accuracy[2]), bottom: y.apply(100 * point.accuracy[0]) }));
    const steps = d3.pairs(front.map(place)).flatMap(([from, to]) => [
      { left: from.x, right: to.x, top: from.y - 1, bottom: from.y + 1 },
      { left: to.x - 1, right: to.x + 1, top: to.y, bottom: from.y },
    ]);
    // Those on the line come first; of many rows, and where there is little room, the others are named when pointed at.
    const crowded = many || width < 600;
    const [first, others] = [front, points.filter((point) => !front.includes(point))];
    const marks = [...first, ...others].map((point) => ({ ...place(point), label: crowded && !front.includes(point) ? "" : point.label }));
    label(plot, marks, crowded ? [] : [...ends, ...steps], { left: 46, right: width - 2, top: 6, bottom: plot.height.baseVal.value - 42 });
    reach(plot, points, cost, told, say);
    return plot;
  };

  // One stop of the tab key for all marks; arrows go from mark to mark by what they cost.
  const reach = (plot, points, cost, told, say) => {
    const links = [...plot.querySelectorAll("a")];
    const byPage = new Map(links.map((link) => [link.getAttribute("href") || link.getAttributeNS("http://www.w3.org/1999/xlink", "href"), link]));
    const order = d3.sort(points, cost).map((point) => ({ point, link: byPage.get(`rows/${point.page}.html`) })).filter(({ link }) => link);
    order.forEach(({ point, link }, index) => {
      link.setAttribute("tabindex", index ? "-1" : "0");
      link.setAttribute("aria-label", told(point));
      link.addEventListener("focus", () => say(told(point)));
      link.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
        const next = step && order[index + step];
        if (!next) return;
        event.preventDefault();
        link.setAttribute("tabindex", "-1");
        next.link.setAttribute("tabindex", "0");
        next.link.focus();
      });
    });
  };

  ferbench.chart("costs", (figure, data, width) => {
    group(figure);
    const place = made("div");
    const detail = made("p", { className: "detail-line muted", textContent: "Point at a mark, or reach it with Tab and the arrow keys." });
    const draw = () => place.replaceChildren(drawCosts(data, figure.dataset.axis, width, (text) => { detail.textContent = text; }));
    if (!figure.dataset.axis) figure.dataset.axis = data.axes[0].key;
    const select = made("select", {}, data.axes.map((axis) => made("option", { value: axis.key, textContent: axis.title, selected: axis.key === figure.dataset.axis })));
    select.addEventListener("change", () => { figure.dataset.axis = select.value; draw(); });
    draw();
    return made("div", {}, [made("div", { className: "choices" }, [made("label", { textContent: "Cost" }, [select])]), legend(data.strategies, false), place, detail]);
  });

  // --- curves over the part of train ---------------------------------------------------------------------------------

  ferbench.chart("target-size", (figure, data, width) => {
    const points = data.curves.flatMap((curve, index) => curve.points.map((point) => ({ ...point, index })));
    const parts = [...new Set(points.map((point) => point.part))].sort(d3.ascending);
    const logarithmic = parts[0] > 0 && parts[parts.length - 1] > 10 * parts[0];
    const ofAll = { x: "part", y: (point) => point.accuracy[1] };
    const plot = Plot.plot(ferbench.options(width, {
      height: Math.max(280, Math.min(420, width * 0.55)),
      marginLeft: 44,
      marginBottom: 40,
      x: { type: logarithmic ? "log" : "linear", label: "part of train % →", ticks: parts.length <= 8 ? parts : 5, tickFormat: (part) => `${+(100 * part).toPrecision(3)}`, inset: 12 },
      y: { label: "↑ accuracy %", percent: true, grid: true, nice: true },
      symbol: { type: "identity" },
      marks: [
        Plot.ruleX(points, { x: "part", y1: (point) => point.accuracy[0], y2: (point) => point.accuracy[2], stroke: (point) => ferbench.series(point.index), strokeOpacity: 0.5 }),
        ...data.curves.map((curve, index) => Plot.line(points.filter((point) => point.index === index), { ...ofAll, stroke: ferbench.series(index), strokeWidth: 2, strokeDasharray: ferbench.dash(index) || undefined })),
        Plot.dot(points, { ...ofAll, r: 4.5, symbol: (point) => ferbench.symbol(point.index), fill: (point) => ferbench.series(point.index) }),
        Plot.tip(points, Plot.pointer({ ...ofAll, title: (point) => `${data.curves[point.index].label}, ${+(100 * point.part).toPrecision(3)} % of train: ${interval(point.accuracy)}`, fill: "var(--surface)", stroke: "var(--line-strong)", lineWidth: 24 })),
      ],
    }));
    return made("div", {}, [legend(data.curves.map((curve) => curve.label), true), plot]);
  });

  // --- what was forgotten ----------------------------------------------------------------------------------------------

  ferbench.chart("forgetting", (figure, data, width) => {
    const rows = data.rows.map((row, index) => ({ ...row, index }));
    const step = 42;
    const [least, most] = d3.extent(rows.flatMap((row) => [row.before, row.after]));
    const colour = (row) => (row.after < row.before ? "var(--worse)" : "var(--better)");
    return Plot.plot(ferbench.options(width, {
      height: rows.length * step + 50,
      marginLeft: 10,
      marginRight: 52,
      marginTop: 8,
      marginBottom: 40,
      x: { label: "accuracy % →", percent: true, domain: [Math.max(0, Math.floor(10 * least) * 10 - 10), Math.min(100, Math.ceil(10 * most) * 10 + 5)], grid: true, ticks: Math.max(3, Math.floor(width / 90)) },
      y: { type: "linear", domain: [rows.length - 0.5, -0.5], axis: null },
      marks: [
        Plot.text(rows, { y: "index", text: "label", textAnchor: "start", frameAnchor: "left", dy: -15, fill: "currentColor" }),
        Plot.link(rows, { x1: "before", x2: "after", y1: "index", y2: "index", stroke: colour, strokeWidth: 7, strokeOpacity: 0.35 }),
        Plot.dot(rows, { x: "before", y: "index", r: 5, stroke: colour, strokeWidth: 2, fill: "var(--ground)" }),
        Plot.dot(rows, { x: "after", y: "index", r: 5, fill: colour }),
        Plot.text(rows, { x: (row) => Math.max(row.before, row.after), y: "index", text: "words", textAnchor: "start", dx: 10, fill: "currentColor" }),
      ],
    }));
  });

  // --- two rows' confusions ----------------------------------------------------------------------------------------------

  const nothing = 0.0005;

  const signed = (value) => {
    if (value === null) return "–";
    const tenths = Math.floor(1000 * Math.abs(value) + 0.5);
    const sign = tenths === 0 ? "" : value > 0 ? "+" : "−";
    return `${sign}${Math.floor(tenths / 10)}.${tenths % 10}`;
  };

  const named = (row) => row.label;

  const sentence = (classes, table, a, b) => {
    const right = table.map((line, truth) => [classes[truth], line[truth]]).filter(([, value]) => value !== null);
    const listed = (head, some) => (some.length ? [`${head} ${some.map(([name, value]) => `${name} (${signed(value)})`).join(", ")}`] : []);
    const parts = [
      ...listed("right more often on", right.filter(([, value]) => value >= nothing)),
      ...listed("right less often on", right.filter(([, value]) => value <= -nothing)),
    ];
    const text = `${named(a)} against ${named(b)}: ${parts.join("; ") || "right as often"}.`;
    let most = [0, 0, 0];
    table.forEach((line, truth) => line.forEach((value, said) => {
      if (value !== null && truth !== said && Math.abs(value) > Math.abs(most[0])) most = [value, truth, said];
    }));
    if (Math.abs(most[0]) < nothing) return text;
    return `${text} The largest change among errors: ${classes[most[1]]} taken for ${classes[most[2]]} ${signed(most[0])}.`;
  };

  const confusions = (part) => {
    const data = JSON.parse(part.querySelector('script[type="application/json"]').textContent);
    const form = part.querySelector("form");
    const [first, second] = form.querySelectorAll("select");
    const said = part.querySelector(".said");
    const cells = [...part.querySelectorAll("tbody tr")].map((line) => [...line.querySelectorAll("td[data-difference]")]);
    const tint = (table) => {
      const most = Math.max(0.02, ...table.flat().map((value) => Math.abs(value || 0)));
      table.forEach((line, truth) => line.forEach((value, class_) => {
        const cell = cells[truth][class_];
        const good = truth === class_ ? value : -value;
        cell.classList.toggle("good", value !== null && good >= nothing);
        cell.classList.toggle("bad", value !== null && good <= -nothing);
        cell.style.setProperty("--much", `${Math.round((30 * Math.abs(value || 0)) / most)}%`);
      }));
    };
    const differences = () => {
      const [a, b] = [first, second].map((select) => data.rows.find((row) => row.row === select.value));
      return [a, b, a.shares.map((line, truth) => line.map((share, class_) => (share === null || b.shares[truth][class_] === null ? null : share - b.shares[truth][class_])))];
    };
    const show = () => {
      const [a, b, table] = differences();
      table.forEach((line, truth) => line.forEach((value, class_) => { cells[truth][class_].textContent = signed(value); }));
      said.textContent = sentence(data.classes, table, a, b);
      tint(table);
    };
    form.addEventListener("change", show);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    // A browser that goes back keeps what was chosen.
    show();
  };

  const start = () => {
    const part = document.getElementById("confusion-part");
    if (part) confusions(part);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
