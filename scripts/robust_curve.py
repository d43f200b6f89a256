"""Make docs/robustness.md and its image again: `python scripts/robust_curve.py`, an hour or two on two idle cores.

The first 1,000 test images of Fashion-MNIST on `example:fashion-robust`, l-inf, from 1/255 to 16/255, without a limit
of time: every image is attacked and proven as far as the default settings of `xai.robustness` go.
"""

import os
import time
from pathlib import Path

import xai

COUNT = int(os.environ.get("IMAGES", "1000"))
EPS = [k / 255 for k in (1, 2, 3, 4, 6, 8, 12, 16)]
DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = """# Robustness curve: example:fashion-robust

This page and its figure are made by `python scripts/robust_curve.py`: {count} test images of Fashion-MNIST, l-inf, all
attacks and certification methods of `xai.robustness` with default settings and no time limit ({minutes:.0f} minutes,
{versions}).

![Attacked and certified accuracy over the radius, the gap between them shaded](images/robustness.png)

Accuracy on clean images: {clean} %. At each radius the robust accuracy is between *certified* (guaranteed for every
perturbation of that size) and *attacked* (no attack found an adversarial example); images in between are *unproven*.
Brackets are 95 % intervals for the population that the images were drawn from.

| radius (of 255) | certified % | attacked % | verified | unproven | violated |
|---|---|---|---|---|---|
{rows}

Evaluation checks with a flag: {flags}. Median of the smallest adversarial radius over the correctly predicted images
for which an adversarial example was found: {median:.1f}/255.

If the certified accuracy decreases at smaller radii than the attacked accuracy, either the bounds are loose or the
attacks are weak. The evaluation checks test for weak attacks.
"""


def percent(value: float, interval: tuple[float, float]) -> str:
    """Return a share and its interval in percent."""
    return f"{100 * value:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def table(curve: xai.results.RobustnessCurve) -> str:
    """Return one line per radius."""
    found = curve.table
    lines = []
    for k, eps in enumerate(curve.eps):
        row = found.iloc[k]
        verdicts = [int((curve.verdicts[:, k] == name).sum()) for name in ("verified", "unproven", "violated")]
        certified = percent(row["certified"], (row["certified_low"], row["certified_high"]))
        attacked = percent(row["attacked"], (row["attacked_low"], row["attacked_high"]))
        lines.append(f"| {255 * eps:g} | {certified} | {attacked} | {verdicts[0]} | {verdicts[1]} | {verdicts[2]} |")
    return "\n".join(lines)


def main() -> None:
    """Run the curve and write the page."""
    classifier, data = xai.load("example:fashion-robust"), xai.load_data("example:fashion-test")
    began = time.perf_counter()
    curve = xai.robustness(classifier, data.images[:COUNT], data.labels[:COUNT], EPS, progress=_show)
    minutes = (time.perf_counter() - began) / 60
    curve.plot().savefig(DOCS / "images" / "robustness.png", dpi=130)
    broken = curve.distance[(curve.distance > 0) & (curve.distance < 1)]
    text = TEXT.format(
        count=f"{COUNT:,}",
        minutes=minutes,
        versions=f"torch {curve.versions['torch']}",
        clean=percent(curve.clean, curve.intervals["clean"]),
        rows=table(curve),
        flags=", ".join(curve.trust.flags) or "none",
        median=255 * float(broken.median()),
    )
    (DOCS / "robustness.md").write_text(text, encoding="utf-8")
    print(text)


def _show(done: int, total: int) -> None:
    if done % 10 == 0:
        print(f"{done} of {total}", flush=True)


if __name__ == "__main__":
    main()
