"""Fair timing on noisy machines: the contestants take turns, medians are compared."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping


def medians(contestants: Mapping[str, Callable[[], object]], *, rounds: int = 20, warm: int = 3) -> dict[str, float]:
    """Return the median wall time of each contestant in seconds; in each round every one runs once."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(warm + rounds):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            if number >= warm:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def start_time(arguments: list[str], rounds: int = 7) -> float:
    """Return the median seconds that a fresh Python needs for `arguments`."""

    def run() -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    return medians({"start": run}, rounds=rounds, warm=1)["start"]


def table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
