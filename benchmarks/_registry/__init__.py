"""The parts of the registry's benchmark, which `benchmarks/registry.py` runs.

`cli` reads the command line and runs the `figures`, which say what is timed against what;
`contestants` opens what takes part, `peers` are those that are a process of the benchmark's own,
and all of them serve the class in `service`.
"""
