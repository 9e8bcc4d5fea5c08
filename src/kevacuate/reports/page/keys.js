// SPDX-License-Identifier: GPL-2.0-or-later
// How one gets about in the maps: pointer, keys, and the streams they are made from.
"use strict";

const kevKeys = (() => {
  const { $, data, read, state, listeners, integer, make } = kev;
  const { MARK, mapped, drawLegend, paint, fit, dress, zoomBy } = kevMaps;
  const { drawBlock, sayBlock } = kevBlock;

  function focusBlock(block, { say = false, show = false } = {}) {
    if (block < 0 || block >= kev.map.blocks) return;
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
      history.replaceState(null, "", state.kept < 0 ? "#map" : `#block=${kev.map.numbers[block]}&t=${data.t[state.moment]}`);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error; // a page without an address of its own has no place to write it
    }
  }

  /** Blocks that were claimed or evacuated under some policy, ascending. */
  function eventfulBlocks() {
    const wanted = new Set();
    for (const { marks: m } of mapped()) {
      for (let block = 0; m && block < kev.map.blocks; block++) {
        for (let i = m.groups[block]; i < m.groups[block + 1]; i++) {
          if (m.what[i] !== MARK.ended) wanted.add(block);
        }
      }
    }
    return [...wanted].sort((a, b) => a - b);
  }

  /** The next of them (step 1) or the one before (step -1), round and round. */
  function eventful(step) {
    state.eventful = state.eventful || eventfulBlocks();
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
      End: kev.map.blocks - 1,
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) {
      focusBlock(Math.max(0, Math.min(moves[event.key], kev.map.blocks - 1)), { say: true, show: true });
    } else if (event.key === "n" || event.key === "p") {
      focusBlock(eventful(event.key === "n" ? 1 : -1), { say: true, show: true });
    } else if (event.key === "Enter") keep(at);
    else if (event.key === "+" || event.key === "=") zoomBy(2);
    else if (event.key === "-") zoomBy(0.5);
    else if (event.key === "Escape") {
      state.kept = -1;
      paint();
      drawBlock();
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

  /** A run's map in the page: caption and canvas. */
  function addMap(run) {
    run.canvas = make("canvas", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "pageblock map",
      "aria-label": `Pageblocks under ${run.about.policy}: ${integer.format(kev.map.blocks)} blocks. Arrow keys move from block to block.`,
      "aria-describedby": "say",
    });
    run.count = make("span");
    const caption = make("figcaption", {}, make("b", {}, make("bdi", {}, run.about.policy)), run.count);
    $("maps").append(make("figure", {}, caption, run.canvas));
    run.painter = new kevMap.Painter(run.canvas);
    run.canvas.addEventListener("keydown", mapKey);
    run.canvas.addEventListener("focus", () => focusBlock(Math.max(state.focus, 0), { say: true }));
    mapPointer(run.canvas);
  }

  /** Read the blocks and draw them. */
  async function loadMap() {
    kev.map = data.map;
    if (!kev.map) return;
    kev.map.numbers = kevDecode.ascending(await read(kev.map.numbers));
    kev.map.zone = await read(kev.map.zone);
    const drawn = kev.runs.filter((run) => run.about.blocks);
    await Promise.all(drawn.map(async (run) => (run.steps = await kevDecode.steps(read, run.about.blocks))));
    drawn.forEach(addMap);
    fit();
    dress();
    listeners.push(paint, () => state.focus >= 0 && drawBlock());
  }

  /** Read what a single block's panel tells: its story and its pages. */
  async function loadDetails() {
    if (!kev.map) return;
    const rowOf = new Map();
    kevDecode.ascending(await read(kev.map.detailed)).forEach((block, row) => rowOf.set(block, row));
    const load = async (run) => {
      const { marks, pages } = run.about;
      if (marks) run.marks = await kevDecode.marks(read, marks);
      if (pages) run.detail = { rowOf, steps: await kevDecode.steps(read, pages) };
    };
    if (data.stories) kev.stories = await kevDecode.texts(read, data.stories);
    if (data.held) kev.held = await kevDecode.texts(read, data.held);
    await Promise.all(mapped().map(load));
    kev.loaded = true;
    drawLegend();
    paint();
    drawBlock();
  }

  return { focusBlock, loadMap, loadDetails };
})();
