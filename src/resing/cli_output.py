"""What the commands print: records to stdout, sentences and progress to stderr."""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any, Protocol

import rich.progress
from cyclopts import Parameter
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

Json = Annotated[
    bool, Parameter("--json", negative="", show_default=False, help="print the record as JSON to stdout.")
]
PIPE_WIDTH = 160
NEWS_SECONDS = 30.0
"""Where stderr is no terminal, progress is a line this often."""


def say(text: str) -> None:
    """One line of prose, to stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def plain(record: Any) -> Any:
    """A record of the API as plain JSON types."""
    if isinstance(record, BaseModel):
        return record.model_dump(mode="json")
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return dataclasses.asdict(record)
    if isinstance(record, list):
        return [plain(item) for item in record]
    return record


def show_json(record: Any) -> None:
    """A record of the API, to stdout."""
    sys.stdout.write(json.dumps(plain(record), indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def show_table(columns: list[str], rows: list[list[str]], title: str | None = None) -> None:
    """A table, to stdout; text in it is shown as it is."""
    table = Table(title=title, box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(width=width, highlight=False).print(table)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Progress(Protocol):
    """Where a command tells how far it is."""

    def report(
        self, stage: str, done: float, total: float, left: float | None = None, remark: str = ""
    ) -> None:
        """Stage, how much of it is done, of how much, seconds left (None: from the pace so far), a remark."""
        ...

    def say(self, text: str) -> None:
        """A line that stays."""
        ...


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """A bar per stage with the time left, on stderr; a line now and then where stderr is no terminal."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]} {task.fields[remark]}", markup=False),
    )
    with rich.progress.Progress(*columns, console=console, transient=True) as bars:
        yield _Bars(bars)


class _Pace:
    """Seconds left of each stage, from its own pace."""

    def __init__(self) -> None:
        self.began: dict[str, tuple[float, float]] = {}
        self.reached: dict[str, float] = {}

    def left(self, stage: str, done: float, total: float) -> float | None:
        now = time.monotonic()
        if done < self.reached.get(stage, 0.0):  # the next song of a folder
            del self.began[stage]
        self.reached[stage] = done
        start, first = self.began.setdefault(stage, (now, done))
        return (now - start) / (done - first) * (total - done) if done > first else None


class _Bars:
    def __init__(self, bars: rich.progress.Progress) -> None:
        self.bars, self.pace = bars, _Pace()
        self.tasks: dict[str, TaskID] = {}

    def report(
        self, stage: str, done: float, total: float, left: float | None = None, remark: str = ""
    ) -> None:
        if stage not in self.tasks:
            self.tasks[stage] = self.bars.add_task(stage, left="", remark="")
        paced = self.pace.left(stage, done, total)
        known = paced if left is None else left
        text = f"{clock(known)} left" if known is not None and done < total else ""
        self.bars.update(self.tasks[stage], completed=done, total=total, left=text, remark=remark)

    def say(self, text: str) -> None:
        self.bars.console.print(text, markup=False, soft_wrap=True)


class _Lines:
    def __init__(self) -> None:
        self.pace = _Pace()
        self.told: dict[str, float] = {}

    def report(
        self, stage: str, done: float, total: float, left: float | None = None, remark: str = ""
    ) -> None:
        paced, now = self.pace.left(stage, done, total), time.monotonic()
        known = paced if left is None else left
        if now - self.told.setdefault(stage, now) >= NEWS_SECONDS and known is not None and done < total:
            self.told[stage] = now
            self.say(f"{stage}: {done / total:.0%}, {clock(known)} left {remark}".rstrip())

    def say(self, text: str) -> None:
        say(text)
