"""The parts of the chat environments' benchmark, which `benchmarks/chat_env.py` runs.

`cli` reads the command line; `replies` says what a model wrote, and which of it takes part; `ours`
and `peers` open what is compared; `steps` plays and times it.
"""
