"""What the commands share: exit codes, models, data sets, settings as words."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xai

PASS, FAILED, BAD_INPUT, INTERNAL, INCONCLUSIVE, INTERRUPTED = 0, 1, 2, 3, 4, 130
Command = Callable[[argparse.Namespace], int]


def one_line(text: str) -> str:
    """Return text without line breaks and terminal codes."""
    return "".join(c if c.isprintable() else " " for c in text)


class _OutputLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"xai: {one_line(record.getMessage())}", file=sys.stderr)


@contextmanager
def telling() -> Iterator[None]:
    """Print to stderr what xai says while it works: which finished work is used, and what is computed anew."""
    log, lines = logging.getLogger("xai"), _OutputLines()
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(lines)
    try:
        yield
    finally:
        log.removeHandler(lines)
        log.setLevel(before)


def command(commands: Any, name: str, run: Command, summary: str) -> argparse.ArgumentParser:
    """Add a command with `--help` and `--json`."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_model(
    parser: argparse.ArgumentParser, *, required: bool, default: str | None = None, more: str = "", arches: bool = False
) -> None:
    """Add `--model` and everything that says how it is to be used.

    Args:
        parser: of the command.
        required: the command cannot do without.
        default: model where none is named.
        more: what is to be known of `--model` in this command.
        arches: `--arch` may be repeated, for further models.
    """
    group = parser.add_argument_group("model")
    known = "efficientnet_lite0, torchvision:resnet50, model.onnx, weights.safetensors, ..."
    group.add_argument("--model", required=required, default=default, help=f"{more or known}")
    words = "package.module:factory of a file with weights; also looked for in this folder"
    group.add_argument("--arch", action="append" if arches else "store", help=words)
    group.add_argument("--weights", help="which weights of a checkpoint that holds several, such as model_ema")
    group.add_argument(
        "--class-names", metavar="NAMES", help="text file with one class name a line, or names with commas between"
    )
    group.add_argument("--input-size", type=int, nargs=2, metavar=("H", "W"))
    group.add_argument("--mean", type=float, nargs="+", help="per channel, of pixels in [0, 1]")
    group.add_argument("--std", type=float, nargs="+")
    group.add_argument("--channels", type=int, help="3 for colour, 1 for grey")
    group.add_argument("--resize", help="how an image gets to the input size: crop, squash or pad")
    group.add_argument("--task", help="multiclass, binary or multilabel; default: found, and noted")
    group.add_argument("--output", help="logits, or probabilities of a model that ends in a softmax or sigmoid")
    group.add_argument("--output-key", help="which output of several: its name, or its number from 0")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    group.add_argument(
        "--trust", action="store_true", help="read TorchScript, .pt2 and pickled models too, which may run anything"
    )


_SETTINGS = ("arch", "weights", "mean", "std", "channels", "resize", "task", "output")


def model_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return what was said of how the model is to be used, as `xai.load` takes it; without device and trust."""
    settings = {name: getattr(options, name) for name in _SETTINGS}
    settings["input_size"] = tuple(options.input_size) if options.input_size else None
    settings["output_key"] = class_of(options.output_key)
    settings["class_names"] = None if options.class_names is None else _class_names(options.class_names)
    return {name: value for name, value in settings.items() if value is not None}


def load_model(options: argparse.Namespace) -> Any:
    """Load the model that the options name."""
    if options.arch and "" not in sys.path:
        sys.path.insert(0, "")  # the working directory, where `python -m` looks by itself and the script `xai` does not
    return xai.load(options.model, **model_settings(options), device=options.device, trust=options.trust)


def _class_names(text: str) -> list[str]:
    path = Path(text)
    if not path.is_file() and "," in text:
        return [name.strip() for name in text.split(",")]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise xai.InputError(
            f"{path}: cannot be read as a list of class names, one a line. Check the file, or give names with commas."
        ) from error
    return [line.strip() for line in lines if line.strip()]


def class_of(text: str | None) -> int | str | None:
    """Return a class as an index where the text is a number."""
    return int(text) if text and text.isdigit() else text


def setting(text: str) -> tuple[str, Any]:
    """Read `name=value`."""
    name, sign, value = text.partition("=")
    if not sign:
        raise xai.InputError(f"Expected --set NAME=VALUE, but got {text!r}.")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def labelled(options: argparse.Namespace, classifier: Any) -> tuple[Any, Any]:
    """Return images and their true classes, from files or from a data set."""
    if bool(options.images) == bool(options.data):
        raise xai.InputError("Expected images or --data, one of the two.")
    if options.data:
        return data_of(options.data, options), None  # its own labels, by name where its classes have another order
    images = [str(image) for image in options.images]
    if options.label is not None:
        return images, [class_of(options.label)] * len(images)
    return images, classifier.predict(images).index


def data_of(text: str, options: argparse.Namespace) -> Any:
    """Return a data set, or a part of one written as DATA@PART; `--count` of its images where there is one."""
    source, part = parted(text)
    data = xai.load_data(source, part=part)
    return data.subset(options.count, seed=options.seed) if options.count > 0 else data


def parted(text: str) -> tuple[str, str | None]:
    """Return the data set and the part of DATA@PART."""
    source, sign, part = text.rpartition("@")
    return (text, None) if not sign or Path(text).exists() else (source, part)


def fraction(text: str) -> float:
    """Return a number written as 0.03 or 8/255."""
    top, _, bottom = text.partition("/")
    try:
        return float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise xai.InputError(f"Expected --eps as a number such as 0.03 or 8/255, but got {text!r}.") from error
