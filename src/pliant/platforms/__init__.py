"""Where hosts come from, and how what carries them is reached.

Begin with `interface`: the two protocols, `Platform` and `Deployment`, that everything above knows of hosts and nodes.
`emulated` is this machine cut into hosts, `budget` what it can promise, `calibration` and `fairness` whether that is
kept, `here` what is up on it. It is the one room that imports `machine`; it knows neither studies nor file systems.
"""
