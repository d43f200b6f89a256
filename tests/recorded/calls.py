"""The recorded calls: a table of calls through the public face, and what each returned when it was recorded.

`python -m tests.recorded.calls` says which calls differ from their record. With `--write` it records anew, all of them
or those named behind it. Write only for a deliberate change of results, which the CHANGELOG then names: the record is
what holds results equal while the inside of the package is moved. A call that is added is recorded on a checkout of the
code from before a move. Words of verdicts that are renamed go into `digest.RENAMED`, and the record stays.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tests.recorded import audit_calls, certainty_calls, data_calls, explain_calls, fairness_calls, robust_calls
from tests.recorded.digest import differences, digest, least_scale

RECORD = Path(__file__).with_name("digests.json")
CALLS: dict[str, Callable[[], dict[str, Any]]] = {
    **explain_calls.CALLS,
    **robust_calls.CALLS,
    **certainty_calls.CALLS,
    **fairness_calls.CALLS,
    **data_calls.CALLS,
    **audit_calls.CALLS,
}
LEFT_OUT = {
    "audit speed": "measures time",
    "diagnose": "tells what this machine has",
    "init_audit": "writes a text to start from; what it asks is recorded as `audit` and `plan_audit`",
    "known_networks": "names what is installed",
    "report": "writes prose; its numbers are those of the results that are recorded",
    "translate": "returns prose",
    "write_tests": "writes prose around findings that are recorded as `audit`",
}


METHODS = {  # recorded under the name of a function that is a method of `xai.Audit` today
    "audit_checks": "available_checks",
    "broken_copy": "broken_copy",
    "init_audit": "init",
    "judge_again": "rejudge",
    "plan_audit": "plan",
    "positive_control": "positive_control",
    "share_audit": "share",
    "write_tests": "write_tests",
}


def verb_of(name: str) -> str:
    """Return the public name that a call is recorded for: the first word of its own."""
    return name.split()[0]


def recorded() -> dict[str, Any]:
    """Return what is recorded of each call, by its name."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


def found_by(name: str) -> dict[str, Any]:
    """Make a call and return the record of what it returns."""
    return {entry: digest(value) for entry, value in CALLS[name]().items()}


def _write(found: Mapping[str, Any]) -> None:
    lines = [f" {json.dumps(name)}: {json.dumps(found[name], sort_keys=True)}" for name in sorted(found)]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Compare or write; return 1 where a call differs from its record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="record anew; only for a deliberate change of results")
    parser.add_argument("names", nargs="*", help="beginnings of names of calls; none means all")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = [name for name in CALLS if not options.names or name.startswith(tuple(options.names))]
    known, different = recorded(), 0
    for name in chosen:
        began = time.process_time()
        found = found_by(name)
        faults = [] if options.write else list(differences(known.get(name, {}), found, least=least_scale(name)))
        print(f"{time.process_time() - began:6.2f} s  {name}", *faults[:8], sep="\n    ")  # noqa: T201
        different += bool(faults)
        known[name] = found
    if options.write:
        _write({name: known[name] for name in CALLS if name in known})
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
