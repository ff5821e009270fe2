"""Train many models under identical conditions, and report which model wins and what it costs."""
