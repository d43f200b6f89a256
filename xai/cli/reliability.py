"""`xai attack`, `xai robustness`, `xai ood`, `xai calibration` and `xai drift`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import xai
from xai.cli.common import (
    PASS,
    add_model,
    class_of,
    command,
    data_of,
    fraction,
    labelled,
    load_model,
    one_line,
    setting,
)


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


def add_ood(commands: Any) -> None:
    """Add `xai ood`."""
    parser = command(commands, "ood", _ood, "detect out-of-distribution images, whose predictions must not be used")
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="images to judge; or --data")
    add_model(parser, required=True)
    parser.add_argument("--fit", help="in-distribution images to fit on: a data set, or DATA@PART")
    parser.add_argument(
        "--calibration", help="other in-distribution images, never seen by the model: DATA or DATA@PART"
    )
    parser.add_argument("--detector", type=Path, help="folder of a saved detector, in place of --fit and --calibration")
    parser.add_argument("--method", default="auto", help="auto, knn, vim, ...; see `xai methods --kind detector`")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as k=50")
    parser.add_argument(
        "--alpha", type=float, default=0.05, help="share of in-distribution images that may be rejected"
    )
    parser.add_argument("--data", help="a data set to judge: DATA or DATA@PART")
    parser.add_argument(
        "--against", action="append", default=[], metavar="NAME=DATA", help="out-of-distribution images: compare"
    )
    parser.add_argument("--count", type=int, default=0, help="images drawn from each data set; 0 takes all")
    parser.add_argument("--explain", metavar="METHOD", help="also show which pixels raise the score, such as occlusion")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the detector, the judgement and figures")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _ood(options: argparse.Namespace) -> int:
    _check(options)
    classifier = load_model(options)
    for image in options.images:
        classifier.prepare(image)  # every image is checked before anything is written
    if options.against:
        return _compare(options, classifier)
    detector = _detector(options, classifier)
    images = data_of(options.data, options) if options.data else [str(image) for image in options.images]
    judged = detector.judge(images, options.alpha, progress=_bar()) if len(images) else None
    explained = [detector.explain(image, options.explain, seed=options.seed) for image in _explained(options)]
    if options.out is not None:
        _save(options.out, detector, judged, explained)
    if options.json:
        parts = {"detector": detector.to_dict(), "judgement": judged and judged.to_dict()}
        parts["explanations"] = [made.to_dict() for made in explained]
        print(json.dumps({"ood": parts | {"saved": str(options.out) if options.out else None}}, indent=1))
        return PASS
    _show(detector, judged, options)
    return PASS


def _check(options: argparse.Namespace) -> None:
    if (options.detector is None) == (options.fit is None or options.calibration is None):
        raise xai.InputError("Expected --fit and --calibration, or --detector of a saved one.")
    if options.images and options.data:
        raise xai.InputError("Expected images or --data, not both.")
    if options.against and (options.detector is not None or not options.data):
        raise xai.InputError("Expected --fit, --calibration and --data (in-distribution test images) with --against.")
    if options.explain and not options.images:
        raise xai.InputError("Expected images with --explain.")


def _detector(options: argparse.Namespace, classifier: Any) -> Any:
    if options.detector is not None:
        return xai.OODDetector.load(options.detector, classifier)
    settings = dict(setting(text) for text in options.set)
    fit, calibration = (data_of(text, options) for text in (options.fit, options.calibration))
    return xai.fit_ood(classifier, fit, calibration, options.method, options.seed, progress=_bar(), **settings)


def _explained(options: argparse.Namespace) -> list[str]:
    return [str(image) for image in options.images] if options.explain else []


def _bar() -> bool | None:
    return True if sys.stderr.isatty() else None


def _save(place: Path, detector: Any, judged: Any, explained: list[Any]) -> None:
    detector.save(place / "detector")
    detector.plot().savefig(place / "calibration.png", dpi=150)
    if judged is not None:
        judged.save(place / "judgement")
        judged.table.to_csv(place / "judgement.csv", index=False)
    for number, made in enumerate(explained):
        made.save(place / f"explanation-{number}")


def _show(detector: Any, judged: Any, options: argparse.Namespace) -> None:
    print(f"{detector.method}: {len(detector.fit_keys)} images fitted, {len(detector.calibration_keys)} calibrate")
    print(f"  {one_line(detector.guarantee(options.alpha).sentence)}")
    if detector.table is not None and len(detector.table):
        print("\n".join(f"  {line}" for line in detector.table.round(3).to_string(index=False).splitlines()))
    for note in detector.notes:
        print(f"  {one_line(note)}")
    if judged is not None:
        _show_judgement(judged, options)
    if options.out is not None:
        print(f"  saved in {options.out}")


def _show_judgement(judged: Any, options: argparse.Namespace) -> None:
    if options.data:
        count = judged.verdicts.count("out-of-distribution")
        share = f"at alpha {judged.alpha:g} ({count / len(judged):.1%})"
        print(f"{count} of {len(judged)} images are out-of-distribution {share}")
        return
    rows = zip(
        judged.image_names, judged.verdicts, judged.p_values.tolist(), judged.predictions, judged.reasons, strict=True
    )
    for name, verdict, p, predicted, reason in rows:
        print(f"{one_line(name)}: {verdict} (p {p:.3g}); predicted: {one_line(predicted)}")
        print(f"  {one_line(reason)}")


def _compare(options: argparse.Namespace, classifier: Any) -> int:
    fit, calibration, inside = (data_of(text, options) for text in (options.fit, options.calibration, options.data))
    named = [text.partition("=")[::2] for text in options.against]
    if not all(name and data for name, data in named):
        raise xai.InputError("Expected --against NAME=DATA, such as digits=example:digits.")
    outside = {name: data_of(data, options) for name, data in named}
    methods = None if options.method == "auto" else options.method.split(",")
    comparison = xai.compare_ood(
        classifier, fit, calibration, inside, outside, methods, options.alpha, options.seed, progress=_bar()
    )
    if options.out is not None:
        comparison.save(options.out)
        comparison.table.to_csv(options.out / "table.csv", index=False)
        comparison.plot().savefig(options.out / "scores.png", dpi=150)
    if options.json:
        saved = str(options.out) if options.out else None
        print(json.dumps({"comparison": comparison.to_dict() | {"saved": saved}}, indent=1))
        return PASS
    shown = ["set", "method", "auroc", "auroc_low", "auroc_high", "fpr_ood_accepted@95id", "fpr_id_rejected@95ood"]
    shown += ["rejected_in", "rejected_out", "against_msp"]
    print(comparison.table[shown].round(3).to_string(index=False))
    for note in (comparison.guarantee.sentence, *comparison.notes):
        print(f"  {one_line(note)}")
    return PASS


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
    calibration = xai.calibration(
        load_model(options),
        data_of(options.data, options),
        fit_data=fit_data,
        bins=options.bins,
        seed=options.seed,
        progress=_progress(),
    )
    return _finish(calibration, options, "calibration", _show_calibration)


def _show_calibration(calibration: Any) -> None:
    print(f"{calibration.verdict}: {len(calibration)} images of {one_line(str(calibration.data['name']))}")
    for row in calibration.table.itertuples():
        span = f"{row.low:.4f} to {row.high:.4f}" if row.low == row.low else ""
        print(f"  {row.measure:18} {row.value:8.4f}  {span:18}  temperature: {row.before:.4f} -> {row.after:.4f}")


def add_drift(commands: Any) -> None:
    """Add `xai drift`."""
    parser = command(commands, "drift", _drift, "whether two data sets look alike to a model")
    add_model(parser, required=True)
    parser.add_argument("--data", required=True, help="the new images")
    parser.add_argument("--reference", required=True, help="what to compare them with; labels help")
    parser.add_argument("--alpha", type=float, default=0.05, help="level of all tests together (0.05)")
    _add_rest(parser, "folder for the result and drift.png")


def _drift(options: argparse.Namespace) -> int:
    drift = xai.drift(
        load_model(options),
        data_of(options.reference, options),
        data_of(options.data, options),
        alpha=options.alpha,
        seed=options.seed,
        progress=_progress(),
    )
    return _finish(drift, options, "drift", _show_drift)


def _show_drift(drift: Any) -> None:
    print(f"{drift.verdict}: {drift.data['count_a']} and {drift.data['count_b']} images")
    for row in drift.table.itertuples():
        span = f"{row.low:.4g} to {row.high:.4g}" if row.low == row.low else ""
        print(f"  {row.name:11} {row.effect:29} {row.value:10.4g}  {span:20}  p = {row.adjusted:.2g}")


def _add_rest(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument("--count", type=int, default=0, help="images drawn from each data set; 0 takes all (0)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help=out)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _progress() -> bool | None:
    return True if sys.stderr.isatty() else None


def _finish(result: Any, options: argparse.Namespace, kind: str, show: Any) -> int:
    if options.out is not None:
        result.save(options.out)
        result.plot().savefig(options.out / f"{kind}.png", dpi=150)
    if options.json:
        saved = str(options.out) if options.out else None
        print(json.dumps({kind: result.to_dict() | {"saved": saved}}, indent=1))
        return PASS
    show(result)
    for line in (*result.reasons, *result.notes):
        print(f"  {one_line(line)}")
    if options.out is not None:
        print(f"  saved in {options.out}")
    return PASS
