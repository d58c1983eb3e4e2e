from .batch import Batch as Batch
from .batch import Space as Space
from .errors import AdvvidError as AdvvidError
from .schedules import Schedule as Schedule
