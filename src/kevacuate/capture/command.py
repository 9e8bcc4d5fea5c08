# SPDX-License-Identifier: GPL-2.0-or-later
"""Running COMMAND as the user who asked for the recording, not as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kevacuate.capture.options import RecordOptions
from kevacuate.errors import KevacuateError


@dataclass(frozen=True)
class User:
    """Whom to be: ids, and the environment that goes with them."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    environment: dict[str, str]


def invoking_user(environment: Mapping[str, str]) -> User | None:
    """Who called sudo, by SUDO_UID and SUDO_GID; None where we are not root or nobody did."""
    uid, gid = environment.get("SUDO_UID", ""), environment.get("SUDO_GID", "")
    if os.geteuid() != 0 or not uid.isdigit() or not gid.isdigit() or int(uid) == 0:
        return None
    try:
        entry = pwd.getpwuid(int(uid))
    except KeyError:
        return User(int(uid), int(gid), (), {})
    groups = tuple(os.getgrouplist(entry.pw_name, int(gid)))
    names = {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name, "SHELL": entry.pw_shell}
    return User(int(uid), int(gid), groups, names)


def check_asked(options: RecordOptions) -> None:
    """Refuse what cannot be done as asked, before privileges are looked at and before anything else is done.

    Raises
    ------
    KevacuateError
        The target exists already, or there is no such program.

    """
    if os.path.lexists(options.target):
        raise KevacuateError(f"{options.target} exists already: remove it or choose another name with -o.")
    command = options.command
    if command and shutil.which(command[0]) is None:
        raise KevacuateError(f"There is no program {command[0]!r} to run: give its path, or check PATH.")


def start_command(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the command, as the invoking user.

    Raises
    ------
    KevacuateError
        It cannot be run.

    """
    user = invoking_user(os.environ)

    try:
        if user is None:
            return subprocess.Popen(list(command))
        return subprocess.Popen(
            list(command),
            user=user.uid,
            group=user.gid,
            extra_groups=list(user.groups),
            env={**os.environ, **user.environment},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise KevacuateError(f"{command[0]!r} cannot be run: {error}.") from None


def give_to_user(path: Path) -> None:
    """Make what was written the invoking user's, as far as that is possible."""
    user = invoking_user(os.environ)
    if user is None:
        return
    for root, directories, names in os.walk(path):
        for name in [".", *directories, *names]:
            try:
                os.chown(os.path.join(root, name), user.uid, user.gid, follow_symlinks=False)
            except OSError:
                return
