"""Attacks on the sandbox: what each saw, and that the pool and the host are as they were.

A folder of small programs, by theme. ``_arena.py`` holds the pool that they run in and looks at
what they left; ``_programs.py`` what they share; ``_host.py`` the things of the host that they
go for. Every attack is bounded, so that it does no harm where the sandbox fails.
"""

import pytest

pytest.register_assert_rewrite(f"{__name__}._arena", f"{__name__}._host")
