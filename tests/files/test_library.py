# SPDX-License-Identifier: MIT
"""libbrood as others use it: its symbols, brood.pc, the installed headers, and modules built out of the tree."""
import os
import re
import shutil
import signal
import subprocess

import pytest
from tree import BUILD, TOP, prefix, run

HEADERS = sorted((TOP / "src/libbrood/brood").glob("*.h"))
EXAMPLES = TOP / "conf/examples"


def declared():
    """The functions that the public headers declare."""
    names = set()
    for header in HEADERS:
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        names |= set(re.findall(r"\b(brood_\w+)\(", text))
    return names


def exported(path):
    result = run("nm", "-D", "--defined-only", path)
    assert result.returncode == 0, result.stdout
    return {line.split()[-1] for line in result.stdout.splitlines()}


class Brood:
    """An installed brood, as a compiler finds it."""

    def __init__(self, root):
        self.root = root
        self.pc, = root.rglob("brood.pc")
        self.libdir = self.pc.parent.parent
        self.env = {**os.environ, "PKG_CONFIG_PATH": str(self.pc.parent), "PKG_CONFIG_SYSROOT_DIR": str(root),
                    "LD_LIBRARY_PATH": str(self.libdir)}

    def flags(self, *options):
        result = run("pkg-config", *options, "brood", env=self.env)
        assert result.returncode == 0, result.stdout
        return result.stdout.split()

    def run(self, *command, **options):
        return run(*command, env=self.env, **options)


@pytest.fixture(scope="session")
def installed_brood(installed):
    return Brood(installed)


@pytest.fixture
def compiling(installed_brood):
    if any("__asan" in name for name in run("nm", "-D", installed_brood.libdir / "libbrood.so").stdout.split()):
        pytest.skip("this build of the library wants a sanitizer in the program")
    return installed_brood


def test_the_list_of_symbols_is_what_the_headers_declare():
    listed = [line for line in (TOP / "src/libbrood/libbrood.symbols").read_text().splitlines()
              if line and not line.startswith("#")]
    assert listed == sorted(listed)
    assert set(listed) == declared()


def test_the_shared_library_exports_that_and_nothing_else(installed_brood):
    assert exported(installed_brood.libdir / "libbrood.so") == declared()


def test_the_daemon_exports_that_to_modules_and_nothing_else():
    ours = {name for name in exported(BUILD / "src/brood") if "@" not in name and not name.startswith("__")}
    assert ours == declared()


def test_the_daemon_does_not_need_the_shared_library():
    needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", run("readelf", "-d", BUILD / "src/brood").stdout)
    assert needed and not [name for name in needed if "brood" in name]


def test_the_manual_names_every_call():
    page = (TOP / "man/libbrood.3").read_text()
    head = page[:page.index(".Sh LIBRARY")]
    assert set(re.findall(r"brood_\w+", head)) == declared()
    assert set(re.findall(r"\.F[no] (brood_\w+)", page[:page.index(".Sh DESCRIPTION")])) == declared()
    described = page[page.index(".Sh DESCRIPTION"):page.index(".Sh RETURN VALUES")]
    assert set(re.findall(r"\.Fn (brood_\w+)", described)) >= declared()


def test_the_library_has_its_names(installed_brood):
    libdir = installed_brood.libdir
    assert os.readlink(libdir / "libbrood.so") == "libbrood.so.0"
    assert os.readlink(libdir / "libbrood.so.0").startswith("libbrood.so.0.")
    assert "[libbrood.so.0]" in run("readelf", "-d", libdir / "libbrood.so").stdout
    assert (libdir / "libbrood.a").is_file()


def test_every_header_is_installed(installed_brood):
    include = installed_brood.root / prefix() / "include/brood"
    assert {p.name for p in include.iterdir()} == {p.name for p in HEADERS}


@pytest.mark.parametrize("name", ["kv", "template"])
def test_every_file_of_an_example_is_installed(installed_brood, name):
    there = installed_brood.root / prefix() / "share/doc/brood/examples" / name
    sources = {p.name for p in (EXAMPLES / name).iterdir() if p.suffix != ".so" and p.name != "kv-client"}
    assert {p.name for p in there.iterdir()} == sources


CLIENT = """
#include <stdio.h>
#include <brood/message.h>
#include <brood/module.h>

int main(int argc, char **argv)
{
	struct brood_timeouts none = { 0, 0, 0 };
	struct brood_stream *stream;

	return argc == 2 ? brood_connect(argv[1], 1000, &none, &stream) == 0 : 0;
}
"""


