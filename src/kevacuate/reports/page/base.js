// SPDX-License-Identifier: GPL-2.0-or-later
// What the page's parts share: the data, the state, small helpers. Recorded text reaches the page as text nodes alone.
"use strict";

const kev = (() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const streams = [...document.querySelectorAll("script.blob")];
  const read = (number) => kevDecode.inflate(streams[number].textContent);
  const state = { moment: 0, mode: "holds", focus: -1, kept: -1, view: null, playing: false, palette: null };
  const listeners = [];
  const integer = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1 });

  /** An element with attributes and children, which may be text. */
  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key === "class") element.className = value;
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  }

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const lineColour = (i) => css(`--line-${i % 6}`);
  const LINE_DASH = [[], [], [7, 4], [2, 3], [10, 3, 2, 3], [4, 2]];

  /** Seconds as a clock of the run. */
  function clock(seconds) {
    const minutes = Math.floor(seconds / 60);
    return minutes ? `${minutes}:${(seconds % 60).toFixed(2).padStart(5, "0")} min` : `${seconds.toFixed(3)} s`;
  }

  const percent = (part, whole) => `${((100 * part) / Math.max(whole, 1)).toFixed(part && part < whole / 100 ? 1 : 0)} %`;

  /** The colours of the present scheme, as pixels and as text. */
  function palette() {
    const contents = ["free", "movable", "unmovable", "reclaimable", "mixed", "reserved", "in-use"];
    const types = ["unmovable", "movable", "reclaimable", "highatomic", "cma", "isolate"];
    return {
      contents: contents.map((name) => kevMap.pixel(css(`--${name}`))),
      types: types.map((name) => kevMap.pixel(css(`--${name}`))),
      paper: kevMap.pixel(css("--paper")),
      hatch: kevMap.pixel(css("--hatch")),
      names: contents,
      typeNames: types,
    };
  }

  /** Everything that shows the time follows. */
  function seek(moment) {
    state.moment = Math.max(0, Math.min(moment, data.t.length - 1));
    $("time").value = state.moment;
    const words = clock(data.t[state.moment]);
    $("clock").textContent = words;
    $("time").setAttribute("aria-valuetext", `${words}, step ${state.moment + 1} of ${data.t.length}`);
    for (const listener of listeners) listener(state.moment);
  }

  /** The first place of an ascending list whose value is not below the one given; the last if there is none. */
  function firstAtOrAfter(sorted, value) {
    let low = 0;
    let high = sorted.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  const hex = (n) => `0x${n.toString(16)}`;
  const plural = (n) => (n === 1 ? "" : "s");
  const pages = (n) => `${integer.format(n)} page${plural(n)}`;
  const typeName = (i) => data.types[i] || `type ${i}`;

  return {
    $, data, read, state, listeners, integer, make, css, lineColour, LINE_DASH, clock, percent, palette, seek, firstAtOrAfter,
    hex, pages, typeName, runs: data.runs.map((about) => ({ about })), map: null, stories: null, held: null, loaded: false,
  };
})();
