"""What a stage needs to run, for executors and launchers, with the reasons. The catalogue's tags are on the assets.

``op_tags`` are read where the stage is launched; the same keys among an asset's or a job's ``tags`` would do nothing.
"""

from __future__ import annotations

from typing import Any

# One fit at a time on a GPU: two would share its memory, and both would lose.
GPU_POOL = "gpu"

# The area stage fills all cores and some gigabytes by itself; a second backfill waits for its turn.
AREA_POOL = "areas"

# A local launcher has no use for this; one that starts pods does, and it reads it here so that the asset does not change.
GPU_OP_TAGS: dict[str, Any] = {
    "dagster-k8s/config": {
        "container_config": {
            "resources": {
                # Whole devices only: Kubernetes does not share a GPU. The limit is the request.
                "limits": {"nvidia.com/gpu": "1"},
                # The matrix (memory-mapped, so it counts as page cache), its transpose and the optimiser's state.
                "requests": {"memory": "64Gi"},
            },
        },
        "pod_spec_config": {
            # An L4 holds the full matrix in float32 with room to spare, and is the cheapest that does.
            "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
            # GPU nodes repel pods that do not ask for them; this lets the fit in.
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        },
    }
}
