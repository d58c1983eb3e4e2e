from .csv_files import CsvTracker as CsvTracker
from .tensorboard import TensorboardTracker as TensorboardTracker
from .trackers import NoTracker as NoTracker
from .trackers import SeveralTrackers as SeveralTrackers
from .trackers import Tracker as Tracker
from .weights_and_biases import WandbTracker as WandbTracker
