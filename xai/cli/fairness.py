"""`xai bias`: groups, shortcuts, weak slices, and faults of the data."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xai
from xai.cli.common import PASS, add_model, command, data_of, fraction, load_model, one_line, parted

_MOST = 12  # lines printed
_NO_FINDING, _TOO_SMALL = {"fragile", "not confirmed", "sensitivity"}, "too small to tell"


def add_bias(commands: Any) -> None:
    """Add `xai bias`."""
    parser = command(commands, "bias", _bias, "compare how a model treats groups of images")
    add_model(parser, required=True)
    parser.add_argument("--data", required=True, help="a labelled data set with group columns, such as table.csv")
    parser.add_argument("--groups", help="columns separated by commas; default: all with up to 20 groups")
    parser.add_argument("--count", type=int, default=0, help="images drawn from --data; default: all")
    parser.add_argument("--metrics", help="accuracy,recall,precision,...; default: all")
    parser.add_argument("--alpha", type=float, default=0.05, help="chance of any false alarm in the report (0.05)")
    parser.add_argument("--correction", default="holm", help="holm (no false alarm) or bh (few of them)")
    parser.add_argument("--depth", type=int, default=2, help="columns crossed at a time (2); 1 crosses none")
    parser.add_argument("--attack", help="compare who is attacked first: name of an attack, such as pgd")
    parser.add_argument("--eps", help="with --attack: its radius, such as 8/255")
    parser.add_argument("--explain", help="compare how well groups are explained: name of a method, such as gradcam")
    parser.add_argument("--samples", type=int, default=200, help="with --explain: images explained and rated (200)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--shortcuts", action="store_true", help="not groups: things beside the object that decide")
    instead.add_argument("--slices", action="store_true", help="not groups: slices of lower accuracy")
    instead.add_argument("--faults", action="store_true", help="not groups: faults of the data")
    parser.add_argument("--train", help="with --shortcuts or --faults: what the model learnt from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for report, table.csv, groups.csv and an image per column")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _bias(options: argparse.Namespace) -> int:
    kind = next((name for name in _INSTEAD if getattr(options, name)), None)
    _check(options, kind)
    classifier, data = load_model(options), data_of(options.data, options)
    if kind is not None:
        return _report(_INSTEAD[kind](options, classifier, data), kind, options)
    bias = xai.bias(
        classifier,
        data,
        None if options.groups is None else _names(options.groups),
        metrics=None if options.metrics is None else _names(options.metrics),
        alpha=options.alpha,
        correction=options.correction,
        depth=options.depth,
        extra=_treatment(options, classifier, data),
        seed=options.seed,
        progress=_bar(),
    )
    if options.out is not None:
        _save(bias, options.out)
    if options.json:
        _print_json("bias", bias, options)
        return PASS
    _show(bias, options.out)
    return PASS


def _check(options: argparse.Namespace, kind: str | None) -> None:
    if options.train is not None and kind not in {"faults", "shortcuts"}:
        raise xai.InputError("Expected --train together with --shortcuts or --faults. Add one, or leave --train out.")
    if options.eps is not None and options.attack is None:
        raise xai.InputError("Expected --eps together with --attack. Add --attack pgd, or leave --eps out.")
    for name in ("groups", "metrics", "attack", "explain"):
        if kind is not None and getattr(options, name) is not None:
            raise xai.InputError(f"Expected --{name} without --{kind}, which compares no groups. Leave one out.")


def _treatment(options: argparse.Namespace, classifier: Any, data: Any) -> Any:
    """Return what is asked of each image beside its answer, or None."""
    if options.attack is None and options.explain is None:
        return None
    return xai.treatment(
        classifier,
        data,
        attack=options.attack,
        eps=None if options.eps is None else fraction(options.eps),
        method=options.explain,
        samples=options.samples,
        seed=options.seed,
        progress=_bar(),
    )


def _shortcuts(options: argparse.Namespace, classifier: Any, data: Any) -> Any:
    train = None if options.train is None else xai.load_data(options.train)
    return xai.shortcuts(classifier, data, options.seed, train=train, progress=_bar())


def _slices(options: argparse.Namespace, classifier: Any, data: Any) -> Any:
    return xai.slices(classifier, data, options.seed, alpha=options.alpha, progress=_bar())


def _train(text: str) -> Any:
    source, part = parted(text)
    return xai.load_data(source, part=part)


def _faults(options: argparse.Namespace, classifier: Any, data: Any) -> Any:
    train = None if options.train is None else _train(options.train)
    return xai.data_faults(classifier, data, train, seed=options.seed, progress=_bar())


_INSTEAD = {"shortcuts": _shortcuts, "slices": _slices, "faults": _faults}
_TABLES: Mapping[str, Mapping[str, str]] = {
    "shortcuts": {"table": "table.csv", "doses": "doses.csv"},
    "slices": {"table": "table.csv"},
    "faults": {"rows": "faults.csv"},
}


def _report(result: Any, kind: str, options: argparse.Namespace) -> int:
    """Write and print what was found of shortcuts, slices or faults."""
    if options.out is not None:
        result.save(options.out)
        for name, file in _TABLES[kind].items():
            getattr(result, name).to_csv(options.out / file, index=False)
        result.plot().savefig(options.out / f"{kind}.png", dpi=150)
    if options.json:
        _print_json(kind, result, options)
        return PASS
    for line in str(result).splitlines():
        print(one_line(line))
    for line in _unsure(result, kind):
        print(f"  {one_line(line)}")
    for note in result.notes:
        print(f"  {one_line(note)}")
    if options.out is not None:
        print(f"  saved in {options.out}")
    return PASS


def _unsure(result: Any, kind: str) -> list[str]:
    """Return what is neither a finding nor harmless, as lines."""
    if kind == "faults":
        return []
    verdicts = result.table["verdict"].tolist()
    rows = zip(verdicts, result.table["reason"], strict=True)
    lines = [f"[{verdict}] {reason}" for verdict, reason in rows if verdict in _NO_FINDING]
    few = verdicts.count(_TOO_SMALL)
    return lines + [f"{few} of the {len(result)} tested: {_TOO_SMALL}; give more images"] * (few > 0)


def _print_json(kind: str, result: Any, options: argparse.Namespace) -> None:
    saved = str(options.out) if options.out else None
    print(json.dumps({kind: result.to_dict() | {"saved": saved}}, indent=1))


def _bar() -> bool | None:
    return True if sys.stderr.isatty() else None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _save(result: Any, place: Path) -> None:
    result.save(place)
    result.table.to_csv(place / "table.csv", index=False)
    result.groups.to_csv(place / "groups.csv", index=False)
    for number, column in enumerate(result.columns):
        result.plot(column).savefig(place / f"groups_{number + 1}.png", dpi=150)


def _show(result: Any, place: Path | None) -> None:
    lines = [line for line in str(result).splitlines() if line]
    for line in lines[:_MOST]:
        print(one_line(line))
    if len(lines) > _MOST:
        print(f"... and {len(lines) - _MOST} more; --json or --out has all")
    for row in result.summary.itertuples():
        mark = f"  [{row.verdict}]" if row.verdict else ""
        where = f" ({row.where})" if row.where else ""
        print(one_line(f"  {row.column}: {row.measure} {row.value:.3f}{where}, {row.low:.3f} to {row.high:.3f}{mark}"))
    for note in result.notes:
        print(f"  {one_line(note)}")
    if place is not None:
        print(f"  saved in {place}")
