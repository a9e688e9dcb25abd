# SPDX-License-Identifier: MIT
"""The servers that are measured: for each a configuration, a command, and how to know its workers.

All answer with the same 128 bytes, write no access log and listen on one address with the same backlog where they
let it be set. Where a server has one way of working that suits this machine better than the number of workers all
others have, it is measured in both."""

import grp
import os
import pwd
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, Optional

from . import machine
from .load import BODY

BACKLOG = 511
TIMEOUT_S = 60  # what brood's listener gets as idle and write time-out, and so the floor with the same options
DEFER_S = 5
PEER_SETTINGS = {"LC_ALL": "C", "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}


@dataclass(frozen=True)
class Program:
    """One server in one configuration. `prepare(directory, port)` writes what it needs and returns its command."""
    name: str
    prepare: Callable
    needs: str  # the executable without which it is skipped
    http: Optional[str] = None  # None: echo; "close", or "keep" where only keep-alive is served
    messages: bool = False  # echo of message after message, each with its length in front
    script: Optional[str] = None  # it speaks FastCGI, and this is asked for
    hold: tuple = ()  # what bench-burst is to be told of it
    probes: bool = True  # it is known to be ready by an answer
    unix: bool = False  # listens on DIRECTORY/socket
    notifies: bool = False  # sends READY=1 to $NOTIFY_SOCKET
    workers: int = 8
    has_master: bool = True  # its workers are the children of the process that is started
    is_worker: Callable = field(default=lambda title: True)
    as_root: bool = False
    note: str = ""  # how it is configured, for the report

    def missing(self):
        """Why it cannot be measured here, or None."""
        if self.as_root and os.geteuid() != 0:
            return "only root can run it so"
        return None if shutil.which(self.needs, path=PEER_SETTINGS["PATH"]) else f"{self.needs} is not installed"

    def worker_pids(self, main):
        if not self.has_master:
            return [main]
        return [pid for pid in machine.children_of(main) if self.is_worker(machine.title_of(pid))]

    def called(self, name):
        """The same program under another name: the same thing measured a second time."""
        return replace(self, name=name)


def write(path, text):
    Path(path).write_text(text)
    return str(path)


def web_root(directory):
    """The file is an hour old: for one that has just been written Apache makes another, longer ETag."""
    root = Path(directory) / "www"
    root.mkdir(exist_ok=True)
    (root / "file.txt").write_bytes(BODY)
    hour_ago = time.time() - 3600
    os.utime(root / "file.txt", (hour_ago, hour_ago))
    return root


def unprivileged_user():
    for name in ("www-data", "nobody"):
        try:
            return name, grp.getgrgid(pwd.getpwnam(name).pw_gid).gr_name
        except KeyError:
            continue
    return "root", "root"


def floor(build, name="floor", workers=8, *, options=True, timeouts=True, defer=False, http=None, messages=False,
          max_requests=0, hold_ms=0, grows_by=0):
    """The bare loop; with OPTIONS the socket options of brood's listeners, the TIMEOUTS among them."""
    binary = str(Path(build) / "tests/bench/bench-floor")

    def prepare(_directory, port):
        command = [binary, "-p", str(port), "-n", str(workers), "-b", str(BACKLOG), "-M", str(max_requests)]
        if options:
            command.append("-o")
        if options and timeouts:
            command += ["-r", str(TIMEOUT_S * 1000), "-s", str(TIMEOUT_S * 1000)]
        if hold_ms:
            return command + ["-H", str(hold_ms), "-g", str(grows_by)]
        if defer:
            command += ["-d", str(DEFER_S)]
        if messages:
            command.append("-l")
        return command + {None: [], "close": ["-1"], "keep": ["-k"]}[http]

    return Program(name, prepare, binary, http=http, messages=messages, notifies=True, workers=workers,
                   probes=not hold_ms)


BROOD_CONF = """\
# SPDX-License-Identifier: MIT
log_level = "error"
max_workers = {max_workers}
pool "bench" {{
    listen = {{"127.0.0.1:{port}"}}
    backlog = {backlog}
    handler = "{handler}"
{keys}
}}
"""
SOCKET_TIMEOUTS = {"idle_timeout": f"{TIMEOUT_S}s", "read_timeout": f"{TIMEOUT_S}s", "write_timeout": f"{TIMEOUT_S}s"}
NO_DEADLINES = {"idle_timeout": "off", "read_timeout": "off", "write_timeout": "off", "request_timeout": "off"}
DEADLINES = {**SOCKET_TIMEOUTS, "request_timeout": f"{TIMEOUT_S}s", "start_timeout": f"{TIMEOUT_S}s",
             "stop_timeout": f"{TIMEOUT_S}s", "slow_after": f"{TIMEOUT_S}s"}


def brood_program(binary, name, make_keys, **more):
    """brood with a pool of the keys that MAKE_KEYS(directory) returns, as {key: value} with the value as it is written
    in the file; sections as {"echo": {...}}."""
    def prepare(directory, port):
        keys = make_keys(directory)
        handler = keys.pop("handler")
        lines = [f"    {key} {{ {' '.join(f'{k} = {v}' for k, v in value.items())} }}" if isinstance(value, dict) else
                 f"    {key} = {value}" for key, value in keys.items()]
        conf = BROOD_CONF.format(max_workers=keys.pop("max_workers", more["workers"]), port=port, backlog=BACKLOG,
                                 handler=handler, keys="\n".join(lines))
        return [binary, "-c", write(Path(directory) / "brood.conf", conf), "-L", "stderr"]

    return Program(name, prepare, binary, notifies=True, is_worker=lambda title: title.startswith("brood: bench"), **more)


def brood(binary, name="brood", workers=8, *, defer=False, http=None, messages=False, deadlines=None, more=None):
    """With DEADLINES (SOCKET_TIMEOUTS where none are given), and MORE keys."""
    def keys(directory):
        if http:
            handler = {"handler": "http", "http": {"root": f'"{web_root(directory)}"', "keepalive_requests": 0}}
        else:
            handler = {"handler": "echo", "echo": {"framing": "length", "prefix": 4} if messages else
                       {"framing": "raw", "messages": 1}}
        return {**handler, "workers": workers, "defer_accept": f"{DEFER_S}s" if defer else "off",
                **(deadlines or SOCKET_TIMEOUTS), **(more or {})}

    return brood_program(binary, name, keys, http=http, messages=messages, workers=workers)


def brood_growing(binary, build, name="brood", *, spare, most, hold_ms):
    """A pool that grows, whose requests take HOLD_MS."""
    def keys(_directory):
        return {"handler": "module", "module": f'"{Path(build) / "tests/bench/bench-module.so"}"',
                "module_options": {"messages": 1, "hold": f"{hold_ms}ms"}, "defer_accept": "off",
                "min_workers": spare, "max_workers": most, "min_spare": spare, "max_spare": 2 * spare}

    return brood_program(binary, name, keys, workers=spare, probes=False)


NGINX_CONF = """\
daemon off;
user {user} {group};
worker_processes {workers};
worker_rlimit_nofile 4096;
pid {directory}/nginx.pid;
error_log {directory}/error.log error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile {sendfile};
    tcp_nopush on;
    keepalive_requests 1000000000;
    types {{ text/plain txt; }}
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog={backlog}{defer};
        location / {{ {answer} }}
    }}
}}
"""


def nginx(name="nginx", workers=8, *, file=False, sendfile=True, defer=False, http="close"):
    """A fixed answer, or the file."""
    def prepare(directory, port):
        user, group = unprivileged_user()
        text = BODY.decode().replace("\n", "\\n")
        answer = f"root {web_root(directory)};" if file else f'return 200 "{text}";'
        conf = NGINX_CONF.format(user=user, group=group, workers=workers, directory=directory, port=port,
                                 backlog=BACKLOG, answer=answer, sendfile="on" if sendfile else "off",
                                 defer=" deferred" if defer else "")
        return ["nginx", "-c", write(Path(directory) / "nginx.conf", conf), "-p", str(directory),
                "-e", f"{directory}/error.log"]

    return Program(name, prepare, "nginx", http=http, workers=workers)


HAPROXY_CONF = """\
global
    nbthread {threads}
    maxconn 2000
defaults
    mode http
    timeout client {timeout}s
    timeout server {timeout}s
    timeout connect 5s
frontend bench
    bind 127.0.0.1:{port} backlog {backlog}{defer}
    http-request return status 200 content-type text/plain file {directory}/www/file.txt
"""


def haproxy(name="haproxy", threads=8, *, defer=False, http="close"):
    """haproxy keeps the file's bytes in memory: a fixed answer."""
    def prepare(directory, port):
        web_root(directory)
        conf = HAPROXY_CONF.format(threads=threads, timeout=TIMEOUT_S, port=port, backlog=BACKLOG, directory=directory,
                                   defer=" defer-accept" if defer else "")
        return ["haproxy", "-f", write(Path(directory) / "haproxy.cfg", conf), "-db"]

    return Program(name, prepare, "haproxy", http=http, workers=threads, has_master=False)


LIGHTTPD_CONF = """\
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.username = "{user}"
server.groupname = "{group}"
server.max-worker = {workers}
server.max-keep-alive-requests = 1000000000
server.listen-backlog = {backlog}
server.max-fds = 4096
mimetype.assign = ( ".txt" => "text/plain" )
"""


def lighttpd(name="lighttpd", workers=8, *, http="close"):
    """With one worker there is no master besides it."""
    def prepare(directory, port):
        user, group = unprivileged_user()
        conf = LIGHTTPD_CONF.format(root=web_root(directory), port=port, user=user, group=group, backlog=BACKLOG,
                                    workers=workers if workers > 1 else 0)
        return ["lighttpd", "-D", "-f", write(Path(directory) / "lighttpd.conf", conf)]

    return Program(name, prepare, "lighttpd", http=http, workers=workers, has_master=workers > 1)


APACHE_CONF = """\
ServerName localhost
ServerRoot {directory}
DefaultRuntimeDir {directory}
PidFile {directory}/apache.pid
ErrorLog {directory}/error.log
LogLevel error
User {user}
Group {group}
Listen 127.0.0.1:{port}
ListenBacklog {backlog}
LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
ServerLimit {most}
MaxRequestWorkers {most}
StartServers {workers}
MinSpareServers {workers}
MaxSpareServers {spare}
MaxConnectionsPerChild {max_requests}
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout {timeout}
DocumentRoot {root}
<Directory />
    AllowOverride None
    Options FollowSymLinks
</Directory>
"""


APACHE_DEADLINES = """\
LoadModule reqtimeout_module /usr/lib/apache2/modules/mod_reqtimeout.so
RequestReadTimeout header={timeout} body={timeout}
Timeout {timeout}
"""
APACHE_LUA = """\
LoadModule lua_module /usr/lib/apache2/modules/mod_lua.so
LuaMapHandler /hold {directory}/hold.lua
"""
HOLD_LUA = """\
-- SPDX-License-Identifier: MIT
function handle(r)
    r.content_type = "text/plain"
    r:puts("x")
    r:flush()
    r.usleep({us})
    r:puts(string.rep("x", 127))
    return apache2.OK
end
"""


def apache(name="apache", workers=8, *, http="close", max_requests=0, deadlines=False):
    def prepare(directory, port):
        more = APACHE_DEADLINES.format(timeout=TIMEOUT_S) if deadlines else ""
        return apache_command(directory, port, more, workers=workers, most=workers, spare=workers + 1,
                              max_requests=max_requests)

    return Program(name, prepare, "apache2", http=http, workers=workers)


def apache_growing(name="apache", *, spare, most, hold_ms):
    """A handler of mod_lua takes its time in the worker itself."""
    def prepare(directory, port):
        write(Path(directory) / "hold.lua", HOLD_LUA.format(us=hold_ms * 1000))
        return apache_command(directory, port, APACHE_LUA.format(directory=directory), workers=spare, most=most,
                              spare=2 * spare, max_requests=0)

    return Program(name, prepare, "apache2", http="close", workers=spare, hold=("-g", "/hold"))


def apache_command(directory, port, more, **numbers):
    user, group = unprivileged_user()
    conf = APACHE_CONF.format(directory=directory, user=user, group=group, port=port, backlog=BACKLOG,
                              timeout=TIMEOUT_S, root=web_root(directory), **numbers)
    return ["apache2", "-f", write(Path(directory) / "apache.conf", conf + more), "-D", "FOREGROUND"]


PHP_FPM = next((program for program in ("php-fpm", "php-fpm8.2") if shutil.which(program, path=PEER_SETTINGS["PATH"])),
               "php-fpm8.2")
PHP_FPM_CONF = """\
[global]
daemonize = no
error_log = {directory}/error.log
log_level = error
[bench]
user = {user}
group = {group}
listen = 127.0.0.1:{port}
listen.backlog = {backlog}
chdir = {root}
pm = dynamic
pm.max_children = {most}
pm.start_servers = {workers}
pm.min_spare_servers = {least}
pm.max_spare_servers = {spare}
pm.max_requests = {max_requests}
php_admin_value[output_buffering] = 0
{more}"""
PHP_FPM_DEADLINES = """\
request_terminate_timeout = {timeout}s
request_slowlog_timeout = {timeout}s
slowlog = {directory}/slow.log
"""
HOLD_PHP = """\
<?php // SPDX-License-Identifier: MIT
echo "x";
flush();
usleep({us});
echo str_repeat("x", 127);
"""


def php_fpm(name="php-fpm", workers=8, *, max_requests=0, deadlines=False):
    """FastCGI: a page without any PHP in it."""
    def prepare(directory, port):
        more = PHP_FPM_DEADLINES.format(timeout=TIMEOUT_S, directory=directory) if deadlines else ""
        return php_fpm_command(directory, port, more, workers=workers, least=workers, spare=workers, most=workers,
                               max_requests=max_requests)

    return Program(name, prepare, PHP_FPM, script="answer.php", workers=workers)


def php_fpm_growing(name="php-fpm", *, spare, most, hold_ms):
    def prepare(directory, port):
        write(web_root(directory) / "hold.php", HOLD_PHP.format(us=hold_ms * 1000))
        return php_fpm_command(directory, port, "", workers=spare, least=spare, spare=2 * spare, most=most,
                               max_requests=0)

    return Program(name, prepare, PHP_FPM, script="answer.php", workers=spare, hold=("-f", "hold.php"))


def php_fpm_command(directory, port, more, **numbers):
    user, group = unprivileged_user()
    root = web_root(directory)
    (root / "answer.php").write_bytes(BODY)
    conf = PHP_FPM_CONF.format(directory=directory, user=user, group=group, port=port, backlog=BACKLOG, root=root,
                               more=more, **numbers)
    return [PHP_FPM, "-F", "-y", write(Path(directory) / "fpm.conf", conf)]
