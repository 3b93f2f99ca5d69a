"""A right executor, which makes one run after the other, and wrong ones that differ from it in one thing each."""

import os
import queue
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from adcli.pipeline import ExecutorRequest, Task, TaskOutcome, carry_out

Outcomes = Iterator[TaskOutcome]


def execute(tasks: Sequence[Task], request: ExecutorRequest) -> Outcomes:
    """Make one run after the other."""
    backwards = getattr(request.options, "backwards", False)
    for task in reversed(tasks) if backwards else tasks:
        yield carry_out(task)


def execute_twice(tasks: Sequence[Task], request: ExecutorRequest) -> Outcomes:
    """Says everything twice."""
    for outcome in execute(tasks, request):
        yield outcome
        yield outcome


def execute_with_other_settings(tasks: Sequence[Task], request: ExecutorRequest) -> Outcomes:
    """Knows better which size images should have."""
    return execute([replace(task, settings={**task.settings, "image_size": "24x24"}) for task in tasks], request)


def execute_until_one_fails(tasks: Sequence[Task], request: ExecutorRequest) -> Outcomes:
    """Tries no more once a run has failed."""
    failed = False
    for task in tasks:
        is_there = Path(task.out).exists()
        outcome = TaskOutcome(task.name, "failed", 0, "not tried", 1) if failed and not is_there else carry_out(task)
        failed = failed or outcome.state == "failed"
        yield outcome


def execute_anew(tasks: Sequence[Task], request: ExecutorRequest) -> Outcomes:
    """Removes what is there."""
    for task in tasks:
        shutil.rmtree(task.out, ignore_errors=True)
        yield carry_out(task)


def execute_one_at_least(tasks: Sequence[Task], request: ExecutorRequest) -> Outcomes:
    """Takes it that there is something to do."""
    yield carry_out(tasks[0])
    yield from execute(tasks[1:], request)


def execute_all_first(tasks: Sequence[Task], request: ExecutorRequest) -> Outcomes:
    """Says nothing until all is done."""
    yield from list(execute(tasks, request))


def execute_with_what_is_free(tasks: Sequence[Task], request: ExecutorRequest) -> Outcomes:
    """Gives more threads to a run that is alone."""
    import torch

    torch.set_num_threads(1 if len(tasks) > 1 else 3)
    yield from execute(tasks, request)


def execute_to_the_end(tasks: Sequence[Task], request: ExecutorRequest) -> Outcomes:
    """Makes runs in a thread that nobody ends."""
    done = queue.SimpleQueue[TaskOutcome]()
    threading.Thread(target=lambda: [done.put(carry_out(task)) for task in tasks], daemon=True).start()
    for _ in tasks:
        yield done.get()


def execute_once(tasks: Sequence[Task], request: ExecutorRequest) -> Outcomes:
    """Leaves something in the way of runs that it did not make."""
    try:
        yield from execute(tasks, request)
    except GeneratorExit:
        for task in tasks:
            Path(task.out).mkdir(exist_ok=True)
            (Path(task.out) / "cancelled").touch()
        raise


def execute_aloud(tasks: Sequence[Task], request: ExecutorRequest) -> Outcomes:
    """Has what a process prints go to the command's stdout."""
    for outcome in execute(tasks, request):
        os.write(1, b"fitting\n")
        yield outcome
