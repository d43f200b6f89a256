"""What the commands share: exit codes, models, data sets, settings as words."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xai

PASS, FAILED, BAD_INPUT, INTERNAL, INCONCLUSIVE, INTERRUPTED = 0, 1, 2, 3, 4, 130
Command = Callable[[argparse.Namespace], int]


def one_line(text: str) -> str:
    """Return text without line breaks and terminal codes."""
    return "".join(c if c.isprintable() else " " for c in text)


def command(commands: Any, name: str, run: Command, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_model(parser: argparse.ArgumentParser, *, required: bool) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        required=required,
        help="efficientnet_lite0, torchvision:resnet50, model.onnx, weights.safetensors, ...",
    )
    group.add_argument("--arch", help="package.module:factory of a file with weights; also looked for in this folder")
    group.add_argument("--weights", help="which weights of a checkpoint that holds several, such as model_ema")
    group.add_argument("--labels", type=Path, help="text file with one class name a line")
    group.add_argument("--input-size", type=int, nargs=2, metavar=("H", "W"))
    group.add_argument("--mean", type=float, nargs="+", help="per channel, of pixels in [0, 1]")
    group.add_argument("--std", type=float, nargs="+")
    group.add_argument("--channels", type=int, choices=(1, 3))
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    group.add_argument(
        "--trust", action="store_true", help="read TorchScript, .pt2 and pickled models too, which may run anything"
    )


def load_model(options: argparse.Namespace) -> Any:
    settings = {
        name: getattr(options, name) for name in ("arch", "weights", "mean", "std", "channels", "device", "trust")
    }
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


def class_of(text: str | None) -> int | str | None:
    return int(text) if text and text.isdigit() else text


def setting(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise xai.InputError(f"Expected --set NAME=VALUE, but got {text!r}.")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def labelled(options: argparse.Namespace, classifier: Any) -> tuple[Any, Any]:
    """Return pictures and their true classes, from files or from a data set."""
    if bool(options.images) == bool(options.data):
        raise xai.InputError("Expected pictures or --data, one of the two.")
    if options.data:
        data = xai.load_data(options.data)
        data = data.subset(min(options.count, len(data)), seed=options.seed) if options.count > 0 else data
        return [data.images[k] for k in range(len(data))], data.labels
    images = [str(image) for image in options.images]
    if options.label is not None:
        return images, [class_of(options.label)] * len(images)
    return images, classifier.predict(images).index


def fraction(text: str) -> float:
    """Return a number written as 0.03 or 8/255."""
    top, _, bottom = text.partition("/")
    try:
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise xai.InputError(f"Expected --eps as a number such as 0.03 or 8/255, but got {text!r}.") from error
