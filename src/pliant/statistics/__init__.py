"""From values to verdicts: losses, intervals, states, which trial is next, and what is saved. Pure.

Begin with `verdict`, where the method and its sources are; `levels` is the model under it, `sequential` and `boundary`
make its intervals, `censoring` counts trials that were stopped. `search` and `adaptive` say which trial is next,
`patience` and `estimate` how long, `comparison` holds runs against each other.
It may import what telemetry and workloads say of a trial; it knows neither studies nor stores.
"""
