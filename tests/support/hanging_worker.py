"""A worker's program: it says that it is ready, and then hangs.

python -m support.hanging_worker FILE_DESCRIPTOR
"""

import sys
import time
from multiprocessing.connection import Connection

if __name__ == "__main__":
    line: "Connection[bool, object]" = Connection(int(sys.argv[1]))
    line.recv()
    line.send(True)
    time.sleep(3600)
