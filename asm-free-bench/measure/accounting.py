"""CPU time and memory of a server with all its processes, handlers included.

By a control group (version 2) of each server's own: the kernel charges it with everything that
runs in it, also with what nobody waits for. Where none can be made, by /proc: utime, stime and what
was waited for (cutime, cstime) of the server's processes. That misses handlers whose server ignores
SIGCHLD, as busybox httpd does.
"""

import contextlib
import ctypes
import os
import signal
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")


def adopt_orphans():
    """What a server leaves behind becomes this process's own, and can be found and ended."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent():
    """Between fork and exec: no server outlives a bench that was killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _text(path):
    """A file's text; empty if it, or its process, is gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _control_group_folders():
    """Where a group might be made: the root of the hierarchy, else below this process's own."""
    mounts = [line.split() for line in _text("/proc/self/mounts").splitlines()]
    own = [line[3:] for line in _text("/proc/self/cgroup").splitlines() if line.startswith("0::")]
    for mount in mounts:
        if mount[2] == "cgroup2":
            yield mount[1]
            for path in own:
                yield mount[1] + path.rstrip("/")


class Accounts:
    """Makes one account per server; `how` says which kind. Its folder goes with `close`."""

    def __init__(self, with_groups=True):
        self.folder = None
        self.how = "/proc: utime, stime, and those of waited-for children (no cgroup v2 of its own)"
        for base in _control_group_folders() if with_groups else ():
            folder = os.path.join(base, f"caffeine-bench-{os.getpid()}")
            with contextlib.suppress(OSError):
                os.mkdir(folder)
                if "usage_usec" in _text(os.path.join(folder, "cpu.stat")):
                    self.folder = folder
                    self.how = "cgroup v2: usage_usec in cpu.stat of a group per server"
                    return
                os.rmdir(folder)

    def open(self, name):
        """The account of a server that is about to be started."""
        return Group(os.path.join(self.folder, name)) if self.folder else Tree()

    def close(self):
        """After every account was closed."""
        if self.folder:
            _remove_group(self.folder)


class Account:
    """What is asked of either kind."""

    def pss_bytes(self):
        """Proportional set size of all processes, or None where the kernel does not tell."""
        lines = (line for pid in self.pids() for line in _text(f"/proc/{pid}/smaps_rollup").splitlines())
        sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")]
        return sum(sizes) or None

    def settle(self, limit=6.0):
        """Waits until the server has stopped working, at most `limit` seconds."""
        end = time.monotonic() + limit
        before = self.cpu_seconds()
        while time.monotonic() < end:
            time.sleep(0.05)
            now = self.cpu_seconds()
            if now - before < 0.002:
                return
            before = now

    def kill(self):
        """Ends what is left, each by its id, until nothing is."""
        end = time.monotonic() + 5
        while (left := self.pids()) and time.monotonic() < end:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            reap()
            time.sleep(0.02)
        # A group counts no zombies.
        reap()


class Group(Account):
    """A control group."""

    def __init__(self, folder):
        self.folder = folder
        os.mkdir(folder)

    def enter(self):
        """Between fork and exec, while still privileged: all descendants follow."""
        with open(os.path.join(self.folder, "cgroup.procs"), "w", encoding="ascii") as procs:
            procs.write("0")

    def follow(self, _pid):
        """Nothing to do: the kernel follows."""

    def cpu_seconds(self):
        """CPU time since the group was made."""
        text = _text(os.path.join(self.folder, "cpu.stat"))
        return int(text.split()[text.split().index("usage_usec") + 1]) / 1e6

    def pids(self):
        """All processes."""
        return [int(pid) for pid in _text(os.path.join(self.folder, "cgroup.procs")).split()]

    def close(self):
        """After the processes have ended."""
        self.kill()
        _remove_group(self.folder)


class Tree(Account):
    """A server's processes and their descendants, found in /proc."""

    def __init__(self):
        self.roots = []

    def enter(self):
        """Nothing to do before exec."""

    def follow(self, pid):
        """One of the server's own processes."""
        self.roots.append(pid)

    def cpu_seconds(self):
        """CPU time of the living, with what they have waited for."""
        stats = _stats()
        return sum(sum(stats[pid][2]) for pid in self._found(stats)) / _TICKS

    def pids(self):
        """All processes."""
        return self._found(_stats())

    def _found(self, stats):
        # Each root leads a session; by that orphans are found too.
        found = [pid for pid, (_, session, _) in stats.items() if pid in self.roots or session in self.roots]
        for pid in found:
            found += [child for child, (parent, _, _) in stats.items() if parent == pid and child not in found]
        return found

    def close(self):
        """After the processes have ended."""
        self.kill()


def _stats():
    """pid → (parent, session, [utime, stime, cutime, cstime]) of everything that is no zombie."""
    stats = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        # The name, in parentheses, may hold anything.
        fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if fields and fields[0] != "Z":
            stats[int(pid)] = int(fields[1]), int(fields[3]), [int(field) for field in fields[11:15]]
    return stats


def reap():
    """Takes the exit status of adopted orphans; those of `Popen` are left to it."""
    # Popen's own children are waited for before this is called.
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _remove_group(folder):
    end = time.monotonic() + 2
    while os.path.isdir(folder):
        try:
            os.rmdir(folder)
        except OSError:
            # A process that has just ended may still be counted.
            if time.monotonic() > end:
                return
            time.sleep(0.02)
