// SPDX-License-Identifier: GPL-2.0-or-later
// Reads what page_pack.py wrote: base64, inflated by the browser, LEB128 numbers, planes that change over time.
"use strict";

const kevDecode = (() => {
  /** The bytes that base64 stands for. */
  function bytesOf(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const text = atob(base64);
    const out = new Uint8Array(text.length);
    for (let i = 0; i < out.length; i++) out[i] = text.charCodeAt(i);
    return out;
  }

  /** The bytes of a stream: base64 of a zlib stream. */
  async function inflate(base64) {
    const packed = bytesOf(base64);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** LEB128 numbers, up to 2^53; a stream cut off in a number is an error. */
  function varints(bytes, Type = Float64Array) {
    let count = 0;
    for (let i = 0; i < bytes.length; i++) count += bytes[i] < 128 ? 1 : 0;
    const out = new Type(count);
    let at = 0;
    for (let i = 0; i < count; i++) {
      let byte = bytes[at++];
      let value = byte & 127;
      for (let scale = 128; byte > 127; scale *= 128) {
        byte = bytes[at++];
        value += (byte & 127) * scale;
      }
      out[i] = value;
    }
    if (at !== bytes.length) throw new Error("a stream of numbers ends within a number");
    return out;
  }

  /** Running sums, one entry more than the counts: where each group begins and ends. */
  function offsets(counts) {
    const out = new Float64Array(counts.length + 1);
    for (let i = 0; i < counts.length; i++) out[i + 1] = out[i] + counts[i];
    return out;
  }

  /** Sums the gaps within each group, in place. */
  function sumGaps(values, groups) {
    for (let g = 0; g + 1 < groups.length; g++) {
      for (let i = groups[g] + 1; i < groups[g + 1]; i++) values[i] += values[i - 1];
    }
    return values;
  }

  /** Bytes, or numbers of 16 bits from their low bytes and then their high ones. */
  function plane(bytes, width) {
    if (width === 1) return bytes;
    const count = bytes.length >> 1;
    const out = new Uint16Array(count);
    for (let i = 0; i < count; i++) out[i] = bytes[i] | (bytes[count + i] << 8);
    return out;
  }

  /** A plane of numbers over time. `now` is the plane at `moment`; `seek` goes there, forward or back. */
  class Steps {
    constructor(first, groups, places, xor) {
      this.now = first;
      this.moment = 0;
      this.groups = groups;
      this.places = places;
      this.xor = xor;
    }

    get moments() {
      return this.groups.length - 1;
    }

    _apply(moment) {
      const { now, places, xor } = this;
      for (let i = this.groups[moment]; i < this.groups[moment + 1]; i++) now[places[i]] ^= xor[i];
    }

    seek(moment) {
      const to = Math.max(0, Math.min(moment, this.moments - 1));
      while (this.moment < to) this._apply(++this.moment);
      while (this.moment > to) this._apply(this.moment--);
      return this.now;
    }
  }

  /** A plane over time from its streams; `read` gives the bytes of a stream by its number. */
  async function steps(read, about) {
    const [first, counts, gaps, xor] = await Promise.all(
      [about.first, about.counts, about.gaps, about.xor].map(read),
    );
    const groups = offsets(varints(counts));
    const places = sumGaps(varints(gaps, Uint32Array), groups);
    return new Steps(plane(first, about.bytes), groups, places, plane(xor, about.bytes));
  }

  /** Ascending numbers from their differences. */
  function ascending(bytes) {
    const values = varints(bytes);
    return sumGaps(values, [0, values.length]);
  }

  /** What the map marks of a history, grouped by block: times, and what each is. */
  async function marks(read, about) {
    const names = ["counts", "t", "what"];
    const columns = await Promise.all(names.map((name) => read(about[name])));
    const out = {};
    names.forEach((name, i) => (out[name] = varints(columns[i])));
    out.groups = offsets(out.counts);
    sumGaps(out.t, out.groups);
    return out;
  }

  /** Texts of blocks: which blocks have one in the page, by their place in the list, and which have one that is not here. */
  async function texts(read, about) {
    const [told, untold, list] = await Promise.all([about.told, about.untold, about.texts].map(read));
    const placeOf = new Map();
    ascending(told).forEach((block, place) => placeOf.set(block, place));
    return { placeOf, untold: new Set(ascending(untold)), list: JSON.parse(new TextDecoder().decode(list)) };
  }

  return { inflate, varints, offsets, sumGaps, plane, Steps, steps, ascending, marks, texts };
})();
