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
# # Pictures the network was never meant for, and probabilities that mean something
#
# A classifier answers whatever it is shown. Two promises make its answers usable: it says when a picture is none of its business,
# and its probabilities are true.

# %%
import xai

clf = xai.load("example:fashion")
known = xai.load_data("example:fashion-train").subset(2000, seed=0)
ordinary = xai.load_data("example:fashion-test")
calibration, test = ordinary.part("calibration").subset(2000, seed=0), ordinary.part("test").subset(500, seed=0)
digits = xai.load_data("example:digits").subset(300, seed=0)

# %% [markdown]
# ## A digit is no shirt

# %%
answer = clf.predict(digits.images[0])
print(f"a handwritten digit: {answer.label}, {answer.probability:.0%} sure")

# %% [markdown]
# ## A detector with a promise
#
# `fit_ood` learns what ordinary pictures look like *to this model* and calibrates on others. The promise is exact: it follows from the
# number of calibration pictures alone.

# %%
detector = xai.fit_ood(clf, known, calibration)
print(detector.method)
print(*detector.notes, sep="\n")
judged = detector.judge(digits.images[:], alpha=0.05)
print(judged.guarantee.sentence)
print(f"rejected: {sum(v == 'foreign' for v in judged.verdicts) / len(digits):.0%} of the digits, ", end="")
print(f"{sum(v == 'foreign' for v in detector.judge(test.images[:]).verdicts) / len(test):.1%} of ordinary pictures")

# %%
_ = detector.plot()

# %% [markdown]
# The score can be explained like any other: which pixels are foreign?

# %%
_ = detector.explain(digits.images[0]).plot()

# %% [markdown]
# ## Which method?
#
# All detectors read the same pass, so they can be compared in seconds; by intervals, not by the third digit.

# %%
table = xai.compare_ood(clf, known, calibration, test, {"digits": digits}).table
table[["method", "auroc", "auroc_low", "auroc_high"]] if "auroc_low" in table else table

# %% [markdown]
# ## Are its probabilities true?

# %%
found = xai.calibration(clf, ordinary.part("test"))
print(found.verdict, *found.reasons, sep="\n")
_ = found.plot()

# %% [markdown]
# ## Sets of answers that hold the truth
#
# Where one answer is not safe, several are: of 100 pictures like those of the calibration, 95 sets hold the truth.

# %%
promise = xai.fit_conformal(clf, calibration, alpha=0.05)
print(promise.sentence)
sets = promise.sets(test.images[:])
covered = sum(test.classes[label] in names for label, names in zip(test.labels, sets.names, strict=True)) / len(test)
print(f"on {len(test)} other pictures: {covered:.1%} of the sets hold the truth")
print(sets.names[:5])

# %% [markdown]
# The promise is about pictures like those of the calibration. Whether today's are is the question of drift:

# %%
darker = xai.corrupt(test.images[:], "brightness", severity=3, seed=0)
print("same source:", xai.drift(clf, calibration.subset(500), test, draws=199).verdict)
print("brighter:   ", xai.drift(clf, calibration.subset(500), darker, draws=199).verdict)
