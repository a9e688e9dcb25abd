# SPDX-License-Identifier: MIT
"""A program for the tests of program pools: does one step after the other, as its arguments say.

    dump:FILE           what it was given, as JSON
    append:FILE         a line with its pid
    say:MESSAGE         to $NOTIFY_SOCKET ("\\n" is a line end)
    keep:SECONDS:MESSAGE  the same again and again, for ever, in the background
    ack:LINE            to $EINHORN_SOCK_PATH; PID in it is its own pid
    print:TEXT, error:TEXT
    on:SIGNAL:TEXT      says TEXT at the signal, and exits with 0; "ignore" instead of TEXT
    finish:SECONDS      at SIGTERM asks for a minute, takes that long, and exits with 0
    run:HOW:FILE        leaves a process behind: in the "group", in a "session" of its own, "double"-forked, in a session
                        of its own under another one ("chain"), in another group with an "empty" environment; its pid goes to FILE
    accept              blocks in accept(2) on descriptor 3, and answers each client with its pid
    accept-for:SECONDS  the same; exits with 0 when nobody has come for so long
    accept-one          as accept, but keeps each client until he leaves, before the next
    sleep:SECONDS, wait, exit:STATUS
"""
import contextlib
import json
import os
import resource
import signal
import socket
import sys
import threading
import time


def say(message):
    path = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(message.replace("\\n", "\n").encode(), "\0" + path[1:] if path[0] == "@" else path)


def keep(seconds, message):
    def loop():
        while True:
            say(message)
            time.sleep(float(seconds))
    threading.Thread(target=loop, daemon=True).start()


def ack(line):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(os.environ["EINHORN_SOCK_PATH"])
        client.sendall(line.replace("PID", str(os.getpid())).encode() + b"\n")
        client.settimeout(60)
        with contextlib.suppress(ConnectionResetError):
            client.recv(1)


def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    return found


def socket_name(fd):
    with socket.socket(fileno=os.dup(fd)) as one:
        name = one.getsockname()
        return name if isinstance(name, str) else list(name)


def dump(path):
    fds = descriptors()
    status = dict(line.split(":\t") for line in open("/proc/self/status").read().splitlines())
    data = {
        "pid": os.getpid(), "ppid": os.getppid(), "group": os.getpgid(0), "session": os.getsid(0),
        "directory": os.getcwd(), "environment": dict(os.environ), "descriptors": fds,
        "names": {fd: socket_name(int(fd)) for fd, what in fds.items() if what.startswith("socket:")},
        "close_on_exec": [fd for fd in fds if int(fd) > 2 and not os.get_inheritable(int(fd))
                          and not fds[fd].startswith("/proc")],
        "blocked": status["SigBlk"], "ignored": status["SigIgn"], "umask": status["Umask"],
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    }
    # Of its own: several workers may write it.
    new = f"{path}.{os.getpid()}"
    with open(new, "w", encoding="utf-8") as out:
        json.dump(data, out)
    os.rename(new, path)


def append(path):
    with open(path, "a", encoding="utf-8") as out:
        out.write(f"{os.getpid()}\n")


def on(name, text):
    def handler(*unused):
        print(text, flush=True)
        os._exit(0)
    signal.signal(getattr(signal, "SIG" + name), signal.SIG_IGN if text == "ignore" else handler)


def finish(seconds):
    def handler(*unused):
        say("STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000")
        time.sleep(float(seconds))
        os._exit(0)
    signal.signal(signal.SIGTERM, handler)


def run(how, path):
    if os.fork():
        # Whoever waits for the file knows that all of them are there.
        while not os.path.exists(path):
            time.sleep(0.005)
        return
    if how in ("session", "double", "chain"):
        os.setsid()
    if how == "empty":
        os.setpgid(0, 0)
    if how == "double" and os.fork():
        os._exit(0)
    if how == "chain" and os.fork():
        signal.pause()
    if how == "chain":
        os.setsid()
    program = ["/bin/sh", "-c", f'echo $$ >"{path}.new"; mv "{path}.new" "{path}"; exec sleep 1000']
    if how == "empty":
        os.execve(program[0], program, {})
    os.execv(program[0], program)


def accept():
    listener = socket.socket(fileno=3)
    while True:
        client, _ = listener.accept()
        with client:
            client.sendall(f"{os.getpid()}\n".encode())


def accept_for(seconds):
    listener = socket.socket(fileno=3)
    listener.settimeout(float(seconds))
    while True:
        try:
            client, _ = listener.accept()
        except TimeoutError:
            os._exit(0)
        with client:
            client.sendall(f"{os.getpid()}\n".encode())


def accept_one():
    listener = socket.socket(fileno=3)
    while True:
        client, _ = listener.accept()
        with client:
            client.sendall(f"{os.getpid()}\n".encode())
            with contextlib.suppress(ConnectionResetError):
                client.recv(1)


def main():
    for step in sys.argv[1:]:
        name, _, rest = step.partition(":")
        if name == "print":
            print(rest, flush=True)
        elif name == "error":
            print(rest, file=sys.stderr, flush=True)
        elif name == "sleep":
            time.sleep(float(rest))
        elif name == "wait":
            while True:
                signal.pause()
        elif name == "exit":
            os._exit(int(rest))
        elif name == "accept-for":
            accept_for(rest)
        elif name == "accept-one":
            accept_one()
        elif name in ("keep", "on", "run"):
            globals()[name](*rest.split(":", 1))
        elif name in ("say", "ack", "dump", "append", "finish"):
            globals()[name](rest)
        else:
            accept()


main()
