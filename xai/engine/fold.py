"""Batch norm folded into the convolution or linear layer before it."""

import torch.fx
from torch import nn
from torch.nn.utils import fusion

_BEFORE = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Tracer(torch.fx.Tracer):
    """Keeps convolutions of the user's own classes whole, such as those that pad inside."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*_BEFORE, *_NORMS, nn.Linear)) or super().is_leaf_module(m, module_qualified_name)


def fold_batch_norm(module: nn.Module) -> tuple[nn.Module, int]:
    """Return a module in evaluation mode with batch norms folded, and how many; the given one is changed.

    Pairs are found in the traced graph; a convolution or norm that runs in several places stays as it is.

    Raises:
        Exception: whatever torch.fx raises for a forward that it cannot trace.
    """
    graph = torch.fx.GraphModule(module, _Tracer().trace(module))
    modules = dict(graph.named_modules())
    pairs = [(node.args[0], node) for node in graph.graph.nodes if _foldable(node, modules)]
    for before, norm in pairs:
        fused = _fuse(modules[before.target], modules[norm.target])
        parent, _, leaf = before.target.rpartition(".")
        setattr(graph.get_submodule(parent), leaf, fused)
        norm.replace_all_uses_with(before)
        graph.graph.erase_node(norm)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph, len(pairs)


def _fuse(before: nn.Module, norm: nn.Module) -> nn.Module:
    if isinstance(before, nn.Linear):
        return fusion.fuse_linear_bn_eval(before, norm)  # type: ignore[arg-type]
    return fusion.fuse_conv_bn_eval(before, norm)  # type: ignore[type-var, arg-type]


def _foldable(node: torch.fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Return True for a norm right behind a layer when both run exactly once and nobody else reads between them."""
    if node.op != "call_module" or not isinstance(modules.get(str(node.target)), _NORMS):
        return False
    before = node.args[0] if node.args else None
    if not isinstance(before, torch.fx.Node) or before.op != "call_module" or len(before.users) != 1:
        return False
    if not isinstance(modules[str(before.target)], (*_BEFORE, nn.Linear)):
        return False
    norm = modules[str(node.target)]
    once = all(sum(n.target == end.target for n in node.graph.nodes) == 1 for end in (before, node))
    return once and bool(norm.track_running_stats) and norm.running_var is not None
