"""Made mxnet.onnx: a Gluon network, answered and exported by MXNet 1.9.1 (onnx 1.14).

`python make_mxnet.py` in an environment with mxnet==1.9.1, onnx==1.14.1, numpy==1.23.5.
"""

import mxnet as mx
import numpy as np
from mxnet import onnx as exporter
from mxnet.gluon import nn


def main() -> None:
    """Build the network, ask it, export it."""
    np.bool = bool  # MXNet still calls it by this name
    draws = np.random.default_rng(0)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(6, 3, padding=1), nn.BatchNorm(), nn.Activation("relu"), nn.MaxPool2D(2))
    net.add(nn.Conv2D(8, 3, padding=1), nn.Activation("relu"), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(5))
    net.initialize()
    net.hybridize()
    with np.load("answers.npz") as file:
        answers = dict(file)
    pictures = mx.nd.array(answers["p"].transpose(0, 3, 1, 2))
    net(pictures)  # shapes of the weights are known from here on
    for name, part in net.collect_params().items():
        scale = 1.5 / max(1, np.prod(part.shape[1:])) ** 0.5
        values = draws.uniform(0.5, 1.5, part.shape) if "var" in name else scale * draws.normal(size=part.shape)
        part.set_data(mx.nd.array(values))
    np.savez("answers.npz", **answers | {"mxnet": mx.nd.softmax(net(pictures)).asnumpy()})
    net.export("net")
    exporter.export_model("net-symbol.json", "net-0000.params", [(1, 3, 32, 32)], "float32", "mxnet.onnx")


if __name__ == "__main__":
    main()
