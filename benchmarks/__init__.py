"""Speed, compared with other implementations: each module is a command that writes its results."""
