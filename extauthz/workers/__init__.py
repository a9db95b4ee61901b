"""One server of several processes: who listens where, who starts them, and how they are seen as one.

Rule 1: nothing here loads grpc: what supervises outlives what serves, and starts it by exec.
Rule 2: a worker decides as a server that is alone would; what it must share comes over one socket.
"""

from extauthz.workers.options import WorkersOptions, worker_addresses
from extauthz.workers.signals import Signals

__all__ = ["Signals", "WorkersOptions", "worker_addresses"]
