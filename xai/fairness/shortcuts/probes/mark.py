"""A mark or a text at one place, as stamps, dates, logos and captions are."""

from collections.abc import Iterator

from xai.fairness.shortcuts.probes._blends import marks
from xai.fairness.shortcuts.probes.base import Form, ProbeContext, probe


@probe("mark", "a mark or a text at one place that the images of one class repeat pixel by pixel")
def mark(context: ProbeContext) -> Iterator[Form]:
    """Yield one form for each class that repeats one.

    Cost: none of the model; medians over the images of each class.
    Source: ours. The idea that artefacts repeat while objects vary is that of Lapuschkin et al. 2019 (Nature
    Communications 10, 1096), who cluster explanations where this compares pixels.
    """
    yield from marks(context, "mark")
