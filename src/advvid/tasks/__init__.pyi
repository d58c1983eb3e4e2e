from .base import DatasetTask as DatasetTask
from .base import Task as Task
from .classification import Classification as Classification
from .multi_label import MultiLabel as MultiLabel
from .next_frame import NextFrame as NextFrame
