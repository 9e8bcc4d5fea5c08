// SPDX-License-Identifier: GPL-2.0-or-later
// One pageblock: what it holds under every policy, its pages, and its history in sentences.
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

  /** What a record says, in a sentence; empty for those that another one says as well. */
  function sentence(h, i) {
    const K = data.kinds;
    const [a, b, c, d] = [h.a[i], h.b[i], h.c[i], h.d[i]];
    switch (h.kind[i]) {
      case K.L_EXTFRAG: {
        const what = d ? (b >= kev.map.order ? "claimed whole" : "claimed") : "page stolen";
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

  function runPanel(run, block) {
    const panel = make("div", {}, make("h4", {}, make("bdi", {}, run.about.policy)), make("p", {}, holds(run, block)));
    const row = run.detail ? run.detail.rowOf.get(block) : undefined;
    if (row !== undefined) {
      const canvas = make("canvas", { role: "img", "aria-label": `The pages of the block: ${holds(run, block)}` });
      const note = make("p", { class: "where" }, " ");
      drawPages(canvas, run, row);
      canvas.addEventListener("pointermove", (event) => {
        const page = pageAt(canvas, event);
        const kind = run.detail.steps.now[row * 2 ** kev.map.order + page];
        note.textContent = `pfn ${hex(kev.map.numbers[block] * 2 ** kev.map.order + page)}: ${data.classes[kind]}`;
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
    if (!kev.map || block < 0) return;
    const scrolled = [...$("block-runs").querySelectorAll("ol")].map((list) => list.scrollTop);
    $("h-block").textContent = `Block ${integer.format(kev.map.numbers[block])}${block === state.kept ? ", kept" : ""}`;
    const detail = mapped().some((run) => run.detail && run.detail.rowOf.has(block));
    const note = detail || kev.map.all_detailed ? "" : "; its single pages are not in this page, to keep it small";
    const told = data.explain ? `; its whole story: ${data.explain} block:${kev.map.numbers[block]}` : "";
    $("block-where").textContent = where(block) + note + told;
    $("block-runs").replaceChildren(...mapped().map((run) => runPanel(run, block)));
    if (drawnBlock === block) {
      [...$("block-runs").querySelectorAll("ol")].forEach((list, i) => (list.scrollTop = scrolled[i] || 0));
    }
    drawnBlock = block;
  }

  function sayBlock(block) {
    const words = mapped().map((run) => `${run.about.policy}: ${holds(run, block)}`);
    $("say").textContent = `Block ${kev.map.numbers[block]}, ${where(block)}. ${words.join(". ")}.`;
  }

  return { drawBlock, sayBlock };
})();
