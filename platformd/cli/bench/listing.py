"""What `bench herd` deploys beside its server in C: Python's own web server, unmodified, on $PORT.

Run as a task of its own, by any Python 3.
"""

import os
import sys

if __name__ == "__main__" and "--try" not in sys.argv:
    command = [sys.executable, "-m", "http.server", os.environ["PORT"], "--bind", "127.0.0.1"]
    os.execv(sys.executable, command)
