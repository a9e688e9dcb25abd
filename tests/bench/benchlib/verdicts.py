# SPDX-License-Identifier: MIT
"""What was to be reached, and whether it was.

A verdict is "met", "not met", or "void": void where the floor against itself does not hold 1 in the same measure, or
where a measurement is missing. A ratio is of brood to the other; for CPU it is the other's to brood's, so that more is
better throughout."""

import itertools
from dataclasses import asdict, dataclass
from typing import Optional

from .stats import differences, ratios, summary

FLOOR_CALLS = {"accept4", "close"}
READS = {"read", "recvfrom", "recvmsg"}
WRITES = {"write", "sendto", "sendmsg"}


@dataclass
class Verdict:
    name: str
    target: str
    outcome: str  # "met", "not met", "void"
    value: Optional[float] = None
    low: Optional[float] = None
    high: Optional[float] = None
    why: str = ""


def column(samples, name, key):
    return [entry and entry[key] for entry in samples.get(name, [])]


def ratio_of(samples, above, below, key):
    return summary(ratios(column(samples, above, key), column(samples, below, key)))


def control(samples, key, base="floor"):
    """The floor against itself, as a reason to void, or None."""
    return even(ratio_of(samples, f"{base} again", base, key), 1, base)


def even(noise, wanted, base="floor"):
    """A reason to void what is known of a comparison of BASE with itself, or None."""
    if not noise:
        return f"{'the floor' if base == 'floor' else base} was not measured twice"
    if not noise["low"] <= wanted <= noise["high"]:
        return (f"{'the floor' if base == 'floor' else base} against itself gave {noise['median']:.3f} "
                f"({noise['low']:.3f} to {noise['high']:.3f})")
    return None


def beyond_floor(found, name):
    """How much later than in the floor the last of a burst is being served, in milliseconds."""
    return summary(differences(column(found, name, "last_ms"), column(found, "floor", "last_ms")))


def way_to_floor(found, name, way):
    """How much longer than the floor it takes to replace a worker that was killed in this way."""
    return ratio_of(found, name, "floor", f"{way}_us")


def judge(name, target, ratio, holds, void=None):
    """HOLDS says of the summary whether the target is reached."""
    if not ratio:
        return Verdict(name, target, "void", why="not measured")
    outcome = "void" if void else "met" if holds(ratio) else "not met"
    return Verdict(name, target, outcome, ratio["median"], ratio["low"], ratio["high"], void or "")


def judge_syscalls(results):
    yield judge_calls(results, "brood", "system calls of a connection",
                      "accept4, one read, one write, close, and no other", FLOOR_CALLS)
    yield judge_calls(results, "brood messages", "system calls of a message", "one read, one write, and no other", set())


def judge_calls(results, program, name, target, others):
    calls = (results.get("syscalls") or {}).get(program)
    if not calls:
        return Verdict(name, target, "void", why="not measured")
    # A call now and then (fewer than one in a hundred connections) is the idle time-out's or strace's, not a connection's.
    each = {call: count for call, count in calls["each"].items() if count >= 0.01}
    reads = [call for call in each if call in READS]
    writes = [call for call in each if call in WRITES]
    right = (set(each) == others | set(reads) | set(writes) and len(reads) == len(writes) == 1 and
             all(abs(count - 1) <= 0.02 for count in each.values()))
    return Verdict(name, target, "met" if right else "not met", calls["total"],
                   why=", ".join(f"{call} {count:g}" for call, count in each.items()))


def judge_echo(results):
    samples = results.get("echo") or {}
    reaches = lambda ratio: ratio["high"] >= 0.97
    yield judge("rate, to the floor with the same options", "95 % interval reaches 0.97",
                ratio_of(samples, "brood", "floor", "rate"), reaches, control(samples, "rate"))
    yield judge("CPU, of the floor with the same options to brood", "95 % interval reaches 0.97",
                ratio_of(samples, "floor", "brood", "cpu_us"), reaches, control(samples, "cpu_us"))
    # haproxy with a thread for each CPU, which suits it better than eight: once with the same option, once without.
    yield judge("rate with defer_accept, to haproxy with defer-accept", "at least 0.95",
                ratio_of(samples, "brood defer", "haproxy defer", "rate"), lambda ratio: ratio["median"] >= 0.95)
    yield judge("rate with defer_accept, to haproxy as it comes", "at least 0.95",
                ratio_of(samples, "brood defer", "haproxy", "rate"), lambda ratio: ratio["median"] >= 0.95)
    yield judge("p99 with defer_accept, to haproxy with defer-accept", "less than 0.5",
                ratio_of(samples, "brood defer", "haproxy defer", "p99_us"), lambda ratio: ratio["median"] < 0.5)
    yield judge("p99 with defer_accept, to haproxy as it comes", "less than 0.5",
                ratio_of(samples, "brood defer", "haproxy", "p99_us"), lambda ratio: ratio["median"] < 0.5)


def judge_many(results, many):
    samples = results.get("many") or {}
    yield judge(f"CPU with {many} workers, brood's to the floor's", "at most 1.05",
                ratio_of(samples, "brood", "floor", "cpu_us"), lambda ratio: ratio["median"] <= 1.05,
                control(samples, "cpu_us"))


def faster(samples, *names):
    """The one of NAMES with the highest median rate."""
    rated = [(found["median"], name) for name in names if (found := summary(column(samples, name, "rate")))]
    return max(rated)[1] if rated else names[0]


