"""A case in a folder of its own: each command a fork with limits, and what came of it in one of seven words."""

import ctypes
import functools
import hashlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import torch

OUTCOMES = ("correct", "clear error", "traceback", "hang", "wrong", "lost", "executed")
FAULTS = OUTCOMES[2:]
CPU, WALL = 30, 150  # seconds that a command may take, on a machine that may be busy with others


class Wrong(Exception):
    """What was done without a word, and should not have been; a case raises it."""


class Lost(Exception):
    """What was there before and is gone, or cannot go on; a case raises it."""


class Done(NamedTuple):
    """A command that has ended: its status (minus the signal that killed it), all that it said, whether it hung."""

    status: int
    said: str
    hung: bool

    @property
    def refused(self) -> bool:
        """Whether it ended with a sentence."""
        return self.status in (1, 2) and "vae-zoo" in self.said and not self.broken

    @property
    def broken(self) -> bool:
        """Whether it ended in any other way than well or with a sentence."""
        said = self.said.replace("\n", " ")
        return (
            "Traceback (most recent call last)" in said
            or self.status not in (0, 1, 2, 130)
            or (self.status > 0 and "vae-zoo" not in said)
        )


@dataclass
class Place:
    """Where a case happens: ``work`` is the current folder, ``home`` the user's; what lies ``outside`` is no business
    of a command's, and ``canary`` is what code that runs would make."""

    base: Path
    done: list[Done] = field(default_factory=list)
    allowed: tuple[str, ...] = ("work/*", "home/.cache/*", "tmp/*")  # where new files may be, below the base
    own: tuple[str, ...] = ()  # files that were there and may be changed

    def __post_init__(self) -> None:
        self.work, self.home, self.outside = (self.base / name for name in ("work", "home", "outside"))
        self.canary = self.base / "canary"
        for folder in (self.work, self.home, self.outside, self.base / "tmp"):
            folder.mkdir()
        (self.outside / "precious.txt").write_text("of the user's")
        self._before: dict[str, str] = {}

    def zoo(self, *words: object, expected: bool = False, **limits: Any) -> Done:
        """Run ``vae-zoo WORDS``; one that is `expected` to be killed says nothing about the package."""
        from vae_zoo.cli import main

        return self.call(lambda: main([str(word) for word in words]), expected=expected, **limits)

    def load(self, use: Callable[[], Any], **limits: Any) -> Done:
        """Use the package as a notebook does; a UserError is a clear error, and any other a traceback."""
        from vae_zoo.errors import UserError

        def run() -> int:
            try:
                use()
            except UserError as error:
                print("vae-zoo:", error)
                return 1
            return 0

        return self.call(run, **limits)

    def call(self, function: Callable[[], Any], *, expected: bool = False, **limits: Any) -> Done:
        """Run a function in a fork, with these limits."""
        if not self._before:
            self._before = _files(self.base)
        out, wrong = (Path(tempfile.mkstemp(dir=self.base / "tmp")[1]) for _ in range(2))
        if (pid := os.fork()) == 0:
            _become(self, function, out, wrong, **limits)
        status, hung = _wait(pid, limits.get("wall", WALL))
        done = Done(status, out.read_text(errors="replace"), hung)
        reason = wrong.read_text()
        out.unlink(), wrong.unlink()
        if not expected:
            self.done.append(done)
        if reason:
            raise Wrong(reason)
        return done

    def process(self, *words: object) -> Done:
        """Run ``vae-zoo WORDS`` in a new interpreter, for what starts processes by its own command line."""
        import vae_zoo

        self._before = self._before or _files(self.base)
        environment = os.environ | _environment(self) | {"PYTHONPATH": str(Path(vae_zoo.__file__).parents[1])}
        command = [sys.executable, "-m", "vae_zoo.cli", *map(str, words)]
        ran = subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, timeout=WALL * 2)
        self.done.append(Done(ran.returncode, ran.stdout + ran.stderr, False))
        return self.done[-1]

    def harm(self) -> str | None:
        """What was changed, removed or written where it should not be."""
        after = _files(self.base) if self._before else {}
        for name, before in self._before.items():
            if after.get(name) != before and not any(fnmatch(name, own) for own in self.own):
                return f"{name} was {'changed' if name in after else 'removed'}"
        for name in after.keys() - self._before.keys():
            if not any(fnmatch(name, place) for place in self.allowed):
                return f"{name} was written"
        return None


class Case(NamedTuple):
    """What is done, in words, and the function that does it; it returns, or raises `Wrong` or `Lost`."""

    name: str
    act: Callable[[Place], object]


def case(act):
    """Make a function of a place and further arguments one of these arguments, that returns the case."""

    @functools.wraps(act)
    def make(*arguments, **more):
        said = [str(each)[:60] for each in (*arguments, *more.values()) if isinstance(each, (str, int, float))]
        name = " ".join(" ".join([act.__name__.replace("_", " "), *said]).split())
        return Case(name, lambda place: act(place, *arguments, **more))

    return make


class Verdict(NamedTuple):
    """What came of a case: one of `OUTCOMES`, and the last words."""

    outcome: str
    reason: str
    seconds: float


def judge(case: Case, folder: Path) -> Verdict:
    """Let a case happen, in a folder that is removed, and say what came of it."""
    started = time.monotonic()
    place = Place(Path(tempfile.mkdtemp(dir=folder)))
    raised: Exception | None = None
    try:
        try:
            case.act(place)
        except (Wrong, Lost) as error:
            raised = error
        outcome, reason = _outcome(place, raised)
    finally:
        shutil.rmtree(place.base, ignore_errors=True)
    return Verdict(outcome, reason, time.monotonic() - started)


