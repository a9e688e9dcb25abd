# SPDX-License-Identifier: MIT
"""All measures, by name and in order."""

from . import measures, pools

TIMED_SECTIONS = {
    "echo": measures.echo_section,
    "many": measures.many_section,
    "http": measures.http_section,
    "keep_alive": measures.keep_alive_section,
    "messages": measures.messages_section,
    "recycle": pools.recycle_section,
    "deadlines": pools.deadlines_section,
    "inetd_1": measures.inetd_section(1),
    "inetd_2": measures.inetd_section(2),
    "inetd_32": measures.inetd_section(32),
    "confined_2": measures.confined_section(2),
    "confined_32": measures.confined_section(32),
    "inetd_unix": measures.inetd_unix_section,
}
TIMED = tuple(TIMED_SECTIONS)
SECTIONS = {
    **TIMED_SECTIONS,
    "inetd_costs": measures.inetd_costs,
    "syscalls": measures.syscalls,
    "memory": measures.memory,
    "start": measures.start,
    "burst": pools.burst,
    "kills": measures.kills,
    "replace": pools.replace,
}
