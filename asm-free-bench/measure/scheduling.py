"""Whether Linux schedules each session as a group of its own (kernel.sched_autogroup_enabled, sched(7)).

Then the load generator, one session, is as much as a whole server, another session, and takes the CPU from it at
each answer. Clients are on other machines in earnest and take none.
"""

import contextlib
import os

_SWITCH = "/proc/sys/kernel/sched_autogroup_enabled"


def has_groups():
    """False where the kernel does not know them, too."""
    try:
        with open(_SWITCH, encoding="ascii") as file:
            return file.read().strip() != "0"
    except OSError:
        return False


def may_switch():
    """Whether this user may change it, if there is anything to change."""
    return not has_groups() or os.access(_SWITCH, os.W_OK)


def _switch(text):
    with open(_SWITCH, "w", encoding="ascii") as file:
        file.write(text)


@contextlib.contextmanager
def in_one_group(is_wanted):
    """Without such groups, for whatever is started meanwhile."""
    if not (is_wanted and has_groups()):
        yield
        return
    _switch("0")
    try:
        yield
    finally:
        _switch("1")
