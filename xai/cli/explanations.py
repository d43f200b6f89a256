"""`xai explain` and `xai dream`."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import xai
from xai.cli.common import PASS, add_model, class_of, command, load_model, one_line, setting


def add_explain(commands: Any) -> None:
    """Add `xai explain`."""
    parser = command(commands, "explain", _explain, "explain the prediction of a model on an image")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    add_model(parser, required=True)
    parser.add_argument(
        "--method", default="gradcam", help="one or more names, separated by commas (see `xai methods`)"
    )
    parser.add_argument("--target", help="class name or index; default: the predicted class")
    parser.add_argument("--versus", help="why the target rather than this class")
    parser.add_argument("--score", default="logit", help="logit, probability or margin")
    parser.add_argument("--rate", action="store_true", help="rate each explanation: trust, doubt or reject")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as layer=features"
    )
    parser.add_argument("--bits", type=int, help="used of 16-bit samples, such as 12; default: what the file says")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for overlay.png, values.npz and manifest.json")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _explain(options: argparse.Namespace) -> int:
    classifier = load_model(options)
    settings = dict(setting(text) for text in options.set)
    methods = [name.strip() for name in options.method.split(",") if name.strip()]
    target, versus = class_of(options.target), class_of(options.versus)
    for image in options.images:
        classifier.prepare(image)  # every image is checked before anything is written
    bar = True if sys.stderr.isatty() else None
    explanations, compared = [], []
    places = _places(options.out, options.images, methods)
    for image in options.images:
        every = []
        for method in methods:
            arguments = {"versus": versus, "score": options.score, "bits": options.bits, "progress": bar, **settings}
            made = xai.explain(classifier, image, method, target, options.seed, **arguments)
            every.append(made)
            rate = partial(xai.rate_explanation, seed=options.seed, bits=options.bits, progress=bar)
            rating = rate(classifier, image, made) if options.rate else None
            explanations.append(_finish(made, rating, places[image, method], quiet=options.json))
        if len(every) > 1:
            compared.append(_compare(every, places[image, methods[0]], quiet=options.json))
    if options.json:
        print(json.dumps({"explanations": explanations, "agreement": compared}, indent=1))
    return PASS


def _finish(made: Any, rating: Any, place: Path | None, *, quiet: bool) -> dict[str, Any]:
    """Save and show one explanation; return it for --json."""
    if place is not None:
        made.save(place)
        if rating is not None:
            (place / "rating.json").write_text(json.dumps(rating.to_dict(), indent=1), encoding="utf-8")
    if not quiet:
        _show(made, place)
        for line in [] if rating is None else _told(rating):
            print(f"  {one_line(line)}")
    extra = {} if rating is None else {"rating": rating.to_dict()}
    fields: dict[str, Any] = made.to_dict()
    return fields | {"saved": str(place) if place else None} | extra


def _told(rating: Any) -> list[str]:
    return [f"rating: {rating.verdict}: {rating.meaning}", *(f"- {reason}" for reason in rating.reasons)]


def _compare(every: Sequence[Any], place: Path | None, *, quiet: bool) -> dict[str, Any]:
    """Show how far several methods agree on an image, and save them side by side."""
    agreement = xai.agreement(every)
    saved = agreement.save(place.parent / "side-by-side.png") if place is not None else None
    if not quiet:
        print(f"{every[0].image_names[0]}: how far the methods agree (rank correlation)")
        print("\n".join(f"  {line}" for line in agreement.table.round(2).to_string().splitlines()))
        if saved is not None:
            print(f"  side by side in {saved}")
    fields: dict[str, Any] = agreement.to_dict()
    return fields | {"saved": str(saved) if saved else None}


def _places(out: Path | None, images: Sequence[Path], methods: Sequence[str]) -> dict[tuple[Path, str], Path | None]:
    """Return the folder of each result: `out` itself for one, a folder inside for several."""
    pairs = [(image, method) for image in images for method in methods]
    if out is None:
        return dict.fromkeys(pairs)
    if len(pairs) == 1:
        return {pairs[0]: out}
    stems = [image.stem for image in images]
    names = {
        image: image.stem if stems.count(image.stem) == 1 else f"{image.stem}-{k}" for k, image in enumerate(images)
    }
    return {(image, method): out / names[image] / method for image, method in pairs}


def _show(made: Any, place: Path | None) -> None:
    share = float(made.probabilities[0])
    print(
        f"{made.image_names[0]}: {one_line(made.predictions[0])}; {made.method} for "
        f"{one_line(made.target_names[0])} ({share:.1%})"
    )
    for note in made.notes:
        print(f"  {one_line(note)}")
    if place is not None:
        print(f"  saved in {place}")


def add_dream(commands: Any) -> None:
    """Add `xai dream`."""
    parser = command(commands, "dream", _dream, "make an image that excites a layer, a channel or a class")
    add_model(parser, required=True)
    parser.add_argument("--layer", help="name of a layer; default without --target: a late block")
    parser.add_argument("--channel", type=int, help="of the layer; default: all of it")
    parser.add_argument("--target", help="class name or index, in place of a layer")
    parser.add_argument("--image", type=Path, help="image to start from; default: noise")
    parser.add_argument("--octaves", type=int, help="number of sizes")
    parser.add_argument("--steps", type=int, help="at each octave")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as size=400 or fourier=true"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for dream.png, values.npz and manifest.json; or a .png or .gif"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _dream(options: argparse.Namespace) -> int:
    named = {name: getattr(options, name) for name in ("layer", "channel", "image", "octaves", "steps", "seed")}
    named |= {"target": class_of(options.target), "progress": True if sys.stderr.isatty() else None}
    settings = dict(setting(text) for text in options.set)
    for name in settings.keys() & (named.keys() | {"model", "should_stop"}):
        raise xai.InputError(f"Expected --set with a further setting, but {name!r} is none. See `xai dream --help`.")
    made = xai.deep_dream(load_model(options), **named, **settings)
    made.save(options.out)
    if options.json:
        print(json.dumps({"dream": made.to_dict() | {"saved": str(options.out)}}, indent=1))
        return PASS
    first, last = made.objective[0], made.objective[-1]
    share = "" if made.probability is None else f"; probability {made.probability:.1%}"
    print(f"{one_line(made.goal)}: from {first:.4g} to {last:.4g} in {len(made.objective)} steps{share}")
    for note in made.notes:
        print(f"  {one_line(note)}")
    print(f"  saved in {options.out}")
    return PASS
