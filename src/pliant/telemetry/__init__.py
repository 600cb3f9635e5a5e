"""What hosts and nodes used while a trial ran, what limited it, and what the machine did to it. Pure.

Begin with `samples`, which reads what `machine.sampler` wrote; `usage` sums it up, `limiting` says what limits,
`disturbance` what the machine failed to give and whether a metric counts, `stalls` for how long I/O stood still.
It may import what workloads declare; it knows nothing of statistics, nor of how samples were taken.
"""
