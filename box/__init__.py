"""A cluster in a box: hosts that are namespaces of this machine, with an sshd each, and real schedulers on them.

For trying and testing what works on clusters without one. Begin with `hosts`; `python -m box --help` says the rest.
"""
