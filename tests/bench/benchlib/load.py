# SPDX-License-Identifier: MIT
"""The clients: bench-load for a connection per request and for message after message on a connection, wrk for HTTP
with keep-alive, and a probe that reads one answer.

A server's address is a port of 127.0.0.1, or the path of a unix socket."""

import json
import socket
import struct
import subprocess

MESSAGE = b"x" * 127 + b"\n"
PREFIXED = struct.pack(">I", 124) + MESSAGE[4:]
BODY = MESSAGE
PATH = "/file.txt"

# Nothing but done() is defined, so wrk sends its one static request and pays nothing for the script.
WRK_SCRIPT = """
done = function(summary, latency, requests)
    io.write(string.format('{"seconds": %f, "completed": %d, "p50": %f, "p99": %f, "p999": %f, "max": %f, ' ..
        '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\\n',
        summary.duration / 1e6, summary.requests, latency:percentile(50), latency:percentile(99),
        latency:percentile(99.9), latency.max, summary.errors.connect, summary.errors.read, summary.errors.write,
        summary.errors.status, summary.errors.timeout))
end
"""


def connections(program, address, *, clients, threads=2, seconds=None, count=None, answer_size=None, messages=False,
                script=None):
    """The command that loads ADDRESS; ANSWER_SIZE is of an HTTP answer with its head, None for an echo; with SCRIPT it
    is of FastCGI's. With MESSAGES the connections are kept, and COUNT is of messages."""
    command = [program, *(["-u", address] if isinstance(address, str) else ["-p", str(address)])]
    command += ["-c", str(clients), "-t", str(min(threads, clients))]
    command += ["-d", str(seconds)] if seconds else ["-n", str(count)]
    if answer_size:
        command += [*(["-f", script] if script else ["-g", PATH]), "-e", str(answer_size)]
    return command + (["-m"] if messages else [])


def run_connections(program, address, *, limit=60, **settings):
    """Loads ADDRESS and returns what bench-load reports."""
    done = subprocess.run(connections(program, address, **settings), stdout=subprocess.PIPE, check=True, text=True,
                          timeout=limit + (settings.get("seconds") or 0))
    return json.loads(done.stdout)


def run_keep_alive(script, port, *, clients, threads=2, seconds):
    """Loads PORT by wrk, and returns its result in the words of bench-load."""
    command = ["wrk", "-t", str(min(threads, clients)), "-c", str(clients), "-d", f"{max(1, round(seconds))}s",
               "-s", script, f"http://127.0.0.1:{port}{PATH}"]
    before = client_times()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, timeout=60 + seconds)
    result = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return {
        "seconds": result["seconds"], "completed": result["completed"], "late": 0, "unfinished": 0,
        "rate": result["completed"] / result["seconds"],
        "latency_us": {key: result[key] for key in ("p50", "p99", "p999", "max")},
        "client_cpu_us": client_times() - before,
        "errors": {key: result[key] for key in ("connect", "read", "write", "status", "timeout")},
    }


def client_times():
    """CPU time of this process's children that have ended, in microseconds."""
    import resource
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e6


def errors_in(result):
    return {kind: count for kind, count in result["errors"].items() if count}


def connect(address, timeout):
    if not isinstance(address, str):
        return socket.create_connection(("127.0.0.1", address), timeout=timeout)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def fastcgi_request(script):
    def record(kind, content=b""):
        return struct.pack(">BBHHBB", 1, kind, 1, len(content), 0, 0) + content

    pairs = {b"REQUEST_METHOD": b"GET", b"SCRIPT_FILENAME": script.encode()}
    parameters = b"".join(bytes([len(name), len(value)]) + name + value for name, value in pairs.items())
    return record(1, struct.pack(">HB5x", 1, 0)) + record(4, parameters) + record(4) + record(5)


def probe_fastcgi(address, script, timeout=5):
    """As probe()."""
    answer = b""
    with connect(address, timeout) as connection:
        connection.sendall(fastcgi_request(script))
        while part := connection.recv(65536):
            answer += part
    if not answer.startswith(b"\x01\x06") or b"\r\n\r\n" + BODY not in answer:
        raise ValueError(f"FastCGI answered {answer[:300]!r}")
    return len(answer)


def probe(address, http, messages=False, timeout=5):
    """Asks once and checks the answer. Returns its size. Raises OSError, or ValueError if it is not as it should be."""
    request = PREFIXED if messages else MESSAGE
    if http:
        request = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    answer = b""
    with connect(address, timeout) as connection:
        connection.sendall(request)
        # The end of the stream is not waited for where connections are kept, as some that echo do.
        while not (http == "keep" and answer.endswith(BODY)) and (http or len(answer) < len(request)):
            part = connection.recv(65536)
            if not part:
                break
            answer += part
    if not http and answer != request:
        raise ValueError(f"echo answered {answer[:80]!r}")
    if http and not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n\r\n" + BODY)):
        raise ValueError(f"http answered {answer[:300]!r}")
    return len(answer)
