"""`xai doctor`, `xai methods` and `xai dashboard`."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import xai
from xai.cli.common import FAILED, PASS, add_model, command, load_model, model_settings, one_line, parted


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
    diagnosis = xai.diagnose(
        None if options.model is None else load_model(options),
        None if data is None else _data(data),
        self_test=options.self_test,
        progress=True if sys.stderr.isatty() else None,
    )
    if options.json:
        print(json.dumps({"diagnosis": diagnosis.to_dict()}, indent=1))
    else:
        print("\n".join(one_line(line) for line in str(diagnosis).splitlines()))
    return PASS if diagnosis.ok else FAILED


def _data(text: str) -> Any:
    source, part = parted(text)
    return xai.load_data(source, part=part)


_GRAPHS = frozenset({".onnx", ".keras", ".h5"})  # files that hold their own network


def add_methods(commands: Any) -> None:
    """Add `xai methods`."""
    parser = command(commands, "methods", _methods, "list the methods, and which suit a model")
    add_model(parser, required=False)
    parser.add_argument("--kind", default="explanation", help="explanation, attack, corruption or detector")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _methods(options: argparse.Namespace) -> int:
    model = load_model(options) if options.model else None
    methods = xai.methods(model, options.kind, progress=True if sys.stderr.isatty() else None)
    if options.json:
        print(json.dumps({"methods": [info.to_dict() for info in methods]}, indent=1))
        return PASS
    for info in methods:
        advice = "" if info.advised is None else f"  [{'advised' if info.advised else 'not advised'}: {info.why}]"
        print(f"{info.name:20} {info.family:12} {info.forward:>6} forward {info.backward} back  {info.summary}{advice}")
    return PASS


def add_dashboard(commands: Any) -> None:
    """Add `xai dashboard`."""
    parser = command(commands, "dashboard", _dashboard, "open the dashboard in a browser")
    parser.add_argument("--port", type=int)
    more = "a model to offer first, such as weights.safetensors; the first --arch is its own, uploads may use all"
    add_model(parser, required=False, more=more, arches=True)
    parser.add_argument("--data", help="a data set to offer first, such as a folder with one folder per class")
    parser.add_argument("--audits", help="folder of audits, in place of audits/")
    parser.add_argument(
        "--host", action="append", default=[], help="NAME under which a proxy shows it to others, who have to sign in"
    )


def _dashboard(options: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "xai.dashboard"]
    command += ["--port", str(options.port)] if options.port else []
    command += ["--model", options.model, "--model-settings", json.dumps(_own(options))] if options.model else []
    command += ["--data", options.data] if options.data else []
    command += [part for arch in options.arch or () for part in ("--arch", arch)]
    command += ["--audits", options.audits] if options.audits else []
    command += [part for host in options.host for part in ("--host", host)]
    return subprocess.run(command, check=False).returncode


def _own(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the model that is offered first."""
    settings = {**model_settings(options), "device": options.device, "trust": options.trust}
    arches = settings.pop("arch", None)
    weights = arches and Path(options.model).is_file() and Path(options.model).suffix.lower() not in _GRAPHS
    return settings | ({"arch": arches[0]} if weights else {})
