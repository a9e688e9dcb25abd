# SPDX-License-Identifier: MIT
"""The descriptor store: what the service manager keeps for the next master. The manager is the test."""
import mmap
import os
import re
import select
import signal
import socket
import stat
import struct
import subprocess
import time

from brood import connect, echo_once, echo_pool, proc_alive, receive, wait_for


def names(one, prefix=""):
    return sorted(name for name in one.notify.stored if name.startswith(prefix))


def kill_master(one):
    """As the kernel does when memory is short."""
    one.note_processes()
    one.kill(signal.SIGKILL)
    one.wait()
    one.status = -signal.SIGKILL


def next_master(brood, one, config=None, **options):
    """The same configuration, with what the manager has kept."""
    text = config or one.config_path.read_text().partition("\n")[2]
    after = brood(text, sockets=one.notify.sockets(), **options)
    after.start()
    return after


def busy(address):
    """A client whose worker has nothing else to do."""
    client = connect(address)
    client.sendall(b"one")
    assert receive(client, 3) == b"one"
    return client


def answered(clients, answer):
    """In whatever order: the one worker goes on when a client has left."""
    left = list(clients)
    while left:
        ready, _, _ = select.select(left, [], [], 60)
        assert ready, f"{len(left)} clients have no answer"
        for client in ready:
            assert receive(client, len(answer)) == answer
            client.close()
            left.remove(client)


def test_own_listeners_are_stored_and_socket_units_are_not(brood, directory):
    with socket.create_server(("127.0.0.1", 0)) as unit:
        one = brood(echo_pool(listen=["127.0.0.1:0", f"unix:{directory}/a b.sock", "systemd:web"]),
                    sockets=[("web", unit)]).start()
        wait_for(lambda: len(one.notify.stored) >= 3, "descriptors in the store")
        port = one.addresses()[0].rpartition(":")[2]
        assert names(one, "brood-listener") == [f"brood-listener/unix%3A{directory}/a%20b.sock"]
        assert names(one, "brood-chosen") == [f"brood-chosen/echo/127.0.0.1%3A{port}"]
        assert len(names(one, "brood-board")) == 1
        assert len(one.notify.stored) == 3
        for _, message in one.notify.messages:
            if "FDSTORE=1" in message:
                assert sum(line.startswith("FDNAME=") for line in message.splitlines()) == 1
                assert "FDPOLL=0" in message.splitlines()
        for name, fds in one.notify.stored.items():
            assert stat.S_ISSOCK(os.fstat(fds[0]).st_mode) == (not name.startswith("brood-board"))
        unit.close()


def test_stop_takes_the_listeners_out_before_it_refuses(brood):
    one = brood(echo_pool(listen=["127.0.0.1:0", "127.0.0.2:0"])).start()
    wait_for(lambda: names(one, "brood-chosen"), "listeners in the store")
    client = busy(one.address())
    one.kill(signal.SIGTERM)
    wait_for(lambda: not names(one, "brood-chosen"), "no listener in the store")
    assert names(one, "brood-board"), "the counters outlive a restart"
    assert one.is_running()
    client.close()
    one.wait()


def test_a_killed_master_loses_nobody(brood, directory):
    """Neither who is served, nor who waits in a queue, nor who comes while there is no master."""
    one = brood(echo_pool(listen=["127.0.0.1:0", f"unix:{directory}/echo.sock"], workers=1, extra="idle_timeout = 60s"),
                leave=["echo.sock"]).start()
    addresses = one.addresses()
    wait_for(lambda: len(one.notify.stored) >= 2, "listeners in the store")
    with busy(addresses[0]) as served:
        waiting = [connect(address) for address in addresses for _ in range(5)]
        for client in waiting:
            client.sendall(b"queued")
        kill_master(one)
        waiting += [connect(address) for address in addresses]
        for client in waiting[-2:]:
            client.sendall(b"queued")
        after = next_master(brood, one)
        assert sorted(after.addresses(origin="store")) == sorted(addresses)
        answered(waiting, b"queued")
        served.sendall(b"two")
        assert receive(served, 3) == b"two", "its worker has outlived the master"
    assert echo_once(addresses[0]) == b"hello" and echo_once(addresses[1]) == b"hello"
    assert after.stop() == 0
    assert not (directory / "echo.sock").exists(), "the path was left to the next master"


