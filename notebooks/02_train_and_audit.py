# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train a convolutional network and audit it
#
# The model is that of the Keras tutorial for CIFAR-10: three 3x3 convolutions (32, 64, 64) with max pooling between
# them, a dense layer of 64 and one of 10, Adam, 20 epochs. It is written in Keras 3 and uses the PyTorch backend.
#
# If the folder `cifar-10-batches-py/` is beside this notebook, CIFAR-10 is used; otherwise Fashion-MNIST, from the
# Debian package `dataset-fashion-mnist` if it is installed, or the 10,000 training images that come with xai. To run in
# under three minutes on two cores, 1,000 images are used for training and 500 for validation, which also makes the
# overfitting visible; `IMAGES = None` uses all images.

# %%
import os

os.environ["KERAS_BACKEND"] = "torch"

from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np

import xai

IMAGES, HELD_OUT, EPOCHS = 1000, 500, 20
keras.utils.set_random_seed(0)

# %%
if Path("cifar-10-batches-py").is_dir():
    everything = xai.load_data("cifar-10-batches-py")
    train, test = everything.part("train"), everything.part("test")
elif Path("/usr/share/datasets/fashion-mnist").is_dir():
    everything = xai.load_data("/usr/share/datasets/fashion-mnist")
    train, test = everything.part("train"), everything.part("test")
else:
    train, test = xai.load_data("example:fashion-train"), xai.load_data("example:fashion-test").part("test")
CLASSES = xai.load_data("example:fashion-test").class_names if train.images[0].shape[0] == 1 else train.class_names
if IMAGES is not None:
    train, test = train.subset(IMAGES + HELD_OUT, seed=0), test.subset(800, seed=0)
print(train.name, len(train), "images;", test.name, len(test))


# %%
def arrays(data):
    """Return images (N, H, W, C) in [0, 1], as Keras wants them, and labels."""
    return np.moveaxis(np.asarray(data.images[:]), 1, -1), np.asarray(data.labels)


images, labels = arrays(train)
first, validation = (images[:-HELD_OUT], labels[:-HELD_OUT]), (images[-HELD_OUT:], labels[-HELD_OUT:])

# %%
network = keras.Sequential(
    [
        keras.layers.Input(images.shape[1:]),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Conv2D(64, 3, activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Conv2D(64, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10),
    ]
)
network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
history = network.fit(*first, validation_data=validation, epochs=EPOCHS, batch_size=64, verbose=0).history

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
for axis, name in zip(axes, ("accuracy", "loss"), strict=True):
    axis.plot(range(1, EPOCHS + 1), history[name], label="training")
    axis.plot(range(1, EPOCHS + 1), history[f"val_{name}"], "--", label="validation")
    axis.set(xlabel="epoch", title=name)
    axis.legend()
best = int(np.argmin(history["val_loss"]))
axes[1].axvline(best + 1, color="grey", lw=1)
print(f"Validation loss is lowest after epoch {best + 1} of {EPOCHS}: {history['val_loss'][best]:.3f}, at the end")
print(f"{history['val_loss'][-1]:.3f}. Training accuracy ends at {history['accuracy'][-1]:.1%},", end=" ")
print(f"validation accuracy at {history['val_accuracy'][-1]:.1%}.")

# %% [markdown]
# The curves diverge: after the grey line the model overfits its training images. The audit tests whether the gap is
# significant, whether the model is calibrated, and whether its explanations are faithful.
#
# ## The audit
#
# A Keras file loads in one line; the channel order is converted, and gradients work. The model is saved without its
# loss, because files that contain anything other than layers are refused.

# %%
keras.Sequential([keras.layers.Input(images.shape[1:]), *network.layers]).save("tutorial.keras")
clf = xai.load("tutorial.keras", class_names=CLASSES)
print(clf)
print(*clf.notes, sep="\n")

# %%
audit = xai.audit(
    model=clf,
    data=test,
    train=train.take(range(len(train) - HELD_OUT)),
    checks=[
        {"metric": "accuracy", "at_least": 0.75, "worst_class_at_least": 0.3},
        {"metric": "generalisation_gap", "at_most": 0.05},
        {"metric": "calibration", "at_most": 0.05},
        {"metric": "robust_accuracy", "attack": "pgd", "eps": "4/255", "steps": 10, "images": 100, "at_least": 0.5},
        {"metric": "faithfulness", "method": "gradcam", "images": 8},
    ],
)
print(audit.verdict)
audit.table

# %%
for finding in audit.findings:
    print(f"{finding.id}: {finding.verdict}. {finding.why}")

# %% [markdown]
# The gap between training and test accuracy confirms the overfitting, now with an interval. An overfitted model is
# often overconfident; the calibration error measures this.

# %%
calibration = xai.calibration(clf, test)
print(calibration.verdict, *calibration.reasons, sep="\n")
_ = calibration.plot()

# %% [markdown]
# ## Explain correct and wrong predictions
#
# The first two images are predicted correctly; the other two are wrong with high confidence:

# %%
outputs = clf.predict(test.images[:])
right = np.asarray(outputs.index) == np.asarray(test.labels)
confidence = np.asarray(outputs.probability)
wrong = np.flatnonzero(~right)[np.argsort(-confidence[~right])][:2]
good = np.flatnonzero(right)[:2]
shown = [test.images[int(k)] for k in (*good, *wrong)]
for k in wrong:
    print(f"image {k}: {outputs.label[k]}, {confidence[k]:.0%} confidence; it is: {CLASSES[test.labels[k]]}")
_ = xai.explain(clf, shown, "occlusion").plot()

# %% [markdown]
# Stop at the grey line (`keras.callbacks.EarlyStopping(restore_best_weights=True)`), train again, and compare the two
# audits with `xai.compare`: paired by image, with an interval for each difference.
