# SPDX-License-Identifier: GPL-2.0-or-later
"""Times in lines of text and in names of files, as people's loops, `date`, `watch` and monitors write them."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

EPOCH, YEAR, DAY, BOOT = "epoch", "year", "day", "boot"
"""Clocks: seconds since 1970; since an unknown year began; since an unknown day's midnight; since another unknown moment."""

LONGEST = 200
"""Characters of a line in which a time is looked for: longer ones are no marks between copies."""

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_MONTH = "|".join(_MONTHS)
_CLOCK = r"(?P<h>\d{1,2}):(?P<m>\d\d):(?P<s>\d\d)(?P<f>[.,]\d{1,9})?(?: (?P<half>[AP]M))?"
_ZONE = r"(?: ?(?P<zone>Z|UTC|GMT|[+-]\d\d:?\d\d)\b)?"
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"\b(?P<Y>\d{{4}})[-/](?P<M>\d\d)[-/](?P<D>\d\d)[T _]{_CLOCK}{_ZONE}",
        rf"\b(?P<N>{_MONTH})[a-z]* +(?P<D>\d{{1,2}}) {_CLOCK}(?: (?P<zone>[A-Z]{{2,5}}|[+-]\d{{2,4}}))? (?P<Y>\d{{4}})\b",
        rf"\b(?P<D>\d{{1,2}}) (?P<N>{_MONTH})[a-z]*,? (?P<Y>\d{{4}}),? {_CLOCK}{_ZONE}",
        rf"\b(?P<D>\d{{1,2}})\.? (?P<N>{_MONTH})[a-z]* {_CLOCK}(?: (?P<zone>[A-Z]{{2,5}}|[+-]\d{{2,4}}))? (?P<Y>\d{{4}})\b",
        rf"^(?P<N>{_MONTH}) +(?P<D>\d{{1,2}}) {_CLOCK}",
    )
)
"""A date and a time of day: ISO 8601; `date` in the C locale, `watch`; `date` in others and `date -R`; without a year, `ts`."""
_NUMBER = re.compile(r"(?:^|[\s=:@#])(?P<n>\d{9,10}(?:\.\d{1,9})?|\d{13}|\d{16}|\d{19})(?=$|[\s,;:=\]])")
_BOOT = re.compile(
    r"^\s*(?:\[ *(?P<a>\d{1,9}\.\d{1,9})\]|(?:time|uptime|t)[:=]? *(?P<b>\d{1,8}(?:\.\d{1,9})?))\s*$",
    re.IGNORECASE,
)
_TIME = re.compile(rf"^\W*(?:time[:=]? *)?{_CLOCK}\W*$", re.IGNORECASE)
_IN_NAME = (
    re.compile(
        r"(?<!\d)(?P<Y>20\d\d)-?(?P<M>[01]\d)-?(?P<D>[0-3]\d)[-_T. ]?(?P<h>[0-2]\d)[-_:.h]?(?P<m>[0-5]\d)"
        r"(?:[-_:.m]?(?P<s>[0-5]\d))?(?P<zone>Z)?(?!\d)"
    ),
    re.compile(r"(?<!\d)(?P<n>1\d{9}(?:\.\d{1,9})?)(?!\d)"),
)
_ZONE_HOURS = {
    "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3, "JST": 9, "KST": 9, "AEST": 10, "AEDT": 11,
    "NZST": 12, "NZDT": 13, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
}  # fmt: skip
"""Hours east of UTC, so that `date` in a loop goes on evenly when summer time begins or ends. CST is America's: China has no
other name, so differences are right there too."""
_EARLIEST, _LATEST = 631152000.0, 7258118400.0
"""1990 and 2200: a number outside is no time since 1970."""


class Stamp(NamedTuple):
    """A moment as a text gives it.

    Attributes
    ----------
    seconds : float
        On *clock*. A date without a zone that is known counts as UTC.
    clock : str
        :data:`EPOCH`, :data:`DAY` or :data:`BOOT`.
    text : str
        Date and time as they stood there, or as UTC where only a number did.

    """

    seconds: float
    clock: str
    text: str


