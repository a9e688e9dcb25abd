# SPDX-License-Identifier: MIT
"""Starts that succeed and starts that fail: the exit status, the reason, and that nothing is left behind."""
import os
import pathlib
import socket
import subprocess

import pytest
from brood import BINARY, NOBODY, connect, echo_once, echo_pool, proc_fds, wait_for
from conftest import root_only

USAGE, UNAVAILABLE, SYSTEM, START, PERMISSION, CONFIG = 64, 69, 71, 75, 77, 78


def run(*args, **options):
    return subprocess.run([BINARY, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False, **options)


def start_fails(brood, config, status, *patterns, **options):
    """Starts on CONFIG, which must fail with STATUS, and one of the lines must have each of PATTERNS."""
    one = brood(config, status=status, expect=[".*"], **options)
    one.spawn()
    assert one.wait() == status, one.log_text()
    assert "READY=1" not in one.notify.lines()
    assert any(all(pattern in row["line"] for pattern in patterns) for row in one.log()), one.log_text()
    return one


@pytest.mark.parametrize("args", [["--nonsense"], ["-c"], ["-x"], ["stray"], ["-l", "loud"], ["-L", "nowhere"]])
def test_wrong_command_line_is_64(args):
    result = run(*args)
    assert result.returncode == USAGE
    assert result.stderr and not result.stdout


@root_only
def test_without_dev_null_says_so():
    """As in a container or a chroot that was put together by hand."""
    script = 'mount -t tmpfs none /dev && exec "$0" --version <&-'
    result = subprocess.run(["unshare", "--mount", "sh", "-c", script, BINARY], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            timeout=60, check=False)
    if "unshare" in result.stderr or "mount" in result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode == SYSTEM
    assert "/dev/null" in result.stderr and not result.stdout


def test_help_and_version():
    for option in ("-h", "--help"):
        result = run(option)
        assert result.returncode == 0 and result.stdout and not result.stderr
        for word in ("--config", "--check", "--dump", "--daemonize", "--pidfile", "--log-level", "--log-target",
                     "--version", "--help"):
            assert word in result.stdout
    for option in ("-V", "--version"):
        result = run(option)
        assert result.returncode == 0 and result.stdout.startswith("brood 0."), result.stdout


def test_missing_configuration_is_78(directory):
    result = run("-c", directory / "absent.conf")
    assert result.returncode == CONFIG
    assert "absent.conf" in result.stderr and "No such file" in result.stderr


def test_every_error_of_a_configuration_is_reported_and_nothing_starts(brood):
    config = echo_pool(extra="colour = red") + echo_pool("other", listen="nonsense", workers=0)
    one = brood(config, status=CONFIG, expect=[".*"])
    one.spawn()
    assert one.wait() == CONFIG
    text = one.log_text()
    assert text.count("brood.conf:") >= 3, text
    for word in ("colour", "nonsense", "workers"):
        assert word in text


def test_check_says_ok_or_every_error(directory):
    good, bad = directory / "good.conf", directory / "bad.conf"
    good.write_text(echo_pool())
    bad.write_text(echo_pool(extra="colour = red"))
    result = run("--check", "-c", good)
    assert (result.returncode, result.stderr) == (0, "") and "OK" in result.stdout
    result = run("-t", "-c", bad)
    assert result.returncode == CONFIG and f"{bad}:" in result.stderr and "colour" in result.stderr
    assert "OK" not in result.stdout


def test_dump_is_accepted_and_dumps_to_itself(directory):
    first, second = directory / "first.conf", directory / "second.conf"
    first.write_text(echo_pool() + echo_pool("web", listen=["127.0.0.1:0", "unix:@brood-dump"], workers=3))
    dumped = run("-T", "-c", first)
    assert dumped.returncode == 0
    second.write_text(dumped.stdout)
    assert run("--check", "-c", second).returncode == 0
    assert run("--dump", "-c", second).stdout == dumped.stdout


def test_starts_serves_and_stops(brood):
    one = brood(echo_pool(workers=3)).start()
    assert len(one.wait_workers(3)) == 3
    assert echo_once(one.address(), b"hello") == b"hello"
    assert one.stop() == 0


def test_first_line_says_version_configuration_and_listeners_with_origin(brood):
    one = brood(echo_pool(listen=["127.0.0.1:0", "unix:@brood-first-line"])).start()
    one.wait_log("starting")
    first = one.log()[0]["line"]
    version = run("--version").stdout.split()[1]
    assert version in first and str(one.config_path) in first
    for address in one.addresses():
        assert address in first
    assert first.count("opened") == 2


def test_port_zero_is_logged_as_the_port_that_was_chosen(brood):
    one = brood(echo_pool(listen=["127.0.0.1:0", "127.0.0.1:0"])).start()
    ports = {a.rpartition(":")[2] for a in one.addresses()}
    assert len(ports) == 2 and "0" not in ports
    for address in one.addresses():
        assert echo_once(address) == b"hello"


# ---- binding ----

@pytest.fixture
def taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"127.0.0.1:{other.getsockname()[1]}"


def test_address_in_use_is_69_and_nothing_is_left(brood, taken, directory):
    path = directory / "first.sock"
    config = echo_pool("first", listen=f"unix:{path}") + echo_pool("second", listen=taken)
    one = start_fails(brood, config, UNAVAILABLE, taken, "Address already in use")
    assert not path.exists()
    assert not one.children()


def test_address_of_another_machine_is_69(brood):
    start_fails(brood, echo_pool(listen="192.0.2.1:0"), UNAVAILABLE, "192.0.2.1:0", "Cannot assign requested address")


def test_freebind_binds_an_address_that_is_not_there(brood):
    one = brood(echo_pool(listen="192.0.2.1:0", extra="freebind = true")).start()
    assert one.address().startswith("192.0.2.1:")


def test_two_listeners_on_one_port_are_69(brood, directory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = [f"127.0.0.1:{port}", f"0.0.0.0:{port}"]
    start_fails(brood, echo_pool(listen=listen), UNAVAILABLE, f":{port}", "Address already in use")


def test_unknown_host_fails_and_names_it(brood):
    one = brood(echo_pool(listen="host.invalid:80"), status=None, expect=[".*"])
    one.status = one.spawn().wait()
    assert one.status in (UNAVAILABLE, CONFIG)
    assert "host.invalid" in one.log_text()


@root_only
def test_low_port_as_ordinary_user(brood):
    if int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1:
        pytest.skip("every port is unprivileged here")
    one = brood(echo_pool(listen="127.0.0.1:1"), user=NOBODY, status=None, expect=[".*"])
    one.status = one.spawn().wait()
    assert one.status in (UNAVAILABLE, PERMISSION)
    assert "127.0.0.1:1" in one.log_text() and "Permission denied" in one.log_text()


def test_unknown_user_is_78(brood):
    start_fails(brood, 'user = "no-such-user-here"\n' + echo_pool(), CONFIG, "no-such-user-here")


@root_only
def test_another_user_as_ordinary_user_is_one_clear_message(brood):
    one = brood('user = "daemon"\n' + echo_pool(), user=NOBODY, status=None, expect=[".*"])
    one.spawn()
    wait_for(lambda: one.process.poll() is not None or "READY=1" in one.notify.lines(), "an answer")
    one.status = one.process.poll() if one.process.poll() is not None else 0
    assert one.status in (PERMISSION, START)
    rows = [row for row in one.log() if "daemon" in row["line"]]
    assert len(rows) == 1, one.log_text()


@root_only
def test_ordinary_user_serves(brood):
    one = brood(echo_pool(), user=NOBODY).start()
    assert echo_once(one.address()) == b"hello"


def test_unwritable_log_file_fails_the_start(brood, directory):
    one = brood(echo_pool(), args=["-L", str(directory / "absent" / "log")], status=None, expect=[".*"])
    one.status = one.spawn().wait()
    assert one.status in (SYSTEM, CONFIG, PERMISSION)
    assert str(directory / "absent" / "log") in one.log_text()


@root_only
def test_pool_whose_workers_fail_before_ready_is_75(brood, directory):
    """The page's directory is there, and closed to the user that the workers become."""
    (directory / "closed").mkdir(mode=0o700)
    root = directory / "closed" / "www"
    root.mkdir()
    config = f"""
pool "web" {{
	listen = {{"127.0.0.1:0"}}
	handler = "http"
	workers = 3
	user = "daemon"
	backoff_min = 1ms
	backoff_max = 10ms
	http {{ root = "{root}" }}
}}
"""
    one = start_fails(brood, echo_pool() + config, START, "worker died", "before ready")
    assert str(root) in one.log_text() and "Permission denied" in one.log_text()
    assert one.log("worker died", pool="web") and not one.log("worker died", pool="echo")


def test_listeners_accept_only_when_all_are_bound(brood, taken):
    """Binding and listening are separate steps: a client of the first listener is never accepted by a failing start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start_fails(brood, echo_pool(listen=[f"127.0.0.1:{port}", taken]), UNAVAILABLE, taken)
    with pytest.raises(ConnectionRefusedError):
        connect(f"127.0.0.1:{port}")


def test_master_holds_no_stray_descriptors(brood):
    """An inherited descriptor is not passed on to workers, and starting leaves nothing open by mistake."""
    one = brood(echo_pool()).start()
    for target in proc_fds(one.pid).values():
        assert target.startswith(("socket:", "anon_inode:", "/memfd:", "/dev/null", "pipe:")) or \
            target == str(one.log_path), proc_fds(one.pid)


def test_stdin_and_stdout_closed(brood):
    """Started without descriptors 0 and 1: no socket of brood's may land there."""
    one = brood(echo_pool())
    one.limits = {}
    command = one.command
    one.command = lambda: ["sh", "-c", 'exec "$@" <&- >&-', "sh", *command()]
    one.start()
    for pid in [one.pid, *one.workers()]:
        fds = proc_fds(pid)
        for number in (0, 1):
            assert fds.get(number, "/dev/null") == "/dev/null", fds
    assert echo_once(one.address()) == b"hello"


def test_relative_configuration_path(brood):
    one = brood(echo_pool())
    one.command = lambda: [str(BINARY), "-c", "brood.conf"]
    one.start()
    assert echo_once(one.address()) == b"hello"
    assert os.path.exists(one.config_path)
