"""A traced network, run node by node."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch.fx
from torch import Tensor, nn
from torch.fx.node import map_arg

from xai.core.containers import tensors_in

Node = torch.fx.Node


class Graph:
    """The nodes of a traced module with one input and one output, in order.

    Attributes:
        source: the input.
        nodes: what is computed.
        last: the output.
    """

    def __init__(self, module: torch.fx.GraphModule) -> None:
        self.module = module
        every = list(module.graph.nodes)
        self.source: Node = every[0]
        self.nodes: list[Node] = [node for node in every if node.op not in {"placeholder", "output"}]
        self.last: Node = every[-1].args[0]
        position = {node: k for k, node in enumerate(self.nodes)}
        self.last_use = {
            node: max((position.get(user, len(self.nodes)) for user in node.users), default=-1)
            for node in (self.source, *self.nodes)
        }

    def part(self, node: Node) -> nn.Module | None:
        """Return the module that a node calls, or None."""
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def run(self, node: Node, values: Mapping[Node, Any]) -> Any:
        """Return a node's value, given those of its inputs."""
        arguments = map_arg(node.args, values.__getitem__)
        settings = map_arg(node.kwargs, values.__getitem__)
        target: Any = node.target
        if node.op == "call_module":
            return self.module.get_submodule(target)(*arguments, **settings)
        if node.op == "call_function":
            return target(*arguments, **settings)
        if node.op == "call_method":
            return getattr(arguments[0], target)(*arguments[1:], **settings)
        return operator.attrgetter(target)(self.module)

    def watch(self, sample: Tensor, look: Callable[[Node, Any, Any], None]) -> None:
        """Run a sample through the graph; call `look(node, first input, output)` behind each module with an input."""
        values: dict[Node, Any] = {self.source: sample}
        for k, node in enumerate(self.nodes):
            values[node] = self.run(node, values)
            if node.op == "call_module" and node.args and isinstance(node.args[0], Node):
                look(node, values[node.args[0]], values[node])
            self._forget(k, values)

    def sizes(self, sample: Tensor) -> list[int]:
        """Return the bytes of what each node makes of a sample; 0 where it is no module."""
        found = dict.fromkeys(self.nodes, 0)

        def count(node: Node, _before: Any, after: Any) -> None:
            found[node] = sum(t.numel() * t.element_size() for t in tensors_in(after))

        self.watch(sample, count)
        return list(found.values())

    def _forget(self, k: int, values: dict[Node, Any]) -> None:
        """Drop the values that nobody reads after node number `k`."""
        for used in self.nodes[k].all_input_nodes:
            if self.last_use[used] <= k:
                values.pop(used, None)

    def run_from(self, start: int, values: dict[Node, Any]) -> Tensor:
        """Run the nodes from number `start` to the end; values are dropped after their last use."""
        for k in range(start, len(self.nodes)):
            node = self.nodes[k]
            values[node] = self.run(node, values)
            self._forget(k, values)
        result: Tensor = values[self.last]
        return result


def graph_of(module: nn.Module) -> Graph | None:
    """Return the graph of a traced module, or None when it was not traced or has several inputs or outputs."""
    if not isinstance(module, torch.fx.GraphModule):
        return None
    every = list(module.graph.nodes)
    inputs = [node for node in every if node.op == "placeholder"]
    if len(inputs) != 1 or every[0] is not inputs[0] or not isinstance(every[-1].args[0], torch.fx.Node):
        return None
    return Graph(module)