def stamp_in(line: str) -> Stamp | None:
    """The time that a line is there for; None if there is none. Lines longer than :data:`LONGEST` have none."""
    if len(line) > LONGEST or not any(map(str.isdigit, line)):
        return None
    for form in _FORMS:
        found = form.search(line)
        stamp = None if found is None else _dated(found.groupdict())
        if stamp is not None:
            return stamp
    number = _NUMBER.search(line)
    if number is not None and (stamp := _epoch(number["n"])) is not None:
        return stamp
    if boot := _BOOT.match(line):
        return Stamp(float(boot["a"] or boot["b"]), BOOT, line.strip(" []"))
    if time := _TIME.match(line):
        of_day = _of_day(time.groupdict())
        return None if of_day is None else Stamp(of_day, DAY, _clock_text(of_day))
    return None


def stamp_of_name(name: str) -> Stamp | None:
    """The time in the name of a file or folder; None if there is none."""
    dated, number = (form.search(name) for form in _IN_NAME)
    if dated is not None:
        return _dated({**dated.groupdict(), "s": dated["s"] or "0"})
    return None if number is None else _epoch(number["n"])


def _epoch(digits: str) -> Stamp | None:
    """A number of seconds, milli-, micro- or nanoseconds since 1970; None if that is no believable time."""
    whole = digits.partition(".")[0]
    seconds = float(digits) / {13: 1e3, 16: 1e6, 19: 1e9}.get(len(whole), 1.0)
    if not _EARLIEST <= seconds < _LATEST:
        return None
    moment = datetime.fromtimestamp(int(seconds), UTC)
    return Stamp(seconds, EPOCH, f"{moment:%Y-%m-%d %H:%M:%S} UTC")


def _of_day(fields: dict[str, str | None]) -> float | None:
    """Seconds since midnight; None if there is no such time."""
    hour, minute, second = (int(fields[name] or 0) for name in "hms")
    if half := fields.get("half"):
        hour = hour % 12 + (12 if half.upper() == "PM" else 0)
    fraction = (fields.get("f") or "").replace(",", ".")
    if hour > 23 or minute > 59 or second > 60:
        return None
    return hour * 3600 + minute * 60 + second + (float(fraction) if len(fraction) > 1 else 0.0)


def _clock_text(of_day: float) -> str:
    """Seconds since midnight as hours, minutes and seconds."""
    return f"{int(of_day) // 3600:02}:{int(of_day) // 60 % 60:02}:{int(of_day) % 60:02}"


def _dated(fields: dict[str, str | None]) -> Stamp | None:
    """A date and a time of day as a stamp; None if there is no such day or time."""
    month = int(fields["M"] or 0) if fields.get("M") else _MONTHS[(fields["N"] or "")[:3].lower()]
    of_day, year = _of_day(fields), fields.get("Y")
    if of_day is None:
        return None
    try:
        day = datetime(int(year or 1972), month, int(fields["D"] or 0), tzinfo=UTC)
    except ValueError:
        return None
    zone = fields.get("zone") or ""
    text = f"{day:%Y-%m-%d}" if year else f"{day:%b} {day.day}"
    text = f"{text} {_clock_text(of_day)}" + (f" {zone}" if zone else "")
    if not year:
        return Stamp((day - datetime(1972, 1, 1, tzinfo=UTC)).total_seconds() + of_day, YEAR, text)
    seconds = timegm(day.timetuple()) + of_day - _offset(zone).total_seconds()
    return Stamp(seconds, EPOCH, text) if _EARLIEST <= seconds < _LATEST else None


def _offset(zone: str) -> timedelta:
    """The offset that a zone's digits or its name give; zero for a name that is not known or is that of several."""
    if zone.upper() in _ZONE_HOURS:
        return timedelta(hours=_ZONE_HOURS[zone.upper()])
    digits = zone.lstrip("+-").replace(":", "")
    if not digits.isdecimal():
        return timedelta()
    length = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return -length if zone.startswith("-") else length
