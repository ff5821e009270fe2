"""Carry out a job, and end with the process that started this one: ``python -m vae_zoo.executors JOB``."""

import os
import signal
import sys

from vae_zoo.errors import UserError
from vae_zoo.executors.base import LOST
from vae_zoo.executors.worker import end_with_parent, read, work

if __name__ == "__main__":
    end_with_parent()
    try:
        status = work(read(sys.argv[1]))
    except UserError as error:
        sys.exit(str(error))
    if status == LOST:
        os.kill(os.getpid(), signal.SIGKILL)  # whoever waits for this process sees a lost one
    sys.exit(status)
