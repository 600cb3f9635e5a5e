"""What a file system is made of: roles, nodes, steps, and what happens to nodes, as plain records. Pure.

Begin with `model`: `Composition`, and `Filesystem`, which a driver of a file system is. `placement` says which node is
on which host, `nodeset` names sets of nodes, `faults` is what befalls them, `identity` derives uuids and keys.
It may import the words of the root only, and knows neither studies nor machines.
Drivers outside of pliant find here, by name, all that they need.
"""

from pliant.composition.model import (
    BadOptions,
    Command,
    Composition,
    File,
    Filesystem,
    Identity,
    NixOS,
    Node,
    Role,
    Step,
)

__all__ = [
    "BadOptions",
    "Command",
    "Composition",
    "File",
    "Filesystem",
    "Identity",
    "NixOS",
    "Node",
    "Role",
    "Step",
]
