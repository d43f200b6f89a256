"""How long it takes until something happens."""

from benchmarks.timing import start_time, table


def run() -> None:
    """Print start times of the import and of the command line."""
    empty = start_time(["-c", "pass"])
    rows = [("python -c pass", f"{empty:.3f} s")]
    for name, arguments in {"import xai": ["-c", "import xai"], "xai --help": ["-m", "xai.cli", "--help"]}.items():
        rows.append((name, f"{start_time(arguments):.3f} s"))
    table("Start (at most 0.300 s each)", rows)
