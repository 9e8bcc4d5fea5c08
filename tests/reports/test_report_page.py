# SPDX-License-Identifier: GPL-2.0-or-later
"""The page as text: what stands in it, what may run in it, and that recorded text is text."""

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from page_synthetic import comparison, run

from kevacuate.errors import KevacuateError
from kevacuate.measure import Comparison
from kevacuate.measure.permutation import spread
from kevacuate.reports.comparison.conclusion import conclusion
from kevacuate.reports.comparison.group_rows import mean_text
from kevacuate.reports.comparison.rows import comparison_rows
from kevacuate.reports.escape import script_json, visible
from kevacuate.reports.page.data import charts
from kevacuate.reports.page.page import comparison_page, write_page
from kevacuate.reports.page.tables import figure_sections, flow_tables, parameter_rows, price_section

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    "'\"><svg onload=alert(4)>",
    "a\u202edrowssap\u2066x\u2069",
    "line\u2028separator\u2029paragraph",
    "\x1b[31mred\x1b]0;title\x07",
    "nul\x00 and \ud800 half",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- <script>",
    "javascript:alert(5)",
]


class Elements(HTMLParser):
    """The elements of a page, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[tuple[str, dict[str, str | None], str]] = []
        self._raw: tuple[str, dict[str, str | None]] | None = None
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw = (tag, dict(attrs)) if tag in ("script", "style") else None
        if self._raw:
            self.inline.append((*self._raw, ""))

    def handle_endtag(self, tag: str) -> None:
        if self._raw and tag == self._raw[0]:
            self._raw = None

    def handle_data(self, data: str) -> None:
        if self._raw:
            tag, attributes, text = self.inline[-1]
            self.inline[-1] = (tag, attributes, text + data)
        else:
            self.text.append(data)


def test_only_what_the_content_security_policy_names_runs(page_text: str) -> None:
    found = Elements(page_text)
    policies = [a for tag, a in found.tags if tag == "meta" and "http-equiv" in a]
    assert [p["http-equiv"] for p in policies] == ["Content-Security-Policy"]
    allowed = str(policies[0]["content"])
    assert allowed.startswith("default-src 'none'; ")
    assert "unsafe" not in allowed
    assert "http" not in allowed
    for tag, attributes, text in found.inline:
        kind = attributes.get("type")
        if tag == "script" and kind in ("application/json", "application/octet-stream"):
            continue
        assert kind is None
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        directive = re.search(rf"{tag}-src ([^;]*)", allowed)
        assert directive
        assert f"'sha256-{digest}'" in directive[1].split()
    first = [tag for tag, _ in found.tags][:4]
    assert first == ["html", "head", "meta", "meta"], "the policy comes before everything that it governs"


def test_nothing_is_loaded_and_no_attribute_runs_or_styles(page_text: str) -> None:
    for tag, attributes in Elements(page_text).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img", "form")
        assert not {"src", "srcset", "style", "action", "formaction"} & set(attributes), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
        assert str(attributes.get("href", "#")).startswith("#")


def hostile_comparison(text: str) -> Comparison:
    made = comparison(64, 4)
    recording = made.recording | {
        "name": text,
        "kernel": text,
        "arch": text,
        "verdict": text,
        "cmdline": text,
        text: text,
    }
    recording["zones"] = [{"node": 0, "name": text, "managed_pages": 5}]
    runs = []
    for i, one in enumerate(made.runs):
        assert one.frames is not None
        provenance = one.provenance | {"process": text, text: [text, {text: text}]}
        frames = replace(one.frames, zones=(text, text))
        runs.append(replace(one, policy=f"{text}{i}", provenance=provenance, frames=frames))
    return Comparison(tuple(runs), recording)


@pytest.mark.parametrize("text", HOSTILE)
def test_recorded_text_is_text(text: str, page_text: str) -> None:
    page = comparison_page(hostile_comparison(text))
    found, plain = Elements(page), Elements(page_text)
    own = [tag for tag, _ in plain.tags]
    extra = [tag for tag, _ in found.tags if tag not in set(own)]
    assert extra == [], "no element came from the text"
    for tag in ("script", "style"):
        scripts = [t for t, a in found.tags if t == tag and "type" not in a]
        assert len(scripts) == len([t for t, a in plain.tags if t == tag and "type" not in a])
    for _, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")]
    shown = visible(text)
    assert "".join(found.text).count(shown) > 8
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\u2029\x00-\x08\x1b\x07]", page)
    page.encode("utf-8")
    data = json.loads(next(t for _, a, t in found.inline if a.get("id") == "data"))
    assert data["runs"][0]["policy"] == f"{shown}0"
    assert data["map"]["zones"] == [shown, shown]


def test_visible_text() -> None:
    assert visible("plain ünïcode 漢字 ✓") == "plain ünïcode 漢字 ✓"
    assert visible("a\u202eb\x1bc\nd\u2028") == "a\\u202eb\\u001bc\\u000ad\\u2028"
    assert visible("x" * 5000) == "x" * 2000 + "…"
    assert visible(None) == "None"


def test_json_within_a_script() -> None:
    value: dict[str, Any] = {"a": "</script><!--", "b": "\u2028&", "c": [1.5, None]}
    text = script_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON"):
        script_json(float("nan"))


def test_all_that_the_terminal_shows_stands_in_the_page(made: Comparison, page_text: str) -> None:
    text = html.unescape(page_text)
    for row in comparison_rows(made):
        assert row.row.label in text
    for line in str(conclusion(made)).split("\n"):
        assert line.replace(" -> ", " → ") in text
    assert made.recording["verdict"] in text
    assert made.recording["digest"] in text
    assert "The MIT License" in text


def test_equal_results_make_equal_pages(made: Comparison, page_text: str) -> None:
    assert comparison_page(made) == page_text


def test_one_run_alone_and_a_run_without_a_map(made: Comparison) -> None:
    alone = comparison_page(Comparison(made.runs[:1], made.recording))
    assert "One run: nothing is compared." in alone
    bare = replace(made.runs[0], frames=None, history=None)
    page = comparison_page(Comparison((bare,), made.recording))
    data = json.loads(next(t for _, a, t in Elements(page).inline if a.get("id") == "data"))
    assert data["map"] is None
    assert len(data["charts"]) > 5
    zeros = {**bare.series, "polluted_blocks": [0] * len(bare.series["t"])}
    other = replace(bare, policy="evacuate")
    for second, flat in ((zeros, True), ({**zeros, "polluted_blocks": [1] * len(zeros["t"])}, False)):
        drawn = charts([replace(bare, series=zeros), replace(other, series=second)], bare.series["t"])
        told = {chart["title"]: chart["flat"] for chart in drawn}
        assert told["Polluted pageblocks"] is flat
        assert told["Mixed pageblocks"] is (len(set(bare.series["mixed_blocks"])) == 1)


def test_several_runs_of_a_policy_have_a_spread_and_a_p(made: Comparison) -> None:
    runs = [
        run(p, 64, 4, seed=s + 10 * (p == "evacuate")) for s in range(1, 5) for p in ("mainline", "evacuate")
    ]
    both = Comparison(tuple(runs), made.recording)
    rows = {r["id"]: r["cells"] for section in figure_sections(both)[0] for r in section["rows"]}
    base, other = rows["extfrag.claims_from_movable"]
    values = [20 + 7 * s for s in range(1, 5)]
    assert base.text == mean_text(sum(values) / 4, spread(values))
    assert base.note == f"4 runs, {values[0]} to {values[-1]}"
    assert other.note.endswith("; differs, p 0.029"), "2 of 70 splits"
    assert other.verdict == "worse"
    page = comparison_page(both)
    assert "exact permutation test" in page
    drawn = {run.policy: run.seed for run in both.typical.runs}
    assert f"seed {drawn['mainline']} of mainline, seed {drawn['evacuate']} of evacuate." in page
    assert page.count("Of each policy one run, the median by mixed pageblocks.") == 3
    for line in str(conclusion(both)).split("\n"):
        assert line.replace(" -> ", " → ") in html.unescape(page)
    prices = {row["id"]: [c.text for c in row["cells"]] for row in price_section(both)["rows"]}  # type: ignore[index]
    assert rows["end.huge_pages_free"][1].note.endswith("; equal")
    assert prices["price.huge_pages_per_worker_second"] == ["–", "–"], "no gain, no price"
    assert rows["end.regions_2m_movable_only"][1].note.endswith("; differs, p 0.029")
    assert prices["price.movable_only_per_worker_second"][1] == "0.0121"


def test_a_difference_within_the_spread_is_not_called_better() -> None:
    runs = [
        run(p, 64, 4, seed=s)
        for p, seeds in (("mainline", (1, 5, 9)), ("evacuate", (2, 6, 8)))
        for s in seeds
    ]
    rows = {
        r["id"]: r["cells"]
        for section in figure_sections(Comparison(tuple(runs), {}))[0]
        for r in section["rows"]
    }
    assert rows["extfrag.claims_from_movable"][1].verdict == ""


def test_flows_before_and_after() -> None:
    events = [
        [
            {"kind": "claim", "for": "unmovable", "from": "movable", "order_taken": 5, "events": 4},
            {"kind": "claim", "for": "unmovable", "from": "movable", "order_taken": 6, "events": 6},
            {"kind": "steal", "for": "movable", "from": "unmovable", "order_taken": 0, "events": 7},
        ],
        [{"kind": "claim", "for": "unmovable", "from": "movable", "order_taken": 6, "events": 5}],
    ]
    claims, whole, steals = flow_tables(["a", "b"], events)
    (row,) = claims["rows"]
    assert (row["from"], row["to"], row["counts"], claims["most"]) == ("movable", "unmovable", [10, 5], 10)
    assert [c.change for c in row["cells"]] == ["", "-50 %"]
    assert [(o["order"], [c.text for c in o["cells"]]) for o in row["orders"]] == [
        (5, ["4", "0"]),
        (6, ["6", "5"]),
    ]
    assert whole["rows"] == []
    assert [r["counts"] for r in steals["rows"]] == [[7, 0]]


def test_parameters_that_differ_are_told_apart(made: Comparison) -> None:
    rows = {row["name"]: row for row in parameter_rows(made.runs)}
    assert rows["kevacuate"]["same"]
    assert rows["policy"]["texts"] == ["mainline", "evacuate"]
    assert rows["options.seed"]["texts"] == ["1", "2"]


def test_a_result_that_lacks_figures_is_refused_in_a_sentence(made: Comparison) -> None:
    poor = replace(made.runs[0], metrics={})
    with pytest.raises(KevacuateError, match="another version"):
        comparison_page(Comparison((poor,), {}))


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_page(tmp_path / "a.html", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
    with pytest.raises(KevacuateError, match="cannot be written"):
        write_page(tmp_path / "none" / "a.html", "x")
