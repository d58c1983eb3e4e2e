from .parallel import Processes as Processes
from .runtime import Runtime as Runtime