@pytest.mark.parametrize("compiler, options", [
    ("gcc", ["-std=c11", "-x", "c"]),
    ("gcc", ["-std=c99", "-x", "c"]),
    ("clang-14", ["-std=c11", "-x", "c"]),
    ("g++", ["-std=c++11", "-x", "c++"]),
])
@pytest.mark.parametrize("static", [False, True])
def test_a_client_is_built_with_what_pkg_config_says(compiling, tmp_path, compiler, options, static):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}")
    (tmp_path / "client.c").write_text(CLIENT)
    libs = compiling.flags("--libs", *(["--static"] if static else []))
    if static:
        libs = ["-l:libbrood.a" if flag == "-lbrood" else flag for flag in libs]
    result = compiling.run(compiler, *options, "-Wall", "-Wextra", "-pedantic-errors", "-Werror",
                           *compiling.flags("--cflags"), tmp_path / "client.c", "-o", tmp_path / "client",
                           "-x", "none", *libs)
    assert result.returncode == 0, result.stdout
    assert compiling.run(tmp_path / "client").returncode == 0
    needed = "libbrood.so.0" in run("readelf", "-d", tmp_path / "client").stdout
    assert needed is not static


def test_the_static_library_serves_a_static_program(compiling, tmp_path):
    """Without brood_connect(), which needs the name service of the C library."""
    (tmp_path / "client.c").write_text("#include <brood/message.h>\nint main(void) { brood_free(0); return 0; }\n")
    result = compiling.run("gcc", "-static", *compiling.flags("--cflags"), tmp_path / "client.c", "-o",
                           tmp_path / "client", *compiling.flags("--libs", "--static"))
    assert result.returncode == 0, result.stdout
    assert run(tmp_path / "client").returncode == 0


MODULE = """
#include <brood/message.h>
#include <brood/module.h>

static int serve(void *state, struct brood_stream *stream)
{
	return brood_write_all(stream, "served\\n", 7);
}

static struct brood_module describe(void)
{
	struct brood_module module = {};

	module.abi = BROOD_MODULE_ABI;
	module.size = sizeof(struct brood_module);
	module.name = "cxx";
	module.version = "1";
	module.serve = serve;
	return module;
}

const struct brood_module brood_module = describe();
"""


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
@pytest.mark.parametrize("linked", [False, True])
def test_a_module_in_cxx_with_hidden_names(compiling, host, tmp_path, linked):
    (tmp_path / "module.cc").write_text(MODULE)
    result = compiling.run("g++", "-std=c++11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
                           "-fvisibility=hidden", "-fPIC", "-shared", *compiling.flags("--cflags"),
                           tmp_path / "module.cc", "-o", tmp_path / "module.so",
                           *(compiling.flags("--libs") if linked else []))
    assert result.returncode == 0, result.stdout
    assert {name for name in exported(tmp_path / "module.so") if "brood" in name} == {"brood_module"}
    one = host(tmp_path / "module.so", tmp_path / "socket")
    assert one.first == "ready\n"
    assert exchange(one.socket, b"") == b"served\n"
    one.end()


def build_example(brood, tmp_path, name):
    """A copy of the example, made with nothing but pkg-config's word."""
    directory = tmp_path / name
    shutil.copytree(EXAMPLES / name, directory, ignore=shutil.ignore_patterns("*.so", "kv-client"))
    result = brood.run("make", "-C", directory, "CFLAGS=-O2 -Wall -Wextra -pedantic -Werror")
    assert result.returncode == 0, result.stdout
    return directory


