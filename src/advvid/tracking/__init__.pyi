from .trackers import NoTracker as NoTracker
from .trackers import Tracker as Tracker
from .trackers import WandbTracker as WandbTracker
