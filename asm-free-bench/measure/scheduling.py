"""Whether Linux schedules each session as a group of its own (kernel.sched_autogroup_enabled, sched(7)).

Then the load generator, one session, is as much as a whole server, another session, and takes the CPU from it at
each answer. Clients are on other machines in earnest and take none.
"""

import argparse
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


def describe():
    """For the head of the output."""
    return "a group per session, the load's beside the server's" if has_groups() else "no groups of sessions"


class Off(argparse.Action):
    """The option; a mistake where it cannot be done."""

    def __init__(self, option_strings, dest, **others):
        text = "switch autogroups (sched(7)) off meanwhile; for root"
        super().__init__(option_strings, dest, nargs=0, default=False, help=text, **others)

    def __call__(self, parser, namespace, _values, option_string=None):
        if has_groups() and not os.access(_SWITCH, os.W_OK):
            parser.error(f"{option_string}: {_SWITCH} cannot be written; root may")
        setattr(namespace, self.dest, True)


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
