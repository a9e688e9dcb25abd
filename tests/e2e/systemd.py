# SPDX-License-Identifier: MIT
"""A throw-away machine with a real systemd as its first process, in name spaces of its own (systemd-boot.sh)."""
import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from brood import IS_ROOT, proc_children, wait_for

BOOT = pathlib.Path(__file__).with_name("systemd-boot.sh")
SYSTEMD = pathlib.Path("/lib/systemd/systemd")
PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


def cgroup_mount():
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _, where, kind, options, *_ = line.split()
            if kind == "cgroup2" and "rw" in options.split(","):
                return pathlib.Path(where)
    return None


def why_not():
    """Why no such machine can be made here; None if it can, as far as one can tell without trying."""
    if not IS_ROOT:
        return "needs root"
    if not SYSTEMD.exists():
        return "no systemd is installed"
    if not shutil.which("unshare") or not shutil.which("nsenter") or not shutil.which("ip"):
        return "no unshare, nsenter or ip"
    mount = cgroup_mount()
    if mount is None:
        return "no writable cgroup2 mount"
    probe = mount / f"brood-probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return f"no cgroup can be made: {error}"
    result = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--net", "--uts", "--ipc", "--cgroup", "true"],
                            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    return None if result.returncode == 0 else f"unshare: {result.stderr.decode().strip()}"


class Machine:
    """with Machine(tree) as machine: machine.run("systemctl", "start", "brood")

    TREE is called with a directory, and puts there what the machine has besides the files of this one.
    """

    def __init__(self, tree):
        self.tree = tree
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="brood-systemd-"))
        self.cgroup = cgroup_mount() / self.work.name
        self.outer = None
        self.init = None

    def __enter__(self):
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *unused):
        self.close()

    def _boot(self):
        (self.work / "tree").mkdir()
        self.tree(self.work / "tree")
        self.cgroup.mkdir()
        with open(self.work / "console", "wb") as console:
            self.outer = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child",
                 "bash", BOOT, self.work, self.cgroup], stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.init = wait_for(self._find_init, "systemd as the first process")
        wait_for(self._is_up, "the machine's start")

    def console(self):
        return (self.work / "console").read_text(errors="replace")

    def _find_init(self):
        assert self.outer.poll() is None, f"it did not come up:\n{self.console()}"
        for pid in proc_children(self.outer.pid):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe") == str(SYSTEMD.resolve()):
                    return pid
        return None

    def _is_up(self):
        return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")

    def inside(self, *command):
        """COMMAND as it has to be run from here to run there."""
        return ["nsenter", "-t", str(self.init), "-a", "env", "-i", f"PATH={PATH}", "HOME=/root", *map(str, command)]

    def run(self, *command, check=True, text=None):
        result = subprocess.run(self.inside(*command), input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, timeout=120, check=False)
        if check and result.returncode != 0:
            raise AssertionError(f"{command}: status {result.returncode}\n{result.stdout}")
        return result.stdout

    def show(self, unit, name):
        return self.run("systemctl", "show", "-p", name, "--value", unit).strip()

    def write(self, path, text):
        self.run("install", "-D", "-m", "644", "/dev/stdin", path, text=text)

    def close(self):
        if self.init is not None:
            self.run("systemctl", "--force", "--force", "poweroff", check=False)
        if self.outer is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.outer.wait(10)
            self.outer.kill()
            self.outer.wait(60)
        with contextlib.suppress(AssertionError):
            wait_for(self._remove_cgroup, "the cgroup's end", 20)
        shutil.rmtree(self.work, ignore_errors=True)

    def _remove_cgroup(self):
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        return not self.cgroup.exists()
