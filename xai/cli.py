"""The command line: `xai explain`, `xai dream`, `xai attack`, ...; nothing heavy is imported before a command runs."""

import argparse
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import xai

PASS, BAD_INPUT, INTERNAL, INTERRUPTED = 0, 2, 3, 130
Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 pass, 2 bad input, 3 internal error, 130 interrupted."""
    options = _parser().parse_args(arguments)
    run: Command = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept", INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe went away, as in `xai methods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PASS
    except Exception as error:  # noqa: BLE001  (the user sees one line, never a traceback)
        if options.debug:
            traceback.print_exc()
        if isinstance(error, xai.XaiError) and not isinstance(error, xai.ContractError):
            return _complain(str(error), BAD_INPUT)
        return _complain(
            f"internal error, please report it ({type(error).__name__}: {error}); --debug shows more", INTERNAL
        )


def _complain(text: str, code: int) -> int:
    print(f"xai: {_one_line(text)}", file=sys.stderr)
    return code


def _one_line(text: str) -> str:
    """Return text without line breaks and terminal codes."""
    return "".join(c if c.isprintable() else " " for c in text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xai", description="Why an image classifier answers as it does.")
    parser.add_argument("--version", action="version", version=f"xai-toolkit {xai.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_explain(commands)
    _add_dream(commands)
    _add_attack(commands)
    _add_methods(commands)
    _add_dashboard(commands)
    return parser


def _command(commands: Any, name: str, run: Command, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _add_model(parser: argparse.ArgumentParser, *, required: bool) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", required=required, help="efficientnet_lite0, example:fashion, weights.safetensors, ..."
    )
    group.add_argument("--arch", help="package.module:factory of a file with weights; also looked for in this folder")
    group.add_argument("--labels", type=Path, help="text file with one class name a line")
    group.add_argument("--input-size", type=int, nargs=2, metavar=("H", "W"))
    group.add_argument("--mean", type=float, nargs="+", help="per channel, of pixels in [0, 1]")
    group.add_argument("--std", type=float, nargs="+")
    group.add_argument("--channels", type=int, choices=(1, 3))
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")


def _load_model(options: argparse.Namespace) -> Any:
    settings = {name: getattr(options, name) for name in ("arch", "mean", "std", "channels", "device")}
    settings["input_size"] = tuple(options.input_size) if options.input_size else None
    if options.labels is not None:
        settings["labels"] = _read_labels(options.labels)
    if options.arch and "" not in sys.path:
        sys.path.insert(0, "")  # the working directory, where `python -m` looks by itself and the script `xai` does not
    return xai.load(options.model, **{name: value for name, value in settings.items() if value is not None})


def _read_labels(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise xai.InputError(f"{path}: cannot be read as a list of class names, one a line. Check the file.") from error
    return [line.strip() for line in lines if line.strip()]


def _add_explain(commands: Any) -> None:
    parser = _command(commands, "explain", _explain, "say why a model answers as it does on a picture")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    _add_model(parser, required=True)
    parser.add_argument(
        "--method", default="gradcam", help="one or more names, separated by commas (see `xai methods`)"
    )
    parser.add_argument("--target", help="class name or index; default: the predicted class")
    parser.add_argument("--versus", help="why the target rather than this class")
    parser.add_argument("--score", default="logit", help="logit, probability or margin")
    parser.add_argument("--rate", action="store_true", help="say of each explanation whether it can be believed")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as layer=features"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for overlay.png, values.npz and manifest.json")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _explain(options: argparse.Namespace) -> int:
    classifier = _load_model(options)
    settings = dict(_setting(text) for text in options.set)
    methods = [name.strip() for name in options.method.split(",") if name.strip()]
    target, versus = _class(options.target), _class(options.versus)
    for image in options.images:
        classifier.prepare(image)  # every picture is checked before anything is written
    bar = True if sys.stderr.isatty() else None
    found, compared = [], []
    places = _places(options.out, options.images, methods)
    for image in options.images:
        every = []
        for method in methods:
            asked = {"versus": versus, "score": options.score, "progress": bar, **settings}
            made = xai.explain(classifier, image, method, target, options.seed, **asked)
            every.append(made)
            rating = (
                xai.rate_explanation(classifier, image, made, seed=options.seed, progress=bar) if options.rate else None
            )
            found.append(_finish(made, rating, places[image, method], quiet=options.json))
        if len(every) > 1:
            compared.append(_compare(every, places[image, methods[0]], quiet=options.json))
    if options.json:
        print(json.dumps({"explanations": found, "agreement": compared}, indent=1))
    return PASS


def _class(text: str | None) -> int | str | None:
    return int(text) if text and text.isdigit() else text


def _finish(made: Any, rating: Any, place: Path | None, *, quiet: bool) -> dict[str, Any]:
    """Save and show one explanation; return it for --json."""
    if place is not None:
        made.save(place)
        if rating is not None:
            (place / "rating.json").write_text(json.dumps(rating.to_dict(), indent=1), encoding="utf-8")
    if not quiet:
        _show(made, place)
        for line in [] if rating is None else [f"rating: {rating.verdict}", *(f"- {r}" for r in rating.reasons)]:
            print(f"  {_one_line(line)}")
    extra = {} if rating is None else {"rating": rating.to_dict()}
    fields: dict[str, Any] = made.to_dict()
    return fields | {"saved": str(place) if place else None} | extra


def _compare(every: Sequence[Any], place: Path | None, *, quiet: bool) -> dict[str, Any]:
    """Show how far several methods agree on a picture, and save them side by side."""
    found = xai.agreement(every)
    saved = found.save(place.parent / "side-by-side.png") if place is not None else None
    if not quiet:
        print(f"{every[0].names[0]}: how far the methods agree (rank correlation)")
        print("\n".join(f"  {line}" for line in found.table.round(2).to_string().splitlines()))
        if saved is not None:
            print(f"  side by side in {saved}")
    fields: dict[str, Any] = found.to_dict()
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
        f"{made.names[0]}: {_one_line(made.predicted[0])}; {made.method} for {_one_line(made.labels[0])} ({share:.1%})"
    )
    for note in made.notes:
        print(f"  {_one_line(note)}")
    if place is not None:
        print(f"  saved in {place}")


def _setting(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise xai.InputError(f"Expected --set NAME=VALUE, but got {text!r}.")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def _add_dream(commands: Any) -> None:
    parser = _command(commands, "dream", _dream, "make a picture that a layer, a channel or a class likes")
    _add_model(parser, required=True)
    parser.add_argument("--layer", help="name of a layer; default without --target: a late block")
    parser.add_argument("--channel", type=int, help="of the layer; default: all of it")
    parser.add_argument("--target", help="class name or index, in place of a layer")
    parser.add_argument("--image", type=Path, help="picture to start from; default: noise")
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
    named |= {"target": _class(options.target), "progress": True if sys.stderr.isatty() else None}
    settings = dict(_setting(text) for text in options.set)
    for name in settings.keys() & (named.keys() | {"model", "should_stop"}):
        raise xai.InputError(f"Expected --set with a further setting, but {name!r} is none. See `xai dream --help`.")
    made = xai.deep_dream(_load_model(options), **named, **settings)
    made.save(options.out)
    if options.json:
        print(json.dumps({"dream": made.to_dict() | {"saved": str(options.out)}}, indent=1))
        return PASS
    first, last = made.objective[0], made.objective[-1]
    share = "" if made.probability is None else f"; probability {made.probability:.1%}"
    print(f"{_one_line(made.goal)}: from {first:.4g} to {last:.4g} in {len(made.objective)} steps{share}")
    for note in made.notes:
        print(f"  {_one_line(note)}")
    print(f"  saved in {options.out}")
    return PASS


def _add_attack(commands: Any) -> None:
    parser = _command(commands, "attack", _attack, "search for small changes that make a model answer wrongly")
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="pictures; or --data")
    _add_model(parser, required=True)
    parser.add_argument("--data", help="a labelled data set, such as example:fashion-test or a folder of class folders")
    parser.add_argument("--count", type=int, default=100, help="pictures drawn from --data (100); 0 takes all")
    parser.add_argument("--label", help="the true class of the pictures; default: what the model says")
    parser.add_argument("--method", default="pgd", help="pgd, autoattack, fgsm, square, deepfool, ...")
    parser.add_argument("--eps", help="radius in the scale of pixels in [0, 1], such as 8/255")
    parser.add_argument("--norm", default="linf", help="linf, l2 or l1")
    parser.add_argument("--targeted", help="class to reach; default: any wrong one")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as steps=100")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for values.npz and manifest.json")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _attack(options: argparse.Namespace) -> int:
    classifier = _load_model(options)
    images, labels = _labelled(options, classifier)
    settings: dict[str, Any] = dict(_setting(text) for text in options.set)
    eps = None if options.eps is None else _fraction(options.eps)
    asked = {"method": options.method, "eps": eps, "norm": options.norm, "seed": options.seed}
    asked |= {"targeted": _class(options.targeted), "progress": True if sys.stderr.isatty() else None}
    for name in settings.keys() & (asked.keys() | {"model", "images", "labels", "should_stop"}):
        raise xai.InputError(f"Expected --set with a further setting, but {name!r} is none. See `xai attack --help`.")
    found = xai.attack(classifier, images, labels, **asked, **settings)
    if options.out is not None:
        found.save(options.out)
    if options.json:
        print(json.dumps({"attack": found.to_dict() | {"saved": str(options.out) if options.out else None}}, indent=1))
        return PASS
    _show_attack(found, options.out)
    return PASS


def _labelled(options: argparse.Namespace, classifier: Any) -> tuple[Any, Any]:
    """Return pictures and their true classes, from files or from a data set."""
    if bool(options.images) == bool(options.data):
        raise xai.InputError("Expected pictures or --data, one of the two.")
    if options.data:
        data = xai.load_data(options.data)
        data = data.subset(min(options.count, len(data)), seed=options.seed) if options.count > 0 else data
        return [data.images[k] for k in range(len(data))], data.labels
    images = [str(image) for image in options.images]
    if options.label is not None:
        return images, [_class(options.label)] * len(images)
    return images, classifier.predict(images).index


def _fraction(text: str) -> float:
    """Return a number written as 0.03 or 8/255."""
    top, _, bottom = text.partition("/")
    try:
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise xai.InputError(f"Expected --eps as a number such as 0.03 or 8/255, but got {text!r}.") from error


def _show_attack(found: Any, place: Path | None) -> None:
    low, high = found.interval
    shown = "" if found.eps is None else f"{found.eps * 255:.4g}/255" if found.norm == "linf" else f"{found.eps:.4g}"
    radius = f" at {shown}" if shown else ""
    print(
        f"{found.method} in {found.norm}{radius}: {found.clean_accuracy:.1%} right before, {found.robust_accuracy:.1%} "
        f"after ({low:.1%} to {high:.1%}; {len(found)} pictures); an upper bound of the robust accuracy"
    )
    for name in sorted(set(found.broken_by) - {""}):
        print(f"  {found.broken_by.count(name)} fooled by {name}")
    for note in found.notes:
        print(f"  {_one_line(note)}")
    if place is not None:
        print(f"  saved in {place}")


def _add_methods(commands: Any) -> None:
    parser = _command(commands, "methods", _methods, "list the explanation methods, and which suit a model")
    _add_model(parser, required=False)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _methods(options: argparse.Namespace) -> int:
    found = xai.methods(_load_model(options) if options.model else None)
    if options.json:
        print(json.dumps({"methods": [info.to_dict() for info in found]}, indent=1))
        return PASS
    for info in found:
        advice = "" if info.advised is None else f"  [{'advised' if info.advised else 'not advised'}: {info.why}]"
        print(f"{info.name:20} {info.family:10} {info.forward:>5} forward {info.backward} back  {info.summary}{advice}")
    return PASS


def _add_dashboard(commands: Any) -> None:
    parser = _command(commands, "dashboard", _dashboard, "open the dashboard in a browser")
    parser.add_argument("--port", type=int)
    parser.add_argument("--model", help="a model to offer first, such as weights.safetensors")


def _dashboard(options: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "xai.dashboard"]
    command += ["--port", str(options.port)] if options.port else []
    command += ["--model", options.model] if options.model else []
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
