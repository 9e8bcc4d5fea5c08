# SPDX-License-Identifier: GPL-2.0-or-later
"""The report: one HTML file that opens offline, from a comparison or from what was recorded.

The page loads nothing: scripts and styles stand in it, and its content security policy admits those by their hashes alone.
Recorded text is inserted as text, escaped by the template, with control characters made visible
(:mod:`kevacuate.reports.escape`).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from kevacuate._version import __version__
from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison, Run
from kevacuate.measure.permutation import RUNS, rule
from kevacuate.recording.atomic_write import written
from kevacuate.recording.machine import kernel_words
from kevacuate.reports.comparison.conclusion import FIRST, conclusion, first_parts
from kevacuate.reports.comparison.group_rows import mean_text
from kevacuate.reports.comparison.rows import comparison_rows, replays_words, zeros_words
from kevacuate.reports.comparison.worth import FOOTNOTE
from kevacuate.reports.escape import script_json, visible
from kevacuate.reports.page.data import page_data
from kevacuate.reports.page.tables import (
    figure_sections,
    flattened,
    flow_tables,
    key_figures,
    parameter_rows,
    price_section,
)

RESTS = ("guessed", "rule", "basis")
"""Kinds of a conclusion's parts that say on what the others rest."""

STYLES = ("uplot/uPlot.min.css", "page.css")
SCRIPTS = (
    "uplot/uPlot.iife.min.js",
    "decode.js",
    "map.js",
    "base.js",
    "maps.js",
    "block.js",
    "keys.js",
    "charts.js",
    "page.js",
)


def _part(name: str) -> str:
    """The text of one of the page's files."""
    return files("kevacuate").joinpath("reports", "page", *name.split("/")).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A source of a content security policy: the hash of an inline script or style."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") + "'"


def content_policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Nothing from anywhere; of what stands in the page only these scripts and styles."""
    return (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; style-src {' '.join(map(_hash, styles))}; "
        "base-uri 'none'; form-action 'none'"
    )


def _render(context: dict[str, Any], data: dict[str, Any], blobs: Sequence[str]) -> str:
    """The page's text."""
    scripts, styles = [_part(name) for name in SCRIPTS], [_part(name) for name in STYLES]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    template = environment.from_string(_part("page.html"))
    return template.render(
        **context,
        version=__version__,
        policy_of_content=Markup(content_policy(scripts, styles)),
        sheets=[Markup(text) for text in styles],
        scripts=[Markup(text) for text in scripts],
        data=Markup(script_json(data)),
        blobs=[Markup(text) for text in blobs],
        chart_licence=_part("uplot/LICENSE"),
        has_map=data["map"] is not None,
        every=data["map"]["every"] if data["map"] else 1,
        has_charts=bool(data["charts"]),
    )


def _block_words(runs: Sequence[Run]) -> str:
    """``, 512 pages or 2 MiB``: the size of a pageblock, where it is known."""
    order = next((run.frames.pageblock_order for run in runs if run.frames is not None), None)
    if order is None:
        return ""
    size = 4 << order
    return f", {1 << order} pages or {size if size < 1024 else size >> 10} {'KiB' if size < 1024 else 'MiB'}"


def _machine_facts(recording: dict[str, Any]) -> list[str]:
    """What machine it was, in a few words."""
    facts = [visible(kernel_words(recording.get("kernel", "")))]
    if "arch" in recording:
        facts.append(visible(recording["arch"]))
    if "cpus" in recording:
        facts.append(f"{recording['cpus']} CPU{'' if recording['cpus'] == 1 else 's'}")
    zones = recording.get("zones") or []
    pages = sum(int(zone.get("managed_pages", 0)) for zone in zones)
    if pages:
        facts.append(f"{pages * 4096 / (1 << 30):.1f} GiB")
    return facts


def _drawn(runs: Sequence[Run]) -> str:
    """Which runs the maps, timelines and flows show, where there are several of a policy."""
    seeds = ", ".join(f"seed {run.seed} of {visible(run.policy)}" for run in runs)
    return (
        f"Maps, timelines and flows show of each policy one run, that whose mixed pageblocks at the end are the median: {seeds}. "
        "Others end elsewhere; the figures are of all runs."
    )


