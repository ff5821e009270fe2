"""Train many models under identical conditions, and report who wins and what it costs."""
