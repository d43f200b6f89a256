"""Selection of the layer to explain.

It is found by running the model, and verified by shape, gradient and perturbation.
"""

import weakref
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from xai.core.layers.layouts import Layout, Responses, Size
from xai.core.layers.ordering import FINE, Verdict, edge_fault, judge
from xai.core.layers.outputs import (
    EVERYTHING,
    Forward,
    LayerChoice,
    LayerOutput,
    LayerShare,
    makes_maps,
    run_forward,
    score,
    scores_of,
    share_through,
    spread_images,
)
from xai.core.model.classifier import Classifier
from xai.core.model.fingerprint import state_of
from xai.core.model.hooks import Cut, borrowed, gradients, gradients_on, hooked
from xai.core.results.message import Message
from xai.core.runtime.batching import tensors_in, with_tensor
from xai.core.validation import check_choice
from xai.errors import UnsupportedModelError

_ENTRIES = 4  # maps looked at for a crop or a margin
_TRIES = 100  # tensors looked at from the end
_BRANCHES = 32  # layers in branches that are measured before the best of them is taken
_LATE = 0.8  # share of the tensors, from the end, among which one that all passes through is taken instead of a branch
_NEAR = 6  # the same as a number, for small models
_CHECKED = "checked by gradient and by moving a patch"
_UNCERTAIN = "did NOT pass the check by moving a patch: see whether the map makes sense"
_SAME = 1e-3  # share of the largest gradient by which the gradient at the cut may differ from that of the whole model
_VIEW = "view was created in no_grad mode"  # and is overwritten behind the cut, as in GhostNet
_known: "weakref.WeakKeyDictionary[nn.Module, tuple[Any, dict[Any, LayerChoice]]]" = weakref.WeakKeyDictionary()
_shipped: "weakref.WeakKeyDictionary[nn.Module, tuple[Any, str, dict[Any, LayerChoice]]]" = weakref.WeakKeyDictionary()


def find_layer(classifier: Classifier, inputs: Tensor, name: str | None = None) -> LayerChoice:
    """Return the layer to look at: the last one that still is a map of the image and that the answer depends on.

    Tensors are tried from the end. One is taken when each of its places answers where the image is changed
    (`xai.core.layers.ordering`), the class score has a gradient at half of its places or more, and the gradient is the
    same when the graph is cut there. Where none passes because a few large cells cover the image, the last of those is
    taken, and said so; so is one where the score has a gradient at fewer places, as before a pooling by maxima. A layer
    before which the model crops or pads the image is none, and so is one that next to nothing of the answer passes
    through (`xai.core.layers.outputs`); one in a branch gives way to one that all of it passes through, if any is not
    among the first of the model.
    Remembered per size until the module changes; that of a shipped model is known from the start.

    Args:
        classifier: the model, borrowed or not.
        inputs: (N, C, h, w); only the size counts, but where noise finds no layer: then the first image is looked at.
        name: a layer to use instead; it is checked in the same way.

    Raises:
        NameLookupError: no layer of that name; near ones are suggested.
        UnsupportedModelError: no layer is a map of the image, or the named one is not.

    Cost:
        The first time: forwards of nine images (more where tokens have many places), of six, and nine of one, of which
        six are done again for each layer in a branch.
    """
    key, state = (name, tuple(inputs.shape[1:])), state_of(classifier.module)
    known, table = _known.get(classifier.module, (None, {}))
    if known != state:
        table = {}
        _known[classifier.module] = state, table
    if key not in table:
        table[key] = _shipped_layer(classifier, state, key) or _searched(classifier, inputs, name)
    return table[key]


def _passed(layout: Layout) -> Message:
    return Message(f"the last layer with the shape of a map: {{layout}}, {_CHECKED}", layout=layout.describe())


def remember_layer(classifier: Classifier, name: str, grid: Size) -> None:
    """Remember the layer of a shipped model, found before it was shipped, for its input size until it changes."""
    layout = Layout("maps", grid)
    choice = LayerChoice(name, layout, _passed(layout), share=EVERYTHING)
    key = (None, (classifier.channels, *(classifier.input_size or ())))
    _shipped[classifier.module] = state_of(classifier.module), classifier.fingerprint, {key: choice}


def _shipped_layer(classifier: Classifier, state: Any, key: Any) -> LayerChoice | None:
    """Return the layer of a shipped model, None for another size and where weights, hooks or settings have changed."""
    before, fingerprint, table = _shipped.get(classifier.module, (None, "", {}))
    return table.get(key) if before == state and classifier.fingerprint == fingerprint else None


