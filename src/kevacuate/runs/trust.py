# SPDX-License-Identifier: GPL-2.0-or-later
"""How far a replay of a recording can be trusted: what was lost, what is known, what is guessed; in figures and in words."""

from __future__ import annotations

from typing import Any

from kevacuate.demand.build import Demand
from kevacuate.measure.claims import claims_facts
from kevacuate.mm.profile import profile_for
from kevacuate.percent import percent
from kevacuate.recording import Lost, Recording
from kevacuate.recording.completeness import losses_by_cpu
from kevacuate.runs.loop_choice import reclaim_words
from kevacuate.runs.start_guesses import firm, guessed_words, start_facts

GOOD_TRUST, FAIR_TRUST = 0.995, 0.95
"""From these shares of known demand on a replay stands on firm ground, and on fair ground."""


def about_result(recording: Recording, demand: Demand) -> dict[str, Any]:
    """The facts that every result carries: what was recorded, how much of the demand is known, the verdict in words.

    A demand that is reconstructed must have been read to its end once.
    """
    machine = recording.machine
    quality = {} if demand.max_objects is None else demand.quality.as_dict()
    losses = losses_by_cpu(recording)
    trusted, start = quality.get("trusted"), start_facts(recording)
    known = "How much of the demand is a guess was not kept."
    if trusted is not None:
        known = f"{percent(trusted, 2)} of the demand is known from the kernel's own events. {trust_words(trusted, start)}"
    verdict = f"{lost_and_unread({**losses, 'events_not_read': recording.not_read})}. {known}"
    if machine.extra.get("generated"):
        verdict = described_words(machine.extra["generated"])
    if machine.extra.get("scaled"):
        verdict = f"{scaled_words(machine.extra['scaled'])} {verdict}"
    if begun := machine.extra.get("start"):
        verdict = f"{verdict} {begun_words(begun)}"
    return {
        "name": recording.path.name,
        "digest": recording.digest,
        "kernel": machine.kernel,
        "profile": profile_for(machine.kernel)[1],
        "arch": machine.arch,
        "cpus": machine.cpus,
        "zones": [{"node": z.node, "name": z.name, "managed_pages": z.managed} for z in machine.zones],
        "pageblock_order": machine.pageblock_order,
        **losses,
        "quality": quality,
        "reclaim": reclaim_words(quality),
        "start": start,
        **claims_facts(recording),
        "verdict": verdict,
    }


def described_words(name: str) -> str:
    """What a replay of the described workload of that name rests on."""
    return f"The demand is described, not recorded: workload {name}. A replay shows what the model does with it, and no more."


def scaled_words(scaled: dict[str, Any]) -> str:
    """What a replay of a scaled recording rests on; *scaled* as its machine has it."""
    times = ", ".join(f"{scaled.get(name, 1)} times the {name}" for name in ("memory", "cpus", "length"))
    return (
        f"The demand is scaled from {scaled.get('recording', 'a recording')} ({times.replace('cpus', 'CPUs')}): no such machine "
        "was recorded."
    )


def begun_words(start: dict[str, str]) -> str:
    """That a replay begins from another start state than the demand's own."""
    return f"A replay begins from the start state {start['file']}, which stands for no moment of that demand."


def lost_and_unread(about: dict[str, Any]) -> str:
    """How many events were lost, if that is known, and how many could not be read, without the period."""
    lost, unread = Lost.of_json(about), sum(about["events_not_read"].values())
    if not unread:
        return lost.sentence if about["lost_events"] else "Whether events were lost is not known"
    could = f"{unread:,} event{'s' if unread > 1 else ''} could not be read"
    if not about["lost_events"]:
        return f"{could}; whether others were lost is not known"
    return f"{could} and {lost.number} {'was' if lost.events == 1 else 'were'} lost" if lost else could


def trust_words(trusted: float, start: dict[str, Any]) -> str:
    """What a share of known demand is good for, with a start (:func:`start_facts`) of which so much is guessed."""
    said = _ground(trusted, firm(start))
    words = guessed_words(start)
    return f"{said} {words}" if words else said


def _ground(trusted: float, known_start: bool) -> str:
    """On what ground a replay stands."""
    if trusted >= GOOD_TRUST and known_start:
        return "A replay of it stands on firm ground."
    if trusted >= GOOD_TRUST:
        return "A replay of it shows the large effects; what rests on a guessed start may be a guess."
    if trusted >= FAIR_TRUST:
        return "A replay of it shows the large effects; small ones may be guesses."
    return "Too much of it is guessed for a replay to be trusted."
