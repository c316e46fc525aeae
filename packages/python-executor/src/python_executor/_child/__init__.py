"""What runs in the servers and the interpreters: the standard library alone, loaded by file path.

Who forks whom::

    host ──Popen──> root.py ──fork──> slot.py ──fork──> interpreter.py
     │                │ messages        │ messages         │ frames; pipes of fd 1 and 2
     └────────────────┴─────────────────┴──────────────────┘

Every server is one thread and one loop, and a forked child leaves the loop by *returning* from it,
so that a program starts on an almost empty stack. The host's package isn't importable here: the
interpreter may belong to any virtual environment.
"""
