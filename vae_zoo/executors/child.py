"""Run the command, and end with the process that started it: ``python -m vae_zoo.executors.child fit ...``."""

import runpy

from vae_zoo.executors.worker import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    runpy.run_module("vae_zoo.cli", run_name="__main__")
