"""`xai bias`: groups, and faults of the data."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import xai
from xai.cli._common import PASS, add_model, command, load_model, one_line

_MOST = 12  # lines printed


def add_bias(commands: Any) -> None:
    """Add `xai bias`."""
    parser = command(commands, "bias", _bias, "compare how a model treats groups of pictures")
    add_model(parser, required=True)
    parser.add_argument("--data", required=True, help="a labelled data set with group columns, such as table.csv")
    parser.add_argument("--groups", help="columns separated by commas; default: all with up to 20 groups")
    parser.add_argument("--count", type=int, default=0, help="pictures drawn from --data; default: all")
    parser.add_argument("--metrics", help="accuracy,recall,precision,...; default: all")
    parser.add_argument("--alpha", type=float, default=0.05, help="chance of any false alarm in the report (0.05)")
    parser.add_argument("--correction", default="holm", help="holm (no false alarm) or bh (few of them)")
    parser.add_argument("--depth", type=int, default=2, help="columns crossed at a time (2); 1 crosses none")
    parser.add_argument("--faults", action="store_true", help="look for faults of the data instead of comparing groups")
    parser.add_argument("--train", help="with --faults: what the model learnt from, to find what is in both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for report, table.csv, groups.csv and a picture per column")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _bias(options: argparse.Namespace) -> int:
    classifier, data = load_model(options), _data(options)
    if options.faults:
        return _faults(options, classifier, data)
    if options.train is not None:
        raise xai.InputError("Expected --train together with --faults. Add --faults, or leave --train out.")
    found = xai.bias(
        classifier,
        data,
        None if options.groups is None else _names(options.groups),
        metrics=None if options.metrics is None else _names(options.metrics),
        alpha=options.alpha,
        correction=options.correction,
        depth=options.depth,
        seed=options.seed,
        progress=True if sys.stderr.isatty() else None,
    )
    if options.out is not None:
        _save(found, options.out)
    if options.json:
        saved = str(options.out) if options.out else None
        print(json.dumps({"bias": found.to_dict() | {"saved": saved}}, indent=1))
        return PASS
    _show(found, options.out)
    return PASS


def _faults(options: argparse.Namespace, classifier: Any, data: Any) -> int:
    train = None if options.train is None else xai.load_data(options.train)
    found = xai.data_faults(classifier, data, train, seed=options.seed, progress=True if sys.stderr.isatty() else None)
    if options.out is not None:
        found.save(options.out)
        found.rows.to_csv(options.out / "faults.csv", index=False)
        found.plot().savefig(options.out / "faults.png", dpi=150)
    if options.json:
        saved = str(options.out) if options.out else None
        print(json.dumps({"faults": found.to_dict() | {"saved": saved}}, indent=1))
        return PASS
    for line in str(found).splitlines():
        print(one_line(line))
    for note in found.notes:
        print(f"  {one_line(note)}")
    if options.out is not None:
        print(f"  saved in {options.out}")
    return PASS


def _data(options: argparse.Namespace) -> Any:
    data = xai.load_data(options.data)
    return data.subset(min(options.count, len(data)), seed=options.seed) if options.count > 0 else data


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _save(found: Any, place: Path) -> None:
    found.save(place)
    found.table.to_csv(place / "table.csv", index=False)
    found.groups.to_csv(place / "groups.csv", index=False)
    for number, column in enumerate(found.columns):
        found.plot(column).savefig(place / f"groups_{number + 1}.png", dpi=150)


def _show(found: Any, place: Path | None) -> None:
    lines = [line for line in str(found).splitlines() if line]
    for line in lines[:_MOST]:
        print(one_line(line))
    if len(lines) > _MOST:
        print(f"... and {len(lines) - _MOST} more; --json or --out has all")
    for row in found.summary.itertuples():
        mark = f"  [{row.verdict}]" if row.verdict else ""
        where = f" ({row.where})" if row.where else ""
        print(one_line(f"  {row.column}: {row.measure} {row.value:.3f}{where}, {row.low:.3f} to {row.high:.3f}{mark}"))
    for note in found.notes:
        print(f"  {one_line(note)}")
    if place is not None:
        print(f"  saved in {place}")
