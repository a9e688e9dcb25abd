# SPDX-License-Identifier: MIT
"""What the benchmark needs of the machine: a network of its own, CPU accounting, processes, memory, its description."""

import ctypes
import fcntl
import os
import platform
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
CGROUP_V2 = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
CGROUP_V1 = Path("/sys/fs/cgroup/cpuacct")
TICKS_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


def enter_own_network():
    """Moves this process into a network namespace of its own, where nothing else talks and its port range can be set.

    There clients have 8,192 ports: after the first fraction of a second every connection meets its predecessor's
    TIME_WAIT, so all samples of all servers find the kernel's tables in one state. Returns whether it worked."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNET) != 0:
        return False
    with socket.socket() as any_socket:
        name = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, name))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("32768 40959\n")
    return True


class Ports:
    """Gives each server of a run a port of its own, always the same one, below the range of the clients' ports."""

    def __init__(self):
        self.by_name = {}

    def of(self, name):
        if name not in self.by_name:
            self.by_name[name] = self.free_port()
        return self.by_name[name]

    def free_port(self):
        for port in range(20000, 32768):
            if port in self.by_name.values():
                continue
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    continue
        raise OSError("no free port")


class Cgroup:
    """A control group that counts the CPU time of all that ever ran in it, the dead included."""

    def __init__(self, path, usage_us):
        self.path = path
        self.read_usage_us = usage_us

    def join(self):
        """For a child between fork and exec."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def usage_us(self):
        return self.read_usage_us(self.path)

    def pids(self):
        return [int(line) for line in (self.path / "cgroup.procs").read_text().split()]

    def remove(self):
        """Kills whoever is left, and removes the group."""
        deadline = time.monotonic() + 10
        while True:
            try:
                for pid in self.pids():
                    kill_quietly(pid)
                self.path.rmdir()
                return
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)


def usage_us_v2(path):
    for line in (path / "cpu.stat").read_text().splitlines():
        key, value = line.split()
        if key == "usage_usec":
            return int(value)
    raise OSError("no usage_usec in cpu.stat")


def usage_us_v1(path):
    return int((path / "cpuacct.usage").read_text()) / 1000


class Cgroups:
    """Makes control groups, of version 2 or 1, whichever there is. `kind` is "v2", "v1", or None where there is none."""

    def __init__(self):
        self.kind, self.root, self.usage = self.find()
        self.count = 0

    @staticmethod
    def find():
        if not os.access("/sys/fs/cgroup", os.R_OK) or os.geteuid() != 0:
            return None, None, None
        for root in CGROUP_V2:
            if (root / "cgroup.controllers").exists() and (root / "cpu.stat").exists():
                return "v2", root, usage_us_v2
        if (CGROUP_V1 / "cpuacct.usage").exists():
            return "v1", CGROUP_V1, usage_us_v1
        return None, None, None

    def make(self):
        if not self.kind:
            return None
        self.count += 1
        path = self.root / f"brood-bench-{os.getpid()}-{self.count}"
        path.mkdir()
        return Cgroup(path, self.usage)


class BusyClock:
    """How busy the machine was with anything but the server and the load generator: the measure of its quiet."""

    def __init__(self):
        self.start = self.read()
        self.started = time.monotonic()

    @staticmethod
    def read():
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        ticks = [int(field) for field in fields]
        user, nice, system, _idle, _iowait, irq, softirq, steal = ticks[:8]
        return (user + nice + system + irq + softirq) * TICKS_US, steal * TICKS_US

    def foreign_share(self, own_us):
        """The share of all CPUs that went to others (and to the hypervisor) since the start."""
        busy, steal = (now - then for now, then in zip(self.read(), self.start))
        available = (time.monotonic() - self.started) * 1e6 * os.cpu_count()
        return max(0.0, (busy + steal - own_us) / available)


def kill_quietly(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def parent_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_alive(pid):
    """Whether there is such a process, and it has not ended already."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(pid):
    """The living children of a process of one thread."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return [int(entry.name) for entry in Path("/proc").iterdir()
                if entry.name.isdigit() and parent_of(int(entry.name)) == pid]


def title_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def kill_child(parent, pid):
    """Kills PID only if it is a child of PARENT, however fast pids are used again. Returns whether it did."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if parent_of(pid) != parent:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)


def family_usage(pid):
    """(the CPU time in µs, the page faults of the process itself, those of all children it has waited for)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1000, int(fields[7]), int(fields[8])


def pss_kb(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def private_kb(pid):
    return sum(int(line.split()[1]) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
               if line.startswith("Private_"))


def first_line(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().split("\n")[0]


def package_versions(*names):
    """Of servers that do not tell their own. An installed one is no more than what dpkg says it is."""
    try:
        listed = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\\n", *names], stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, text=True, timeout=10).stdout
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split(" ", 1) for line in listed.splitlines() if not line.endswith(" "))


def describe():
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    return {
        "kernel": platform.release(),
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg(),
        "nginx": first_line("nginx", "-v"),
        "haproxy": first_line("haproxy", "-v"),
        "lighttpd": first_line("lighttpd", "-v"),
        "apache2": first_line("apache2", "-v"),
        "wrk": first_line("wrk", "-v"),
        "packages": package_versions("ucspi-tcp", "ucspi-unix", "ipsvd", "xinetd", "s6", "s6-networking", "runit",
                                     "php8.2-fpm"),
    }
