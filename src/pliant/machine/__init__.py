"""What one Linux machine can do: nodes, hosts, limits, teardown.

Standard library, util-linux and iproute2 only, and nothing of pliant outside this package, so that it can travel to a
remote machine as it is. It knows nodes, hosts and commands; it does not know what a study or a file system is.
Begin with `deployment`; `journal` is what makes removal possible, `cgroup` what limits. Only `platforms` imports it,
and `facts` whoever asks what the machine is.
"""
