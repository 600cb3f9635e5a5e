"""Run by the system's Python, which has Mininet: a star of hosts around one bridge, up and down; prints JSON, in s.

    unshare --net --pid --fork --kill-child --mount-proc python3 -I mininet_star.py HOSTS

In namespaces of its own, so that whatever Mininet makes is gone with it; `mn -c` would kill more than its own.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from mininet.net import Mininet  # type: ignore[import-not-found]
from mininet.nodelib import LinuxBridge  # type: ignore[import-not-found]
from mininet.topo import SingleSwitchTopo  # type: ignore[import-not-found]


def main(hosts: int) -> int:
    """Build, start and stop; what Python takes to load Mininet is not counted."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Mininet would change settings of the whole machine (sysctl), which nothing here needs.
    Mininet.inited = True
    times = [time.monotonic()]
    net = Mininet(topo=SingleSwitchTopo(hosts), switch=LinuxBridge, controller=None, build=False)
    net.build()
    net.start()
    times.append(time.monotonic())
    # A port where nobody listens is refused by a host that can be reached.
    answer = net.hosts[0].cmd(f"(echo > /dev/tcp/{net.hosts[-1].IP()}/9) 2>&1")
    if "refused" not in answer:
        print(answer, file=sys.stderr)
        return 1
    times.append(time.monotonic())
    net.stop()
    times.append(time.monotonic())
    print(json.dumps({"up": times[1] - times[0], "removed": times[3] - times[2]}))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
