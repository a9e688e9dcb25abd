#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long clients who take their time hold workers: the table of doc/slow-clients.md.

Each attack (slowhttptest's, and clients that connect and say nothing) meets a pool of 8 workers by itself, under each
set of limits, while an honest client asks for a file once a second. The times are the server's own, from the
scoreboard, looked at twenty times a second. Runs of one attack go side by side: they wait, and need no processor."""
import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
TOP = Path(__file__).resolve().parents[2]

WORKERS = 8
LIMITS = {
    "none": "idle_timeout = off\nread_timeout = off\nwrite_timeout = off\nrequest_timeout = off",
    "default": "",
    "tight": "idle_timeout = 2s\nread_timeout = 5s\nwrite_timeout = 5s\nrequest_timeout = 10s",
}
SLOWHTTPTEST = {
    "slow headers": ("small.txt", "-H", "-i", "1"),
    "slow body": ("small.txt", "-B", "-i", "1", "-x", "8"),
    "slow read": ("large.bin", "-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "512"),
}
ATTACKS = [*SLOWHTTPTEST, "silence", "silence, defer_accept = off"]
HELD = ("busy", "waiting")


def parse():
    parser = argparse.ArgumentParser(prog="slow_clients.py", description=__doc__)
    parser.add_argument("--build", type=Path, default=TOP / "build", metavar="DIR", help="a build directory with tests")
    parser.add_argument("--seconds", type=float, default=60, metavar="S", help="how long each attack lasts (60)")
    parser.add_argument("--clients", type=int, default=32, metavar="N", help="of each attack (32)")
    parser.add_argument("--only", choices=ATTACKS, action="append", help="only this attack (may be given again)")
    return parser.parse_args()


def pool(root, attack, limits):
    more = "defer_accept = off" if "defer_accept" in attack else ""
    return (f'pool "web" {{\nlisten = "127.0.0.1:0"\nhandler = http\nworkers = {WORKERS}\n{LIMITS[limits]}\n{more}\n'
            f'http {{ root = "{root}" }}\n}}\n')


class Run(threading.Thread):
    """One attack on one daemon."""

    def __init__(self, module, settings, root, attack, limits):
        super().__init__()
        self.module, self.settings, self.attack, self.limits = module, settings, attack, limits
        self.home = Path(tempfile.mkdtemp(dir=root))
        self.home.chmod(0o755)
        self.one = module.Brood(self.home, pool(root, attack, limits)).start()
        self.samples, self.spans, self.waits, self.unserved = [], {}, [], 0

    def look(self, until):
        while time.monotonic() < until:
            now = time.monotonic()
            held = [slot for slot in self.one.slots("web") if slot["state"] in HELD]
            self.samples.append(len(held))
            for slot in held:
                self.spans.setdefault((slot["pid"], slot["connections"]), [now, now])[1] = now
            time.sleep(0.05)

    def ask(self, until):
        """Gives up, as a person would, after ten seconds."""
        while time.monotonic() < until:
            begun = time.monotonic()
            try:
                with self.module.connect(self.one.address("web"), timeout=10) as client:
                    client.sendall(b"GET /small.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    assert self.module.receive_all(client).endswith(b"small\n")
                self.waits.append(time.monotonic() - begun)
            except (OSError, AssertionError):
                self.unserved += 1
            time.sleep(max(0, begun + 1 - time.monotonic()))

    @contextlib.contextmanager
    def attacked(self):
        address = self.one.address("web")
        if self.attack not in SLOWHTTPTEST:
            with contextlib.ExitStack() as stack:
                for _ in range(self.settings.clients):
                    stack.enter_context(self.module.connect(address))
                yield
            return
        path, *options = SLOWHTTPTEST[self.attack]
        process = subprocess.Popen(
            ["slowhttptest", "-c", str(self.settings.clients), "-r", str(self.settings.clients),
             "-l", str(int(self.settings.seconds)), "-p", "60", "-u", f"http://{address}/{path}", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def run(self):
        until = time.monotonic() + self.settings.seconds
        with self.attacked():
            # The attack has had its second to begin.
            time.sleep(1)
            others = [threading.Thread(target=work, args=(until,)) for work in (self.look, self.ask)]
            for other in others:
                other.start()
            for other in others:
                other.join()
        self.one.process.kill()
        self.one.process.wait()

    def row(self):
        longest = max((last - first for first, last in self.spans.values()), default=0)
        full = sum(1 for held in self.samples if held == WORKERS) / len(self.samples)
        asked = len(self.waits) + self.unserved
        wait = f"{statistics.median(self.waits) * 1000:.0f} ms" if self.waits else "-"
        whole = " (to the end)" if longest > self.settings.seconds - 3 else ""
        return (f"| {self.attack} | {self.limits} | {max(self.samples)} of {WORKERS} | {longest:.1f} s{whole} | "
                f"{full:.0%} | {len(self.waits)} of {asked} | {wait} |")


def main():
    settings = parse()
    os.environ.update(BROOD_BUILD=str(settings.build), BROOD_BIN=str(settings.build / "src/brood"))
    sys.path.insert(0, str(TOP / "tests/e2e"))
    import brood as module  # noqa: PLC0415: it reads the environment
    print("| attack | limits | workers held at most | one worker held, longest | all held | honest client served | "
          "its wait, median |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="brood-slow-") as directory:
        root = Path(directory)
        root.chmod(0o755)
        (root / "small.txt").write_text("small\n")
        with open(root / "large.bin", "wb") as file:
            file.truncate(64 << 20)
        for attack in settings.only or ATTACKS:
            runs = [Run(module, settings, root, attack, limits) for limits in LIMITS]
            for run in runs:
                run.start()
            for run in runs:
                run.join()
            for run in runs:
                print(run.row(), flush=True)


if __name__ == "__main__":
    main()
