// SPDX-License-Identifier: GPL-2.0-or-later
// The page's parts put together: data, maps, block, charts, time. Recorded text reaches the page as text nodes alone.
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const streams = [...document.querySelectorAll("script.blob")];
  const read = (number) => kevDecode.inflate(streams[number].textContent);
  const state = { moment: 0, mode: "holds", focus: -1, kept: -1, view: null, playing: false, palette: null };
  const listeners = [];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const integer = new Intl.NumberFormat("en-GB");
  let runs = [];
  let map = null;

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

  // ---- the map --------------------------------------------------------------------------------------------------------------

  const WAYS = { holds: ["contents", "names"], type: ["types", "typeNames"] };

  /** How many blocks show each colour at the moment. */
  function tally(values) {
    const out = new Array(8).fill(0);
    const key = state.mode === "type" ? kevMap.typeOf : kevMap.contentOf;
    for (let i = 0; i < values.length; i++) out[key(values[i])]++;
    return out;
  }

  function mixedWords(values) {
    let mixed = 0;
    for (let i = 0; i < values.length; i++) if (kevMap.contentOf(values[i]) === 4) mixed++;
    return `${integer.format(mixed)} mixed, ${percent(mixed, values.length)}`;
  }

  const momentOf = (run) => run.about.moments[state.moment];

  function swatch(index) {
    const canvas = make("canvas", { width: 16, height: 16, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    const [group, names] = WAYS[state.mode === "type" ? "type" : "holds"];
    context.fillStyle = css(`--${state.palette[names][index]}`);
    context.fillRect(0, 0, 16, 16);
    if (group === "contents" && (index === 2 || index === 3)) patternInk(context, index, 0, 0, 16, 16);
    return canvas;
  }

  function patternInk(context, content, left, top, width, height) {
    context.fillStyle = css("--hatch");
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const on = content === 2 ? (x + y) % 4 === 0 : x % 3 === 1 && y % 3 === 1;
        if (on) context.fillRect(left + x, top + y, 1, 1);
      }
    }
  }

  function drawLegend() {
    const list = $("legend");
    list.replaceChildren();
    if (state.mode === "pinned") {
      list.append(make("li", {}, swatch(0), "none"), make("li", {}, swatch(2), "all of the block’s pages cannot move"));
    } else {
      const names = state.mode === "type" ? data.types : data.contents;
      const seen = new Array(8).fill(0);
      for (const run of mapped()) tally(run.steps.now).forEach((n, i) => (seen[i] += n));
      names.forEach((name, i) => {
        if (!seen[i] && i > 4) return;
        list.append(make("li", {}, swatch(i), name));
      });
    }
    if ($("marks").checked && mapped().some((run) => run.history)) {
      list.append(
        make("li", {}, make("span", { class: "ring" }), "claimed just now"),
        make("li", {}, make("span", { class: "ring evacuate" }), "evacuated just now"),
      );
    }
  }

  const mapped = () => runs.filter((run) => run.painter);

  /** Blocks with a claim or the end of an evacuation after the moment before this one. */
  function marksAt(run, moment) {
    if (!run.marks) {
      run.marks = data.t.map(() => [[], []]);
      const h = run.history;
      const K = data.kinds;
      for (let block = 0; block < map.blocks; block++) {
        for (let i = h.groups[block]; i < h.groups[block + 1]; i++) {
          const claim = h.kind[i] === K.L_EVAC_CLAIM && h.d[i];
          if (!claim && h.kind[i] !== K.L_EVAC_FINISHED) continue;
          const at = firstAtOrAfter(data.t, h.t[i] / 1e6);
          const list = run.marks[at][claim ? 0 : 1];
          if (list.length < 3000) list.push(block);
        }
      }
    }
    return run.marks[moment];
  }

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

  function paint() {
    const halo = css("--halo");
    const [claim, evacuate] = [css("--mark-claim"), css("--mark-evacuate")];
    const focus = css("--accent");
    for (const run of mapped()) {
      const values = run.steps.seek(momentOf(run));
      run.painter.paint(values, state.view);
      if ($("marks").checked && run.history) {
        const [claimed, evacuated] = marksAt(run, state.moment);
        for (const block of claimed) run.painter.ring(state.view, block, claim, halo, 1);
        for (const block of evacuated) run.painter.ring(state.view, block, evacuate, halo, 3);
      }
      if (state.kept >= 0) run.painter.ring(state.view, state.kept, focus, halo, 2);
      if (state.focus >= 0 && state.focus !== state.kept) run.painter.ring(state.view, state.focus, focus, halo, 2);
      run.count.textContent = mixedWords(values);
    }
  }

  /** Sizes of the canvases and the view, from the room there is. */
  function fit() {
    const first = mapped()[0];
    if (!first) return;
    const ratio = devicePixelRatio || 1;
    const width = Math.max(1, Math.floor(first.canvas.clientWidth * ratio));
    const room = Math.max(220, Math.min(innerHeight * 0.72, first.canvas.clientWidth * 0.9)) * ratio;
    const old = state.view;
    state.view = kevMap.layout(map.blocks, width, room);
    const size = state.view.cell;
    const height = Math.min(state.view.rows * size, Math.max(Math.round(room * 2), 4096));
    for (const run of mapped()) {
      run.canvas.width = state.view.columns * size <= width ? width : state.view.columns * size;
      run.canvas.height = height;
      run.canvas.style.height = `${height / ratio}px`;
    }
    if (old && old.zoom > 1) kevMap.zoomAt(state.view, old.zoom, 0, 0, width, height);
    $("zoom").textContent = `${state.view.zoom}×`;
  }

  function dress() {
    state.palette = palette();
    for (const run of mapped()) run.painter.dress(state.mode, state.palette, map.levels);
    drawLegend();
  }

  function zoomBy(factor, px, py) {
    const canvas = mapped()[0].canvas;
    let [x, y] = [px, py];
    if (x === undefined && state.focus >= 0) {
      [x, y] = kevMap.cornerOf(state.view, state.focus);
    } else if (x === undefined) [x, y] = [canvas.width / 2, canvas.height / 2];
    kevMap.zoomAt(state.view, state.view.zoom * factor, x, y, canvas.width, canvas.height);
    if (px === undefined && state.focus >= 0) kevMap.reveal(state.view, state.focus, canvas.width, canvas.height);
    $("zoom").textContent = `${state.view.zoom}×`;
    paint();
  }

  // ---- one block ------------------------------------------------------------------------------------------------------------

  const hex = (n) => `0x${n.toString(16)}`;
  const s = (n) => (n === 1 ? "" : "s");
  const pages = (n) => `${integer.format(n)} page${s(n)}`;
  const typeName = (i) => data.types[i] || `type ${i}`;

  /** "none", "2 pages" or "at least 64 pages". */
  function amount(level) {
    const n = map.levels[level];
    if (n === 0) return "no page";
    const exact = n <= 2 || level === 15 || map.levels[level + 1] === n + 1;
    return exact ? pages(n) : `at least ${pages(n)}`;
  }

  function holds(run, block) {
    const value = run.steps.now[block];
    const size = 2 ** map.order;
    const row = run.detail ? run.detail.rowOf.get(block) : undefined;
    let words;
    if (row !== undefined) {
      const values = run.detail.steps.seek(momentOf(run));
      const counts = new Array(data.classes.length).fill(0);
      for (let i = 0; i < size; i++) counts[values[row * size + i]]++;
      words = data.classes.map((name, i) => (counts[i] ? `${integer.format(counts[i])} ${name}` : "")).filter(Boolean).join(", ");
    } else if (kevMap.contentOf(value) === 6) {
      words = `${amount(kevMap.unmovableOf(value))} in use, of unknown kind`;
    } else {
      words = `${amount(kevMap.movableOf(value))} movable, ${amount(kevMap.unmovableOf(value))} that cannot move`;
    }
    const skip = kevMap.skipOf(value) ? ", skip bit set" : "";
    return `${typeName(kevMap.typeOf(value))}; ${data.contents[kevMap.contentOf(value)]}: ${words}${skip}`;
  }

  const where = (block) => {
    const first = map.numbers[block] * 2 ** map.order;
    const zone = map.zones[map.zone[block]] || "no zone";
    return `pfn ${hex(first)} to ${hex(first + 2 ** map.order - 1)}, ${zone}`;
  };

  /** What a record says, in a sentence; empty for those that another one says as well. */
  function sentence(h, i) {
    const K = data.kinds;
    const [a, b, c, d] = [h.a[i], h.b[i], h.c[i], h.d[i]];
    switch (h.kind[i]) {
      case K.L_EXTFRAG: {
        const what = d ? (b >= map.order ? "claimed whole" : "claimed") : "page stolen";
        return `${what} by an order-${a} ${typeName(c & 255)} request on CPU ${h.cpu[i]}, from ${typeName(c >> 8)} (chunk of order ${b})`;
      }
      case K.L_EVAC_CLAIM:
        return d
          ? `claim for ${typeName(a >> 8)}: ${pages(b)} free, ${pages(c)} movable`
          : `claim for ${typeName(a >> 8)} refused: ${pages(b)} free, ${pages(c)} movable`;
      case K.L_BLOCK_TYPE:
        return `type ${typeName(a)} → ${typeName(b)}`;
      case K.L_EVAC_QUEUED:
        return "evacuation queued";
      case K.L_EVAC_DROPPED:
        return "evacuation dropped: no item left in the pool";
      case K.L_EVAC_STARTED:
        return `evacuation started on CPU ${h.cpu[i]}: ${pages(b)} free, ${pages(c)} on the LRU${a & 1 ? ", skip bit set" : ""}`;
      case K.L_EVAC_SKIPPED:
        return "evacuation: the block was movable again, nothing done";
      case K.L_EVAC_FINISHED: {
        const failed = Math.floor(d / 256);
        return `evacuation ended, ${data.whys[d & 255] || "why unknown"}: ${integer.format(a)} isolated, ${integer.format(b)} dropped, ${integer.format(c)} migrated, ${integer.format(failed)} failed`;
      }
      case K.L_HIGHATOMIC_RESERVE:
        return "reserved for high-order atomic requests";
      case K.L_HIGHATOMIC_UNRESERVE:
        return "given back by the high-order atomic reserve";
      default:
        return "";
    }
  }

  const isSteal = (h, i) => h.kind[i] === data.kinds.L_EXTFRAG && !h.d[i];

  /** The story of a block in one run, as list items; a run of steals is one line. */
  function story(run, block) {
    const h = run.history;
    const items = [];
    const now = data.t[state.moment] * 1e6 + 0.5;
    const end = h.groups[block + 1];
    for (let i = h.groups[block]; i < end && items.length < 400; i++) {
      let words = sentence(h, i);
      if (isSteal(h, i)) {
        let last = i;
        while (last + 1 < end && isSteal(h, last + 1) && h.c[last + 1] === h.c[i]) last++;
        if (last > i) words = `${last - i + 1} pages stolen by ${typeName(h.c[i] & 255)} requests until ${clock(h.t[last] / 1e6)}`;
        items.push(line(h.t[i], words, now));
        i = last;
      } else if (words) items.push(line(h.t[i], words, now));
    }
    const listed = h.listed;
    if (listed >= 0 && h.steals[block] > listed) {
      items.push(make("li", {}, make("span"), make("span", {}, `${integer.format(h.steals[block])} steals in all; the first ${listed} are told`)));
    }
    return items;
  }

  function line(t, words, now) {
    return make("li", t > now ? { class: "later" } : {}, make("time", {}, clock(t / 1e6)), make("span", {}, words));
  }

  /** The pages of a block as cells. */
  function drawPages(canvas, run, row) {
    const size = 2 ** map.order;
    const columns = Math.min(size, 64);
    const cell = 9;
    canvas.width = columns * cell + 1;
    canvas.height = Math.ceil(size / columns) * cell + 1;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    const colour = ["--free", "--free", "--movable", "--unmovable", "--reserved", "--reclaimable", "--in-use"].map(css);
    const ink = css("--ink-2");
    const values = run.detail.steps.seek(momentOf(run));
    for (let i = 0; i < size; i++) {
      const kind = values[row * size + i];
      const [x, y] = [(i % columns) * cell + 1, Math.floor(i / columns) * cell + 1];
      context.fillStyle = colour[kind];
      context.fillRect(x, y, cell - 1, cell - 1);
      if (kind === 3) patternInk(context, 2, x, y, cell - 1, cell - 1);
      if (kind === 5) patternInk(context, 3, x, y, cell - 1, cell - 1);
      if (kind === 1) {
        context.fillStyle = ink;
        context.fillRect(x + 3, y + 3, 2, 2);
      }
    }
  }

  function pageAt(canvas, event) {
    const columns = Math.min(2 ** map.order, 64);
    const box = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const rows = Math.ceil(2 ** map.order / columns);
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return Math.max(0, Math.min(row * columns + column, 2 ** map.order - 1));
  }

  function runPanel(run, block) {
    const panel = make("div", {}, make("h4", {}, make("bdi", {}, run.about.policy)), make("p", {}, holds(run, block)));
    const row = run.detail ? run.detail.rowOf.get(block) : undefined;
    if (row !== undefined) {
      const canvas = make("canvas", { role: "img", "aria-label": `The pages of the block: ${holds(run, block)}` });
      const note = make("p", { class: "where" }, " ");
      drawPages(canvas, run, row);
      canvas.addEventListener("pointermove", (event) => {
        const page = pageAt(canvas, event);
        const kind = run.detail.steps.now[row * 2 ** map.order + page];
        note.textContent = `pfn ${hex(map.numbers[block] * 2 ** map.order + page)}: ${data.classes[kind]}`;
      });
      panel.append(canvas, note);
    }
    if (run.history) {
      const items = story(run, block);
      if (items.length) panel.append(make("ol", { "aria-label": "History", tabindex: "0" }, ...items));
      else panel.append(make("p", { class: "where" }, "Nothing happened to it: never claimed, stolen from or evacuated."));
    }
    return panel;
  }

  let drawnBlock = -2;
  function drawBlock() {
    const block = state.focus >= 0 ? state.focus : state.kept;
    if (!map || block < 0) return;
    const scrolled = [...$("block-runs").querySelectorAll("ol")].map((list) => list.scrollTop);
    $("h-block").textContent = `Block ${integer.format(map.numbers[block])}${block === state.kept ? ", kept" : ""}`;
    const detail = mapped().some((run) => run.detail && run.detail.rowOf.has(block));
    const note = detail || map.all_detailed ? "" : "; its single pages are not in this page, to keep it small";
    const file = data.file ? `; told in full by: kevacuate explain ${data.file} ${map.numbers[block]}` : "";
    $("block-where").textContent = where(block) + note + file;
    $("block-runs").replaceChildren(...mapped().map((run) => runPanel(run, block)));
    if (drawnBlock === block) {
      [...$("block-runs").querySelectorAll("ol")].forEach((list, i) => (list.scrollTop = scrolled[i] || 0));
    }
    drawnBlock = block;
  }

  function sayBlock(block) {
    const words = mapped().map((run) => `${run.about.policy}: ${holds(run, block)}`);
    $("say").textContent = `Block ${map.numbers[block]}, ${where(block)}. ${words.join(". ")}.`;
  }

  function focusBlock(block, { say = false, show = false } = {}) {
    if (block < 0 || block >= map.blocks) return;
    state.focus = block;
    const canvas = mapped()[0].canvas;
    if (show) kevMap.reveal(state.view, block, canvas.width, canvas.height);
    paint();
    drawBlock();
    if (say) sayBlock(block);
  }

  function keep(block) {
    state.kept = state.kept === block ? -1 : block;
    focusBlock(block, { say: true });
    try {
      history.replaceState(null, "", state.kept < 0 ? "#map" : `#block=${map.numbers[block]}&t=${data.t[state.moment]}`);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error; // a page without an address of its own has no place to write it
    }
  }

  /** The next block, from the focused one on, that was claimed or evacuated under some policy. */
  function eventful(step) {
    const wanted = new Set();
    const K = data.kinds;
    for (const run of mapped()) {
      const h = run.history;
      if (!h) continue;
      for (let block = 0; block < map.blocks; block++) {
        for (let i = h.groups[block]; i < h.groups[block + 1]; i++) {
          if ((h.kind[i] === K.L_EVAC_CLAIM && h.d[i]) || h.kind[i] === K.L_EVAC_QUEUED) {
            wanted.add(block);
            break;
          }
        }
      }
    }
    state.eventful = state.eventful || [...wanted].sort((a, b) => a - b);
    const list = state.eventful;
    if (!list.length) return state.focus;
    if (step > 0) return list.find((block) => block > state.focus) ?? list[0];
    return list.findLast((block) => block < state.focus) ?? list[list.length - 1];
  }

  function mapKey(event) {
    const view = state.view;
    const visibleRows = Math.max(1, Math.floor(mapped()[0].canvas.height / kevMap.cellSize(view)) - 1);
    const at = Math.max(state.focus, 0);
    const moves = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at - view.columns,
      ArrowDown: at + view.columns,
      PageUp: at - view.columns * Math.min(10, visibleRows),
      PageDown: at + view.columns * Math.min(10, visibleRows),
      Home: 0,
      End: map.blocks - 1,
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) {
      focusBlock(Math.max(0, Math.min(moves[event.key], map.blocks - 1)), { say: true, show: true });
    } else if (event.key === "n" || event.key === "p") {
      focusBlock(eventful(event.key === "n" ? 1 : -1), { say: true, show: true });
    } else if (event.key === "Enter") keep(at);
    else if (event.key === "+" || event.key === "=") zoomBy(2);
    else if (event.key === "-") zoomBy(0.5);
    else if (event.key === "Escape") {
      state.kept = -1;
      paint();
    } else return;
    event.preventDefault();
  }

  function mapPointer(canvas) {
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      const ratio = canvas.width / box.width;
      return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
    };
    let from = null;
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = point(event);
      if (from && event.buttons && state.view.zoom > 1) {
        state.view.x += from[0] - x;
        state.view.y += from[1] - y;
        from = [x, y, true];
        kevMap.clamp(state.view, canvas.width, canvas.height);
        $("maps").classList.add("dragging");
        paint();
      } else if (state.kept < 0) {
        const block = kevMap.blockAt(state.view, x, y);
        if (block >= 0 && block !== state.focus) focusBlock(block);
      }
    });
    canvas.addEventListener("pointerdown", (event) => (from = [...point(event), false]));
    canvas.addEventListener("pointerup", (event) => {
      if (from && !from[2]) {
        const block = kevMap.blockAt(state.view, ...point(event));
        if (block >= 0) keep(block);
      }
      from = null;
      $("maps").classList.remove("dragging");
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoomBy(event.deltaY < 0 ? 2 : 0.5, ...point(event));
    }, { passive: false });
  }

  async function loadMap() {
    map = data.map;
    if (!map) return;
    map.numbers = kevDecode.ascending(await read(map.numbers));
    map.zone = await read(map.zone);
    const detailed = kevDecode.ascending(await read(map.detailed));
    const rowOf = new Map();
    detailed.forEach((block, row) => rowOf.set(block, row));
    for (const run of runs) {
      if (!run.about.blocks) continue;
      run.steps = await kevDecode.steps(read, run.about.blocks);
      run.canvas = make("canvas", {
        tabindex: "0",
        role: "application",
        "aria-roledescription": "pageblock map",
        "aria-label": `Pageblocks under ${run.about.policy}: ${integer.format(map.blocks)} blocks. Arrow keys move from block to block.`,
        "aria-describedby": "say",
      });
      run.count = make("span");
      $("maps").append(make("figure", {}, make("figcaption", {}, make("b", {}, make("bdi", {}, run.about.policy)), run.count), run.canvas));
      run.painter = new kevMap.Painter(run.canvas);
      run.canvas.addEventListener("keydown", mapKey);
      run.canvas.addEventListener("focus", () => focusBlock(Math.max(state.focus, 0), { say: true }));
      mapPointer(run.canvas);
    }
    fit();
    dress();
    listeners.push(paint, () => state.focus >= 0 && drawBlock());
    seek(0);
    for (const run of mapped()) {
      if (run.about.history) run.history = await kevDecode.history(read, run.about.history);
      if (run.about.pages) run.detail = { rowOf, steps: await kevDecode.steps(read, run.about.pages) };
    }
    drawLegend();
  }

  // ---- the timelines --------------------------------------------------------------------------------------------------------

  const plots = [];

  function chartOptions(chart, width) {
    const axis = () => ({ stroke: () => css("--ink-2"), grid: { stroke: () => css("--rule"), width: 1 }, ticks: { show: false }, font: "12px system-ui" });
    return {
      width,
      height: 150,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false }, bind: { dblclick: () => null } },
      scales: { x: { time: false }, y: { range: (u, low, high) => yRange(low, high) } },
      axes: [
        { ...axis(), size: 26, values: (u, ticks) => ticks.map((t) => `${t} s`) },
        { ...axis(), size: 62, values: (u, ticks) => ticks.map((t) => integer.format(t)) },
      ],
      series: [
        {},
        ...chart.lines.map((values, i) => ({
          label: runs[i].about.policy,
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
        const words = chart.lines.map((line_, i) => `${runs[i].about.policy} ${line_ ? integer.format(line_[moment]) : "not known"}`);
        holder.setAttribute("aria-label", `${chart.title}, ${chart.unit}, at ${clock(data.t[moment])}: ${words.join(", ")}`);
      }
    }
  }

  function loadCharts() {
    runs.forEach((run, i) => {
      $("lines").append(make("li", {}, make("i", { class: `line line-${i % 6}`, "aria-hidden": "true" }), make("bdi", {}, run.about.policy)));
    });
    for (const chart of data.charts) addChart({ ...chart, lines: chart.lines });
    listeners.push(chartsFollow);
  }

  // ---- time -----------------------------------------------------------------------------------------------------------------

  function play(on) {
    state.playing = on;
    $("play").setAttribute("aria-pressed", String(on));
    $("play").replaceChildren(on ? "❚❚ " : "▶ ", make("span", {}, on ? "Stop" : "Play"));
    if (!on) {
      seek(state.moment);
      return;
    }
    if (state.moment === data.t.length - 1) seek(0);
    let last = performance.now();
    let due = 0;
    const frame = (now) => {
      if (!state.playing) return;
      due += ((now - last) * Number($("speed").value)) / 1000;
      last = now;
      const steps = Math.floor(due);
      due -= steps;
      if (steps) seek(state.moment + steps);
      if (state.moment >= data.t.length - 1) play(false);
      else requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  function bindTime() {
    $("time").max = data.t.length - 1;
    $("time").addEventListener("input", () => seek(Number($("time").value)));
    $("play").addEventListener("click", () => play(!state.playing));
    $("back").addEventListener("click", () => seek(state.moment - 1));
    $("on").addEventListener("click", () => seek(state.moment + 1));
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, button, summary, a");
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === " " && !typing) play(!state.playing);
      else if (event.key === ",") seek(state.moment - 1);
      else if (event.key === ".") seek(state.moment + 1);
      else return;
      event.preventDefault();
    });
    if (data.t.length < 2) $("timebar").hidden = true;
  }

  function bindMap() {
    for (const radio of document.querySelectorAll("input[name=mode]")) {
      radio.addEventListener("change", () => {
        state.mode = radio.value;
        dress();
        paint();
      });
    }
    $("marks").addEventListener("change", () => {
      drawLegend();
      paint();
    });
    $("zoom-in").addEventListener("click", () => zoomBy(2));
    $("zoom-out").addEventListener("click", () => zoomBy(0.5));
  }

  /** Rows of the flow tables open to show their orders. */
  function bindFlows() {
    for (const body of document.querySelectorAll(".flow tbody")) {
      const first = body.querySelector(".pair th");
      if (!first || !body.querySelector(".order")) continue;
      const button = make("button", { type: "button", "aria-expanded": "false", "aria-label": "Show orders" }, "▸");
      button.addEventListener("click", () => {
        const open = body.classList.toggle("open");
        button.setAttribute("aria-expanded", String(open));
        button.textContent = open ? "▾" : "▸";
      });
      first.prepend(button);
    }
  }

  /** The window or the colours have changed. */
  function redraw(resized) {
    if (map && mapped().length) {
      if (resized) fit();
      dress();
      paint();
      if (state.focus >= 0) drawBlock();
    }
    for (const { plot, holder } of plots) {
      if (resized) plot.setSize({ width: Math.max(holder.clientWidth, 200), height: 150 });
      else plot.redraw(false, true);
    }
    chartsFollow(state.moment);
  }

  function bindWindow() {
    let width = innerWidth;
    addEventListener("resize", () => {
      if (innerWidth === width) return;
      width = innerWidth;
      redraw(true);
    });
    dark.addEventListener("change", () => redraw(false));
    addEventListener("beforeprint", () => {
      document.documentElement.dataset.print = "";
      redraw(false);
    });
    addEventListener("afterprint", () => {
      delete document.documentElement.dataset.print;
      redraw(false);
    });
  }

  /** "#block=12&t=3.5" opens a block at a time. */
  function follow(hash) {
    const wanted = new URLSearchParams(hash.slice(1));
    if (wanted.has("t")) seek(firstAtOrAfter(data.t, Number(wanted.get("t"))));
    if (!wanted.has("block") || !map) return;
    const block = map.numbers.indexOf(Number(wanted.get("block")));
    if (block < 0) return;
    state.kept = -1;
    focusBlock(block, { show: true });
    state.kept = block;
    paint();
    drawBlock();
  }

  async function start() {
    runs = data.runs.map((about) => ({ about }));
    bindTime();
    bindMap();
    bindFlows();
    loadCharts();
    await loadMap();
    seek(data.t.length - 1);
    follow(location.hash);
    bindWindow();
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }

  start().catch((error) => {
    $("problem").textContent = `The map cannot be drawn: ${error.message}. The tables below are complete.`;
    $("problem").hidden = false;
    throw error;
  });
})();
