"""Run the command, and end with the process that started it: ``python -m vae_zoo.compare.child fit ...``."""

import os
import runpy
import threading


def _end_with_parent() -> None:
    os.read(0, 1)  # the pipe from the parent, which never writes: it returns when the parent is gone, however it ended
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    runpy.run_module("vae_zoo.cli", run_name="__main__")