def _searched(classifier: Classifier, inputs: Tensor, name: str | None) -> LayerChoice:
    """Look at noise, and where that shows nothing at the first image: noise may be far from all that a model knows."""
    names = [known for known, _ in classifier.module.named_modules() if known]
    check_choice("layer", name, names, optional=True)
    size = (int(inputs.shape[2]), int(inputs.shape[3]))
    with borrowed(classifier.module), gradients_on():
        try:
            return _Search(classifier, size).find(name)
        except UnsupportedModelError:
            if not len(inputs):
                raise
            return _Search(classifier, size, inputs[:1].detach()).find(name)


def spatial_layers(classifier: Classifier, inputs: Tensor) -> list[str]:
    """Return the names of all layers whose output is a map by its shape and by where it answers, first to last."""
    with borrowed(classifier.module), gradients_on():
        return [item.name for item, _ in _Search(classifier, (int(inputs.shape[2]), int(inputs.shape[3]))).maps()]


def spread_layers(classifier: Classifier, inputs: Tensor, most: int) -> list[str]:
    """Return the names of at most `most` layers that are maps, first to last.

    Of each size of map the last of the outermost ones is taken; then, while there is room, an outer one in the middle
    of the widest gap.
    """
    size = (int(inputs.shape[2]), int(inputs.shape[3]))
    with borrowed(classifier.module), gradients_on():
        items = _Search(classifier, size).maps(skip_pools=True)
    depths = [item.depth for item, _ in items]
    best: dict[Size, int] = {}
    for k, (_, layout) in enumerate(items):
        if depths[k] <= depths[best.get(layout.grid, k)]:
            best[layout.grid] = k
    chosen = sorted(best.values())[-most:]
    while len(chosen) < min(most, len(items)):
        first, last = max(pairwise([-1, *chosen]), key=lambda gap: gap[1] - gap[0])
        middle = min(range(first + 1, last), key=lambda k: (depths[k], abs(2 * k - first - last)))
        chosen = sorted([*chosen, middle])
    return [items[k][0].name for k in chosen]


def _is_map(item: LayerOutput, size: Size) -> bool:
    layouts = item.layouts(size) if makes_maps(item.module) else []
    return len(layouts) == 1 and min(layouts[0].grid) >= FINE


def _instead_of(passed_over: list[LayerChoice], choice: LayerChoice) -> LayerChoice:
    """Say which later layer was not taken because the answer passes by it, too."""
    if not passed_over:
        return choice
    last = passed_over[0]
    share = last.share.describe()
    reason = Message("the later layer {name!r} was not taken: {share}", name=last.name, share=share)
    return replace(choice, passed_over=reason)


def _reason_of_named(layout: Layout, fault: str, *, passed: bool) -> Message:
    where = layout.describe()
    if passed:
        return Message(f"named by the caller: {{layout}}, {_CHECKED}", layout=where)
    if fault:
        return Message("named by the caller: {layout}; {fault}", layout=where, fault=fault)
    return Message(f"named by the caller: {{layout}}; it {_UNCERTAIN}", layout=where)


