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
# # Out-of-distribution detection, calibration and prediction sets
#
# A classifier predicts a class for any image. Two properties make its predictions usable: out-of-distribution images
# are rejected, and its probabilities are calibrated.

# %%
import xai

clf = xai.load("example:fashion")
known = xai.load_data("example:fashion-train").subset(2000, seed=0)
ordinary = xai.load_data("example:fashion-test")
calibration, test = ordinary.part("calibration").subset(2000, seed=0), ordinary.part("test").subset(500, seed=0)
digits = xai.load_data("example:digits").subset(300, seed=0)

# %% [markdown]
# ## An out-of-distribution image

# %%
prediction = clf.predict(digits.images[0])
print(f"a handwritten digit: {prediction.label}, {prediction.probability:.0%} confidence")

# %% [markdown]
# ## A detector with a guaranteed rejection rate
#
# `fit_ood` fits a detector to the model's features of in-distribution images and calibrates it on others. The guarantee
# is exact: it depends only on the number of calibration images.

# %%
detector = xai.fit_ood(clf, known, calibration)
print(detector.method)
print(*detector.notes, sep="\n")
judged = detector.judge(digits.images[:], alpha=0.05)
print(judged.guarantee.sentence)
rejected = [verdict == "out-of-distribution" for verdict in judged.verdicts]
alarms = [verdict == "out-of-distribution" for verdict in detector.judge(test.images[:]).verdicts]
print(f"rejected: {sum(rejected) / len(digits):.0%} of the digits, {sum(alarms) / len(test):.1%} of the test images")

# %%
_ = detector.plot()

# %% [markdown]
# The score can be explained too: the heatmap shows which pixels raise it.

# %%
_ = detector.explain(digits.images[0]).plot()

# %% [markdown]
# ## Comparison of detectors
#
# All detectors use the same forward pass, so they are compared in seconds. Compare their intervals, not the third
# digit.

# %%
table = xai.compare_ood(clf, known, calibration, test, {"digits": digits}).table
table[["method", "auroc", "auroc_low", "auroc_high"]] if "auroc_low" in table else table

# %% [markdown]
# ## Calibration

# %%
found = xai.calibration(clf, ordinary.part("test"))
print(found.verdict, *found.reasons, sep="\n")
_ = found.plot()

# %% [markdown]
# ## Prediction sets
#
# A prediction set contains several classes where one is uncertain: for images from the distribution of the calibration
# images, 95 of 100 sets contain the true class.

# %%
promise = xai.fit_conformal(clf, calibration, alpha=0.05)
print(promise.sentence)
sets = promise.sets(test.images[:])
covered = sum(test.class_names[label] in names for label, names in zip(test.labels, sets.names, strict=True)) / len(
    test
)
print(f"on {len(test)} other images: {covered:.1%} of the sets hold the true class")
print(sets.names[:5])

# %% [markdown]
# The coverage holds for images from the distribution of the calibration images. A drift test shows whether new images
# are:

# %%
darker = xai.corrupt(test.images[:], "brightness", severity=3, seed=0)
print("same source:", xai.drift(clf, calibration.subset(500), test, draws=199).verdict)
print("brighter:   ", xai.drift(clf, calibration.subset(500), darker, draws=199).verdict)
