"""The soak: programs of every kind, callers, kills, and a census before and after."""
