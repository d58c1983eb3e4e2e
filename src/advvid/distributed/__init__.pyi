from .parallel import Peers as Peers
from .runtime import Runtime as Runtime
