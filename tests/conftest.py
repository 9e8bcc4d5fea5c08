# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings and fixtures of the whole suite, and the summary of what the lockstep tests have reached."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from lockstep_counts import TESTS, load, shortfalls, table

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "explore", derandomize=False, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

if importlib.util.find_spec("hypothesis.internal.conjecture.providers"):  # since 6.103
    # Hypothesis draws, too, constants of the modules loaded so far: others in each worker. What a run reaches would be luck.
    providers = importlib.import_module("hypothesis.internal.conjecture.providers")
    providers._get_local_constants = lambda: providers._local_constants  # type: ignore[attr-defined]

os.environ.pop("COLUMNS", None)  # set for the workers that tests run in; tables would follow it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and their children would pass over the SIGINT that tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)

DIRECTORY = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def synthetic_kev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made recording of `synthetic`, which fragments memory."""
    from synthetic import write_recording

    return write_recording(tmp_path_factory.mktemp("synthetic") / "tiny.kev")


@pytest.fixture(scope="session")
def lockstep_directory(request: pytest.FixtureRequest) -> Path:
    """Where the lockstep tests leave their counts."""
    return request.config.stash[DIRECTORY]


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of pytest-xdist's workers."""
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """The controller makes the directory of the counts, a worker is told of it."""
    if is_worker(config):
        config.stash[DIRECTORY] = Path(config.workerinput["lockstep_counts"])  # type: ignore[attr-defined]
    else:
        config.stash[DIRECTORY] = Path(tempfile.mkdtemp(prefix="lockstep-counts-"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of the directory."""
    node.workerinput["lockstep_counts"] = str(node.config.stash[DIRECTORY])


def is_complete(total: Counter[str]) -> bool:
    """Whether all lockstep tests have run: only then is what they reached judged."""
    return total["tests"] == TESTS


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A complete run that has not reached enough fails."""
    if is_worker(session.config):
        return
    total = load(session.config.stash[DIRECTORY])
    if is_complete(total) and shortfalls(total):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the counts."""
    total = load(config.stash[DIRECTORY])
    if total["tests"] == 0:
        return
    terminalreporter.section("lockstep: fast model and oracle")
    for line in table(total):
        terminalreporter.write_line(line)
    if not is_complete(total):
        terminalreporter.write_line(f"{total['tests']} of {TESTS} lockstep tests ran: not judged")
        return
    for line in shortfalls(total):
        terminalreporter.write_line(f"not reached often enough: {line}", red=True)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_unconfigure(config: pytest.Config) -> Iterator[None]:
    """Remove the directory."""
    yield
    if not is_worker(config):
        shutil.rmtree(config.stash[DIRECTORY], ignore_errors=True)
