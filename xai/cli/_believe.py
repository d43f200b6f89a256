"""`xai calibration` and `xai drift`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import xai
from xai.cli._common import PASS, add_model, command, data_of, load_model, one_line


def add_calibration(commands: Any) -> None:
    """Add `xai calibration`."""
    parser = command(commands, "calibration", _calibration, "how far probabilities can be taken at their word")
    add_model(parser, required=True)
    parser.add_argument("--data", required=True, help="a labelled data set that the model was not trained on")
    parser.add_argument("--fit-data", help="another one to fit the temperature on; default: half of --data")
    parser.add_argument("--bins", type=int, default=15)
    _add_rest(parser, "folder for the result and calibration.png")


def _calibration(options: argparse.Namespace) -> int:
    fit_data = None if options.fit_data is None else data_of(options.fit_data, options)
    found = xai.calibration(
        load_model(options),
        data_of(options.data, options),
        fit_data=fit_data,
        bins=options.bins,
        seed=options.seed,
        progress=_progress(),
    )
    return _finish(found, options, "calibration", _show_calibration)


def _show_calibration(found: Any) -> None:
    print(f"{found.verdict}: {len(found)} pictures of {one_line(str(found.data['name']))}")
    for row in found.table.itertuples():
        span = f"{row.low:.4f} to {row.high:.4f}" if row.low == row.low else ""
        print(f"  {row.measure:18} {row.value:8.4f}  {span:18}  temperature: {row.before:.4f} -> {row.after:.4f}")


def add_drift(commands: Any) -> None:
    """Add `xai drift`."""
    parser = command(commands, "drift", _drift, "whether two data sets look alike to a model")
    add_model(parser, required=True)
    parser.add_argument("--data", required=True, help="the new pictures")
    parser.add_argument("--reference", required=True, help="what to compare them with; labels help")
    parser.add_argument("--alpha", type=float, default=0.05, help="level of all tests together (0.05)")
    _add_rest(parser, "folder for the result and drift.png")


def _drift(options: argparse.Namespace) -> int:
    found = xai.drift(
        load_model(options),
        data_of(options.reference, options),
        data_of(options.data, options),
        alpha=options.alpha,
        seed=options.seed,
        progress=_progress(),
    )
    return _finish(found, options, "drift", _show_drift)


def _show_drift(found: Any) -> None:
    print(f"{found.verdict}: {found.data['count_a']} and {found.data['count_b']} pictures")
    for row in found.table.itertuples():
        span = f"{row.low:.4g} to {row.high:.4g}" if row.low == row.low else ""
        print(f"  {row.name:11} {row.effect:29} {row.value:10.4g}  {span:20}  p = {row.adjusted:.2g}")


def _add_rest(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument("--count", type=int, default=0, help="pictures drawn from each data set; 0 takes all (0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help=out)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _progress() -> bool | None:
    return True if sys.stderr.isatty() else None


def _finish(found: Any, options: argparse.Namespace, kind: str, show: Any) -> int:
    if options.out is not None:
        found.save(options.out)
        found.plot().savefig(options.out / f"{kind}.png", dpi=150)
    if options.json:
        saved = str(options.out) if options.out else None
        print(json.dumps({kind: found.to_dict() | {"saved": saved}}, indent=1))
        return PASS
    show(found)
    for line in (*found.reasons, *found.notes):
        print(f"  {one_line(line)}")
    if options.out is not None:
        print(f"  saved in {options.out}")
    return PASS
