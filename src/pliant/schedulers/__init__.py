"""Who lends hosts, and for how long: the schedulers of clusters and testbeds, one file for each.

Begin with `interface`: what a job is, and what is asked of a scheduler. A scheduler only reserves: `platforms.ssh`
works on what it lends. This room imports `platforms` for running commands, and knows neither studies nor file systems.
"""
