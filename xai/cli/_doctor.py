"""`xai doctor`."""

import argparse
import json
import sys
from typing import Any

import xai
from xai.cli._common import FAILED, PASS, add_model, command, load_model, one_line, parted


def add_doctor(commands: Any) -> None:
    """Add `xai doctor`."""
    summary = "say what is installed, whether it works, and how a model and data go together"
    parser = command(commands, "doctor", _doctor, summary)
    parser.add_argument("sources", nargs="*", metavar="MODEL [DATA]", help="in place of --model and --data")
    add_model(parser, required=False)
    parser.add_argument("--data", metavar="DATA[@PART]", help="images with labels, to say which way of resizing fits")
    parser.add_argument("--self-test", action="store_true", help="reproduce known figures on digits (under 30 s)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _doctor(options: argparse.Namespace) -> int:
    named = [options.model, options.data]
    if len(options.sources) + sum(name is not None for name in named) > len(named):
        raise xai.InputError(f"Expected MODEL and DATA once each, but got {options.sources}, --model, --data.")
    left = iter(options.sources)
    options.model, data = (next(left, None) if name is None else name for name in named)
    found = xai.diagnose(
        None if options.model is None else load_model(options),
        None if data is None else _data(data),
        self_test=options.self_test,
        progress=True if sys.stderr.isatty() else None,
    )
    if options.json:
        print(json.dumps({"diagnosis": found.to_dict()}, indent=1))
    else:
        print("\n".join(one_line(line) for line in str(found).splitlines()))
    return PASS if found.ok else FAILED


def _data(text: str) -> Any:
    source, part = parted(text)
    return xai.load_data(source, part=part)
