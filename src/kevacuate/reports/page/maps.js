// SPDX-License-Identifier: GPL-2.0-or-later
// The maps of the page, one per policy: their colours, legend and marks, all drawn with one view.
"use strict";

const kevMaps = (() => {
  const { $, data, state, integer, make, css, palette, percent, firstAtOrAfter } = kev;

  const MARK = { claimed: 0, queued: 1, ended: 2 }; // as page_pack.py numbers them

  const WAYS = { holds: ["contents", "names"], type: ["types", "typeNames"] };

  /** How many blocks show each colour at the moment. */
  function tally(values) {
    const out = new Array(8).fill(0);
    const key = state.mode === "type" ? kevMap.typeOf : kevMap.contentOf;
    for (let i = 0; i < values.length; i++) {
      if (kevMap.contentOf(values[i]) !== kevMap.ABSENT) out[key(values[i])]++;
    }
    return out;
  }

  function mixedWords(values) {
    let mixed = 0;
    let blocks = 0;
    for (let i = 0; i < values.length; i++) {
      const content = kevMap.contentOf(values[i]);
      if (content === 4) mixed++;
      if (content !== kevMap.ABSENT) blocks++;
    }
    return `${integer.format(mixed)} mixed, ${percent(mixed, blocks)}`;
  }

  const momentOf = (run) => run.about.moments[state.moment];

  function swatch(index) {
    const canvas = make("canvas", { width: 16, height: 16, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    const [group, names] = WAYS[state.mode === "type" ? "type" : "holds"];
    context.fillStyle = css(`--${state.palette[names][index]}`);
    context.fillRect(0, 0, 16, 16);
    if (group === "contents" && index === 4 && tiled()) mixedTile(context);
    if (group === "contents" && (index === 2 || index === 3)) patternInk(context, index, 0, 0, 16, 16);
    return canvas;
  }

  /** Whether cells are large enough to be bars, in which a mixed block has a rim. */
  const tiled = () => state.mode === "holds" && state.view && kevMap.cellSize(state.view) >= kevMap.TILE;

  /** A mixed block as the map shows it: pages that cannot move above movable ones, with a rim. */
  function mixedTile(context) {
    context.fillStyle = css("--movable");
    context.fillRect(2, 8, 12, 6);
    context.fillStyle = css("--unmovable");
    context.fillRect(2, 2, 12, 6);
    patternInk(context, 2, 2, 2, 12, 6);
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
    if (tiled()) {
      list.append(make("li", {}, "top edge: the block’s type"));
    }
    if ($("marks").checked && mapped().some((run) => run.marks)) {
      list.append(
        make("li", {}, make("span", { class: "ring" }), "claimed just now"),
        make("li", {}, make("span", { class: "ring evacuate" }), "evacuated just now"),
      );
    }
    align();
  }

  const mapped = () => kev.runs.filter((run) => run.painter);

  /** Blocks with a claim or the end of an evacuation after the moment before this one. */
  function marksAt(run, moment) {
    if (!run.rings) {
      run.rings = data.t.map(() => [[], []]);
      const m = run.marks;
      for (let block = 0; block < kev.map.blocks; block++) {
        for (let i = m.groups[block]; i < m.groups[block + 1]; i++) {
          if (m.what[i] === MARK.queued) continue;
          const at = firstAtOrAfter(data.t, m.t[i] / 1e6);
          const list = run.rings[at][m.what[i] === MARK.claimed ? 0 : 1];
          if (list.length < 3000) list.push(block);
        }
      }
    }
    return run.rings[moment];
  }

  function paint() {
    const halo = css("--halo");
    const [claim, evacuate] = [css("--mark-claim"), css("--mark-evacuate")];
    const focus = css("--accent");
    for (const run of mapped()) {
      const values = run.steps.seek(momentOf(run));
      run.painter.paint(values, state.view);
      if ($("marks").checked && run.marks) {
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
    state.view = kevMap.layout(kev.map.blocks, width, room);
    const size = state.view.cell;
    const height = Math.min(state.view.rows * size, Math.max(Math.round(room * 2), 4096));
    for (const run of mapped()) {
      run.canvas.width = state.view.columns * size <= width ? width : state.view.columns * size;
      run.canvas.height = height;
      run.canvas.style.height = `${height / ratio}px`;
    }
    if (old && old.zoom > 1) kevMap.zoomAt(state.view, old.zoom, 0, 0, width, height);
    $("zoom").textContent = `${state.view.zoom}×`;
    align();
  }

  /** Put the maps on whole pixels of the screen: between two, every cell's edge would be blurred. */
  function align() {
    if (!mapped().length) return;
    const [maps, ratio] = [$("maps"), devicePixelRatio || 1];
    maps.style.paddingTop = "0px";
    const top = (mapped()[0].canvas.getBoundingClientRect().top + scrollY) * ratio;
    maps.style.paddingTop = `${(Math.ceil(top) - top) / ratio}px`;
  }

  function dress() {
    state.palette = palette();
    for (const run of mapped()) run.painter.dress(state.mode, state.palette, kev.map.levels);
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
    drawLegend();
    paint();
  }

  return { MARK, mapped, momentOf, patternInk, marksAt, drawLegend, paint, fit, dress, zoomBy };
})();
