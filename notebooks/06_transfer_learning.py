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
# # Transfer learning: a support vector machine and a fine-tuned head
#
# Both models use EfficientNet-Lite0, trained on ImageNet. One passes its features to a support vector machine; the
# other replaces and trains its last layer. Both are audited with the same checks on the same images, and compared by
# paired tests.
#
# The task has four classes of clothes and few images (Fashion-MNIST, in grey, resized to 96 x 96 to keep this short).

# %%
import copy

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

import xai

torch.manual_seed(0)
KINDS = ["Pullover", "Coat", "Shirt", "T-shirt/top"]
SIDE = 96


# %%
def kinds(data, each):
    """Return up to `each` images per kind, as colour images (N, 3, 28, 28), and their labels."""
    wanted = [np.flatnonzero(np.asarray(data.labels) == data.class_names.index(kind))[:each] for kind in KINDS]
    labels = torch.tensor(np.repeat(range(len(KINDS)), [len(rows) for rows in wanted]))
    return data.images[:][np.concatenate(wanted)].expand(-1, 3, -1, -1), labels


train, labels = kinds(xai.load_data("example:fashion-train"), 120)
test, test_labels = kinds(xai.load_data("example:fashion-test").part("test"), 60)
print(len(train), "images to learn from,", len(test), "to test on")

# %% [markdown]
# ## Support vector machine on features
#
# `xai.load(extractor, estimator=...)` combines both into one classifier, from pixels to the scores of the support
# vector machine, with gradients. Its notes state that these scores are margins, not probabilities. A linear kernel has
# a gradient everywhere; a radial kernel is flat far from its support vectors, where layer-based methods give empty
# heatmaps.

# %%
base = xai.load("efficientnet_lite0")
SCALE = {"mean": base.mean, "std": base.std, "input_size": (SIDE, SIDE), "resize": "squash"}
extractor = copy.deepcopy(base.module)
extractor._fc = nn.Identity()  # its last layer; what comes before are 1,280 features
features_of = xai.Classifier(extractor, **SCALE)


def features(images):
    """Return what enters the last layer."""
    return features_of.logits(features_of.prepare(list(images)).inputs).detach().numpy()


known = features(train)
machine = make_pipeline(StandardScaler(), SVC(kernel="linear", C=0.01)).fit(known, [KINDS[k] for k in labels])
svm = xai.load(extractor, estimator=machine, name="features + SVM", **SCALE)
print(*svm.notes, sep="\n")
order = [svm.class_names.index(kind) for kind in KINDS]  # scikit-learn sorts the names

# %% [markdown]
# ## Fine-tuned head
#
# The other layers do not change, so their features are computed once.

# %%
head = nn.Linear(known.shape[1], len(KINDS))
optimiser = torch.optim.Adam(head.parameters(), 2e-3, weight_decay=1e-3)
known_features = torch.from_numpy(known)
for _ in range(150):
    optimiser.zero_grad()
    nn.functional.cross_entropy(head(known_features), labels).backward()
    optimiser.step()
whole = copy.deepcopy(base.module)
whole._fc = head
tuned = xai.Classifier(whole.eval(), class_names=KINDS, name="fine-tuned head", **SCALE)

# %% [markdown]
# ## The same audit for both

# %%
QUESTIONS = [
    {"metric": "accuracy", "at_least": 0.6},
    {"metric": "robust_accuracy", "attack": "fgsm", "eps": "1/255", "images": 60, "trust": 0},
    {
        "metric": "corruption_accuracy",
        "corruptions": ["gaussian_noise", "defocus_blur"],
        "severities": [2],
        "images": 120,
    },
    {"metric": "faithfulness", "method": "gradcam", "images": 4},
]
np.savez("test.npz", images=(test.numpy() * 255).astype("uint8").transpose(0, 2, 3, 1), labels=test_labels.numpy())
data = xai.load_data("test.npz", class_names=KINDS)
audits = {model.name: xai.audit(model=model, data=data, checks=QUESTIONS) for model in (svm, tuned)}
for name, audit in audits.items():
    print(name, audit.verdict)
audits["fine-tuned head"].table

# %%
compared = xai.compare(audits["features + SVM"], audits["fine-tuned head"])
compared.table

# %% [markdown]
# Differences are paired: only images on which the two models disagree count. If the interval contains 0, there is no
# evidence of a difference.
#
# ## Comparison of explanations

# %%
image = test[70]
for model in (svm, tuned):
    print(model.name, "says", model.predict(image).label)
maps = {model.name: xai.explain(model, image, "gradcam", target="Coat") for model in (svm, tuned)}
_ = xai.agreement(maps).plot()
