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
# # Explain a photograph with every method, and rate the explanations
#
# EfficientNet-Lite0 predicts "espresso" for this photograph. Nineteen methods explain the prediction. They disagree,
# and all heatmaps look plausible. This notebook tests which of them are faithful to the model.

# %%
import pandas as pd

import xai

clf = xai.load("efficientnet_lite0")
photo = next(p.path for p in xai.sample_photos() if p.name == "coffee")
clf.predict(photo).top(3)

# %% [markdown]
# ## Methods that the model supports
#
# `xai.methods(model)` tries each method on a small grey image. A method that is not advised has a reason.

# %%
listed = xai.methods(clf)
pd.DataFrame([{"method": m.name, "family": m.family, "advised": m.advised, "why": m.why} for m in listed])

# %% [markdown]
# ## All methods on the photograph
#
# Sampling methods use few samples here, so that this takes a minute on a laptop. For real use keep the defaults of
# LIME, KernelSHAP and RISE (1,000 samples and more).

# %%
FEW = {
    "lime": {"samples": 100, "regions": 20},
    "kernelshap": {"samples": 100, "regions": 20},
    "rise": {"samples": 150},
    "integrated_gradients": {"steps": 10},
    "smoothgrad": {"samples": 8},
    "gradient_shap": {"samples": 8},
    "scorecam": {"layer": "_blocks.10"},  # 112 channels, and as many forwards, instead of 1,280
}
maps = {}
for method in listed:
    try:
        maps[method.name] = xai.explain(clf, photo, method.name, **FEW.get(method.name, {}))
    except xai.XaiError as error:
        print(method.name, "cannot be used:", error)

# %%
shown = ["gradcam", "occlusion", "lime", "integrated_gradients"]
together = xai.agreement([maps[name] for name in shown])
_ = together.plot()

# %% [markdown]
# The last image shows where the heatmaps disagree. The table gives their rank correlation; 1 means the same order of
# pixels.

# %%
pd.DataFrame(together.rank_correlation, index=together.names, columns=together.names).round(2)

# %% [markdown]
# ## Rate the explanations
#
# `xai.rate_explanation` removes the most relevant pixels and compares the change of the score with that of 32 random
# heatmaps, a spot in the centre and an edge detector. It also tests stability under imperceptible noise, and randomises
# the model's weights.

# %%
ratings = {name: xai.rate_explanation(clf, photo, maps[name]) for name in ("gradcam", "saliency", "guided_backprop")}
pd.DataFrame([{"method": name, "verdict": r.verdict, "first reason": r.reasons[0]} for name, r in ratings.items()])

# %%
for name, rating in ratings.items():
    print(name)
    print(*[f"  - {reason}" for reason in rating.reasons], sep="\n")

# %%
_ = maps["guided_backprop"].plot()

# %% [markdown]
# Guided backpropagation gives the sharpest heatmap, and the rating rejects it: it shows the edges of the photograph.
# Its `caution` states this wherever the method is offered.
#
# ## Explain one class compared with another
#
# The heatmap of "espresso" alone shows the evidence for this class. With `versus` it shows the evidence for one class
# compared with another.

# %%
_ = xai.explain(clf, photo, "occlusion", target="espresso", versus="tea cup").plot()