def _outcome(place: Place, raised: Exception | None) -> tuple[str, str]:
    """The worst that came of a case, and the last words."""
    last = next(reversed(place.done), None)
    if place.canary.exists():
        return "executed", last.said.strip()[-300:] if last else ""
    if (harm := place.harm()) is not None:
        return "lost", harm
    if any(done.hung for done in place.done):
        return "hang", ""
    if broken := next((done for done in place.done if done.broken), None):
        return "traceback", f"[{broken.status}] " + broken.said.strip()[-1500:]
    if raised:
        return type(raised).__name__.lower(), str(raised)
    words = "".join(last.said.strip().splitlines()[-1:])[:300] if last else ""
    return "clear error" if any(done.status for done in place.done) else "correct", words


def expect(condition: object, reason: str) -> None:
    """Raise `Wrong` where a condition does not hold."""
    if not condition:
        raise Wrong(reason)


def full_disk(path: Path, size: int = 1 << 20) -> bool:
    """Mount a small disk over a folder, in this process and its children alone; False where that is not allowed."""
    return _own_mounts() and _mount(b"none", path, b"tmpfs", 0, f"size={size}".encode())


def keep_inside(folder: Path) -> bool:
    """Let this process and its children write below a folder and on other disks alone; False where only root could.

    A package with faults may write anywhere, and whoever is root would find a training in ``/``.
    """
    if os.geteuid() != 0:
        return True  # to whom the system's own folders are closed anyway
    read_only = 1 | 32 | 4096  # MS_RDONLY, MS_REMOUNT, MS_BIND
    return _own_mounts() and _mount(os.fsencode(folder), folder, None, 4096) and _mount(None, "/", None, read_only)


@functools.cache
def guarded() -> bool:
    """Whether commands can be kept inside, so that one may be told to write to ``/``."""
    if (pid := os.fork()) == 0:
        os._exit(not keep_inside(Path(tempfile.gettempdir())))
    return os.waitpid(pid, 0)[1] == 0


def _own_mounts() -> bool:
    flags = 0x00020000 | (0 if os.geteuid() == 0 else 0x10000000)  # CLONE_NEWNS, CLONE_NEWUSER
    return not ctypes.CDLL(None).unshare(flags) and _mount(b"none", "/", None, 0x44000)  # MS_REC, MS_PRIVATE


def _mount(
    source: bytes | None, path: Path | str, kind: bytes | None, flags: int, options: bytes | None = None
) -> bool:
    return ctypes.CDLL(None).mount(source, os.fsencode(path), kind, flags, options) == 0


def _environment(place: Place) -> dict[str, str]:
    cache = place.home / ".cache"
    return {"HOME": str(place.home), "XDG_CACHE_HOME": str(cache), "TMPDIR": str(place.base / "tmp"), "COLUMNS": "300"}


def _become(
    place: Place,
    function: Callable[[], Any],
    out: Path,
    wrong: Path,
    *,
    cpu: int = CPU,
    wall: int = WALL,
    memory: int = 3 << 30,
    file_size: int | None = None,
    clock: float = 1.0,
    kill: Callable[[], None] = lambda: None,
) -> None:
    """Be the process of a command: nothing on standard input, files of its own, limits; and end with it.

    Args:
        clock: how many times as fast time goes for it, so that a minute's patience is a second's.
        kill: arranges for its end, once it begins.
    """
    os.setsid()
    keep_inside(place.base)
    os.chdir(place.work)
    with open(os.devnull) as nothing, open(out, "w") as said:
        os.dup2(nothing.fileno(), 0)
        os.dup2(said.fileno(), 1)
    os.dup2(1, 2)
    os.closerange(3, 1024)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    os.environ.update(_environment(place))
    tempfile.tempdir = None
    torch.set_num_threads(1)
    status = 70
    try:
        for name, limit in (("CPU", cpu), ("CORE", 0), ("AS", _address_space() + memory), ("FSIZE", file_size)):
            if limit is not None:
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit + (name == "CPU") * 2))
        if clock != 1:
            _hasten(clock)
        kill()
        status = function() or 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except Wrong as error:
        wrong.write_text(str(error))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _hasten(clock: float) -> None:
    began, monotonic, sleep = time.monotonic(), time.monotonic, time.sleep
    time.monotonic = lambda: began + (monotonic() - began) * clock
    time.perf_counter = time.monotonic
    time.sleep = lambda seconds: sleep(seconds / clock)
    patience = socket.socket.settimeout
    socket.socket.settimeout = lambda self, seconds: patience(self, seconds and seconds / clock)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _wait(pid: int, wall: float) -> tuple[int, bool]:
    """The exit status, minus the signal's number, and whether it had to be stopped; what it started ends with it."""
    end, pause = time.monotonic() + wall, 0.002
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(pause)
        pause = min(pause * 1.2, 0.05)
    late = ended[0] == 0
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1] if late else ended[1])
    return status, late or status == -signal.SIGXCPU


def _files(folder: Path) -> dict[str, str]:
    """A digest of each file and link below a folder, by its name relative to it."""
    found = {}
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top, name)
            if path.is_symlink():
                content = os.readlink(path).encode()
            elif path.is_file():
                content = path.read_bytes()
            else:
                continue
            found[str(path.relative_to(folder))] = hashlib.sha1(content).hexdigest()
    return found


def words_of(said: str) -> Sequence[str]:
    """The words of an output, in small letters."""
    return re.findall(r"\w+", said.lower())
