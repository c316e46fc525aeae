"""The parts of the executor's benchmark, which `benchmarks/executor.py` runs.

`cli` reads the command line and runs the figures: `latency`, `throughput`, `human_eval`, `skew`,
`start_up` and `memory` each say what is timed against what. `ours` opens our pools, `peers` what
others use, `limits` what no executor can be faster than, all of them as warm as `preloads` says.
`footprints` says how much memory processes take.
"""
