"""Chat environments whose code blocks run: parsing of replies, PythonInterpreter and ChatEnv."""
