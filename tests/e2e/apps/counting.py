#!/usr/bin/env python3
"""A server that never stands still by itself: a thread and a child count, GET /count answers how far the thread is.

FILE gets the thread's count again and again. SIGTERM is answered by "terminated" in MARK and a clean exit.
"""

import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

count = 0
PAUSE = threading.Event()
CHILD = "import select,sys\nwhile True:\n open(sys.argv[1],'a').write('.')\n select.select([], [], [], 0.01)"


def work():
    global count
    while True:
        count += 1
        Path(os.environ["FILE"] + "~").write_text(str(count))
        Path(os.environ["FILE"] + "~").replace(os.environ["FILE"])
        PAUSE.wait(0.005)


def end(*_):
    Path(os.environ["MARK"]).write_text("terminated")
    os._exit(0)


class Counting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/slow"):
            PAUSE.wait(int(self.path.partition("?")[2]) / 1000)
        body = b"%d" % count
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, end)
threading.Thread(target=work, daemon=True).start()
if "CHILD" in os.environ:
    subprocess.Popen([sys.executable, "-c", CHILD, os.environ["CHILD"]], start_new_session=True)
ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Counting).serve_forever()
