"""The example networks that ship with xai: small, on Fashion-MNIST, made by scripts/train_examples.py."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from xai.core.resources import data_folder
from xai.errors import CheckpointError, DataError
from xai.models.files import fit_weights
from xai.models.guard import read_groups
from xai.models.networks import SmallNet
from xai.models.sources import MODELS, Built, Source

_NETWORKS = {"xai.models.networks:SmallNet": SmallNet}  # a file names one of these, never code of its own choice
_TITLES = {
    "fashion": "Fashion-MNIST, trained the plain way",
    "fashion-robust": "Fashion-MNIST, adversarially trained",
    "fashion-shortcut": "Fashion-MNIST with a planted fault: a mark that means Shirt",
}
_CURE = "Install xai again, or run scripts/train_examples.py."


def build(name: str) -> Built:
    """Return an example network, its weights and how to use it.

    Raises:
        DataError: the files that ship with xai are not there.
        CheckpointError: the network's files are missing or damaged.
    """
    folder = _folder(name)
    settings = _settings(folder / "model.json")
    network = _NETWORKS[settings["arch"]](**settings["arch_settings"])
    weights = folder / "weights.safetensors"
    fit_weights(network, read_groups(weights), weights)
    known = {key: settings[key] for key in ("labels", "input_size", "channels", "mean", "std")}
    return network.eval(), {**known, "resize": "squash", "name": f"example:{name}"}


def _folder(name: str) -> Path:
    return data_folder() / "models" / name


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). {_CURE}") from error
    except ValueError:
        raise CheckpointError(f"{path}: not valid JSON. {_CURE}") from None
    wanted = {"arch", "arch_settings", "labels", "input_size", "channels", "mean", "std"}
    if not isinstance(settings, dict) or not wanted <= settings.keys() or str(settings["arch"]) not in _NETWORKS:
        raise CheckpointError(f"{path}: not the settings of an example network. {_CURE}")
    return settings


def _available(name: str) -> bool:
    try:
        return (_folder(name) / "weights.safetensors").is_file()
    except DataError:
        return False


for _name, _title in _TITLES.items():
    MODELS.register(f"example:{_name}")(
        Source(
            title=_title,
            origin="ships with xai",
            input_size=(28, 28),
            channels=1,
            classes=10,
            licence="code and weights Apache-2.0, data Fashion-MNIST MIT (c) Zalando SE",
            install=_CURE,
            build=partial(build, _name),
            available=partial(_available, _name),
        )
    )
