"""Many inputs: every one planned and its results' names checked before the first is written."""

from poolcli.batch.jobs import MEMORY, Job, Options, Outcome, Result, Save
from poolcli.batch.planning import check_folders, prepare
from poolcli.batch.running import execute_all, planned_all

__all__ = [
    "MEMORY",
    "Job",
    "Options",
    "Outcome",
    "Result",
    "Save",
    "check_folders",
    "execute_all",
    "planned_all",
    "prepare",
]
