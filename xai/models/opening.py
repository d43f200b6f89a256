"""From the path of a model file to a network: what it is decides who reads it."""

from pathlib import Path

from xai.core.meaning import Asked
from xai.errors import InputError
from xai.models.architectures import Architecture, build_network
from xai.models.content import kind_of
from xai.models.files import fit_weights
from xai.models.guard import opened, read_groups, read_tensors, shown
from xai.models.keras_files import open_keras
from xai.models.onnx_files import open_onnx
from xai.models.probes import is_probe, open_probe
from xai.models.sources import Built
from xai.models.trusted import open_trusted


def open_model(
    path: Path, arch: Architecture | None, asked: Asked, *, weights: str | None = None, trust: bool = False
) -> Built:
    """Return the network of a file and what the file says of how to use it.

    With `arch` the file has to hold weights, which are read as weights alone, trusted or not; `weights` chooses where
    it holds several. Without it, it has to be
    a whole model: ONNX or Keras, or, with `trust`, one of the forms that can carry code. What is done follows from the
    arguments and from the file's structure, never from the failure of a first try. `asked` says what is known of the
    outputs of a whole model: the readers take the one of several that is meant, so that "output_key" is settled.

    Raises:
        InputError: weights without `arch`, or a choice of weights without one.
        CheckpointError: a file that cannot be used, or weights that do not fit.
    """
    with opened(path) as (file, size):
        kind = kind_of(file, path, size, trust=trust)
    if kind == "safetensors" and is_probe(path):
        return open_probe(path, arch)
    if arch is not None:
        groups = read_groups(path, legacy=trust)
        network = build_network(arch)
        return network, {"name": path.stem, "notes": fit_weights(network, groups, path, weights)}
    if weights is not None:
        raise InputError('`weights` chooses among weights in a file: name the `arch` too, "package.module:factory".')
    if kind in _WHOLE:
        network, own = _WHOLE[kind](path, asked)
        return network, {**own, "output_key": None}
    if kind == "safetensors" or not trust:
        tensors = read_tensors(path)
        raise InputError(
            f"{path} holds {len(tensors)} tensors ({shown(tensors)}) and no network. "
            'Name the one they belong to: arch="package.module:factory".'
        )
    return open_trusted(path, kind)


_WHOLE = {"onnx": open_onnx, "keras": open_keras}
