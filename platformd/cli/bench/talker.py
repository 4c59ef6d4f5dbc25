"""The app of `bench sse`: RATE lines a second, evenly.

Runs as a task of its own, by any Python 3 without site-packages; knows nothing of platformd.
"""

import os
import signal
import sys

LINE = "." * 80

if "--try" in sys.argv:
    sys.exit()
pause = 1 / int(os.environ["RATE"])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
signal.setitimer(signal.ITIMER_REAL, pause, pause)
while True:
    signal.sigwait([signal.SIGALRM])
    print(LINE, flush=True)
