"""The executor ``local``: processes of this machine, each of which makes one run after the other.

A worker reads tasks from its standard input, a line of JSON each, and answers on its standard output. It ends when its
input does: also if the command is killed, so that no run is made behind the user's back.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from adcli._plugins.builtin import LocalOptions
from adcli.errors import PluginError, one_line
from adcli.progress import ProgressEvent, Silent
from adcli.scoring.runtime import cores
from adcli.sweeps.tasks import ExecutorRequest, Task, TaskOutcome

MEMORY = 2 << 30
"""Bytes of the machine's memory that a run is given room for, unless ``jobs`` says how many there are."""

_ENDING = 1.2
"""Seconds that workers have to end in; then they are killed. The command itself has little more."""

_REST = 1.0
"""Seconds to wait for the rest of what a process said that has ended."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_START = """
import json, sys
sys.path[:] = json.loads(sys.stdin.readline())
sys.argv[:] = ["adcli", "sweep"]
from adcli.pipeline._local import serve
serve()
"""


def execute(tasks: Sequence[Task], request: ExecutorRequest) -> Iterator[TaskOutcome]:
    """Carry tasks out in processes of this machine, and yield what became of each.

    A process that dies fails its own run alone.

    Raises:
        PluginError: no process can be started.
    """
    options = request.options
    assert isinstance(options, LocalOptions)
    gpus = list_gpus()
    pool = _Pool(options.jobs or choose_jobs(request.runs, len(gpus)), gpus, request.note)
    try:
        yield from pool.carry_out(deque(tasks))
    finally:
        pool.end()


def choose_jobs(runs: int, gpus: int) -> int:
    """Return how many runs are made at a time: of ``runs`` at most, and what the machine as a whole has room for."""
    room = gpus or cores()
    with contextlib.suppress(AttributeError, ValueError, OSError):
        # What is free at the moment would make other numbers of threads, and of results, tomorrow.
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        room = min(room, memory // MEMORY)
    return max(min(room, runs), 1)


def list_gpus() -> list[str]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; may import torch."""
    named = os.environ.get(_VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() and name.strip() != "-1"]
    if sys.platform == "linux" and not Path("/dev/nvidiactl").exists():
        return []
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _environment(number: int, jobs: int, gpus: Sequence[str]) -> dict[str, str]:
    """Return the environment of a worker: its share of the cores, and its GPU."""
    own = {name: str(_choose_threads(jobs, os.environ.get(name, ""))) for name in _THREADS}
    if gpus:
        own[_VISIBLE] = gpus[number % len(gpus)]
    return {**os.environ, **own}


