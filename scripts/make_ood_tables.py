"""Write docs/ood.md: detectors on clothes against digits, noise, negatives and corrupted clothes.

`python scripts/make_ood_tables.py`; a few minutes on two cores.
"""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

import xai

DOCS = Path(__file__).resolve().parent.parent / "docs"
COUNT = 2000
CORRUPTED = ("gaussian_noise", "defocus_blur", "contrast")
ATTACKED = ("vim", "mahalanobis", "knn", "energy", "msp")

HEAD = """# Out-of-distribution detection: results

This page is written by `python scripts/make_ood_tables.py`; versions: {versions}.

`example:fashion` has ten classes of clothes. Detectors are fitted on {fit} of its training images and calibrated on
{calibration} others; {inside} further test images are in-distribution. Out-of-distribution (OOD) are scikit-learn's
digits, resized to 28 x 28, uniform noise and inverted clothes (far), and clothes corrupted at severity 3 (covariate
shift: the same classes; whether they should be rejected depends on the use). Settings are the defaults. {features}

## AUROC, with 95 % intervals

{areas}

Bold: best of its column. (=): no significant difference from msp (paired DeLong test, Holm-corrected over the whole
table).

## Full spectrum: corrupted clothes count as in-distribution

{full}

## Both false-positive rates

Share of OOD images accepted when 95 % of in-distribution images are accepted / share of in-distribution images rejected
when 95 % of OOD images are rejected. Both are called FPR95 in the literature.

{rates}

## Calibrated decision at alpha 0.05

{sentence} The table gives the rejection rate on {inside} in-distribution test images and on each OOD set:

{decisions}

## Attacks

PGD (linf 8/255, 40 steps) attacks the prediction for 200 in-distribution images, then the score for 200 digits.

{attacks}
"""


def outsiders(tests: Tensor) -> dict[str, dict[str, Tensor]]:
    """Return the out-of-distribution images by group and name."""
    digits = xai.load_data("example:digits").images[:]
    upscaled = torch.nn.functional.interpolate(digits, (28, 28), mode="bilinear", align_corners=False).clamp(0, 1)
    noise = torch.rand(COUNT, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    some = tests[:COUNT]
    worse = {name.replace("_", " "): xai.corrupt(some, name, 3) for name in CORRUPTED}
    return {"far": {"digits": upscaled, "noise": noise, "inverted": 1 - some}, "covariate": worse}


def grid(found: xai.results.OODComparison, cell: object, sets: list[str]) -> str:
    """Return a table in Markdown: methods down, sets across."""
    short = [name.split(": ")[-1] for name in sets]
    rows = {(row["method"], row["set"]): row for row in found.rows}
    order = found.areas.mean(axis=1).sort_values(ascending=False).index
    lines = [f"| method | {' | '.join(short)} |", "|---|" + "---|" * len(sets)]
    for method in order:
        cells = [cell(rows[method, name]) for name in sets]  # type: ignore[operator]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def attacks(fitted: dict[str, xai.OODDetector], tests: Tensor, labels: Tensor, digits: Tensor) -> str:
    """Return what attacks find, in Markdown."""
    lines = ["| method | adversarial images rejected | before the attack | AUROC | digits accepted after the attack |"]
    lines.append("|---|---|---|---|---|")
    for method, detector in fitted.items():
        found = detector.attack(tests[:200], labels[:200], digits[:200], eps=8 / 255)
        shares = [f"{s:.0%} ({low:.0%} to {high:.0%})" for s, low, high in (found.flagged, found.flagged_before)]
        area, evaded = found.auroc, found.evaded
        lines.append(
            f"| {method} | {shares[0]} | {shares[1]} | {area[0]:.3f} ({area[1]:.3f} to {area[2]:.3f}) | "
            f"{evaded[0]:.0%} ({evaded[1]:.0%} to {evaded[2]:.0%}) |"
        )
    return "\n".join(lines)


def main() -> None:
    """Compare, attack, write the page and its figure."""
    classifier, data = xai.load("example:fashion"), xai.load_data("example:fashion-test")
    fit, calibration, test = xai.load_data("example:fashion-train"), data.part("calibration"), data.part("test")
    tests = test.images[:]
    outside = outsiders(tests)
    found = xai.compare_ood(classifier, fit, calibration, test, outside, progress=True)
    sets = [held["label"] for held in found.sets]
    best = found.areas.idxmax()

    def area(row: dict) -> str:
        told = " (=)" if row["against_msp"].startswith("cannot") else ""
        text = f"{row['auroc']:.3f}"
        text = f"**{text}**" if best[row["set"]] == row["method"] else text
        return f"{text} ({row['auroc_low']:.3f} to {row['auroc_high']:.3f}){told}"

    fitted = {name: xai.fit_ood(classifier, fit, calibration, name) for name in ATTACKED}
    page = HEAD.format(
        versions=", ".join(f"{name} {version}" for name, version in found.versions.items()),
        fit=f"{len(fit):,}",
        calibration=f"{len(calibration):,}",
        inside=f"{len(test):,}",
        features=f"{found.notes[0][0].upper()}{found.notes[0][1:]}.",
        areas=grid(found, area, sets),
        full=grid(found, lambda row: f"{row['auroc_full_spectrum']:.3f}", sets[:3]),
        rates=grid(found, lambda r: f"{r['fpr_ood_accepted@95id']:.1%} / {r['fpr_id_rejected@95ood']:.1%}", sets),
        sentence=found.guarantee.sentence,
        decisions=decisions(found, sets),
        attacks=attacks(fitted, tests, test.labels, outside["far"]["digits"]),
    )
    (DOCS / "ood.md").write_text(page, encoding="utf-8")
    found.plot(["msp", "energy", "knn", "rmd", "vim", "mahalanobis"]).savefig(DOCS / "images" / "ood.png", dpi=110)
    print(DOCS / "ood.md")


def decisions(found: xai.results.OODComparison, sets: list[str]) -> str:
    """Return realised rates in Markdown."""
    rows = pd.DataFrame(list(found.rows))
    ordinary = rows.groupby("method")[["rejected_in", "rejected_in_low", "rejected_in_high"]].first()
    table = grid(found, lambda row: f"{row['rejected_out']:.1%}", sets).splitlines()
    lines = [table[0].replace("| method |", "| method | in-distribution |"), table[1] + "---|"]
    for line in table[2:]:
        method = line.split(" | ")[0].removeprefix("| ")
        share, low, high = ordinary.loc[method]
        lines.append(line.replace(f"| {method} |", f"| {method} | {share:.1%} ({low:.1%} to {high:.1%}) |", 1))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
