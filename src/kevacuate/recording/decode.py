# SPDX-License-Identifier: GPL-2.0-or-later
"""The compiled decoder of raw ring-buffer sub-buffers.

A sub-buffer (usually 4096 bytes) is what the kernel gives in ``trace_pipe_raw``: u64 time stamp, u64 commit
(bits 0 to 26: bytes of data; bit 31: events were missed before this sub-buffer; bit 30: how many is stored
after the data), then data. Each event begins with a u32, ``type_len`` in the low 5 bits and a time delta in
the other 27: type_len 1 to 28 is the payload's length in words of 4 bytes, 0 means that the next u32 holds
the length in bytes (itself included), 29 is padding, 30 extends the delta and 31 sets the time.
Source: include/linux/ring_buffer.h, kernel/trace/ring_buffer.c.

Nothing here trusts the data: every step is checked against the sub-buffer's end, and an error is a code and
an offset in ``status``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kevacuate.jit import kernel, part, pointers
from kevacuate.kernel.hooks import FIRST_OF_A_PAGE, LAST_OF_A_PAGE
from kevacuate.records import Words

ROW_WORDS = 48
"""int64 words of one row of the field table: special, payload bytes, kind, HAS_ bits, five per column."""

FIRST_COLUMN = 4
COLUMN_WORDS = 5

HAS_MT, HAS_GFP, HAS_AB, HAS_CD = 1, 2, 4, 8
"""Which columns a kind fills at all; the others stay 0, as they were made."""

UNKNOWN_ID, UNWANTED_ID, COUNTED_ID = -1, -2, -3
"""An id without a format; of a kind that is not wanted; and from here downwards one for each event that is
only counted."""

SPECIAL_NONE, SPECIAL_GFP, SPECIAL_RMQ, SPECIAL_PTE, SPECIAL_NAME = 0, 1, 2, 3, 4

PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
"""The type_len values of what is not data."""

OK, BAD_COMMIT, BAD_LENGTH, SHORT_PAYLOAD, TIME_BACK, BAD_TIME, BAD_SIZE = 0, 1, 2, 3, 4, 5, 6

S_ROWS, S_SUB_BUFFERS, S_ERROR, S_OFFSET, S_MISSED, S_GAPS, S_SKIPPED, S_LAST, S_EMPTY = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
)
STATUS_WORDS = 9
"""Rows written; sub-buffers done; error code; its byte offset in the block; events missed where the kernel
stored the count; sub-buffers before which an unknown number was missed; events of unknown id; last time; whether the
last sub-buffer was zeros. Behind these words stands how many there were of each event that is only counted."""

SMALLEST_BUFFER_WORDS = 1024
"""32-bit words of the smallest sub-buffer there is, 4096 bytes."""

MAX_TIME = (1 << 62) - 1
"""Latest time stamp believed, in nanoseconds (146 years)."""

TIME_SLACK = 1_000_000
"""How far a sub-buffer may begin before the last event, ns: clocks that are steered (mono) step back a little, and
the kernel lets them. What begins earlier is moved to the last event's time."""

_MAX_GAP = (1 << 59) - 1
MAX_PAUSE = 1 << 42
"""Nanoseconds, 73 minutes: how much later the next sub-buffer begins, where sizes are in doubt."""


class FieldTable(NamedTuple):
    """Where the kinds' fields lie: event id to row, and the rows."""

    ids: npt.NDArray[np.int32]
    """int32[65536]: row of an event id, UNKNOWN_ID, UNWANTED_ID, or COUNTED_ID less its place in Decoding.counted."""
    rows: npt.NDArray[np.int64]
    """int64[n * ROW_WORDS]."""
    gfp: npt.NDArray[np.int64]
    """int64[33]: what each recorded GFP bit flips in the flags of Linux 7.2, and what they begin with."""


class DecodeOut(NamedTuple):
    """The arrays that are filled, made of zeros: one per column of the table, then the status."""

    ts: npt.NDArray[np.int64]
    pid: npt.NDArray[np.int32]
    kind: npt.NDArray[np.uint8]
    pfn: npt.NDArray[np.int64]
    order: npt.NDArray[np.int8]
    mt: npt.NDArray[np.int8]
    gfp: npt.NDArray[np.uint32]
    a: npt.NDArray[np.int64]
    b: npt.NDArray[np.int64]
    c: npt.NDArray[np.int64]
    d: npt.NDArray[np.int64]
    status: npt.NDArray[np.int64]


class SubBuffers(NamedTuple):
    """A block of sub-buffers as 32-bit words, at least one word longer than the data."""

    words: npt.NDArray[np.int32]


@part(inline=True)
def _u32(words: Words, i: int) -> int:
    """Word i, unsigned."""
    return words[i] & 0xFFFFFFFF


@part(inline=True)
def _u64(words: Words, i: int) -> int:
    """The 64 bits from word i, as int64."""
    return (words[i] & 0xFFFFFFFF) | (words[i + 1] << 32)