def test_what_is_not_wanted_any_more_is_closed_and_taken_out(brood):
    one = brood(echo_pool(listen=["127.0.0.1:0", "127.0.0.2:0"])).start()
    wait_for(lambda: len(names(one, "brood-chosen")) == 2, "listeners in the store")
    first, second = one.addresses()
    kill_master(one)
    after = next_master(brood, one, echo_pool(listen=first), expect=["is not used, and closed"])
    assert after.addresses(origin="store") == [first]
    unused = after.log("is not used, and closed")
    assert len(unused) == 1 and second in unused[0]["line"], unused
    removed = [line for line in after.notify.lines() if line.startswith("FDNAME")]
    assert any(line.endswith(second.replace(":", "%3A")) for line in removed)


def test_a_listener_that_hears_nobody_is_opened_anew(brood, directory):
    """Its path is gone, or is another's."""
    path = directory / "echo.sock"
    one = brood(echo_pool(listen=f"unix:{path}"), leave=["echo.sock"]).start()
    wait_for(lambda: names(one, "brood-listener"), "the listener in the store")
    kill_master(one)
    path.unlink()
    after = next_master(brood, one, expect=["hears nobody"])
    assert after.log("hears nobody")
    assert after.addresses() == after.addresses(origin="opened")
    assert echo_once(after.address()) == b"hello"
    wait_for(lambda: any("FDSTORE=1" in m and "brood-listener" in m for _, m in after.notify.messages), "it is stored")


def test_a_listener_that_was_refusing_hears_again_or_is_opened_anew(brood):
    one = brood(echo_pool()).start()
    address = one.address()
    wait_for(lambda: names(one, "brood-chosen"), "the listener in the store")
    kept = one.notify.stored.pop(names(one, "brood-chosen")[0])[0]
    stored = socket.socket(fileno=os.dup(kept))
    with busy(address):
        one.kill(signal.SIGTERM)
        wait_for(lambda: stored.getsockopt(socket.SOL_SOCKET, 62) != 0, "it refuses")
        kill_master(one)
    after = brood(echo_pool(listen=address), sockets=[("brood-listener/x", stored)])
    after.start()
    stored.close()
    os.close(kept)
    assert echo_once(address) == b"hello"


# ---- the scoreboard, and the workers that are still there ----

STILL_THERE = "a worker of the last master is still there"


def pool_sums(one, pool="echo"):
    """What the workers of a pool have done that are gone."""
    return one.board()["pools"].get(pool, {"connections": 0})


def test_counters_go_on(brood):
    one = brood(echo_pool(workers=2)).start()
    for _ in range(7):
        assert echo_once(one.address()) == b"hello"
    wait_for(lambda: sum(slot["requests"] for slot in one.slots("echo")) == 7, "all counted")
    kill_master(one)
    wait_for(lambda: not one.leftovers(), "its workers' ends")
    after = next_master(brood, one)
    assert after.wait_log("has left its scoreboard")[0]["board"] == "used again"
    sums = pool_sums(after)
    assert (sums["connections"], sums["requests"], sums["latency_count"]) == (7, 7, 7), sums
    assert sums["bytes_in"] == sums["bytes_out"] == 7 * 5
    assert len(names(after, "brood-board")) == 0, "it is in the store already"
    after.stop()


def test_a_survivor_is_watched_and_keeps_its_place(brood):
    one = brood(echo_pool(workers=2, extra="idle_timeout = 60s")).start()
    with busy(one.address()) as client:
        pid = wait_for(lambda: [slot["pid"] for slot in one.slots("echo") if slot["state"] == "waiting"], "it waits")[0]
        kill_master(one)
        after = next_master(brood, one)
        told = after.wait_log(STILL_THERE)
        assert [(row["pid"], row["pool"]) for row in told] == [(pid, "echo")]
        after.wait_workers(2)
        slots = after.slots("echo")
        assert len(slots) == 3 and pid in [slot["pid"] for slot in slots], slots
        for _ in range(5):
            assert echo_once(after.address()) == b"hello"
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
    ended = after.wait_log("a worker of the last master has ended", pid=pid)
    assert ended[0]["connections"] == 1
    wait_for(lambda: len(after.slots("echo")) == 2, "its place is free")
    assert pool_sums(after)["connections"] == 1
    assert after.wait_log("no worker of the last master is left")
    after.stop()