def judge_http(results, workers):
    """nginx with as many workers; its way of sending a small file is the one that is faster here."""
    samples = results.get("http") or {}
    nginx = faster(samples, "nginx", "nginx no sendfile")
    # As both come, where brood's http handler has defer_accept on; then with the option on both, and on neither.
    for what, ours, theirs in (("as both come", "brood defer", nginx), ("both deferred", "brood defer", "nginx deferred"),
                               ("none deferred", "brood", nginx)):
        yield judge(f"http, a connection per request, {what}, to {theirs}", "at least 1.2",
                    ratio_of(samples, ours, theirs, "rate"), lambda ratio: ratio["median"] >= 1.2)
    yield judge(f"http with keep-alive, to nginx with {workers} workers", "at least 1.1",
                ratio_of(results.get("keep_alive") or {}, "brood", "nginx", "rate"),
                lambda ratio: ratio["median"] >= 1.1)


def judge_messages(results):
    samples = results.get("messages") or {}
    yield judge("messages, to the bare loop with the same two system calls", "at least 0.97",
                ratio_of(samples, "brood", "floor", "rate"), lambda ratio: ratio["median"] >= 0.97,
                control(samples, "rate"))


INETD_PEERS = (("tcpserver", 0.9, ""), ("xinetd", 1.3, " as it comes"), ("xinetd nowrap", 1.3, " without tcp wrappers"))
# The first is configured as the others are; the second does what none of them does.
INETD_WAYS = (("brood null", ""), ("brood", ", standard error logged"))


def judge_inetd(results):
    for clients, (way, more), (peer, least, what) in itertools.product((2, 32), INETD_WAYS, INETD_PEERS):
        samples = results.get(f"inetd_{clients}") or {}
        yield judge(f"inetd, {clients} clients, rate to {peer.split()[0]}{what}{more}", f"at least {least}",
                    ratio_of(samples, way, peer, "rate"),
                    lambda ratio, least=least: ratio["median"] >= least, control(samples, "rate"))
    samples = results.get("inetd_1") or {}
    yield judge("inetd, 1 client, median latency to tcpserver", "at most 1.1",
                ratio_of(samples, "brood", "tcpserver", "p50_us"), lambda ratio: ratio["median"] <= 1.1,
                control(samples, "p50_us"))
    for clients in (2, 32):
        samples = results.get(f"confined_{clients}") or {}
        yield judge(f"inetd confined, {clients} clients, rate to tcpserver", "at least 1",
                    ratio_of(samples, "brood", "tcpserver", "rate"), lambda ratio: ratio["median"] >= 1,
                    control(samples, "rate"))


def judge_memory(results, many):
    found = results.get("memory") or {}
    ratio = None
    if "brood" in found and "floor" in found:
        ratio = summary([found["brood"]["pss_kb"] / found["floor"]["pss_kb"]])
    yield judge(f"PSS of {many} workers, brood's to the floor's", "at most 2", ratio,
                lambda ratio: ratio["median"] <= 2)


def judge_start(results, workers):
    found = results.get("start") or {}
    yield judge(f"{workers} workers ready, brood's time to the floor's", "at most 1.3",
                summary(ratios(found.get("brood", []), found.get("floor", []))), lambda ratio: ratio["median"] <= 1.3)


def judge_burst(results, connections):
    found = results.get("burst") or {}
    yield judge(f"the last of a burst of {connections} is being served, ms beyond the bare forks", "at most 20",
                beyond_floor(found, "brood"), lambda beyond: beyond["median"] <= 20,
                even(beyond_floor(found, "floor again"), 0))


def judge_replace(results):
    found = results.get("replace") or {}
    for way, what in (("idle", "idle"), ("busy", "serving")):
        yield judge(f"from a worker's SIGKILL to its replacement's answer, {what}, to the floor", "at most 3",
                    way_to_floor(found, "brood", way), lambda ratio: ratio["median"] <= 3,
                    even(way_to_floor(found, "floor again", way), 1))


def judge_with(results):
    """Against brood without; brood against itself is the control, and is shown beside."""
    for section, what in (("recycle", "max_requests = 1000"), ("deadlines", "every deadline")):
        samples = results.get(section) or {}
        for name, how in (("brood", "echo"), ("brood http", "http")):
            again = ratio_of(samples, f"{name} again", name, "rate")
            verdict = judge(f"{how} with {what}, to without", "at least 0.98",
                            ratio_of(samples, f"{name} with", name, "rate"), lambda ratio: ratio["median"] >= 0.98,
                            control(samples, "rate", name))
            if again and not verdict.why:
                verdict.why = f"{name} against itself: {again['median']:.3f} ({again['low']:.3f}-{again['high']:.3f})"
            yield verdict


def judge_kills(results):
    found = results.get("kills") or {}
    column_of = lambda name, kind, key: [run and run[key] for run in found.get(name, {}).get(kind, [])]
    yield judge("served with a kill every 50 ms, to without", "at least 0.95",
                summary(ratios(column_of("brood", "killed", "served"), column_of("brood", "quiet", "served"))),
                lambda ratio: ratio["median"] >= 0.95)
    yield judge("longest silence under kills, brood's to the floor's", "at most 2",
                summary(ratios(column_of("brood", "killed", "gap_us"), column_of("floor", "killed", "gap_us"))),
                lambda ratio: ratio["median"] <= 2)


def all_verdicts(results, settings):
    """The verdicts as plain data. In a quick run nothing is judged: its samples are far too short."""
    verdicts = [*judge_syscalls(results), *judge_echo(results), *judge_many(results, settings.many),
                *judge_http(results, settings.keep_alive), *judge_messages(results),
                *judge_inetd(results), *judge_memory(results, settings.many),
                *judge_start(results, settings.start_workers), *judge_kills(results),
                *judge_burst(results, settings.burst_connections), *judge_replace(results), *judge_with(results)]
    if settings.quick:
        for verdict in verdicts:
            verdict.outcome, verdict.why = "void", "a quick run judges nothing"
    return [asdict(verdict) for verdict in verdicts]
