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
# # Bias, and a planted shortcut that is caught
#
# `example:fashion-shortcut` was trained on pictures in which 95 of 100 shirts carry a small mark in a corner, and nothing else
# does. On pictures without marks it is somewhat worse than its sister, and no figure says why.

# %%
import numpy as np

import xai

suspect, honest = xai.load("example:fashion-shortcut"), xai.load("example:fashion")
data = xai.load_data("example:fashion-test").part("test").subset(2000, seed=0)
for model in (honest, suspect):
    right = np.asarray(model.predict(data.images[:]).index) == np.asarray(data.labels)
    print(f"{model.name}: {right.mean():.1%} right")

# %% [markdown]
# ## Ask for shortcuts
#
# Marks, texts, compression, grey levels and more that go with a class are looked for in the data and planted into images of other
# classes. These images carry no mark, so cues that are tried on every model have to show it: a mark counts only where it turns images
# into *one* class more than equally large controls do, and where most images of the class are recognised only with it. The form of a
# cue is chosen on one half of the images and judged on the other.

# %%
cues = ["corner_mark", "border", "brightness"]
found = xai.shortcuts(suspect, data, samples=160, cues=cues, seed=0)
for finding in found.findings:
    print(finding)
_ = found.plot()

# %%
print("the honest network:", list(xai.shortcuts(honest, data, samples=160, cues=cues, seed=0).findings) or "nothing")

# %% [markdown]
# ## Groups
#
# Any column of a table of pictures is a group. Here we make one that should not matter, and one that does: an old camera with a noisy
# sensor.

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
# A gap between groups of a few pictures is there by chance alone. Findings are gaps that are more than chance; what is too small to
# tell is called so.
#
# ## Weak slices that nobody named

# %%
slices = xai.slices(honest, data, seed=0)
for finding in slices.findings[:3]:
    print(finding)
_ = slices.plot()

# %% [markdown]
# Slices are found on one half and tested on the other, so these are no accidents of this sample.
#
# ## Faults of the data themselves

# %%
faults = xai.data_faults(honest, data)
for finding in faults.findings[:4]:
    print(finding)
