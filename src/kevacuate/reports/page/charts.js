// SPDX-License-Identifier: GPL-2.0-or-later
// The timelines: uPlot charts on the map's time axis; one cursor for all.
"use strict";

const kevCharts = (() => {
  const { $, data, state, listeners, integer, make, css, lineColour, LINE_DASH, clock, seek } = kev;

  const plots = [];
  const STEPS = Array.from({ length: 13 }, (_, i) => [1, 2, 5].map((n) => n * 10 ** i)).flat();

  /** The cursor stands at a moment, not between two. */
  function toMoment(plot, left, top) {
    return left < 0 ? [left, top] : [plot.valToPos(data.t[plot.posToIdx(left)], "x"), top];
  }

  function chartOptions(chart, width) {
    const axis = () => ({ stroke: () => css("--ink-2"), grid: { stroke: () => css("--rule"), width: 1 }, ticks: { show: false }, font: "12px system-ui" });
    return {
      width,
      height: 150,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false }, bind: { dblclick: () => null }, move: toMoment },
      scales: { x: { time: false }, y: { range: (u, low, high) => yRange(low, high) } },
      axes: [
        { ...axis(), size: 26, values: (u, ticks) => ticks.map((t) => `${t} s`) },
        { ...axis(), size: 62, incrs: STEPS, values: (u, ticks) => ticks.map((t) => integer.format(t)) },
      ],
      series: [
        {},
        ...chart.lines.map((values, i) => ({
          label: kev.runs[i].about.policy,
          stroke: () => lineColour(i),
          width: 1.75,
          dash: LINE_DASH[i % 6],
          points: { show: data.t.length < 12 },
        })),
      ],
    };
  }

  function yRange(low, high) {
    if (low === null || high === null) return [0, 1];
    const bottom = low >= 0 && low < high * 0.6 ? 0 : low;
    if (high === bottom) return [bottom - (bottom === 0 ? 0 : 1), bottom + 1];
    const room = (high - bottom) * 0.06;
    return [bottom === 0 ? 0 : bottom - room, high + room];
  }

  function addChart(chart) {
    const now = make("div", { class: "now" });
    const holder = make("div", { role: "img" });
    const box = make("div", { class: "chart" }, make("h3", {}, chart.title, make("small", {}, chart.unit)), now, holder);
    $("charts").append(box);
    return { chart, now, holder };
  }

  function draw({ chart, now, holder }) {
    const shown = chart.lines.map((values) => (values ? values : data.t.map(() => null)));
    const plot = new uPlot(chartOptions(chart, Math.max(holder.clientWidth, 200)), [data.t, ...shown], holder);
    const values = chart.lines.map((line_, i) => {
      const text = make("b");
      now.append(make("span", {}, make("i", { class: `line line-${i % 6}`, "aria-hidden": "true" }), text));
      return text;
    });
    plot.over.addEventListener("pointermove", (event) => {
      const left = event.clientX - plot.over.getBoundingClientRect().left;
      seek(plot.posToIdx(left));
    });
    plots.push({ plot, holder, chart, values });
  }

  function chartsFollow(moment) {
    for (const { plot, chart, values, holder } of plots) {
      plot.setCursor({ left: plot.valToPos(data.t[moment], "x"), top: 0 }, false);
      chart.lines.forEach((line_, i) => {
        values[i].textContent = line_ ? integer.format(line_[moment]) : "–";
      });
      if (!state.playing) {
        const words = chart.lines.map((line_, i) => `${kev.runs[i].about.policy} ${line_ ? integer.format(line_[moment]) : "not known"}`);
        holder.setAttribute("aria-label", `${chart.title}, ${chart.unit}, at ${clock(data.t[moment])}: ${words.join(", ")}`);
      }
    }
  }

  function loadCharts() {
    kev.runs.forEach((run, i) => {
      $("lines").append(make("li", {}, make("i", { class: `line line-${i % 6}`, "aria-hidden": "true" }), make("bdi", {}, run.about.policy)));
    });
    const flat = data.charts.filter((chart) => chart.flat);
    for (const part of data.charts.filter((chart) => !chart.flat).map(addChart)) draw(part); // all first: their number decides how wide they are
    if (flat.length) offer(flat);
    listeners.push(chartsFollow);
  }

  /** One line for the charts that have nothing to say, and a button that draws them. */
  function offer(flat) {
    const button = make("button", { type: "button" }, "Show");
    button.addEventListener("click", () => {
      $("flat").hidden = true;
      for (const part of flat.map(addChart)) draw(part);
      chartsFollow(state.moment);
    });
    const many = flat.length > 1 ? `${flat.length} timelines are` : "1 timeline is";
    $("flat").append(`${many} flat: ${flat.map((chart) => chart.title).join("; ")}. `, button);
    $("flat").hidden = false;
  }

  return { plots, chartsFollow, loadCharts };
})();