def test_a_survivor_has_its_pools_stop_timeout(brood):
    one = brood(echo_pool(workers=1, extra="idle_timeout = 60s")).start()
    with busy(one.address()) as client:
        kill_master(one)
        config = echo_pool(workers=1, extra="idle_timeout = 60s\nstop_timeout = 1s")
        after = next_master(brood, one, config, expect=["it is killed"])
        pid = after.wait_log(STILL_THERE)[0]["pid"]
        after.wait_log("it is killed", pid=pid)
        after.wait_log("a worker of the last master has ended", pid=pid)
        assert receive(client, 1) == b""
    assert not proc_alive(pid)
    assert echo_once(after.address()) == b"hello"
    after.stop()


def test_a_board_of_another_size_is_kept_until_its_last_writer_is_gone(brood):
    one = brood("max_workers = 16\n" + echo_pool(workers=1, extra="idle_timeout = 60s")).start()
    assert echo_once(one.address()) == b"hello"
    with busy(one.address()) as client:
        board = names(one, "brood-board")
        kill_master(one)
        config = "max_workers = 17\n" + echo_pool(workers=1, extra="idle_timeout = 60s")
        after = next_master(brood, one, config)
        assert after.wait_log("has left its scoreboard")[0]["board"] == "renewed"
        pid = after.wait_log(STILL_THERE)[0]["pid"]
        wait_for(lambda: names(after, "brood-board"), "the new board in the store")
        assert names(after, "brood-board") != board
        assert pid not in [slot["pid"] for slot in after.slots("echo")]
        assert pool_sums(after)["connections"] == 0
        assert not any("FDSTOREREMOVE" in message and board[0] in message for _, message in after.notify.messages)
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
    after.wait_log("no worker of the last master is left")
    assert pool_sums(after)["connections"] == 2
    wait_for(lambda: any("FDSTOREREMOVE" in message and board[0] in message for _, message in after.notify.messages),
             "the old board leaves the store")
    after.stop()


def test_a_board_without_room_is_kept_beside_a_new_one(brood):
    """All places are taken by workers that are still there: the new ones do not wait for them."""
    config = "max_workers = 2\n" + echo_pool(workers=2, extra="idle_timeout = 60s")
    one = brood(config).start()
    clients = [busy(one.address()) for _ in range(2)]
    kill_master(one)
    after = next_master(brood, one)
    assert echo_once(after.address()) == b"hello"
    assert len(after.wait_log(STILL_THERE, count=2)) == 2
    for client in clients:
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
        client.close()
    after.wait_log("no worker of the last master is left")
    wait_for(lambda: pool_sums(after)["connections"] == 2, "their counters")
    after.stop()


def scribble(fd, pid, replacement):
    """As a worker could that was taken over: another pid stands in the slot of PID. 0, as while one is being made."""
    with mmap.mmap(fd, 0) as board:
        header_size, slot_size, slot_count = struct.unpack_from("<III", board, 12)
        pool_size, pool_count = struct.unpack_from("<II", board, 52)
        slots = header_size + pool_size * pool_count
        for at in range(slots, slots + slot_size * slot_count, slot_size):
            if struct.unpack_from("<I", board, at)[0] == pid:
                struct.pack_into("<I", board, at, replacement)
                return
    raise AssertionError(f"no slot of {pid}")


def test_a_process_that_only_has_the_number_of_a_worker_is_left_alone(brood):
    one = brood(echo_pool(workers=2)).start()
    pids = [slot["pid"] for slot in one.slots("echo")]
    born_us = max(slot["born_us"] for slot in one.slots("echo"))
    kill_master(one)
    wait_for(lambda: not one.leftovers(), "its workers' ends")
    # The kernel counts the starts of processes in hundredths of a second.
    wait_for(lambda: time.monotonic() > born_us / 1e6 + 0.05)
    with subprocess.Popen(["sleep", "600"], process_group=0) as younger:
        board = one.notify.stored[names(one, "brood-board")[0]][0]
        scribble(board, pids[0], younger.pid)
        scribble(board, pids[1], 1)
        after = next_master(brood, one, "stop_timeout = 1s\n" + echo_pool(workers=2))
        after.wait_workers(2)
        assert not after.log(STILL_THERE)
        after.stop()
        assert younger.poll() is None
        younger.kill()


def test_a_stop_does_not_wait_for_a_worker_that_may_never_have_been_made(brood):
    """The master was killed between the claim of a slot and the birth of its worker."""
    one = brood(echo_pool(workers=2)).start()
    pids = [slot["pid"] for slot in one.slots("echo")]
    kill_master(one)
    wait_for(lambda: not one.leftovers(), "its workers' ends")
    scribble(one.notify.stored[names(one, "brood-board")[0]][0], pids[0], 0)
    after = next_master(brood, one, "stop_timeout = 1h\n" + echo_pool(workers=2))
    assert after.wait_log("has left its scoreboard")[0]["workers"] == 1
    after.wait_workers(2)
    assert echo_once(after.address()) == b"hello"
    assert after.stop() == 0