@part(inline=True)
def _value(words: Words, at: int, rows: Words, p: int) -> int:
    """The field that the five words of the table at p describe, of the payload at word at."""
    x = _u64(words, at + rows[p])
    return (((x >> rows[p + 1]) & rows[p + 2]) ^ rows[p + 3]) + rows[p + 4]


@part
def pte_pfn(pte: int, order: int) -> int:
    """Page frame of an x86-64 page-table entry, a migration (swap) entry or an ordinary one; -1 if neither.

    A migration entry keeps the inverted offset in bits 9 to 58, whose low 34 bits are the pfn (young and
    dirty bits follow); an ordinary entry has the pfn in bits 12 to 51, inverted when PROT_NONE (bit 8) and
    not present. Source: arch/x86/include/asm/pgtable_64.h, pgtable-invert.h, include/linux/swapops.h.
    """
    if pte == 0:
        return -1
    if pte & 1 == 0 and pte & 0x100 == 0:
        return ((~pte) >> 9) & ((1 << 34) - 1)
    if pte & 1 == 0:
        pte = ~pte
    pfn = (pte >> 12) & ((1 << 40) - 1)
    if order >= 9 and order < 40:
        pfn &= ~((1 << order) - 1)
    return pfn


@part
def _remap_gfp(flags: int, table: Words) -> int:
    """GFP flags with each bit moved to its number in Linux 7.2."""
    result = table[32]
    for bit in range(32):
        if (flags >> bit) & 1:
            result ^= table[bit]
    return result


@part
def _name_bytes(words: Words, at: int, payload: int, field: int) -> int:
    """First 8 bytes of the string at the __data_loc in word field, 0 where it lies outside the payload."""
    loc = words[at + field] & 0xFFFF
    length = (words[at + field] >> 16) & 0xFFFF
    length = min(length, 8)
    if loc + length > payload:
        return 0
    result = 0
    for i in range(length):
        byte = (words[at + ((loc + i) >> 2)] >> (8 * ((loc + i) & 3))) & 0xFF
        if byte == 0:
            break
        result |= byte << (8 * i)
    return result


@part
def _fix(
    o: DecodeOut, n: int, t: FieldTable, special: int, words: Words, at: int, payload: int, r: int
) -> None:
    """What a plain copy of fields cannot do for row n."""
    if special == SPECIAL_GFP:
        o.gfp[n] = _remap_gfp(int(o.gfp[n]), t.gfp)
    elif special == SPECIAL_RMQ:
        if o.a[n] < FIRST_OF_A_PAGE or o.a[n] > LAST_OF_A_PAGE:
            o.pfn[n] = -1
    elif special == SPECIAL_PTE:
        o.pfn[n] = pte_pfn(o.pfn[n], o.order[n])
    elif special == SPECIAL_NAME:
        o.pfn[n] = _name_bytes(words, at, payload, t.rows[r + FIRST_COLUMN])


@part(inline=True)
def _store(o: DecodeOut, n: int, t: FieldTable, r: int, words: Words, at: int, ts: int, payload: int) -> None:
    """Fill row n from the payload at word at, by the table's row at r."""
    rows = t.rows
    p = r + FIRST_COLUMN
    o.ts[n] = ts
    o.pid[n] = words[at + 1]
    o.kind[n] = rows[r + 2]
    o.pfn[n] = _value(words, at, rows, p)
    o.order[n] = _value(words, at, rows, p + COLUMN_WORDS)
    present = rows[r + 3]
    if present & HAS_MT:
        o.mt[n] = _value(words, at, rows, p + 2 * COLUMN_WORDS)
    if present & HAS_GFP:
        o.gfp[n] = _value(words, at, rows, p + 3 * COLUMN_WORDS)
    if present & HAS_AB:
        o.a[n] = _value(words, at, rows, p + 4 * COLUMN_WORDS)
        o.b[n] = _value(words, at, rows, p + 5 * COLUMN_WORDS)
    if present & HAS_CD:
        o.c[n] = _value(words, at, rows, p + 6 * COLUMN_WORDS)
        o.d[n] = _value(words, at, rows, p + 7 * COLUMN_WORDS)
    if rows[r] != SPECIAL_NONE:
        _fix(o, n, t, rows[r], words, at, payload, r)


@part
def _goes_on(words: Words, begin: int, end: int, buffer_words: int) -> bool:
    """Whether another sub-buffer begins behind this one's data, but within it: a later time, a length that fits."""
    at = begin + SMALLEST_BUFFER_WORDS
    while at + 4 <= begin + buffer_words:
        later = _u64(words, at) - _u64(words, begin)
        commit = _u64(words, at + 2)
        length = commit & 0x7FFFFFF
        fits = commit >> 32 == 0 and length & 3 == 0 and 0 < length <= 4 * (SMALLEST_BUFFER_WORDS - 4)
        if at >= end + 2 and fits and 0 <= later <= MAX_PAUSE:
            return True
        at += SMALLEST_BUFFER_WORDS
    return False


