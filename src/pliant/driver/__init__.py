"""The face for test scripts: a cluster and its nodes as Python objects, with the methods of the NixOS test driver.

Begin with `script` (`deploy`, `attach`, `Driver`); `node` is one node (`Driven`). docs/cluster.md has all of them.
It may import the campaign and the cluster; nothing imports it but the command `pliant driver`.
"""

from pliant.driver.node import Driven, Failed
from pliant.driver.script import Driver, attach, deploy, names, say

__all__ = ["Driven", "Driver", "Failed", "attach", "deploy", "names", "say"]
