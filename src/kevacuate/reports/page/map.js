// SPDX-License-Identifier: GPL-2.0-or-later
// The pageblock map: a cell a block, row by row in order of pfn, drawn into a canvas pixel by pixel.
//
// A block is a number of 16 bits (measure/frames.py): type, content, skip bit, and how many of its pages are movable or cannot
// move. All maps of a page share one view: the same columns, zoom and position.
"use strict";

const kevMap = (() => {
  const MIXED = 4;
  const RESERVED = 5;
  const ABSENT = 7; // no memory there at the moment: drawn as paper, counted nowhere
  const TILE = 8; // cells of this many pixels and more show amounts and patterns

  const typeOf = (value) => value & 7;
  const contentOf = (value) => (value >> 3) & 7;
  const skipOf = (value) => (value & 64) !== 0;
  const movableOf = (value) => (value >> 8) & 15;
  const unmovableOf = (value) => value >> 12;

  /** Columns, rows and the size of a cell in device pixels, so that all blocks fit a width and, if they can, a height. */
  function layout(blocks, width, height) {
    let cell = Math.max(1, Math.floor(Math.sqrt((width * height) / Math.max(blocks, 1))));
    cell = Math.min(cell, 40);
    while (cell > 1 && Math.ceil(blocks / Math.floor(width / cell)) * cell > height) cell--;
    let columns = Math.max(1, Math.floor(width / cell));
    const even = 2 ** Math.floor(Math.log2(columns)); // a power of two, if that wastes little of the width
    if (even >= columns * 0.8 && Math.ceil(blocks / even) * cell <= height * 1.25) columns = even;
    columns = Math.min(columns, blocks);
    return { blocks, columns, rows: Math.ceil(blocks / columns), cell, zoom: 1, x: 0, y: 0 };
  }

  /** Size of a cell at the view's zoom. */
  const cellSize = (view) => view.cell * view.zoom;

  /** The block at a point (device pixels), or -1. */
  function blockAt(view, px, py) {
    const size = cellSize(view);
    const column = Math.floor((px + view.x) / size);
    const row = Math.floor((py + view.y) / size);
    if (column < 0 || column >= view.columns || row < 0) return -1;
    const block = row * view.columns + column;
    return block < view.blocks ? block : -1;
  }

  /** Left upper corner of a block's cell, device pixels. */
  function cornerOf(view, block) {
    const size = cellSize(view);
    return [
      (block % view.columns) * size - view.x,
      Math.floor(block / view.columns) * size - view.y,
    ];
  }

  /** Keep the view inside the map. */
  function clamp(view, width, height) {
    const size = cellSize(view);
    view.x = Math.round(Math.max(0, Math.min(view.x, view.columns * size - width)));
    view.y = Math.round(Math.max(0, Math.min(view.y, view.rows * size - height)));
    return view;
  }

  /** Zoom so that the point keeps what lies under it; zooms are powers of two. */
  function zoomAt(view, zoom, px, py, width, height) {
    const to = Math.max(1, Math.min(zoom, 64, Math.max(1, Math.floor(256 / view.cell))));
    const ratio = to / view.zoom;
    view.x = (view.x + px) * ratio - px;
    view.y = (view.y + py) * ratio - py;
    view.zoom = to;
    return clamp(view, width, height);
  }

  /** Move the view so that a block can be seen. */
  function reveal(view, block, width, height) {
    const size = cellSize(view);
    const [left, top] = cornerOf(view, block);
    if (left < 0) view.x += left;
    else if (left + size > width) view.x += left + size - width;
    if (top < 0) view.y += top;
    else if (top + size > height) view.y += top + size - height;
    return clamp(view, width, height);
  }

  /** "#rrggbb" as a pixel: alpha, blue, green, red from the high byte down (little endian). */
  function pixel(css) {
    const n = parseInt(css.slice(1), 16);
    return ((0xff << 24) | ((n & 255) << 16) | (n & 0xff00) | (n >> 16)) >>> 0;
  }

  /** Between two pixels; share 0 is the first, 1 the second. */
  function blend(a, b, share) {
    let out = 0xff000000;
    for (const shift of [0, 8, 16]) {
      const from = (a >>> shift) & 255;
      out |= Math.round(from + (((b >>> shift) & 255) - from) * share) << shift;
    }
    return out >>> 0;
  }

  /** The colour of a whole block by its number, for one way of colouring: "holds", "type" or "pinned". */
  function colours(mode, palette, levels) {
    const full = levels[15];
    const table = new Uint32Array(65536);
    for (let value = 0; value < 65536; value++) {
      const content = contentOf(value);
      const movable = levels[movableOf(value)];
      const pinned = levels[unmovableOf(value)];
      if (content === ABSENT) table[value] = palette.paper;
      else if (content === RESERVED) table[value] = palette.contents[RESERVED];
      else if (mode === "type") table[value] = palette.types[Math.min(typeOf(value), 5)];
      else if (mode === "pinned") {
        const share = pinned ? 0.25 + 0.75 * Math.sqrt(pinned / full) : 0;
        table[value] = blend(palette.contents[0], palette.contents[2], share);
      } else if (content === MIXED || content === 0) table[value] = palette.contents[content];
      else {
        const share = 0.4 + 0.6 * Math.min(1, (movable + pinned) / full);
        table[value] = blend(palette.contents[0], palette.contents[content], share);
      }
    }
    return table;
  }

  /** Whether a page class's pattern has ink at a pixel: what cannot move is hatched, reclaimable dotted. */
  function inked(content, x, y) {
    if (content === 2) return (x + y) % 4 === 0;
    if (content === 3) return x % 3 === 1 && y % 3 === 1;
    return false;
  }

  /** A large cell: a bar of what the block holds (movable below, what cannot move above it), its type along the top. */
  function tile(value, size, palette, table, levels, mode) {
    const out = new Uint32Array(size * size).fill(palette.paper);
    const side = size - 1;
    const content = contentOf(value);
    const edge = mode === "holds" && content !== RESERVED && content !== ABSENT ? Math.max(2, Math.round(size / 7)) : 0;
    const room = side - edge;
    const full = levels[15];
    const bar = (pages) => (pages ? Math.max(1, Math.round((pages / full) * room)) : 0);
    const low = Math.min(bar(levels[movableOf(value)]), room);
    const high = Math.min(bar(levels[unmovableOf(value)]), room);
    const held = content === 3 ? 3 : content === 6 ? 6 : 2;
    for (let y = 0; y < side; y++) {
      const up = side - 1 - y;
      for (let x = 0; x < side; x++) {
        let colour = table[value];
        if (edge && y === edge - 1 && size >= 14) colour = palette.paper;
        else if (edge && y < edge) colour = palette.types[Math.min(typeOf(value), 5)];
        else if (edge) {
          const pinned = up >= Math.min(low, room - high) && up < Math.min(low, room - high) + high;
          colour = pinned ? palette.contents[held] : up < low ? palette.contents[1] : palette.contents[0];
          if (pinned && inked(held, x, y)) colour = palette.hatch;
        }
        const rim = content === MIXED && edge && size >= 14;
        if (rim && y >= edge && (x < 2 || x >= side - 2 || y >= side - 2)) colour = palette.contents[MIXED];
        out[y * size + x] = colour;
      }
    }
    return out;
  }

  /** One canvas of the map. */
  class Painter {
    constructor(canvas) {
      this.canvas = canvas;
      this.context = canvas.getContext("2d", { alpha: false });
      this.image = null;
    }

    /** What the colours depend on has changed. */
    dress(mode, palette, levels) {
      this.mode = mode;
      this.palette = palette;
      this.levels = levels;
      this.table = colours(mode, palette, levels);
      this.tiles = new Map();
      this.tileSize = 0;
    }

    /** Draw the blocks; `values` is the plane at the moment. */
    paint(values, view) {
      const { width, height } = this.canvas;
      if (!this.image || this.image.width !== width || this.image.height !== height) {
        this.image = this.context.createImageData(width, height);
        this.pixels = new Uint32Array(this.image.data.buffer);
      }
      this.pixels.fill(this.palette.paper);
      const size = cellSize(view);
      const firstRow = Math.max(0, Math.floor(view.y / size));
      const lastRow = Math.min(view.rows - 1, Math.floor((view.y + height - 1) / size));
      const firstColumn = Math.max(0, Math.floor(view.x / size));
      const lastColumn = Math.min(view.columns - 1, Math.floor((view.x + width - 1) / size));
      for (let row = firstRow; row <= lastRow; row++) {
        const base = row * view.columns;
        const end = Math.min(base + lastColumn, view.blocks - 1);
        const top = row * size - view.y;
        for (let block = base + firstColumn; block <= end; block++) {
          const left = (block - base) * size - view.x;
          if (size === 1) this.pixels[top * width + left] = this.table[values[block]];
          else if (size < TILE) this._flat(this.table[values[block]], left, top, size);
          else this._tile(values[block], left, top, size);
        }
      }
      this.context.putImageData(this.image, 0, 0);
    }

    _flat(colour, left, top, size) {
      const { width, height } = this.canvas;
      const side = size >= 4 ? size - 1 : size;
      const right = Math.min(left + side, width);
      const bottom = Math.min(top + side, height);
      for (let y = Math.max(top, 0); y < bottom; y++) {
        const line = y * width;
        for (let x = Math.max(left, 0); x < right; x++) this.pixels[line + x] = colour;
      }
    }

    _tile(value, left, top, size) {
      if (this.tileSize !== size) {
        this.tiles.clear();
        this.tileSize = size;
      }
      let drawn = this.tiles.get(value);
      if (!drawn) {
        drawn = tile(value, size, this.palette, this.table, this.levels, this.mode);
        this.tiles.set(value, drawn);
      }
      const { width, height } = this.canvas;
      const skip = Math.max(0, -left);
      const take = Math.min(size, width - left);
      if (take <= skip) return;
      for (let y = Math.max(0, -top); y < size && top + y < height; y++) {
        this.pixels.set(drawn.subarray(y * size + skip, y * size + take), (top + y) * width + left + skip);
      }
    }

    /** A ring around a block, in a colour with a halo that can be seen on any other. */
    ring(view, block, colour, halo, reach) {
      const size = cellSize(view);
      const [left, top] = cornerOf(view, block);
      const grow = Math.max(reach, Math.ceil((7 - size) / 2));
      const draw = (line, style) => {
        this.context.lineWidth = line;
        this.context.strokeStyle = style;
        this.context.strokeRect(left - grow, top - grow, size - 1 + 2 * grow, size - 1 + 2 * grow);
      };
      draw(4, halo);
      draw(2, colour);
    }
  }

  return {
    TILE,
    typeOf,
    contentOf,
    ABSENT,
    skipOf,
    movableOf,
    unmovableOf,
    layout,
    cellSize,
    blockAt,
    cornerOf,
    clamp,
    zoomAt,
    reveal,
    pixel,
    blend,
    colours,
    tile,
    Painter,
  };
})();
