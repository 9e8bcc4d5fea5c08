// SPDX-License-Identifier: GPL-2.0-or-later
// The heat map and the front of a sweep. What comes from recordings reaches the page as text nodes alone.
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";

  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function drawn(name, attributes, ...children) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function fill(select, names, chosen) {
    select.replaceChildren(...names.map((name, i) => make("option", { value: i }, name)));
    select.value = Math.max(chosen, 0);
  }

  const figures = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 4 });
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const numeric = (a, b) => (isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b);
  const levels = (demand, axis) => [...new Set(demand.settings.map((one) => one.at[axis]))].sort(numeric);

  /** From blue, good, over white to orange, bad; both read in print and by the colour-blind. */
  function colour(share) {
    const [from, to] = share < 0.5 ? [[86, 180, 233], [247, 247, 247]] : [[247, 247, 247], [232, 150, 80]];
    const at = share < 0.5 ? share * 2 : share * 2 - 1;
    return `rgb(${from.map((value, i) => Math.round(value + (to[i] - value) * at)).join(",")})`;
  }

  function shownCells(settings, row) {
    const list = settings.flatMap((one) =>
      one.seeds.map((seed, i) => [one.values[row][i], `${one.line} ${seed}`]));
    const box = $("cells");
    box.replaceChildren(make("h3", {}, `${list.length} cells: ${data.rows[row].label}`));
    for (const [value, line] of list.slice(0, 400)) {
      box.append(make("pre", {}, `${value === null ? "none" : figures.format(value)}\t${line}`));
    }
    if (list.length > 400) box.append(make("p", {}, `${list.length - 400} more are in the store.`));
  }

  function heat() {
    const demand = data.demands[$("demand").value];
    const row = Number($("row").value);
    const axes = data.axes.filter((axis) => levels(demand, axis).length > 1);
    const x = axes[$("x").value], y = axes[$("y").value];
    const fixed = [...$("others").querySelectorAll("select")].map((s) => [s.name, s.value]);
    const kept = demand.settings.filter((one) => fixed.every(([axis, value]) => value === "" || one.at[axis] === value));
    const fields = new Map();
    for (const one of kept) {
      const key = JSON.stringify([one.at[x], one.at[y]]);
      if (!fields.has(key)) fields.set(key, []);
      fields.get(key).push(one);
    }
    const means = new Map();
    for (const [key, settings] of fields) {
      const values = settings.flatMap((one) => one.values[row]).filter((value) => value !== null);
      if (values.length) means.set(key, mean(values));
    }
    const low = Math.min(...means.values()), high = Math.max(...means.values());
    const better = data.rows[row].better;
    const across = x === undefined ? [undefined] : levels(demand, x);
    const down = y === undefined || y === x ? [undefined] : levels(demand, y);
    const head = make("tr", {}, make("th", {}, `${y || ""} \\ ${x || ""}`), ...across.map((v) => make("th", {}, String(v ?? ""))));
    const lines = down.map((v) => make("tr", {}, make("th", {}, String(v ?? "")), ...across.map((u) => {
      const key = [...fields.keys()].find((k) => {
        const [a, b] = JSON.parse(k);
        return (x === undefined || a === u) && (down[0] === undefined || b === v);
      });
      if (key === undefined || !means.has(key)) return make("td", { class: "none" }, "–");
      const button = make("button", { type: "button", "aria-pressed": "false" }, figures.format(means.get(key)));
      const share = high > low ? (means.get(key) - low) / (high - low) : 0.5;
      button.style.background = colour(better === "higher" ? 1 - share : better === "lower" ? share : 0.5);
      button.addEventListener("click", () => {
        for (const other of $("map").querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
        button.setAttribute("aria-pressed", "true");
        shownCells(fields.get(key), row);
      });
      return make("td", {}, button);
    })));
    $("map").replaceChildren(make("caption", {}, `${data.rows[row].label} [${data.rows[row].unit}]`), head, ...lines);
    $("cells").replaceChildren();
  }

  function chooseOthers() {
    const demand = data.demands[$("demand").value];
    const axes = data.axes.filter((axis) => levels(demand, axis).length > 1);
    const used = new Set([axes[$("x").value], axes[$("y").value]]);
    $("others").replaceChildren(...axes.filter((axis) => !used.has(axis)).map((axis) => {
      const select = make("select", { name: axis }, make("option", { value: "" }, "all"));
      for (const level of levels(demand, axis)) select.append(make("option", { value: level }, String(level)));
      select.addEventListener("change", heat);
      return make("label", {}, `${axis} `, select);
    }));
    heat();
  }

  function chooseDemand() {
    const axes = data.axes.filter((axis) => levels(data.demands[$("demand").value], axis).length > 1);
    fill($("x"), axes, 1 % Math.max(axes.length, 1));
    fill($("y"), axes, axes.length > 2 ? 2 : 0);
    chooseOthers();
  }

  function front() {
    const chosen = data.fronts[$("context").value];
    const points = chosen.points;
    const span = (values) => {
      const low = Math.min(...values), high = Math.max(...values);
      return high > low ? [low, high] : [low - 1, high + 1];
    };
    const [x0, x1] = span(points.map((p) => p.cost)), [y0, y1] = span(points.map((p) => p.benefit));
    const px = (value) => 70 + ((value - x0) / (x1 - x0)) * 630;
    const py = (value) => 310 - ((value - y0) / (y1 - y0)) * 290;
    const dot = (p) => {
      const name = `${p.policy}: ${figures.format(p.benefit)} ${data.benefit.unit}, cost ${figures.format(p.cost)} ms`;
      const circle = drawn("circle", { cx: px(p.cost), cy: py(p.benefit), r: p.front ? 6 : 4, class: p.front ? "dot best" : "dot", tabindex: 0 },
        drawn("title", {}, name));
      for (const event of ["pointerenter", "focus"]) circle.addEventListener(event, () => { $("dot").textContent = name; });
      return circle;
    };
    const best = points.filter((p) => p.front).sort((a, b) => a.cost - b.cost);
    $("plot").replaceChildren(
      drawn("line", { x1: 70, y1: 310, x2: 700, y2: 310, class: "axis" }),
      drawn("line", { x1: 70, y1: 20, x2: 70, y2: 310, class: "axis" }),
      drawn("text", { x: 700, y: 350, "text-anchor": "end" }, data.cost),
      drawn("text", { x: 70, y: 14 }, data.benefit.label),
      drawn("text", { x: 70, y: 328 }, figures.format(x0)),
      drawn("text", { x: 700, y: 328, "text-anchor": "end" }, figures.format(x1)),
      drawn("text", { x: 64, y: 310, "text-anchor": "end" }, figures.format(y0)),
      drawn("text", { x: 64, y: 28, "text-anchor": "end" }, figures.format(y1)),
      drawn("polyline", { points: best.map((p) => `${px(p.cost)},${py(p.benefit)}`).join(" ") }),
      ...points.filter((p) => !p.front).map(dot), ...best.map(dot));
    $("dot").textContent = "";
  }

  if (data.demands.length && data.rows.length) {
    $("heat").hidden = false;
    fill($("demand"), data.demands.map((one) => one.name), 0);
    fill($("row"), data.rows.map((one) => one.label), 0);
    $("demand").addEventListener("change", chooseDemand);
    $("row").addEventListener("change", heat);
    for (const name of ["x", "y"]) $(name).addEventListener("change", chooseOthers);
    chooseDemand();
  }
  if (data.fronts.some((one) => one.points.length)) {
    $("front").hidden = false;
    fill($("context"), data.fronts.map((one) => one.name), 0);
    $("context").addEventListener("change", front);
    front();
  }
  document.documentElement.dataset.ready = "";
})();
