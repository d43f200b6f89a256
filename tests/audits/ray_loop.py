"""An audit by Ray in a process of its own, so that it can be killed: python ray_loop.py FOLDER [NODES_TO_KILL].

With a number it starts a cluster of three nodes in this process, and takes that many away while the audit runs.
"""

import os
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import xai  # noqa: E402

GIVEN = {
    "model": {"source": "example:fashion", "device": "cpu"},
    "data": {"source": "example:fashion-test", "part": "test", "n": 240},
    "audit": {"shard": 8, "micro_batch": 8},
    "check": ["accuracy", {"metric": "robust_accuracy", "attack": "pgd", "steps": 20, "trust": 0}],
}


def with_nodes(folder: Path, lost: int) -> None:
    """Run on three nodes and take some away, without warning, after the first results."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    os.environ["RAY_ADDRESS"] = cluster.address

    def take_away() -> None:
        for k in range(lost):
            while len(list(folder.rglob("*.part"))) < 5 * (k + 1):
                time.sleep(0.1)
            cluster.remove_node(nodes[k], allow_graceful=False)

    threading.Thread(target=take_away, daemon=True).start()
    try:
        xai.audit(GIVEN, out=folder, engine="ray")
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if len(sys.argv) > 2:
        with_nodes(place, int(sys.argv[2]))
    else:
        xai.audit(GIVEN, out=place, engine="ray")
