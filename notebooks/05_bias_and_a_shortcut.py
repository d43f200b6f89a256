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
# # Bias and shortcuts
#
# `example:fashion-shortcut` was trained on images in which 95 of 100 shirts have a small mark in a corner, and no other
# class has it. On images without marks it is less accurate than `example:fashion`, and accuracy alone does not show
# why.

# %%
import numpy as np

import xai

suspect, honest = xai.load("example:fashion-shortcut"), xai.load("example:fashion")
data = xai.load_data("example:fashion-test").part("test").subset(2000, seed=0)
for model in (honest, suspect):
    right = np.asarray(model.predict(data.images[:]).index) == np.asarray(data.labels)
    print(f"{model.name}: {right.mean():.1%} right")

# %% [markdown]
# ## Shortcuts
#
# `xai.shortcuts` searches the data for marks, texts, compression, grey levels and more that occur with a class, and
# inserts them as probes into images of other classes. These images have no mark, so standard probes are used. A probe
# is a finding only if its flip rate towards *one* class is higher than that of control perturbations of equal size, and
# if most images of the class are recognised only with it. The form of a probe is chosen on one half of the images and
# tested on the other.

# %%
probes = ["corner_mark", "border", "brightness"]
found = xai.shortcuts(suspect, data, samples=160, probes=probes, seed=0)
for finding in found.findings:
    print(finding)
_ = found.plot()

# %%
print(
    "the honest network:", list(xai.shortcuts(honest, data, samples=160, probes=probes, seed=0).findings) or "nothing"
)

# %% [markdown]
# ## Groups
#
# Any column of an image table can be a group. This example has one that should have no effect, and one that has: an old
# camera with a noisy sensor.

# %%
rng = np.random.default_rng(0)
side = np.where(rng.random(len(data)) < 0.5, "left", "right")
camera = np.where(rng.random(len(data)) < 0.15, "old", "new")
images = data.images[:]
images[camera == "old"] = xai.corrupt(images[camera == "old"], "gaussian_noise", severity=2)
result = xai.bias(honest, images, labels=data.labels, groups={"side": side, "camera": camera})
for finding in result.findings[:5]:
    print(finding)
result.table.head(8)

# %%
_ = result.plot()

# %% [markdown]
# Small groups differ by chance alone. Findings are significant gaps; a group with too few images is reported as "too
# small to tell".
#
# ## Weak slices

# %%
slices = xai.slices(honest, data, seed=0)
for finding in slices.findings[:3]:
    print(finding)
_ = slices.plot()

# %% [markdown]
# Slices are found on one half of the data and tested on the other, so they are not artefacts of this sample.
#
# ## Data faults

# %%
faults = xai.data_faults(honest, data)
for finding in faults.findings[:4]:
    print(finding)
