// SPDX-License-Identifier: GPL-2.0-or-later
// One pageblock: what it holds under every policy, its pages, and its story, whose sentences stand in the page.
"use strict";

const kevBlock = (() => {
  const { $, data, state, integer, make, css, clock, hex, pages, typeName } = kev;
  const { mapped, momentOf, patternInk } = kevMaps;

  const COLUMNS = 32; // pages in a row

  /** "none", "2 pages" or "at least 64 pages". */
  function amount(level) {
    const n = kev.map.levels[level];
    if (n === 0) return "no page";
    const exact = n <= 2 || level === 15 || kev.map.levels[level + 1] === n + 1;
    return exact ? pages(n) : `at least ${pages(n)}`;
  }

  function holds(run, block) {
    const value = run.steps.now[block];
    const size = 2 ** kev.map.order;
    const row = run.detail ? run.detail.rowOf.get(block) : undefined;
    let words;
    if (row !== undefined) {
      const values = run.detail.steps.seek(momentOf(run));
      const counts = new Array(data.classes.length).fill(0);
      for (let i = 0; i < size; i++) counts[values[row * size + i]]++;
      words = data.classes.map((name, i) => (counts[i] ? `${integer.format(counts[i])} ${name}` : "")).filter(Boolean).join(", ");
    } else if (kevMap.contentOf(value) === kevMap.ABSENT) {
      return "no memory here at this moment";
    } else if (kevMap.contentOf(value) === 6) {
      words = `${amount(kevMap.unmovableOf(value))} in use, of unknown kind`;
    } else {
      words = `${amount(kevMap.movableOf(value))} movable, ${amount(kevMap.unmovableOf(value))} that cannot move`;
    }
    const skip = kevMap.skipOf(value) ? ", skip bit set" : "";
    return `${typeName(kevMap.typeOf(value))}; ${data.contents[kevMap.contentOf(value)]}: ${words}${skip}`;
  }

  const where = (block) => {
    const first = kev.map.numbers[block] * 2 ** kev.map.order;
    const zone = kev.map.zones[kev.map.zone[block]] || "no zone";
    return `pfn ${hex(first)} to ${hex(first + 2 ** kev.map.order - 1)}, ${zone}`;
  };

  /** The stories of a block, one per run, and what is to be said of them together; null where none is in the page. */
  function storiesOf(block) {
    const place = kev.stories ? kev.stories.placeOf.get(block) : undefined;
    return place === undefined ? null : kev.stories.list[place];
  }

  /** What there is to tell of a block in a run, in short. */
  function summaryOf(run, block) {
    if (!kev.stories || !run.marks) return "";
    const told = storiesOf(block);
    if (told) return told[1][kev.runs.indexOf(run)][0];
    return kev.stories.untold.has(block) ? "Its story is not in this page, to keep it small." : data.stories.nothing;
  }

  /** What pages of a block cannot move, by its recorded page flags; empty where there are none. */
  function heldWords(block) {
    if (!kev.held) return "";
    const place = kev.held.placeOf.get(block);
    if (place === undefined && kev.held.untold.has(block)) return "What holds this block is not in this page, to keep it small.";
    const states = place === undefined ? data.held.nothing : kev.held.list[place];
    return `By the recorded page flags, cannot move: ${states.join("; ")}.`;
  }

  function step([t, cpu, words]) {
    const on = cpu < 0 ? "" : make("small", {}, `CPU ${cpu}`);
    const item = make("li", {}, make("time", {}, clock(t / 1e6)), make("span", {}, words, " ", on));
    item.dataset.t = t;
    return item;
  }

  /** The pages of a block as cells. */
  function drawPages(canvas, run, row) {
    const size = 2 ** kev.map.order;
    const columns = Math.min(size, COLUMNS);
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
    const columns = Math.min(2 ** kev.map.order, COLUMNS);
    const box = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const rows = Math.ceil(2 ** kev.map.order / columns);
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return Math.max(0, Math.min(row * columns + column, 2 ** kev.map.order - 1));
  }

  /** The panel of a run, made once: what the block holds, its pages, its story. */
  function panelOf(run) {
    if (run.panel) return run.panel;
    const p = { holds: make("p"), canvas: make("canvas", { role: "img" }), note: make("p", { class: "where" }, " ") };
    p.pages = make("div", { hidden: "" }, p.canvas, p.note);
    const name = `Story of the block under ${run.about.policy}`;
    p.story = make("section", { class: "story", "aria-label": name, "aria-live": "off", tabindex: "0" });
    p.root = make("div", {}, make("h4", {}, make("bdi", {}, run.about.policy)), p.holds, p.pages, p.story);
    p.canvas.addEventListener("pointermove", (event) => {
      const size = 2 ** kev.map.order;
      const page = pageAt(p.canvas, event);
      const kind = run.detail.steps.now[run.detail.rowOf.get(drawn.block) * size + page];
      p.note.textContent = `pfn ${hex(kev.map.numbers[drawn.block] * size + page)}: ${data.classes[kind]}`;
    });
    $("block-runs").append(p.root);
    run.panel = p;
    return p;
  }

  /** The story of a block, as text; read out where the block is kept. */
  function fillStory(run, block) {
    const { story } = panelOf(run);
    story.hidden = !run.marks;
    if (!run.marks) return;
    const told = storiesOf(block);
    const steps = told ? told[1][kev.runs.indexOf(run)][1] : [];
    const parts = [make("p", {}, summaryOf(run, block))];
    if (steps.length) parts.push(make("ol", {}, ...steps.map(step)));
    if (told || kev.stories.untold.has(block)) {
      const command = `${run.about.explain} block:${kev.map.numbers[block]}`;
      parts.push(make("p", { class: "where" }, "With the traffic of its single pages: ", make("code", {}, command)));
    }
    story.setAttribute("aria-live", block === state.kept ? "polite" : "off");
    story.replaceChildren(...parts);
    story.scrollTop = 0;
  }

  /** What of a run's panel follows the time. */
  function drawRun(run, block) {
    const panel = panelOf(run);
    const words = holds(run, block);
    panel.holds.textContent = words;
    const row = run.detail ? run.detail.rowOf.get(block) : undefined;
    panel.pages.hidden = row === undefined;
    if (row !== undefined) {
      panel.canvas.setAttribute("aria-label", `The pages of the block: ${words}`);
      drawPages(panel.canvas, run, row);
    }
    const now = data.t[state.moment] * 1e6 + 0.5;
    for (const item of panel.story.querySelectorAll("li")) item.classList.toggle("later", Number(item.dataset.t) > now);
  }

  const drawn = { block: -1, kept: false, loaded: false };

  function drawBlock() {
    const block = state.focus >= 0 ? state.focus : state.kept;
    if (!kev.map || block < 0) return;
    const kept = block === state.kept;
    if (drawn.block !== block || drawn.kept !== kept || drawn.loaded !== kev.loaded) {
      Object.assign(drawn, { block, kept, loaded: kev.loaded });
      $("block-hint").hidden = true;
      $("h-block").textContent = `Block ${integer.format(kev.map.numbers[block])}${kept ? ", kept" : ""}`;
      const detail = mapped().some((run) => run.detail && run.detail.rowOf.has(block));
      const note = detail || kev.map.all_detailed ? "" : "; its single pages are not in this page, to keep it small";
      const told = data.explain && !kev.stories ? `; its whole story: ${data.explain} block:${kev.map.numbers[block]}` : "";
      $("block-where").textContent = where(block) + note + told;
      const together = storiesOf(block);
      $("block-together").textContent = together ? together[0].join(" ") : "";
      $("block-held").textContent = heldWords(block);
      for (const run of mapped()) fillStory(run, block);
    }
    for (const run of mapped()) drawRun(run, block);
  }

  function sayBlock(block) {
    const words = mapped().map((run) => `${run.about.policy}: ${holds(run, block)}. ${summaryOf(run, block)}`);
    $("say").textContent = `Block ${kev.map.numbers[block]}, ${where(block)}. ${words.join(" ")} ${heldWords(block)}`;
  }

  return { drawBlock, sayBlock };
})();
