"""Made caffe.onnx: a network as Caffe keeps it, answered by OpenCV 4.8 and converted by caffe2onnx 2.0.1 (onnx 1.14).

`python make_caffe.py` in an environment with caffe2onnx (--no-deps), onnx==1.14.1, numpy<1.24, opencv-python-headless.
"""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from caffe2onnx.proto import caffe_upsample_pb2 as caffe
from google.protobuf import text_format

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" batch_norm_param { use_global_stats: true } }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
        pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
        convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
        pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool2" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
DRAWS = np.random.default_rng(0)
BLOBS = {
    "conv1": [DRAWS.normal(size=(6, 3, 3, 3)) / 5, DRAWS.normal(size=6) / 5],
    "bn1": [DRAWS.normal(size=6) / 5, DRAWS.uniform(0.5, 1.5, 6), np.ones(1)],
    "scale1": [DRAWS.uniform(0.5, 1.5, 6), DRAWS.normal(size=6) / 5],
    "conv2": [DRAWS.normal(size=(8, 6, 3, 3)) / 7, DRAWS.normal(size=8) / 5],
    "fc": [DRAWS.normal(size=(5, 512)) / 22, DRAWS.normal(size=5) / 5],
}


def main() -> None:
    """Write the network, ask OpenCV, convert."""
    net = caffe.NetParameter()
    text_format.Merge(NET, net)
    for layer in net.layer:
        for values in BLOBS.get(layer.name, []):
            blob = layer.blobs.add()
            blob.shape.dim.extend(values.shape)
            blob.data.extend(values.astype("float32").ravel().tolist())
    Path("net.prototxt").write_text(NET)
    Path("net.caffemodel").write_bytes(net.SerializeToString())
    with np.load("answers.npz") as file:
        answers = dict(file)
    engine = cv2.dnn.readNetFromCaffe("net.prototxt", "net.caffemodel")
    found = []
    for picture in answers["p"]:
        engine.setInput(picture.transpose(2, 0, 1)[None])
        found.append(engine.forward()[0].copy())
    np.savez("answers.npz", **answers | {"caffe": np.stack(found)})
    files = ["--prototxt", "net.prototxt", "--caffemodel", "net.caffemodel", "--onnx", "caffe.onnx"]
    subprocess.run([sys.executable, "-m", "caffe2onnx.convert", *files], check=True)


if __name__ == "__main__":
    main()
