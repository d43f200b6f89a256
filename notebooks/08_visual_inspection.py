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
# # Visual inspection: from a folder of images to a signed report
#
# A camera takes images of machined rings, and a model detects scratched ones. Before it is used without supervision, an
# auditor signs a report. This notebook shows the whole process with synthetic images: replace the first two cells by
# your folder and your weights.
#
# ## The folder
#
# The data need one subfolder per class. A table works too, and its columns can be compared as groups.

# %%
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import save_file
from torch import nn

import xai

rng = np.random.default_rng(0)


def ring(scratched, bright):
    """Draw a ring of 32 x 32 pixels with the grain of a camera."""
    image = Image.new("L", (128, 128), 40)
    draw = ImageDraw.Draw(image)
    x, y = rng.uniform(56, 72, 2)
    draw.ellipse((x - 44, y - 44, x + 44, y + 44), fill=int(150 * bright))
    draw.ellipse((x - 20, y - 20, x + 20, y + 20), fill=40)
    if scratched:
        turn, reach = rng.uniform(0, 2 * np.pi), rng.uniform(24, 38)
        a, b = x + reach * np.cos(turn), y + reach * np.sin(turn)
        draw.line((a, b, a + rng.uniform(-14, 14), b + rng.uniform(-14, 14)), fill=235, width=int(rng.integers(5, 9)))
    small = image.filter(ImageFilter.GaussianBlur(1)).resize((32, 32), Image.Resampling.BOX)
    return Image.fromarray(np.clip(np.asarray(small) + rng.normal(0, 6, (32, 32)), 0, 255).astype("uint8"))


def fill(folder, each):
    """Write `each` images per class, in two lights, with a table of them."""
    rows = ["path,label,light"]
    for label in ("good", "scratched"):
        (folder / label).mkdir(parents=True)
        for k in range(each):
            light = "day" if rng.random() < 0.7 else "night"
            ring(label == "scratched", 1.0 if light == "day" else 0.75).save(folder / label / f"{k:04}.png")
            rows.append(f"{label}/{k:04}.png,{label},{light}")
    (folder / "parts.csv").write_text("\n".join(rows) + "\n")


fill(Path("line/train"), 300)
fill(Path("line/test"), 250)

# %% [markdown]
# ## The model
#
# Your model consists of its weights and the code that builds it. Here a model is trained, and saved as a supplier would
# deliver it: weights as safetensors, and a module that builds the network.

# %%
Path("supplier.py").write_text('''"""The network as its maker hands it over."""

from torch import nn


def network():
    """Return the untrained network."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 64, 2),
    )
''')
from supplier import network

torch.manual_seed(0)
data = xai.load_data("line/train/parts.csv")
images, labels = data.images[:], torch.as_tensor(data.labels)
net = network()
optimiser = torch.optim.Adam(net.parameters(), 1e-3)
for _ in range(40):
    for rows in torch.randperm(len(images)).split(50):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net((images[rows] - 0.3) / 0.25), labels[rows]).backward()
        optimiser.step()
save_file(net.state_dict(), "weights.safetensors")

# %% [markdown]
# ## Thresholds before results
#
# The thresholds are written into a file *before* anything is measured. The audit records them with a digest and a time
# before it loads the model, so that a report can show that they were not chosen afterwards.

# %%
Path("xai.toml").write_text("""
[model]
source = "weights.safetensors"
arch = "supplier:network"
class_names = ["good", "scratched"]
input_size = [32, 32]
channels = 1
mean = [0.3]
std = [0.25]

[data]
source = "line/test/parts.csv"

[train]
source = "line/train/parts.csv"

[audit]
title = "Scratches on rings, line 3"

[report]
formats = ["html", "md", "junit"]

[[check]]
metric = "accuracy"
at_least = 0.95
worst_class_at_least = 0.90

[[check]]
metric = "generalisation_gap"
at_most = 0.05

[[check]]
metric = "robust_accuracy"
attack = "pgd"
eps = "2/255"
images = 200
at_least = 0.80

[[check]]
metric = "corruption_accuracy"
corruptions = ["gaussian_noise", "defocus_blur", "brightness"]
severities = [1, 2]
images = 200
at_least = 0.80

[[check]]
metric = "group_gap"
columns = ["light"]

[[check]]
metric = "data_faults"
at_most = 0.02

[[check]]
metric = "faithfulness"
method = "occlusion"
images = 16
""")
print(xai.Audit.plan("xai.toml"))

# %% [markdown]
# ## The audit

# %%
audit = xai.audit("xai.toml", out="audit")
print(audit.verdict)
audit.table

# %%
for finding in audit.findings:
    print(f"{finding.id}: {finding.verdict}. {finding.why}")
    print("  again:", finding.reproduce["command"])

# %% [markdown]
# ## Explain a prediction

# %%
clf = xai.load(
    "weights.safetensors",
    arch=network,
    class_names=["good", "scratched"],
    input_size=(32, 32),
    channels=1,
    mean=[0.3],
    std=[0.25],
)
test = xai.load_data("line/test/parts.csv")
scratched = int(np.flatnonzero(np.asarray(test.labels) == 1)[3])
_ = xai.explain(clf, test.images[scratched], "occlusion", target="scratched", window=0.15).plot()

# %% [markdown]
# ## Report and signature
#
# The report is one file that works offline. The signature covers a list of digests of all files in the folder, so any
# later change invalidates it. xai does not sign reports itself, because a signature belongs to a person and their key;
# this example uses `ssh-keygen` if it is installed.

# %%
for name in ("report.html", "summary.md"):
    audit.report(f"audit/{name}")
files = sorted(p for p in Path("audit").rglob("*") if p.is_file() and "store" not in p.parts and p.name != "log.jsonl")
digests = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p}" for p in files]
Path("SHA256SUMS").write_text("\n".join(digests) + "\n")
print(*sorted({str(p.relative_to("audit")) for p in files if p.parent.name == "audit"}), sep="\n")

# %%
if shutil.which("ssh-keygen"):
    quiet = {"check": True, "capture_output": True}
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key", "-C", "auditor"], **quiet)
    subprocess.run(["ssh-keygen", "-Y", "sign", "-f", "key", "-n", "audit", "SHA256SUMS"], **quiet)
    Path("signers").write_text("auditor@example.org " + Path("key.pub").read_text())
    verify = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        "signers",
        "-I",
        "auditor@example.org",
        "-n",
        "audit",
        "-s",
        "SHA256SUMS.sig",
    ]
    print(subprocess.run(verify, input=Path("SHA256SUMS").read_bytes(), **quiet).stdout.decode().split(" with ")[0])
else:
    print("ssh-keygen is not installed; sign SHA256SUMS with what you have")

# %% [markdown]
# Deliver `audit/`, `SHA256SUMS`, its signature and `xai.toml`. Anyone with the weights and the folder can run the same
# command and get the same `audit.json`, byte for byte.
