// The charts of a row's page: learning curves, reliability, accuracy by film or subject.
"use strict";
(() => {
  const { chart, series, dash, options, percent } = ferbench;

  // What lines and marks stand for: an svg sample beside each word.
  const key = (items) => {
    const list = document.createElement("ul");
    list.className = "key";
    list.setAttribute("aria-hidden", "true");
    for (const [text, draw] of items) {
      const item = document.createElement("li");
      item.append(draw(), document.createTextNode(text));
      list.append(item);
    }
    return list;
  };
  const sample = (inner) => () => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("width", "26");
    svg.setAttribute("height", "12");
    const shape = document.createElementNS("http://www.w3.org/2000/svg", inner.shape);
    for (const [name, value] of Object.entries(inner)) if (name !== "shape") shape.setAttribute(name, value);
    svg.append(shape);
    return svg;
  };
  const stroke = (index) => sample({ shape: "path", d: "M0 6H26", fill: "none", style: `stroke:${series(index)}`, "stroke-width": 2, "stroke-dasharray": dash(index) });

  const held = (...parts) => {
    const box = document.createElement("div");
    box.append(...parts);
    return box;
  };

  chart("row-curves", (figure, data, width) => {
    const panel = (value, label, fraction) => {
      const marks = [Plot.gridY({ strokeOpacity: 0.15 })];
      if (data.ends.length > 1) marks.push(Plot.ruleX(data.ends.slice(0, -1), { stroke: "currentColor", strokeOpacity: 0.35 }));
      const all = [];
      data.seeds.forEach((seed, index) => {
        for (const line of data.lines.filter((each) => each.seed === seed)) {
          const points = line.images.map((images, place) => ({ seed, stage: line.stage, images, value: line[value][place] })).filter((point) => point.value !== null);
          if (fraction) points.forEach((point) => { point.value *= 100; });
          all.push(...points);
          marks.push(Plot.line(points, { x: "images", y: "value", stroke: series(index), strokeDasharray: dash(index), strokeWidth: 1.8 }));
          if (points.length <= 12) marks.push(Plot.dot(points, { x: "images", y: "value", fill: series(index), r: 2.2 }));
        }
      });
      const digits = fraction ? 1 : 3;
      marks.push(Plot.tip(all, Plot.pointer({ x: "images", y: "value", title: (point) => `seed ${point.seed}, stage ${point.stage}\n${point.images.toLocaleString("en")} images\n${label} ${point.value.toFixed(digits)}`, fill: "var(--surface)" })));
      return Plot.plot(options(width, {
        height: Math.min(300, Math.max(200, width * 0.35)),
        marginLeft: 48,
        marginRight: 16,
        marginTop: 28,
        marginBottom: 42,
        x: { label: "images seen →", tickFormat: (value) => (value >= 1000 ? `${value / 1000} k` : `${value}`), ticks: Math.max(3, Math.round(width / 110)), domain: [0, Math.max(...data.ends)] },
        y: fraction ? { label: `↑ ${label}`, domain: [0, 100] } : { label: `↑ ${label}`, nice: true },
        marks,
      }));
    };
    const parts = [panel("loss", "loss", false)];
    if (data.target) parts.push(panel("target", "accuracy %, target", true));
    if (data.select) parts.push(panel("select", "accuracy %, select", true));
    if (data.seeds.length > 1) parts.unshift(key(data.seeds.map((seed, index) => [`seed ${seed}`, stroke(index)])));
    return held(...parts);
  });

  chart("row-reliability", (figure, data, width) => {
    const side = Math.min(width, 460);
    const kinds = [["before", "as predicted", "circle", 0], ["after", "at the temperature", "triangle", 1]].filter(([name]) => data[name].length);
    const most = Math.max(...kinds.flatMap(([name]) => data[name].map((bin) => bin.count)));
    const marks = [
      Plot.gridX({ strokeOpacity: 0.12 }),
      Plot.gridY({ strokeOpacity: 0.12 }),
      Plot.line([[0, 0], [100, 100]], { stroke: "currentColor", strokeOpacity: 0.5, strokeDasharray: "4 4" }),
    ];
    const all = [];
    for (const [name, words, symbol, index] of kinds) {
      const bins = data[name].map((bin) => ({ ...bin, words, sure: 100 * bin.confidence, right: 100 * bin.accuracy }));
      all.push(...bins);
      marks.push(Plot.line(bins, { x: "sure", y: "right", stroke: series(index), strokeDasharray: dash(index), strokeWidth: 1.5 }));
      marks.push(Plot.dot(bins, { x: "sure", y: "right", r: (bin) => 2.5 + 7 * Math.sqrt(bin.count / most), symbol, fill: series(index), fillOpacity: 0.55, stroke: series(index) }));
    }
    marks.push(Plot.tip(all, Plot.pointer({ x: "sure", y: "right", fill: "var(--surface)", title: (bin) => `${bin.words}\nsure ${bin.sure.toFixed(1)} %, right ${bin.right.toFixed(1)} %\n${bin.count.toLocaleString("en")} answers` })));
    const plot = Plot.plot(options(side, {
      height: side,
      marginLeft: 44,
      marginRight: 14,
      marginTop: 30,
      marginBottom: 42,
      r: { type: "identity" },
      x: { domain: [0, 100], label: "sure % →" },
      y: { domain: [0, 100], label: "↑ right %" },
      marks,
    }));
    const shapes = {
      circle: { shape: "circle", cx: 13, cy: 6, r: 5 },
      triangle: { shape: "path", d: "M13 0.5L19 11.5H7Z" },
    };
    return held(key(kinds.map(([, words, symbol, index]) => [words, sample({ ...shapes[symbol], style: `fill:${series(index)}` })])), plot);
  });

  chart("row-groups", (figure, data, width) => {
    const groups = data.groups.map((group, place) => ({ ...group, place, mean: 100 * group.accuracy, worst: 100 * group.low, best: 100 * group.high }));
    const longest = Math.max(...groups.map((group) => group.name.length), 4);
    const margin = Math.min(Math.max(48, longest * 7 + 12), Math.floor(width * 0.4));
    const room = Math.floor((margin - 12) / 7);
    const shown = (text) => (text.length > room ? `${text.slice(0, Math.max(1, room - 1))}…` : text);
    return Plot.plot(options(width, {
      height: 24 * groups.length + 62,
      marginBottom: 42,
      marginLeft: margin,
      marginRight: 58,
      x: { domain: [0, 100], label: "accuracy % →", ticks: Math.max(3, Math.round(width / 90)) },
      y: { domain: groups.map((group) => group.place), tickFormat: (place) => shown(groups[place].name), label: null, tickSize: 0 },
      marks: [
        Plot.gridX({ strokeOpacity: 0.15 }),
        Plot.ruleX([100 * data.majority], { stroke: "currentColor", strokeOpacity: 0.6, strokeDasharray: "4 4" }),
        Plot.ruleX([100 * data.mean], { stroke: "currentColor", strokeOpacity: 0.6 }),
        Plot.link(groups.filter((group) => group.high > group.low), { x1: "worst", x2: "best", y1: "place", y2: "place", stroke: series(0), strokeWidth: 3, strokeOpacity: 0.4 }),
        Plot.dot(groups, { x: "mean", y: "place", fill: series(0), r: 4.5 }),
        Plot.text(groups, { x: 100, y: "place", dx: 10, textAnchor: "start", text: (group) => `n ${group.n}`, fill: "currentColor", fillOpacity: 0.75 }),
        Plot.tip(groups, Plot.pointerY({ x: "mean", y: "place", fill: "var(--surface)", title: (group) => `${group.name}\n${group.mean.toFixed(1)} % of ${group.n}\nseeds ${percent(group.low)} to ${percent(group.high)} %` })),
      ],
    }));
  });
})();
