"""Background: a command line of ours in a child process, which outlives its window and is found again by its folder."""

from .aside import aside as aside
from .child import attend as attend
from .child import own_folder as own_folder
from .child import recorder as recorder
from .queue import start as start
from .queue import tasks as tasks
from .report import Pace as Pace
from .report import Report as Report
from .report import pace as pace
from .task import ENVIRONMENT as ENVIRONMENT
from .task import PENDING as PENDING
from .task import State as State
from .task import Task as Task