@part
def _check_sub_buffer(words: Words, begin: int, buffer_words: int, last: int, status: Words) -> int:
    """Error code of the sub-buffer's header; what was missed before it is counted in status."""
    ts = _u64(words, begin)
    commit = _u64(words, begin + 2)
    length = commit & 0x7FFFFFF
    end = begin + 4 + ((length + 3) >> 2)
    if length & 3 != 0 or end > begin + buffer_words:
        return BAD_COMMIT
    if ts == 0 and commit == 0:
        status[S_EMPTY] = 1  # room that a writer left behind the last sub-buffer
        return OK
    if ts < last - TIME_SLACK:
        return TIME_BACK
    if ts > MAX_TIME:
        return BAD_TIME
    if buffer_words > SMALLEST_BUFFER_WORDS and _goes_on(words, begin, end, buffer_words):
        return BAD_SIZE
    if status[S_EMPTY] != 0:
        status[S_EMPTY] = 0
        status[S_GAPS] += 1
    if commit & 0x80000000:
        if commit & 0x40000000 and end + 2 <= begin + buffer_words and _u64(words, end) > 0:
            status[S_MISSED] += _u64(words, end) & _MAX_GAP
        else:
            status[S_GAPS] += 1
    return OK


@part
def _long_event(words: Words, w: int, end: int, ts: int) -> tuple[int, int, int, int]:
    """An event of two header words at word w: (next word, time, payload bytes or -1 for none, error code)."""
    if w + 2 > end:
        return w, ts, -1, BAD_LENGTH
    type_len = words[w] & 31
    delta = _u32(words, w) >> 5
    extra = _u32(words, w + 1)
    if type_len == TIME_EXTEND:
        ts += delta + (extra << 27)
        return w + 2, ts, -1, OK if ts <= MAX_TIME else BAD_TIME
    if type_len == TIME_STAMP:
        stamp = (ts & ~_MAX_GAP) | (delta + (extra << 27))
        return w + 2, max(stamp, ts), -1, OK if stamp >= ts - TIME_SLACK else TIME_BACK
    after = w + 1 + ((extra + 3) >> 2)
    error = OK if extra >= 4 and after <= end else BAD_LENGTH
    return after, ts + delta, -1 if type_len == PADDING else extra - 4, error


@part(inline=True)
def _sub_buffer(
    words: Words, begin: int, buffer_words: int, t: FieldTable, o: DecodeOut, n: int, last: int, status: Words
) -> int:
    """Decode the sub-buffer at word begin from row n on; the new n, or -1 with the error in status."""
    error = _check_sub_buffer(words, begin, buffer_words, last, status)
    ts = max(_u64(words, begin), last)
    w = begin + 4
    end = w + ((words[begin + 2] & 0x7FFFFFF) >> 2)
    seen = last
    while error == OK and w < end:
        type_len = words[w] & 31
        if type_len == PADDING and _u32(words, w) == PADDING:
            break
        if type_len == 0 or type_len >= PADDING:
            at = w + 2
            w, ts, payload, error = _long_event(words, w, end, ts)
            if payload < 0 or error != OK:
                continue
        else:
            at = w + 1
            ts += _u32(words, w) >> 5
            payload = type_len * 4
            w = at + type_len
            if w > end:
                error = BAD_LENGTH
                break
        seen = ts  # not a padding's time: the one at a sub-buffer's end has a delta of 1
        row = t.ids[words[at] & 0xFFFF] if payload >= 4 else UNKNOWN_ID
        if row >= 0:
            r = row * ROW_WORDS
            if payload < t.rows[r + 1]:
                error = SHORT_PAYLOAD
                break
            _store(o, n, t, r, words, at, ts, payload)
            n += 1
        elif row == UNKNOWN_ID:
            status[S_SKIPPED] += 1
        elif row <= COUNTED_ID:
            status[STATUS_WORDS + COUNTED_ID - row] += 1
    status[S_LAST] = seen
    if error != OK:
        status[S_ERROR] = error
        status[S_OFFSET] = 4 * w
        return -1
    return n


@kernel(plain_work=1 << 22)
def decode_block(
    pages: SubBuffers,
    table: FieldTable,
    out: DecodeOut,
    first_page: int,
    n_pages: int,
    buffer_words: int,
    first_row: int,
    capacity: int,
) -> None:
    """Decode sub-buffers until they, or the room for their events, run out.

    Parameters
    ----------
    pages : SubBuffers
        The block.
    table : FieldTable
        Where the fields lie.
    out : DecodeOut
        Filled from row *first_row*; ``status`` carries S_LAST and S_EMPTY in and everything out.
    first_page, n_pages, buffer_words : int
        The sub-buffers to decode are first_page to n_pages - 1, each of buffer_words 32-bit words.
    first_row, capacity : int
        Rows in use and rows there are; a sub-buffer is begun only if it surely fits.

    """
    p = pointers(pages)
    t = pointers(table)
    o = pointers(out)
    status = o.status
    n = first_row
    page = first_page
    most = (buffer_words - 4) // 2
    while page < n_pages and n + most <= capacity:
        done = _sub_buffer(p.words, page * buffer_words, buffer_words, t, o, n, status[S_LAST], status)
        if done < 0:
            break
        n = done
        page += 1
    status[S_ROWS] = n
    status[S_SUB_BUFFERS] = page
