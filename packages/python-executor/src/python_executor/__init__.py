"""A pool of isolated Python interpreters: every program in a pristine process, forked ahead of time."""
