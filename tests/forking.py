"""Commands as forks of this process, which has imported what takes a new one most of its time."""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from types import SimpleNamespace

import torch


class Forked(multiprocessing.get_context("fork").Process):
    """`subprocess.Popen` of ``python -m MODULE ARGUMENTS``, whose standard input is a pipe that ends with this process.

    Args:
        command: whose first two words are not looked at.
        stdout: the file that it writes to, and its errors, too; None: where this process does.
    """

    def __init__(self, command, stdout=None, env=(), **_):
        super().__init__()
        self.command, self.stdout, self.env = [*map(str, command)], stdout, dict(env)
        self.pipe, self.end = os.pipe()
        self.start()
        os.close(self.pipe)

    def run(self):
        """The command, in the new process."""
        os.dup2(self.pipe, 0)
        if self.stdout is not None:
            os.dup2(self.stdout.fileno(), 1)
            os.dup2(1, 2)
        os.closerange(3, 1 << 16)  # a lock that is held, and the ends of pipes
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
        # A shell without job control starts what runs in the background, such as these tests, with Ctrl-C ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        torch.set_num_threads(1)  # the threads of OpenMP are none of the fork's
        os.environ.update(self.env)
        sys.argv = self.command[self.command.index("-m") + 1 :]
        runpy.run_module(sys.argv[0], run_name="__main__")

    def poll(self):
        """The exit status, None while it runs."""
        return self.exitcode

    def wait(self):
        """Wait for its end and return its exit status."""
        self.join()
        return self.exitcode

    returncode = property(poll)

    def send_signal(self, number):
        """Send a signal."""
        os.kill(self.pid, number)


# In the place of the module `subprocess`, where a package's own processes are forks, too.
forks = SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE, STDOUT=subprocess.STDOUT)
