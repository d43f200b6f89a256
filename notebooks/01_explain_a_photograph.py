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
# # Explain a photograph with every method, and see which to believe
#
# EfficientNet-Lite0 calls this photograph an espresso. Nineteen methods say why. They do not agree, and all of them look
# convincing. What can be believed is a question with an answer.

# %%
import pandas as pd

import xai

clf = xai.load("efficientnet_lite0")
photo = next(p.path for p in xai.sample_photos() if p.name == "coffee")
clf.predict(photo).top(3)

# %% [markdown]
# ## What there is, and what suits this network
#
# `xai.methods(model)` tries each method on a small grey picture. "Not advised" comes with a reason.

# %%
listed = xai.methods(clf)
pd.DataFrame([{"method": m.name, "family": m.family, "advised": m.advised, "why": m.why} for m in listed])

# %% [markdown]
# ## Every one of them on the photograph
#
# Methods that sample get few samples here, so that this takes a minute on a laptop. LIME, KernelSHAP and RISE deserve the
# 1,000 and more that they take by default.

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
# The last picture shows where they disagree. In figures: rank correlation of the maps, 1 being the same order of pixels.

# %%
pd.DataFrame(together.rank_correlation, index=together.names, columns=together.names).round(2)

# %% [markdown]
# ## Which can be believed?
#
# `xai.rate_explanation` removes what a map calls relevant and looks whether the answer moves more than for 32 random maps of its
# kind, than for a spot in the middle and for plain edges; adds noise that nobody sees; and draws the network's weights anew.

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
# Guided backpropagation draws the sharpest picture, and the rating rejects it: it shows the edges of the photograph. That is why
# its `caution` says so wherever it is offered.
#
# ## Why this rather than that?
#
# A map of "espresso" alone shows what speaks for it. Often the better question is why not the other class.

# %%
_ = xai.explain(clf, photo, "occlusion", target="espresso", versus="tea cup").plot()
