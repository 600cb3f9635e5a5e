"""What is run on the clients, and the metrics it yields: one module for each workload. Pure but for `kernels`.

Begin with `model`: a `Workload` declares `Phase`s, which `cluster` runs, and reads `Metric`s from what they printed.
`kernels` are MPI programs that are run in nodes by their path, and import nothing of the rest.
It may import the words of the root only. Workloads outside of pliant find here, by name, all that they need.
"""

from pliant.workloads.model import (
    OVER,
    READY,
    Metric,
    Phase,
    Rehearsal,
    Running,
    SoFar,
    Toolbox,
    Workload,
    of_clients,
)

__all__ = [
    "OVER",
    "READY",
    "Metric",
    "Phase",
    "Rehearsal",
    "Running",
    "SoFar",
    "Toolbox",
    "Workload",
    "of_clients",
]
