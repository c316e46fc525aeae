"""The parts of the sessions' benchmark, which `benchmarks/sessions.py` runs.

`cli` reads the command line and runs the figures: `cells`, `restores`, `arrays`, `memory` and
`branches` each say what is timed against what. `ours` opens our pools and `peers` what others keep
state in; both take from the executor's benchmark what they have in common.
"""
