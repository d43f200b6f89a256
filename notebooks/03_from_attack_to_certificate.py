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
# # Robustness: attacks and certificates
#
# Two small models for images of clothes come with xai. One has standard training, the other was trained against PGD.
# Radii are in the scale of pixels in [0, 1]: 8/255 changes each pixel by at most 8 of 255 grey levels.

# %%
import pandas as pd

import xai

plain, robust = xai.load("example:fashion"), xai.load("example:fashion-robust")
data = xai.load_data("example:fashion-test").part("test").subset(100, seed=0)
images, labels = data.images[:], data.labels

# %% [markdown]
# ## An imperceptible perturbation

# %%
attacked = xai.attack(plain, images[:20], labels[:20], "pgd", eps=8 / 255)
k = int(attacked.success.nonzero()[0])
names = plain.class_names
before, after = attacked.clean_predictions[k], attacked.predictions[k]
print(f"{names[before]} before, {names[after]} after; largest change {attacked.distance[k] * 255:.1f} of 255")
pair = [attacked.clean[k], attacked.adversarial[k]]
_ = xai.explain(plain, pair, "gradcam").plot()

# %% [markdown]
# ## Comparison of attacks
#
# Robust accuracy under an attack is an *upper bound*: a stronger attack may lower it. Random noise of the same size
# shows that a weak attack greatly overestimates robustness.

# %%
rows = []
for method in ("noise", "fgsm", "pgd", "apgd-ce", "square"):
    settings = {"queries": 500} if method == "square" else {}
    for name, model in (("plain", plain), ("robust", robust)):
        r = xai.attack(model, images, labels, method, eps=8 / 255, **settings)
        rows.append({"attack": method, "model": name, "still right": r.robust_accuracy, "seconds": round(r.seconds, 1)})
pd.DataFrame(rows).pivot(index="attack", columns="model", values="still right").loc[
    ["noise", "fgsm", "square", "pgd", "apgd-ce"]
]

# %% [markdown]
# ## Certified robust accuracy
#
# A certificate holds for *every* perturbation of that size, and so for every future attack. It gives a lower bound; an
# image without a certificate may still be robust.

# %%
rows = []
for k in (0.25, 0.5, 1):
    for name, model in (("plain", plain), ("robust", robust)):
        certificate = xai.certify(model, images[:50], labels[:50], eps=k / 255, method="crown_ibp")
        rows.append({"eps": f"{k}/255", "model": name, "certified": certificate.certified_accuracy})
pd.DataFrame(rows).pivot(index="eps", columns="model", values="certified")

# %% [markdown]
# ## Robustness curve
#
# At each radius each image is verified, violated (an adversarial example was found) or unproven. With a time budget,
# images that are undecided at its end remain unproven.

# %%
curve = xai.robustness(robust, images[:40], labels[:40], eps=[1 / 255, 2 / 255, 4 / 255, 8 / 255], budget=45)
curve.table

# %%
_ = curve.plot()

# %% [markdown]
# ## Evaluation checks
#
# Many published defences appeared robust only because the attack was weak. Nineteen checks test the evaluation for such
# problems.

# %%
print("flags:", list(curve.trust.flags) or "none: no problem found in this evaluation")
pd.DataFrame([{"check": c.name, "status": c.status, "found": c.reason} for c in curve.trust.checks])

# %%
_ = curve.strip()

# %% [markdown]
# The strip shows the nearest counterexamples. Each can be verified by passing it to the model again.
