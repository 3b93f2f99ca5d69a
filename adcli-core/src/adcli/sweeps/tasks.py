"""What an executor is given, and what it gives back: plain values, which can be sent to any process or machine."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict

from adcli._artefacts.declaring import NotNegative, compare
from adcli._showing import count, introduce
from adcli.options import Options

State = Literal["made", "failed", "elsewhere"]
"""Of a run: it is there; it failed; or another process is making it."""


@dataclass(frozen=True)
class Task:
    """A run that is to be made.

    Attributes:
        name: of the run, for messages.
        out: its folder, an absolute path, which has to lead to the same place wherever the task is carried out.
        settings: of :class:`adcli.pipeline.TrainSettings`, as plain values.
        command: what was typed, for the run's record.
    """

    name: str
    out: str
    settings: Mapping[str, Any]
    command: str = ""

    def __repr__(self) -> str:
        return introduce(self, self.name)

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> "Task":
        """Read a task; raises ValueError if it is none."""
        return cls(**compare(content, _Task))


@dataclass(frozen=True)
class TaskOutcome:
    """What became of a task.

    Attributes:
        name: of the task.
        state: of the run.
        seconds: that carrying it out took.
        problem: why it failed, or was not evaluated, or who makes it, in a line; empty if all is well.
        exit_code: that ``adcli train`` would have ended with.
    """

    name: str
    state: State
    seconds: float
    problem: str = ""
    exit_code: int = 0

    def __repr__(self) -> str:
        return introduce(self, self.name, self.state, f"{self.seconds:.1f} s", self.problem)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> "TaskOutcome":
        """Read an outcome; raises ValueError if it is none."""
        return cls(**compare(content, _Outcome))


@dataclass(frozen=True)
class ExecutorRequest:
    """What else an executor is told.

    Attributes:
        options: of the executor, as its spec declares them.
        runs: how many runs the sweep has here, made ones among them: how the machine is shared out must not depend on
            how many are still to be made, or a sweep that was interrupted would compute other numbers.
        note: takes a line for the user; it may be called in any thread.
    """

    options: Options
    runs: int
    note: Callable[[str], None] = field(default=lambda text: None)

    def __repr__(self) -> str:
        return introduce(self, count(self.runs, "run"), repr(self.options))


class _Task(TypedDict):
    name: str
    out: str
    settings: dict[str, Any]
    command: str


class _Outcome(TypedDict):
    name: str
    state: State
    seconds: NotNegative
    problem: str
    exit_code: int
