from . import train as train
from .api.evaluation import evaluate as evaluate
from .api.network import Normalised as Normalised
from .api.runs import LoadedRun as LoadedRun
from .api.runs import attack_videos as attack_videos
from .api.runs import load_run as load_run
from .attacks.base import Attack as Attack
from .core.errors import AdvvidError as AdvvidError
from .data.protocol import Dataset as Dataset
from .defenses.base import Defense as Defense
from .evaluation.robustness import RobustnessTable as RobustnessTable
from .tasks.base import Task as Task
from .threats.base import Threat as Threat

__version__: str
