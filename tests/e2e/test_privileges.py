# SPDX-License-Identifier: MIT
"""Whom workers become, and that the death signal still works after that."""
import ctypes
import grp
import os
import pwd
import signal
import socket

import pytest
from brood import NOBODY, Brood, connect, echo_once, echo_pool, kill, proc_alive, proc_fds, proc_status, receive, wait_for
from conftest import root_only

pytestmark = root_only


def ids(pid):
    status = proc_status(pid)
    return ([int(n) for n in status["Uid"].split()], [int(n) for n in status["Gid"].split()],
            sorted(int(n) for n in status["Groups"].split()))


def user_with_groups():
    """A user of this machine with supplementary groups, or any other."""
    for group in grp.getgrall():
        for name in group.gr_mem:
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
    return pwd.getpwnam("daemon")


def test_user_brings_its_group_and_supplementary_groups(brood):
    user = user_with_groups()
    one = brood(f'user = "{user.pw_name}"\n' + echo_pool()).start()
    for pid in one.wait_workers(2):
        uids, gids, groups = ids(pid)
        assert uids == [user.pw_uid] * 4 and gids == [user.pw_gid] * 4
        assert groups == sorted(os.getgrouplist(user.pw_name, user.pw_gid))
    assert ids(one.pid)[0] == [0] * 4, "the master keeps what it was started with"
    assert echo_once(one.address()) == b"hello"


def test_pool_over_global_and_group_over_users(brood):
    one = brood('user = "daemon"\n' + echo_pool("a") +
                echo_pool("b", extra=f'user = "{NOBODY}"\n\tgroup = "4321"')).start()
    one.wait_workers(4)
    for pid in one.workers("a"):
        assert ids(pid)[0] == [1] * 4
    for pid in one.workers("b"):
        uids, gids, groups = ids(pid)
        assert uids == [NOBODY] * 4 and gids == [4321] * 4 and 0 not in groups


def test_no_supplementary_group_of_root_is_kept(brood):
    old = os.getgroups()
    os.setgroups([0, 4, 7777])
    try:
        one = brood('user = "61111"\ngroup = "61111"\n' + echo_pool()).start()
    finally:
        os.setgroups(old)
    for pid in one.wait_workers(2):
        assert not set(ids(pid)[2]) & {0, 4, 7777}, ids(pid)


def test_workers_cannot_become_root_again(brood):
    one = brood('user = "daemon"\n' + echo_pool()).start()
    for pid in one.wait_workers(2):
        status = proc_status(pid)
        assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0


def test_low_port_with_dropped_privileges(brood):
    """Privileges are dropped after binding."""
    for port in range(800, 1000):
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
            break
        except OSError:
            continue
    one = brood('user = "daemon"\n' + echo_pool(listen=f"127.0.0.1:{port}")).start()
    assert echo_once(one.address()) == b"hello"
    one.kill(signal.SIGTTIN)
    one.wait_workers(3)


def test_death_signal_works_after_the_change_of_user(brood):
    """It is lost at setresuid(2) where it was set before."""
    one: Brood = brood('user = "daemon"\n' + echo_pool(workers=4, extra="idle_timeout = 60s"),
                       status=-signal.SIGKILL).start()
    one.wait_workers(4)
    with connect(one.address()) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        one.note_processes()
        kill(one.pid, signal.SIGKILL)
        one.wait()
        wait_for(lambda: sum(map(proc_alive, one.known)) <= 2, "the idle workers' end")
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
    wait_for(lambda: not one.leftovers(), "the last worker's end")


def test_workers_are_dumpable_again(brood):
    """A change of user makes a process undumpable: its /proc would be root's, and a crash would leave no core."""
    one = brood('user = "daemon"\n' + echo_pool()).start()
    for pid in one.wait_workers(2):
        assert os.stat(f"/proc/{pid}/status").st_uid == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
def test_stop_of_workers_of_another_user(brood, number):
    one = brood('user = "daemon"\n' + echo_pool(), expect=["ending all workers"]).start()
    assert one.stop(number) == 0


def fetch_descriptor(pid, number):
    """A descriptor of our own for what PID has open as NUMBER: pidfd_getfd(2)."""
    SYS_pidfd_getfd = 438
    pidfd = os.pidfd_open(pid)
    try:
        fd = ctypes.CDLL(None, use_errno=True).syscall(SYS_pidfd_getfd, pidfd, number, 0)
    finally:
        os.close(pidfd)
    if fd < 0:
        pytest.skip("pidfd_getfd: " + os.strerror(ctypes.get_errno()))
    return fd


def test_a_worker_cannot_stop_the_master_by_the_eventfd(brood):
    """O_NONBLOCK belongs to the open file, which a worker that was taken over shares with the master."""
    one = brood(f'user = "{NOBODY}"\n' + echo_pool(), expect=["died"]).start()
    worker = one.wait_workers(2)[0]
    number = next(fd for fd, name in proc_fds(worker).items() if "eventfd" in name)
    shared = fetch_descriptor(worker, number)
    os.set_blocking(shared, True)
    kill(worker, signal.SIGKILL)
    one.wait_log("worker died")
    one.wait_workers(2)
    assert echo_once(one.address()) == b"hello"
    assert one.stop() == 0
    os.close(shared)


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR], ids=["WR", "RDWR"])
def test_a_worker_cannot_silence_the_log(brood, how):
    """shutdown(2) belongs to the socket, which a worker that was taken over shares with the master."""
    one = brood(f'user = "{NOBODY}"\n' + echo_pool(), expect=["died", "shut down", "dropped"]).start()
    worker = one.wait_workers(2)[0]
    for number, name in proc_fds(worker).items():
        if number > 2 and name.startswith("socket:"):
            with socket.socket(fileno=fetch_descriptor(worker, number)) as shared:
                if shared.type == socket.SOCK_SEQPACKET:
                    shared.shutdown(how)
    one.wait_log("a worker has shut down the log's socket: a new one is for new workers")
    one.kill(signal.SIGTTIN)
    one.wait_log("pool resized")
    assert one.stop() == 0
    one.wait_log("stopped")


def test_a_tcp_listener_that_was_shut_down_is_said(brood):
    one = brood(f'user = "{NOBODY}"\n' + echo_pool(), expect=["died", "cannot accept"]).start()
    worker = one.wait_workers(2)[0]
    sockets = [socket.socket(fileno=fetch_descriptor(worker, number)) for number, name in proc_fds(worker).items()
               if number > 2 and name.startswith("socket:")]
    for shared in sockets:
        if shared.type == socket.SOCK_STREAM:
            shared.shutdown(socket.SHUT_RDWR)
        shared.close()
    one.wait_log("cannot accept connections, and leaves")
    assert one.stop() == 0
