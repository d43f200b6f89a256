"""Made theano.keras: a network of Keras 2.3.1, answered by Theano 1.0.5, then in Keras 3.

First `KERAS_BACKEND=theano THEANO_FLAGS=cxx=,blas.ldflags=,optimizer=None python make_theano.py` in an environment with
keras==2.3.1, Theano==1.0.5, numpy==1.23.5, scipy==1.10.1 and h5py, then `KERAS_BACKEND=torch python make_theano.py`
where Keras 3 is.
"""

import collections
import os
import sys
import types

import numpy as np


def old_names() -> None:
    """Give back the names that Keras 2.3 and Theano 1.0.5 look for in newer packages."""
    from scipy.signal import _signaltools, _sigtools

    collections.Iterable = collections.abc.Iterable
    sys.modules["scipy.signal.signaltools"] = _signaltools
    sys.modules["scipy.signal.sigtools"] = types.SimpleNamespace(_convolve2d=_sigtools._convolve2d)


def network(keras: types.ModuleType, first: list[object], **settings: object) -> object:
    """Return the network; Keras 2 and 3 describe it in the same words."""
    layers = keras.layers
    return keras.models.Sequential(
        [
            *first,
            layers.Conv2D(6, 3, padding="same", name="conv1", **settings),
            layers.BatchNormalization(name="norm"),
            layers.Activation("relu"),
            layers.Conv2D(8, 3, strides=2, activation="relu", name="conv2"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax", name="head"),
        ]
    )


def answered_by_theano() -> None:
    """Fill the network with weights, ask Theano, and keep the weights."""
    old_names()
    import keras

    net, draws = network(keras, [], input_shape=(32, 32, 3)), np.random.default_rng(0)
    for layer in net.layers:
        scales = [1 / max(1, np.prod(value.shape[:-1])) ** 0.5 for value in layer.get_weights()]
        values = [s * draws.normal(size=v.shape) for s, v in zip(scales, layer.get_weights())]  # noqa: B905
        layer.set_weights([abs(v) if layer.name == "norm" else v for v in values])
    with np.load("answers.npz") as file:
        answers = dict(file)
    np.savez("answers.npz", **answers | {"theano": net.predict(answers["p"])})
    net.save_weights("theano.h5")


def moved() -> None:
    """Put the weights into Keras 3: Theano turns the kernels of convolutions around, and nothing else does."""
    import h5py
    import keras

    net = network(keras, [keras.Input((32, 32, 3))])
    with h5py.File("theano.h5") as file:
        for layer in [net.get_layer(name) for name in ("conv1", "norm", "conv2", "head")]:
            values = [np.asarray(file[layer.name][name]) for name in file[layer.name].attrs["weight_names"]]
            layer.set_weights([value[::-1, ::-1] if value.ndim == 4 else value for value in values])
    net.save("theano.keras")


if __name__ == "__main__":
    answered_by_theano() if os.environ.get("KERAS_BACKEND") == "theano" else moved()
