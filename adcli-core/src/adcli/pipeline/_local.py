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
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
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

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_START = "from adcli.pipeline._local import serve; serve()"


def execute(tasks: Sequence[Task], request: ExecutorRequest) -> Iterator[TaskOutcome]:
    """Carry tasks out in processes of this machine, and yield what became of each.

    A process that dies fails its own run alone.

    Raises:
        PluginError: a process does not start.
    """
    options = request.options
    assert isinstance(options, LocalOptions)
    gpus = list_gpus()
    jobs = options.jobs or choose_jobs(request.runs, len(gpus))
    waiting, inbox = deque(tasks), queue.SimpleQueue[tuple["_Worker", Any]]()
    workers: list[_Worker] = []
    try:
        while waiting and len(workers) < jobs:
            worker = _Worker(_environment(len(workers), jobs, gpus), inbox)
            workers.append(worker)
            worker.give(waiting.popleft())
        while any(worker.task for worker in workers):
            worker, message = inbox.get()
            if message is None:
                yield worker.bury()
                workers.remove(worker)
                if waiting:
                    workers.append(worker := _Worker(worker.environment, inbox))
            elif "note" in message:
                request.note(f"{worker.task.name if worker.task else ''}: {message['note']}")
                continue
            else:
                worker.task = None
                yield TaskOutcome.from_json(message)
            if waiting:
                worker.give(waiting.popleft())
    finally:
        _end(workers)


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
    threads = str(max(cores() // jobs, 1))
    own = dict.fromkeys(_THREADS, threads)
    if gpus:
        own[_VISIBLE] = gpus[number % len(gpus)]
    return {**os.environ, **own}


class _Worker:
    """A process that makes runs, and what it is told and says."""

    def __init__(self, environment: Mapping[str, str], inbox: "queue.SimpleQueue[tuple[_Worker, Any]]") -> None:
        self.environment = environment
        self.task: Task | None = None
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            encoding="utf-8",
            errors="backslashreplace",
        )
        self._said: deque[str] = deque(maxlen=20)
        self._reader = threading.Thread(target=self._listen, args=(inbox,), daemon=True)
        self._reader.start()
        self._listener = threading.Thread(target=self._keep_errors, daemon=True)
        self._listener.start()
        self._send({"path": sys.path})

    def give(self, task: Task) -> None:
        """Have a task carried out."""
        self.task = task
        self._send(task.to_json())

    def _send(self, message: Mapping[str, Any]) -> None:
        # A worker that has died is noticed by what it no longer says.
        with contextlib.suppress(BrokenPipeError, ValueError):
            stream = self._stream("stdin")
            stream.write(json.dumps(message) + "\n")
            stream.flush()

    def _stream(self, name: str) -> IO[str]:
        stream: IO[str] = getattr(self.process, name)
        return stream

    def _listen(self, inbox: "queue.SimpleQueue[tuple[_Worker, Any]]") -> None:
        for line in self._stream("stdout"):
            inbox.put((self, json.loads(line)))
        inbox.put((self, None))

    def _keep_errors(self) -> None:
        for line in self._stream("stderr"):
            self._said.append(line.rstrip())

    def bury(self) -> TaskOutcome:
        """Return the outcome of the task of a worker that died.

        Raises:
            PluginError: it had none.
        """
        code = self.process.wait()
        self._listener.join(1)
        last = next((one_line(line) for line in reversed(self._said) if line.strip()), "")
        reason = _explain_end(code) + (f": {last}" if last else "")
        if self.task is None:
            raise PluginError(f"a process of --executor local {reason}.")
        return TaskOutcome(self.task.name, "failed", 0.0, f"its process {reason}.", PluginError.exit_code)

    def close(self) -> None:
        """Have the worker end when it has nothing more to do."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._stream("stdin").close()


def _explain_end(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in {int(each) for each in signal.Signals} else str(-code)
    remedy = "; if memory ran out, use fewer --jobs" if name == "SIGKILL" else ""
    return f"was ended by {name}{remedy}"


def _end(workers: Sequence[_Worker]) -> None:
    """End all workers: at once what is under way, which is left as an interrupted run."""
    for worker in workers:
        worker.close()
        if worker.task is not None:
            worker.process.terminate()
    for worker in workers:
        try:
            worker.process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()


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
    end_when_told()
    keep_freed_memory()
    tasks = queue.SimpleQueue[Task]()
    sys.path[:] = json.loads(sys.stdin.readline() or '{"path": []}')["path"]
    threading.Thread(target=_receive, args=(tasks,), daemon=True).start()
    from adcli.pipeline import carry_out

    try:
        while True:
            _answer(answers, carry_out(tasks.get(), progress=_Telling(answers)).to_json())
    except KeyboardInterrupt:
        # Whatever threads libraries have left, nothing is to be waited for.
        os._exit(130)


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