class _Search:
    """Everything measured of one model at one size of image; the module must be borrowed."""

    def __init__(self, classifier: Classifier, size: Size, image: Tensor | None = None) -> None:
        self.classifier, self.size = classifier, size
        noise = torch.rand(1, classifier.channels, *size, generator=torch.Generator().manual_seed(0))
        self.image = 0.5 + 0.2 * (noise - 0.5) if image is None else image.cpu().float().clone()
        self.forward: Forward = run_forward(classifier, self.image.clone())
        self.head = self.forward.head
        self.score = self.forward.score
        self.entries = self._finest()
        self.looks = spread_images(classifier.channels, size, image)
        self.blocked: UnsupportedModelError | None = None  # what keeps gradients of the whole model from being taken

    def find(self, name: str | None) -> LayerChoice:
        """Return the layer of that name, or the last that passes all checks."""
        return self._last() if name is None else self._named(name)

    def maps(self, *, skip_pools: bool = False) -> list[tuple[LayerOutput, Layout]]:
        """Return the layers that are maps, with their layouts, in the order in which they finish."""
        groups = self.forward.candidates(self.size)[::-1] if skip_pools else self.forward.tensors()
        items = [group[0] for group in groups if group[0].layouts(self.size)]
        responses = self._responses(items)
        verdicts = [(item, self._judged(responses, item)) for item in items]
        layers = {item.name: (item, v.layout) for item, v in verdicts if v.layout is not None and v.right is not False}
        return list(layers.values())

    def _last(self) -> LayerChoice:
        """Return the last layer that passes all checks and that nearly all of the answer passes through.

        Where there is none such, the one of those that pass that most of it passes through.
        """
        every = self.forward.candidates(self.size)
        groups, late = every[:_TRIES], max(_NEAR, _LATE * len(every))
        responses, faults = self._responses([group[0] for group in groups]), list[str]()
        partial, uncertain, thin = list[LayerChoice](), list[LayerChoice](), list[LayerChoice]()
        for number, group in enumerate(groups):
            if partial and (number > late or len(partial) > _BRANCHES):
                break  # an early layer shows less of what the class is than a late branch
            choice, fault = self._candidate(group, self._judged(responses, group[0]))
            if fault or choice is None:
                faults.append(f"{(choice or group[0]).name!r}: {fault}")
                thin += [choice] if choice is not None else []
            elif _CHECKED not in choice.reason:
                uncertain.append(choice)
            elif choice.share.whole if partial else choice.share.ordinary:
                return _instead_of(partial, choice)
            else:
                partial.append(choice)
        if partial:
            return max(partial, key=lambda choice: round(choice.share.value or 0, 1))
        if uncertain or thin:
            return (uncertain or thin)[0]
        raise self._refusal(groups, faults)

    def _candidate(self, group: list[LayerOutput], verdict: Verdict) -> tuple[LayerChoice | None, str]:
        """Return a tensor as a choice, None where it is none, and the evidence against it."""
        item, fault = self._checked(group, verdict)
        if item is None or verdict.layout is None:
            return None, fault
        where = verdict.layout.describe()
        share = self._share(item, verdict.layout)
        if share.next_to_none:
            return None, share.describe()
        if fault:  # behind a pooling by maxima, as in front of a head that looks at few places
            reason = Message("the last layer with the shape of a map: {layout}; {fault}", layout=where, fault=fault)
        elif verdict.right:
            reason = _passed(verdict.layout)
        else:
            reason = Message(f"the last layer with the shape of a map: {{layout}}; it {_UNCERTAIN}", layout=where)
        return LayerChoice(item.name, verdict.layout, reason, item.index, share), fault

    def _share(self, item: LayerOutput, layout: Layout) -> LayerShare:
        def run(image: Tensor) -> Tensor:
            with torch.no_grad():
                images = image.to(self.classifier.device)
                return scores_of(self.classifier, self.head, lambda: self.classifier.raw_logits(images))

        return share_through(run, item.module, item.index, layout, self.looks)

    def _named(self, name: str) -> LayerChoice:
        groups = [group for group in self.forward.tensors() if any(item.name == name for item in group)]
        if not groups:
            raise UnsupportedModelError(
                f"The layer {name!r} does not run exactly once in a forward. Name another `layer`."
            )
        groups = [group for group in groups if group[0].layouts(self.size)] or groups[:1]
        faults = []
        for group in groups:
            ordered = sorted(group, key=lambda item: item.name != name)  # the named one first
            choice, fault = self._named_tensor(name, ordered)
            if choice is not None:
                return choice
            faults.append(fault)
        raise UnsupportedModelError(f"{faults[0]} Layers that are: {', '.join(self._near()) or 'none'}.")

    def _named_tensor(self, name: str, group: list[LayerOutput]) -> tuple[LayerChoice | None, str]:
        shape, layouts = tuple(group[0].tensor.shape[1:]), group[0].layouts(self.size)
        refusal = f"The output {shape} of layer {name!r} is no map of the image"
        if not layouts:
            return None, f"{refusal}."
        verdict = self._judged(self._responses(group[:1]), group[0])
        if verdict.layout is None or verdict.right is False:
            return None, f"{refusal}: {verdict.reason}."
        item, fault = self._checked(group, verdict)
        passed = item is not None and bool(verdict.right) and not fault
        reason = _reason_of_named(verdict.layout, fault, passed=passed)
        item = item or group[0]
        if item.name != name:
            cut = "{reason}; cut at {name!r}, which returns the same and is what the class score depends on"
            reason = Message(cut, reason=reason, name=item.name)
        share = self._share(item, verdict.layout)
        if share.next_to_none:
            return None, f"The layer {name!r} does not determine the prediction: {share.describe()}."
        return LayerChoice(item.name, verdict.layout, reason, item.index, share), ""

    def _near(self) -> list[str]:
        groups = self.forward.candidates(self.size)[:_TRIES]
        responses = self._responses([group[0] for group in groups])
        verdicts = [(group[0], self._judged(responses, group[0])) for group in groups]
        return [item.name for item, verdict in verdicts if verdict.right is not False][:4]

    def _judged(self, responses: Responses, item: LayerOutput) -> Verdict:
        """Judge a layer, and where its places are too coarse to show a crop or a margin, the finest maps as well."""
        verdict = judge(responses, item.key, item.layouts(self.size))
        if verdict.layout is None or verdict.right is False or min(verdict.layout.grid) >= 2 * FINE:
            return verdict
        faults = [edge_fault(responses, entry.key, entry.layouts(self.size)[0]) for entry in self.entries]
        return Verdict(verdict.layout, False, faults[0]) if faults and all(faults) else verdict

    def _finest(self) -> list[LayerOutput]:
        """Return the first of the maps with the most places: images are cropped and padded before them."""
        maps = [group[0] for group in self.forward.tensors() if _is_map(group[0], self.size)]
        most = max((item.tensor[0, 0].numel() for item in maps), default=0)
        return [item for item in maps if item.tensor[0, 0].numel() == most][:_ENTRIES]

    def _responses(self, items: Sequence[LayerOutput]) -> Responses:
        layers = {item.name: item.module for item in (*items, *self.entries)}

        def run(images: Tensor) -> None:
            with torch.no_grad():
                self.classifier.raw_logits(images.to(self.classifier.device))

        return Responses(run, layers, self.image)

    def _checked(self, group: list[LayerOutput], verdict: Verdict) -> tuple[LayerOutput | None, str]:
        """Return the layer at which the graph can be cut, or None, and the evidence against it."""
        if verdict.layout is None or verdict.right is False:
            return None, verdict.reason
        try:
            slopes = self._slopes(group)
        except UnsupportedModelError as error:
            self.blocked = error
            return None, str(error)
        if slopes is None:
            return None, Message("no gradient reaches it")
        felt = float((verdict.layout.to_maps(slopes)[0].abs().sum(0) > 0).float().mean())
        item = next((item for item in group if self._cut_holds(item)), None) if felt else None
        if felt < 0.5:
            return item, Message("the class score has a gradient at {share:.0%} of its places only", share=felt)
        return item, "" if item else Message("the class score does not come from what it returns alone")

    def _slopes(self, group: list[LayerOutput]) -> Tensor | None:
        """Return the gradient of the score at a tensor, or None when the forward blocks it."""
        gradients_there = gradients(self.score, [item.tensor for item in group], keep=True)
        return next((slopes for slopes in gradients_there if slopes is not None), None)

    def _cut_holds(self, item: LayerOutput) -> bool:
        """Return True when the gradient at the cut is the whole gradient: the answer uses what the layer returns."""
        cut = Cut(item.module, item.name, item.index)
        try:
            value = self._score(lambda: cut.forward(self._logits))
            here = gradients(value, [cut.activation])[0]
            whole = self._whole_gradient(item)
        except (UnsupportedModelError, CheckpointError):
            return False
        except RuntimeError as error:
            if _VIEW not in str(error):
                raise
            return False
        if here is None or whole is None or here.shape != whole.shape:
            return False
        return float((here - whole).abs().max()) <= _SAME * float(whole.abs().max())

    def _whole_gradient(self, item: LayerOutput) -> Tensor | None:
        """Return the gradient at what a layer returned, wherever the model uses it; a copy of it goes on."""
        outputs: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            outputs.append(tensors_in(output)[item.index])
            return with_tensor(output, outputs[0], outputs[0].clone())

        with hooked(item.module, keep):
            value = self._score(self._logits)
        return gradients(value, outputs[:1])[0]

    def _logits(self) -> Tensor:
        return self.classifier.raw_logits(self.image.clone().to(self.classifier.device).requires_grad_())

    def _score(self, run: Any) -> Tensor:
        return score(self.classifier, self.head, run)

    def _refusal(self, groups: list[list[LayerOutput]], faults: list[str]) -> UnsupportedModelError:
        name = self.classifier.name
        if self.blocked is not None:
            return self.blocked
        if groups and all(self._slopes(group) is None for group in groups):
            return UnsupportedModelError(
                f"No gradient reaches any layer of {name!r} that is a map of the image: its forward detaches "
                "them or runs them under no_grad. Use occlusion, or name a `layer` for a method without gradients."
            )
        several = self.forward.several
        why = f"; the last one tried, {faults[0]}" if faults else f"; {several}" if several else ""
        return UnsupportedModelError(
            f"No layer of {name!r} is a map of the image that the prediction depends on (input {self.size[0]} x "
            f"{self.size[1]}{why}). Name a `layer`, or use occlusion."
        )
