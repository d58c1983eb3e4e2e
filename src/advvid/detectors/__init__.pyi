from .joint_attack import JointPGD as JointPGD
from .routing import Route as Route
from .routing import Routing as Routing
from .temporal_consistency import TemporalConsistency as TemporalConsistency
from .temporal_shuffling import TemporalShuffling as TemporalShuffling
from .thresholds import Choice as Choice