def test_a_program_that_does_not_hear_of_the_death_is_asked_to_leave(brood, directory):
    """As one that changes its user: it would serve beside the new ones for ever."""
    server = directory / "server.py"
    server.write_text("""
import ctypes, os, signal, socket, sys
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
listener = socket.socket(fileno=3)
signal.signal(signal.SIGHUP, lambda *_: sys.exit(0))
while True:
    client, _ = listener.accept()
    client.sendall(b"%d" % os.getpid())
    client.close()
""")
    one = brood(f"""
pool "server" {{
	listen = {{"127.0.0.1:0"}}
	handler = "program"
	command = {{"/usr/bin/python3", "{server}"}}
	stop_signal = "HUP"
	stop_timeout = 2s
	workers = 1
}}
""").start()
    with connect(one.address()) as client:
        before = int(receive(client, 20))
    kill_master(one)
    after = next_master(brood, one)
    assert after.wait_log("is asked to leave", pid=before)[0]["signal"] == "SIGHUP"
    after.wait_log("a worker of the last master has ended", pid=before)
    assert not proc_alive(before)
    with connect(after.address()) as client:
        assert int(receive(client, 20)) != before
    after.stop()


def test_what_a_program_says_after_its_masters_death_does_not_kill_it(brood):
    """Nobody reads its standard error any more."""
    one = brood("""
pool "test" {
	listen = {"127.0.0.1:0"}
	handler = "inetd"
	command = {"sh", "-c", "echo begin; read line; echo complaint >&2; echo answer"}
	workers = 1
}
""").start()
    with connect(one.address()) as client:
        assert receive(client, 6) == b"begin\n"
        kill_master(one)
        client.sendall(b"line\n")
        assert receive(client, 7) == b"answer\n"


def test_a_stop_waits_for_survivors_and_a_quit_does_not(brood):
    one = brood(echo_pool(workers=1, extra="idle_timeout = 60s")).start()
    client = busy(one.address())
    kill_master(one)
    after = next_master(brood, one)
    after.wait_log(STILL_THERE)
    after.kill(signal.SIGTERM)
    after.wait_log("stopping")
    client.sendall(b"two")
    assert receive(client, 3) == b"two"
    assert after.is_running()
    client.close()
    assert after.wait() == 0
    assert after.log("a worker of the last master has ended")


def test_a_quit_ends_survivors(brood):
    one = brood(echo_pool(workers=1, extra="idle_timeout = 60s")).start()
    with busy(one.address()) as client:
        kill_master(one)
        after = next_master(brood, one, expect=["ending all workers", "it is killed"])
        pid = after.wait_log(STILL_THERE)[0]["pid"]
        assert after.stop(signal.SIGQUIT) == 0
        assert receive(client, 1) == b""
        assert not proc_alive(pid)


def test_a_start_that_fails_leaves_everything_to_the_next(brood, directory):
    """The queue, the path of a unix socket, and the workers that are still there."""
    good = echo_pool(listen=f"unix:{directory}/echo.sock", workers=1, extra="idle_timeout = 60s")
    one = brood(good, leave=["echo.sock"]).start()
    address = one.address()
    wait_for(lambda: len(one.notify.stored) >= 2, "descriptors in the store")
    with busy(address) as served, connect(address) as queued:
        queued.sendall(b"queued")
        kill_master(one)
        failing = brood(re.sub('handler = .*', 'handler = "program"\ncommand = {"/bin/false"}', good)
                        .replace("echo {  }", "").replace("idle_timeout = 60s", ""),
                        sockets=one.notify.sockets(), status=75, leave=["echo.sock"], expect=["."])
        failing.spawn()
        assert failing.wait() == 75, failing.log_text()
        assert not any("FDSTOREREMOVE" in message for _, message in failing.notify.messages)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            unbound = brood(good + echo_pool("other", f"127.0.0.1:{port}"), sockets=one.notify.sockets(), status=69,
                            leave=["echo.sock"], expect=["cannot listen"])
            unbound.spawn()
            assert unbound.wait() == 69
        after = next_master(brood, one)
        assert receive(queued, 6) == b"queued"
        served.sendall(b"two")
        assert receive(served, 3) == b"two"
        assert after.wait_log(STILL_THERE)
    assert after.stop() == 0