def _choose_threads(jobs: int, asked: str) -> int:
    """Return how many threads a worker has: its share of the cores, or fewer if the user asks for fewer."""
    share = max(cores() // jobs, 1)
    return min(share, int(asked)) if asked.isdecimal() and int(asked) else share


class _Pool:
    """The workers of a sweep.

    Args:
        jobs: how many there are at most.
        gpus: what they have one each of; none if empty.
        note: takes a line for the user.
    """

    def __init__(self, jobs: int, gpus: Sequence[str], note: Callable[[str], None]) -> None:
        self.jobs = jobs
        self.environments: deque[Callable[[], dict[str, str]]] = deque(
            partial(_environment, number, jobs, gpus) for number in range(jobs)
        )
        self.note = note
        self.inbox = _Inbox()
        self.workers: list[_Worker] = []

    def carry_out(self, waiting: deque[Task]) -> Iterator[TaskOutcome]:
        """Have tasks carried out, and yield what became of each."""
        self._share_out(waiting)
        while any(worker.task for worker in self.workers):
            worker, message = self.inbox.get()
            outcome = self._take(worker, message)
            # Nobody is to wait for what is done with the outcome.
            self._share_out(waiting)
            if outcome is not None:
                yield outcome

    def _share_out(self, waiting: deque[Task]) -> None:
        """Give tasks to those who have none, and to as many more as there is room for."""
        for worker in self.workers:
            if waiting and worker.task is None:
                worker.give(waiting.popleft())
        while waiting and len(self.workers) < self.jobs and (hired := self._hire()):
            hired.give(waiting.popleft())

    def _hire(self) -> "_Worker | None":
        """Start a worker; None if the system allows no more of them."""
        environment = self.environments.popleft()
        try:
            worker = _Worker(environment, self.inbox)
        except (OSError, RuntimeError) as error:
            if not self.workers:
                raise PluginError(f"--executor local: no process can be started ({one_line(error)}).") from error
            self.jobs = len(self.workers)
            self.note(f"warning: no more than {self.jobs} processes can be started ({one_line(error)})")
            return None
        self.workers.append(worker)
        return worker

    def _take(self, worker: "_Worker", message: Any) -> TaskOutcome | None:
        """Return the outcome that a worker has sent, or that its end is; None if it is neither."""
        if message is None:
            self.workers.remove(worker)
            self.environments.append(worker.environment)
            return worker.bury()
        if "note" in message:
            self.note(f"{worker.task.name if worker.task else ''}: {message['note']}")
            return None
        worker.task = None
        return TaskOutcome.from_json(message)

    def end(self) -> None:
        """End all workers: at once what is under way, which is left as an interrupted run."""
        for worker in self.workers:
            worker.stop()
        last = time.monotonic() + _ENDING
        for worker in self.workers:
            worker.end(max(last - time.monotonic(), 0))


class _Worker:
    """A process that makes runs, and what it is told and says."""

    def __init__(self, environment: Callable[[], dict[str, str]], inbox: "_Inbox") -> None:
        self.environment = environment
        self.task: Task | None = None
        self._said: deque[str] = deque(maxlen=20)
        # Without the folder that the user is in, which may hold files that are called as modules are.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            encoding="utf-8",
            errors="backslashreplace",
        )
        self._readers = [
            threading.Thread(target=self._listen, args=(inbox,), daemon=True),
            threading.Thread(target=self._keep_errors, daemon=True),
        ]
        try:
            for thread in (*self._readers, threading.Thread(target=self._await_end, args=(inbox,), daemon=True)):
                thread.start()
        except RuntimeError:
            self.process.kill()
            raise
        self._send([entry for entry in sys.path if isinstance(entry, str)])

    def give(self, task: Task) -> None:
        """Have a task carried out."""
        self._said.clear()
        self.task = task
        self._send(task.to_json())

    def _send(self, message: Any) -> None:
        # A worker that has died is noticed by its end.
        with contextlib.suppress(OSError, ValueError):
            stream = self._stream("stdin")
            stream.write(json.dumps(message) + "\n")
            stream.flush()

    def _stream(self, name: str) -> IO[str]:
        stream: IO[str] = getattr(self.process, name)
        return stream

    def _listen(self, inbox: "_Inbox") -> None:
        for line in self._stream("stdout"):
            # One that is killed as it writes leaves half a line; that it ended says the rest.
            with contextlib.suppress(ValueError):
                inbox.put((self, json.loads(line)))

    def _keep_errors(self) -> None:
        for line in self._stream("stderr"):
            self._said.append(line.rstrip())

    def _await_end(self, inbox: "_Inbox") -> None:
        """Say that the process has ended, after all that it said; what it has forked may have its streams for long."""
        self.process.wait()
        for reader in self._readers:
            reader.join(_REST)
        inbox.put((self, None))

    def bury(self) -> TaskOutcome | None:
        """Return the outcome of the task of a worker that died; None if it had none."""
        code = self.process.wait()
        if self.task is None:
            return None
        last = next((one_line(line) for line in reversed([*self._said]) if line.strip()), "")
        reason = _explain_end(code) + (f": {last}" if last else "")
        return TaskOutcome(self.task.name, "failed", 0.0, f"its process {reason}.", PluginError.exit_code)

    def stop(self) -> None:
        """Have the worker end: at once what it is at."""
        with contextlib.suppress(OSError, ValueError):
            self._stream("stdin").close()
        if self.task is not None:
            self.process.terminate()

    def end(self, seconds: float) -> None:
        """Wait so long for the process to end, then kill it."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_Inbox = queue.SimpleQueue[tuple[_Worker, Any]]
"""What workers say, and None if one has ended."""


def _explain_end(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in {int(each) for each in signal.Signals} else str(-code)
    remedy = "; if memory ran out, use fewer --jobs" if name == "SIGKILL" else ""
    return f"was ended by {name}{remedy}"


class _Telling(Silent):
    """Passes on the notes of a run that the user should know whatever else they watch."""

    def __init__(self, answers: IO[str]) -> None:
        super().__init__()
        self._answers = answers

    def note(self, text: str) -> None:
        if text.startswith(("warning", "skipped", "unreadable")):
            _answer(self._answers, {"note": text})

    def report(self, event: ProgressEvent) -> None:
        pass


def serve() -> None:
    """Carry out the tasks that come on standard input, until it ends; what a worker process does."""
    from adcli._process.allocation import keep_freed_memory
    from adcli._process.interruption import end_when_told

    # What libraries print must not get among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tasks = queue.SimpleQueue[Task]()
    threading.Thread(target=_receive, args=(tasks,), daemon=True).start()
    try:
        end_when_told()
        keep_freed_memory()
        from adcli.pipeline import carry_out

        while True:
            _answer(answers, carry_out(tasks.get(), progress=_Telling(answers)).to_json())
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        # Whatever threads libraries have left, nothing is to be waited for.
        os._exit(1)


_busy = threading.Lock()
"""Whoever answers holds it."""


def _answer(answers: IO[str], message: Mapping[str, Any]) -> None:
    with _busy:
        answers.write(json.dumps(message) + "\n")
        answers.flush()


def _receive(tasks: "queue.SimpleQueue[Task]") -> None:
    """Take tasks up as they come; when the command is gone, so is the worker, whatever it is at."""
    for line in sys.stdin:
        tasks.put(Task.from_json(json.loads(line)))
    os._exit(0)