class Host:
    """A module in a process that is linked as the daemon is."""

    def __init__(self, brood, module, socket, *values):
        self.socket = socket
        self.process = subprocess.Popen(
            [str(a) for a in (BUILD / "tests/e2e/modulehost", module, socket, *values)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=brood.env)
        self.first = self.process.stdout.readline()

    def end(self):
        """What it has printed, after stop()."""
        self.process.send_signal(signal.SIGTERM)
        # It may have looked at its flag just before: a connection brings it back there.
        subprocess.run(["nc", "-NU", str(self.socket)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=60, check=False)
        output, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, output
        return output


@pytest.fixture
def host(compiling):
    hosts = []

    def start(*arguments):
        hosts.append(Host(compiling, *arguments))
        return hosts[-1]

    yield start
    for each in hosts:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


def test_the_template_is_built_out_of_the_tree(compiling, host, tmp_path):
    module = build_example(compiling, tmp_path, "template") / "template.so"
    assert "brood_module" in exported(module)
    one = host(module, tmp_path / "socket", "good day, ", 10)
    assert one.first == "ready\n"
    result = subprocess.run(["nc", "-NU", str(one.socket)], input="world\n\n1234567890\n12345678901\n", text=True,
                            capture_output=True, timeout=60, check=False)
    assert result.stdout == "good day, world\ngood day, \ngood day, 1234567890\n"
    output = one.end()
    assert "served -90 requests 3\n" in output and output.endswith("stopped\n")


@pytest.fixture
def kv(compiling, host, tmp_path):
    directory = build_example(compiling, tmp_path, "kv")
    store = tmp_path / "store"
    store.mkdir()

    def start(name="socket", max_value=64, sync="off", store=store):
        return host(directory / "kv.so", tmp_path / name, store, max_value, sync)

    def ask(one, *words):
        result = subprocess.run([str(directory / "kv-client"), f"unix:{one.socket}", *words], env=compiling.env,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        return result.returncode, result.stdout + result.stderr

    start.ask = ask
    start.store = store
    return start


@pytest.mark.parametrize("sync", ["off", "on"])
def test_kv_keeps_what_it_is_told(kv, sync):
    one = kv(sync=sync)
    assert one.first == "ready\n"
    assert kv.ask(one, "get", "colour") == (1, "kv-client: not found\n")
    assert kv.ask(one, "set", "colour", "dark green") == (0, "")
    assert kv.ask(one, "get", "colour") == (0, "dark green\n")
    assert kv.ask(one, "set", "colour", "") == (0, "")
    assert kv.ask(one, "get", "colour") == (0, "")
    assert kv.ask(one, "del", "colour") == (0, "")
    assert kv.ask(one, "del", "colour") == (1, "kv-client: not found\n")
    assert kv.ask(one, "get", "colour") == (1, "kv-client: not found\n")
    assert not list(kv.store.iterdir()), "a draft is left"
    assert one.end().count("served 0 requests 1\n") == 8


def test_kv_shares_its_values_between_workers(kv):
    one, other = kv("one"), kv("other")
    assert kv.ask(one, "set", "k", "from one") == (0, "")
    assert kv.ask(other, "get", "k") == (0, "from one\n")
    assert kv.ask(other, "set", "k", "from the other") == (0, "")
    assert kv.ask(one, "get", "k") == (0, "from the other\n")


def test_kv_has_limits(kv):
    one = kv(max_value=8)
    assert kv.ask(one, "set", "k" * 200, "12345678") == (0, "")
    assert kv.ask(one, "get", "k" * 200) == (0, "12345678\n")
    assert kv.ask(one, "set", "k", "123456789") == (1, "kv-client: the value is too long\n")
    assert kv.ask(one, "set", "k", "1" * 300) == (1, "kv-client: the request is too long\n")
    for key in ("", ".", "..", ".draft", "a/b", "../x", "k" * 201, "a\nb", "\u00e4"):
        assert kv.ask(one, "get", key) == (1, 'kv-client: a key is 1 to 200 letters, digits, "-", "_" and "."\n')
    assert [p.name for p in kv.store.iterdir()] == ["k" * 200]
    (kv.store / "long").write_text("123456789")
    assert kv.ask(one, "get", "long") == (1, "kv-client: the store has failed\n")
    assert "log 4 kv: GET long: File too large\n" in one.end()


def exchange(socket, request):
    """Bytes as they go over the socket."""
    return subprocess.run(["nc", "-NU", str(socket)], input=request, capture_output=True, timeout=60,
                          check=False).stdout


def test_kv_speaks_its_protocol(kv):
    one = kv()
    usage = b"-what is wanted is GET KEY, SET KEY VALUE or DEL KEY"
    assert exchange(one.socket, b"\0\0\0\x0bSET a x y\0z\0\0\0\5GET a") == b"\0\0\0\1+\0\0\0\6+x y\0z"
    for wrong in (b"", b"GET", b"PUT a", b"SET a", b"GET a b", b"DEL a b", b"get a"):
        answer = exchange(one.socket, len(wrong).to_bytes(4, "big") + wrong)
        assert answer == len(usage).to_bytes(4, "big") + usage, wrong
    assert exchange(one.socket, b"\0\0\0\5GET") == b""
    assert "served -74 requests 0\n" in one.end()


def test_kv_does_not_start_where_it_cannot_write(kv, tmp_path):
    one = kv(store=tmp_path / "missing")
    assert one.first.startswith("log 3 kv: cannot use ")
    assert one.process.wait(60) == 1


def test_kv_conf_is_accepted_where_it_stands(compiling, tmp_path):
    """Its module beside it, and its directory, which it names by a path of the machine's."""
    directory = build_example(compiling, tmp_path, "kv")
    path = directory / "kv.conf"
    text = path.read_text()
    assert '"/var/lib/brood/kv"' in text
    path.write_text(text.replace("/var/lib/brood/kv", str(tmp_path)))
    result = compiling.run(BUILD / "src/brood", "--check", "-c", path)
    assert (result.returncode, result.stdout) == (0, f"{path}: OK\n")
    path.write_text(text.replace("/var/lib/brood/kv", str(tmp_path / "missing")))
    result = compiling.run(BUILD / "src/brood", "--check", "-c", path)
    assert result.returncode == 78 and "directory" in result.stdout, result.stdout


def test_kv_client_says_what_is_wrong(compiling, kv, tmp_path):
    one = kv()
    for words in ([], ["get"], ["get", "a", "b"], ["set", "a"], ["put", "a", "b"]):
        code, text = kv.ask(one, *words)
        assert code == 64 and text.startswith("usage: ")
    one.end()
    os.unlink(one.socket)
    code, text = kv.ask(one, "get", "a")
    assert code == 2 and "No such file" in text
