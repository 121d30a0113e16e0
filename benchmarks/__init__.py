"""How fast, against what: each module is a command that measures and writes its own results."""
