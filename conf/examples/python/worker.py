#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A worker in Python for a pool with handler = program (python.conf): serves HTTP on the sockets that it inherits, says
when it is ready, and finishes its requests before it leaves."""
import http.server
import os
import signal
import socket
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"hello from worker {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, text, *values):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for the requests under way

    def __init__(self, descriptor):
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=descriptor)
        self.server_name, self.server_port = socket.gethostname(), 0
        # All workers share the socket: another one may be faster, and then accept() must not wait for the next client.
        self.socket.setblocking(False)


def notify(message):
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message.encode(), path.replace("@", "\0", 1) if path[0] == "@" else path)


def main():
    # LISTEN_FDS says how many sockets there are, from descriptor 3 on; this worker serves the first.
    server = Server(3)
    signal.signal(signal.SIGTERM, lambda *unused: threading.Thread(target=server.shutdown).start())
    notify("READY=1\nSTATUS=serving")
    server.serve_forever(poll_interval=0.1)
    notify("STOPPING=1\nSTATUS=finishing")
    server.server_close()


main()
