// SPDX-License-Identifier: GPL-2.0-or-later
// Time, controls, window; and the start of it all.
"use strict";

(() => {
  const { $, data, state, make, seek, firstAtOrAfter } = kev;
  const { mapped, drawLegend, paint, fit, dress, zoomBy } = kevMaps;
  const { drawBlock } = kevBlock;
  const { focusBlock, loadMap, loadDetails } = kevKeys;
  const { plots, chartsFollow, loadCharts } = kevCharts;
  const dark = matchMedia("(prefers-color-scheme: dark)");


  function play(on) {
    state.playing = on;
    $("play").dataset.playing = String(on);
    $("play").setAttribute("aria-label", on ? "Stop" : "Play");
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
    if (kev.map && mapped().length) {
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

  /** The blocks whose stories have the most steps, most of them in the last run: there an evacuation is told batch by batch. */
  function suggest() {
    if (!kev.stories || !kev.stories.placeOf.size || state.kept >= 0) return;
    const steps = (place) => kev.stories.list[place][1].at(-1)[1].length;
    const most = [...kev.stories.placeOf].sort((a, b) => steps(b[1]) - steps(a[1]) || a[0] - b[0]).slice(0, 4);
    const buttons = most.map(([block]) => {
      const button = make("button", { type: "button" }, `block ${kev.map.numbers[block]}`);
      button.addEventListener("click", () => follow(`#block=${kev.map.numbers[block]}`));
      return button;
    });
    $("block-hint").append(make("span", { class: "worth" }, " Worth a look: ", ...buttons.flatMap((b) => [b, " "])));
  }

  /** "#block=12&t=3.5" opens a block at a time. */
  function follow(hash) {
    const wanted = new URLSearchParams(hash.slice(1));
    if (wanted.has("t")) seek(firstAtOrAfter(data.t, Number(wanted.get("t"))));
    if (!wanted.has("block") || !kev.map) return;
    const block = kev.map.numbers.indexOf(Number(wanted.get("block")));
    if (block < 0) return;
    state.kept = -1;
    focusBlock(block, { show: true });
    state.kept = block;
    paint();
    drawBlock();
  }

  async function start() {
    bindTime();
    bindMap();
    bindFlows();
    await loadMap();
    seek(data.t.length - 1);
    document.documentElement.dataset.drawn = String(Math.round(performance.now()));
    loadCharts();
    await loadDetails();
    follow(location.hash);
    suggest();
    bindWindow();
    chartsFollow(state.moment);
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }

  start().catch((error) => {
    $("problem").textContent = `The map cannot be drawn: ${error.message}. The tables below are complete.`;
    $("problem").hidden = false;
    throw error;
  });
})();
