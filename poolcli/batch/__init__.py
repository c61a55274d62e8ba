"""Many inputs: every one planned and its results' names checked before the first is written."""

from poolcli.batch.earlier import Earlier, making
from poolcli.batch.jobs import MEMORY, Job, Options, Outcome, Result, Save
from poolcli.batch.planning import check_folders, close_folders, prepare
from poolcli.batch.running import Books, execute_all, planned_all, recording

__all__ = [
    "MEMORY",
    "Books",
    "Earlier",
    "Job",
    "Options",
    "Outcome",
    "Result",
    "Save",
    "check_folders",
    "close_folders",
    "execute_all",
    "making",
    "planned_all",
    "prepare",
    "recording",
]
