"""`xai attack` and `xai robustness`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import xai
from xai.cli.common import PASS, add_model, class_of, command, fraction, labelled, load_model, one_line, setting


def add_attack(commands: Any) -> None:
    """Add `xai attack`."""
    parser = command(
        commands, "attack", _attack, "search adversarial examples: small perturbations that change the prediction"
    )
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="images; or --data")
    add_model(parser, required=True)
    parser.add_argument("--data", help="a labelled data set, such as example:fashion-test or a folder of class folders")
    parser.add_argument("--count", type=int, default=100, help="images drawn from --data (100); 0 takes all")
    parser.add_argument("--label", help="the class of the images; default: the predicted one")
    parser.add_argument("--method", default="pgd", help="pgd, autoattack, fgsm, square, deepfool, ...")
    parser.add_argument("--eps", help="radius in the scale of pixels in [0, 1], such as 8/255")
    parser.add_argument("--norm", default="linf", help="linf, l2 or l1")
    parser.add_argument("--targeted", help="class to reach; default: any wrong one")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as steps=100")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for values.npz and manifest.json")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _attack(options: argparse.Namespace) -> int:
    classifier = load_model(options)
    images, labels = labelled(options, classifier)
    settings: dict[str, Any] = dict(setting(text) for text in options.set)
    eps = None if options.eps is None else fraction(options.eps)
    arguments = {"method": options.method, "eps": eps, "norm": options.norm, "seed": options.seed}
    arguments |= {"targeted": class_of(options.targeted), "progress": True if sys.stderr.isatty() else None}
    for name in settings.keys() & (arguments.keys() | {"model", "images", "labels", "should_stop"}):
        raise xai.InputError(f"Expected --set with a further setting, but {name!r} is none. See `xai attack --help`.")
    attack = xai.attack(classifier, images, labels, **arguments, **settings)
    if options.out is not None:
        attack.save(options.out)
    if options.json:
        print(json.dumps({"attack": attack.to_dict() | {"saved": str(options.out) if options.out else None}}, indent=1))
        return PASS
    _show_attack(attack, options.out)
    return PASS


def _show_attack(attack: Any, place: Path | None) -> None:
    low, high = attack.interval
    shown = (
        "" if attack.eps is None else f"{attack.eps * 255:.4g}/255" if attack.norm == "linf" else f"{attack.eps:.4g}"
    )
    radius = f" at {shown}" if shown else ""
    accuracies = f"{attack.clean_accuracy:.1%} right before, {attack.robust_accuracy:.1%}"
    print(
        f"{attack.method} in {attack.norm}{radius}: {accuracies} "
        f"after ({low:.1%} to {high:.1%}; {len(attack)} images); an upper bound of the robust accuracy"
    )
    for name in sorted(set(attack.broken_by) - {""}):
        print(f"  {attack.broken_by.count(name)} misclassified after {name}")
    for note in attack.notes:
        print(f"  {one_line(note)}")
    if place is not None:
        print(f"  saved in {place}")


def add_robustness(commands: Any) -> None:
    """Add `xai robustness`."""
    parser = command(commands, "robustness", _robustness, "robust accuracy over radii: attacked, certified, unproven")
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="images; or --data")
    add_model(parser, required=True)
    parser.add_argument("--data", help="a labelled data set, such as example:fashion-test or a folder of class folders")
    parser.add_argument("--count", type=int, default=100, help="images drawn from --data (100); 0 takes all")
    parser.add_argument("--label", help="the class of the images; default: the predicted one")
    parser.add_argument("--eps", help="increasing radii, separated by commas, such as 1/255,2/255,8/255")
    parser.add_argument("--norm", default="linf", help="linf, l2 or l1")
    parser.add_argument("--budget", type=float, help="seconds; what is undecided then is unproven for lack of time")
    parser.add_argument("--attacks", help="names separated by commas, cheapest first")
    parser.add_argument("--certificates", help="ibp,crown_ibp,crown; none to leave certificates out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the result and curve.png, strip.png")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _robustness(options: argparse.Namespace) -> int:
    classifier = load_model(options)
    images, labels = labelled(options, classifier)
    certificates = options.certificates
    curve = xai.robustness(
        classifier,
        images,
        labels,
        eps=None if options.eps is None else [fraction(text) for text in options.eps.split(",")],
        norm=options.norm,
        budget=options.budget,
        seed=options.seed,
        attacks=None if options.attacks is None else options.attacks.split(","),
        certificates=None if certificates is None else [] if certificates == "none" else certificates.split(","),
        progress=True if sys.stderr.isatty() else None,
    )
    if options.out is not None:
        _save_curve(curve, options.out)
    if options.json:
        saved = str(options.out) if options.out else None
        print(json.dumps({"robustness": curve.to_dict() | {"saved": saved}}, indent=1))
        return PASS
    _show_curve(curve, options.out)
    return PASS


def _save_curve(curve: Any, place: Path) -> None:
    curve.save(place)
    curve.plot().savefig(place / "curve.png", dpi=150)
    if len(curve.adversarial):
        curve.strip().savefig(place / "strip.png", dpi=150)


def _show_curve(curve: Any, place: Path | None) -> None:
    low, high = curve.intervals["clean"]
    print(f"{curve.norm}, {len(curve)} images: accuracy {curve.clean:.1%} ({low:.1%} to {high:.1%})")
    print(f"{'eps':>10}  {'certified':>24}  {'attacked':>24}  unproven")
    for row in curve.table.itertuples():
        eps = f"{row.eps_255:.3g}/255" if curve.norm == "linf" else f"{row.eps:.4g}"
        certified = f"{row.certified:.1%} ({row.certified_low:.1%} to {row.certified_high:.1%})"
        left = f"{row.attacked:.1%} ({row.attacked_low:.1%} to {row.attacked_high:.1%})"
        print(f"{eps:>10}  {certified:>24}  {left:>24}  {row.unproven:>8}")
    for line in str(curve.trust).splitlines():
        print(f"  {one_line(line)}")
    for note in curve.notes:
        print(f"  {one_line(note)}")
    if place is not None:
        print(f"  saved in {place}")
