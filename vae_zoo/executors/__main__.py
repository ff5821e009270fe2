"""Carry out a job, and end with the process that started this one: ``python -m vae_zoo.executors JOB``."""

import sys

from vae_zoo.errors import UserError
from vae_zoo.executors.worker import end_with_parent, read, work

if __name__ == "__main__":
    end_with_parent()
    try:
        sys.exit(work(read(sys.argv[1])))
    except UserError as error:
        sys.exit(str(error))
