"""The app that `platformd demo` deploys: answers any request in one line, prints what it does, ends when asked to.

Runs as a task of its own, by any Python 3 without site-packages; knows nothing of platformd but the variable PORT.
"""

import os
import signal
import socketserver
import sys
from itertools import count

requests = count(1)


class Visit(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self) -> None:
        asked = self.rfile.readline(8192).decode("latin-1").split()
        if len(asked) != 3:
            return
        while self.rfile.readline(8192).strip():
            pass
        number = next(requests)
        print(f"request {number}: {asked[0]} {asked[1]}", flush=True)
        body = f"hello from process {os.getpid()}, request {number} since it started\n".encode()
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        self.wfile.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        if asked[0] != "HEAD":
            self.wfile.write(body)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


def end(*_: object) -> None:
    print("asked to end, good night", flush=True)
    os._exit(0)


if __name__ == "__main__" and "--try" not in sys.argv:
    signal.signal(signal.SIGTERM, end)
    with Server(("127.0.0.1", int(os.environ["PORT"])), Visit) as server:
        print("up and listening", flush=True)
        server.serve_forever()
