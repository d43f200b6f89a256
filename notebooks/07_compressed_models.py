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
# # Effects of model compression
#
# A model is pruned (small weights set to 0) or quantised (8-bit integers for its linear layers) to run on a smaller
# machine. Usually only accuracy is reported. This notebook also compares robustness, calibration and explanations.

# %%
import copy
import warnings

import pandas as pd
import torch
from torch import nn
from torch.nn.utils import prune

import xai

original = xai.load("example:fashion")
data = xai.load_data("example:fashion-test").part("test").subset(500, seed=0)


# %%
def renamed(module, name):
    """Return a classifier like the original, with another network."""
    return xai.load(
        module.eval(),
        class_names=original.class_names,
        mean=original.mean,
        std=original.std,
        input_size=original.input_size,
        channels=1,
        name=name,
    )


def pruned(share):
    """Set the smallest weights of all convolutions and linear layers to 0."""
    module = copy.deepcopy(original.module)
    layers = [(m, "weight") for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=share)
    for layer, name in layers:
        prune.remove(layer, name)
    return renamed(module, f"pruned {share:.0%}")


with warnings.catch_warnings():  # torch announces a successor of this function
    warnings.simplefilter("ignore")
    quantised = renamed(torch.ao.quantization.quantize_dynamic(original.module, {nn.Linear}), "quantised")
print(*quantised.notes, sep="\n")
models = [original, pruned(0.5), pruned(0.8), quantised]

# %% [markdown]
# A dynamically quantised layer has no gradients: gradient attacks and Grad-CAM cannot be used on it. `square`,
# occlusion, LIME, KernelSHAP and RISE need predictions only. For a fair comparison, all models are tested with methods
# that all of them support.

# %%
QUESTIONS = [
    {"metric": "accuracy"},
    {"metric": "calibration"},
    {"id": "robust", "metric": "robust_accuracy", "attack": "square", "eps": "4/255", "images": 100, "trust": 0,
     "settings": {"queries": 300}},
    {"metric": "corruption_accuracy", "corruptions": ["gaussian_noise", "contrast"], "severities": [3], "images": 200},
    {"metric": "faithfulness", "method": "occlusion", "images": 12},
]  # fmt: skip
audits = {model.name: xai.audit(model=model, data=data, checks=QUESTIONS) for model in models}
values = {name: audit.table.set_index("check")["value"] for name, audit in audits.items()}
pd.DataFrame(values).T.round(3)

# %% [markdown]
# ## Significant changes

# %%
for name, audit in list(audits.items())[1:]:
    compared = xai.compare(audits[original.name], audit)
    print(f"{name}: worse: {list(compared.worse) or 'nothing'}, better: {list(compared.better) or 'nothing'}")
xai.compare(audits[original.name], audits["pruned 80%"]).table

# %% [markdown]
# ## Changes of the explanations
#
# The heatmaps are for the same image and the same class, one for each model.

# %%
image, target = data.images[0], data.class_names[int(data.labels[0])]
maps = {model.name: xai.explain(model, image, "occlusion", target=target) for model in models}
together = xai.agreement(maps)
_ = together.plot()
pd.DataFrame(together.rank_correlation, index=together.names, columns=together.names).round(2)
