"""Tables: aligned, and Markdown as they are."""

import os
import platform
import statistics
import subprocess


def median(values):
    """None of nothing."""
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def spread(values):
    """From lowest to highest in percent of the median."""
    values = [value for value in values if value is not None]
    middle = median(values)
    return 100 * (max(values) - min(values)) / middle if middle else None


def number(value, places=0):
    """With commas between thousands; a dash for nothing."""
    return "-" if value is None else f"{value:,.{places}f}"


def table(heads, rows):
    """The first column to the left, figures to the right."""
    widths = [max(len(str(row[i])) for row in [heads, *rows]) for i in range(len(heads))]

    def line(cells):
        aligned = [str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
        return "| " + " | ".join(aligned) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    print("\n".join([line(heads), line(rule), *map(line, rows)]), flush=True)


def machine():
    """CPU, cores, kernel."""
    names = ("model name", "Model", "Hardware", "uarch")
    cpu = "unknown CPU"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in names:
                cpu = value.strip()
                break
    return f"{cpu}, {platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"


def commit(folder):
    """Of the repository; `modified` where files differ from it."""

    def git(*words):
        try:
            ended = subprocess.run(["git", "-C", folder, *words], check=False, capture_output=True, text=True)
        except OSError:
            return None
        return ended.stdout.strip() if ended.returncode == 0 else None

    found = git("rev-parse", "--short=12", "HEAD")
    return "unknown" if not found else found + (", modified" if git("status", "--porcelain") else "")
