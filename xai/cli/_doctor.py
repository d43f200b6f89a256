"""`xai doctor`."""

import argparse
import json
import sys
from typing import Any

import xai
from xai.cli._common import FAILED, PASS, command, one_line


def add_doctor(commands: Any) -> None:
    """Add `xai doctor`."""
    parser = command(commands, "doctor", _doctor, "say what is installed, and whether it works")
    parser.add_argument("--self-test", action="store_true", help="reproduce known figures on digits (under 30 s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _doctor(options: argparse.Namespace) -> int:
    found = xai.diagnose(self_test=options.self_test, progress=True if sys.stderr.isatty() else None)
    if options.json:
        print(json.dumps({"diagnosis": found.to_dict()}, indent=1))
    else:
        print("\n".join(one_line(line) for line in str(found).splitlines()))
    return PASS if found.ok else FAILED