def _story_notes(stories: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What the reader must know of the blocks' stories."""
    if stories is None:
        return []
    text = (
        "They are told in the words of kevacuate explain, from the log of the run. What requests and frees of single pages add, "
        "and what kept pages from moving, is missing here; the command below each story tells it, too."
    )
    if stories["shown"] < stories["blocks"]:
        text += (
            f" To keep this page small, {stories['shown']:,} of the {stories['blocks']:,} blocks that something happened to are "
            "told: those first that were evacuated, then those claimed."
        )
    return [("Stories", text)]


def _held_notes(held: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What the reader must know of what holds the blocks."""
    if held is None:
        return []
    text = (
        "What cannot move in a block is told by the page flags of the recording's states, in the words of kevacuate explain. "
        "Replays have none: what they allocate and free later does not show there. kevacuate holders names caches and callers."
    )
    if held["shown"] < held["blocks"]:
        text += f" To keep this page small, {held['shown']:,} of the {held['blocks']:,} blocks with such pages are told."
    return [("Holders", text)]


def _notes(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What the reader must know of this page in particular."""
    notes = []
    lost = sum(run.history.lost for run in runs if run.history is not None)
    if lost:
        notes.append(
            (
                "Lost",
                f"{lost:,} records of the model's log did not fit in it and are missing in the histories.",
            )
        )
    return notes


def comparison_page(comparison: Comparison) -> str:
    """The page of a run or a comparison.

    Parameters
    ----------
    comparison : Comparison
        Its runs may be several of one policy. Runs without ``frames`` have no map.

    Raises
    ------
    KevacuateError
        The figures are not those of a run of this program.
    """
    try:
        runs = comparison.typical.runs
        data, blobs = page_data(comparison, runs)
        context = _comparison_context(comparison, runs)
        context["notes"] += _story_notes(data["stories"]) + _held_notes(data["held"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise KevacuateError(
            f"The result lacks what the report shows ({type(error).__name__}: {error}): it was made by another version, make it "
            "again."
        ) from None
    return _render(context, data, blobs.texts)


def _replays(comparison: Comparison) -> str:
    """How often the demand was replayed, and in which loop."""
    return f"{replays_words(comparison)}, {comparison.runs[0].loop[0]} loop"


def _loop_words(comparison: Comparison) -> list[str]:
    """On what the loop rests."""
    told = comparison.runs[0].loop[1]
    return [visible_text(told)] if told else []


def _comparison_context(comparison: Comparison, runs: Sequence[Run]) -> dict[str, Any]:
    """The template's values."""
    recording = comparison.recording
    policies = [visible(name) for name in comparison.groups]
    sections, zeros = figure_sections(comparison)
    price = price_section(comparison)
    many = f"{len(policies)} policies" if len(policies) > 1 else "one policy"
    how = rule([len(group) for group in comparison.groups.values()], RUNS)
    parts = conclusion(comparison)
    said = [visible_text(part.text) for part in parts if part.kind not in (*RESTS, *FIRST)]
    rests = [visible_text(part.text) for part in parts if part.kind in RESTS]
    guessed = [visible_text(part.text) for part in parts if part.kind == "guessed"]
    words = said if len(policies) > 1 else [_single_words(comparison)]
    drawn = _loop_words(comparison) + ([_drawn(runs)] if comparison.repeated else [])
    return {
        "title": visible(recording.get("name", "unnamed recording")),
        "facts": [*_machine_facts(recording), f"one demand, {many}, {_replays(comparison)}"],
        "first": [visible_text(text) for text in first_parts(parts).values()],
        "conclusion": words,
        "rests": [*rests, *drawn] if len(policies) > 1 else [*guessed, *drawn],
        "verdict": visible(recording.get("verdict", "")),
        "keys": key_figures(comparison),
        "policies": policies,
        "recorded": False,
        "block_words": _block_words(runs),
        "flows": flow_tables(policies, [run.metrics["extfrag_events"] for run in runs]),
        "sections": sections + ([price] if price else []),
        "zeros": zeros,
        "zeros_words": zeros_words([row for section in zeros for row in section["rows"]]),
        "footnote": FOOTNOTE if len(policies) > 1 else "",
        "rule": how if comparison.repeated else "",
        "drawn": comparison.repeated,
        "parameters": parameter_rows(comparison.runs),
        "parameter_columns": [
            visible(f"{run.policy}, seed {run.seed}" if comparison.repeated else run.policy)
            for run in comparison.runs
        ],
        "recording": flattened(recording),
        "notes": _notes(runs),
    }


def visible_text(text: str) -> str:
    """The text made visible; arrows as arrows."""
    return visible(text).replace(" -> ", " → ")


def _single_words(comparison: Comparison) -> str:
    """What a policy without another to compare it with comes to."""
    rows = {row.row.id: mean_text(*row.summary(0)) for row in comparison_rows(comparison)}
    regions = comparison.baseline.metrics["end"]["regions_2m"]["regions"]
    runs = len(comparison.runs)
    return (
        f"{visible(comparison.baseline.policy)}: {rows['extfrag.all']} external "
        f"fragmentation events; at the end {rows['end.mixed_blocks']} mixed and "
        f"{rows['end.polluted_blocks']} polluted pageblocks, "
        f"{rows['end.regions_2m_movable_only']} of {regions:,} regions of 2 MiB free of unmovable pages. "
        f"{'One run' if runs == 1 else f'{runs} runs of one policy'}: nothing is compared."
    )


def recorded_page(recording: dict[str, Any], run: Run, flows: list[dict[str, Any]], why: str) -> str:
    """The page of what was recorded, without a replay.

    Parameters
    ----------
    recording : dict
        Facts of the recording (:func:`kevacuate.runs.trust.about_result`, or less).
    run : Run
        The recorded states as a run: its frames and time series, no metrics.
    flows : list
        The recorded kernel's extfrag events, counted.
    why : str
        Why there is no replay, a sentence.
    """
    data, blobs = page_data(Comparison((run,), recording), [run])
    policies = [visible(run.policy)]
    context = {
        "title": visible(recording.get("name", "unnamed recording")),
        "facts": [*_machine_facts(recording), "as recorded, not replayed"],
        "first": [],
        "conclusion": [visible(why)],
        "rests": [],
        "verdict": visible(recording.get("verdict", "")),
        "keys": [],
        "policies": policies,
        "recorded": True,
        "block_words": _block_words([run]),
        "flows": flow_tables(policies, [flows]),
        "sections": [],
        "zeros": [],
        "zeros_words": "",
        "footnote": "",
        "rule": "",
        "drawn": False,
        "parameters": [],
        "parameter_columns": [],
        "recording": flattened(recording),
        "notes": _held_notes(data["held"]),
    }
    return _render(context, data, blobs.texts)


def write_page(path: Path, text: str) -> None:
    """Write the page; it appears under its name only when it is complete.

    Raises
    ------
    KevacuateError
        It cannot be written.
    """
    with written(path, replace=True) as file:
        file.path.write_text(text, encoding="utf-8")
