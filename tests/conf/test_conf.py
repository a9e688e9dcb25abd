# SPDX-License-Identifier: MIT
"""The real binary on configuration files: --check and --dump, their exit statuses, and the files that come with brood."""
import os
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BROOD_BUILD", TOP / "build"))
EX_CONFIG = 78

# Errors of files for the handlers that are compiled in: the text, and what is said of it. "root" is a directory.
BAD = {
    "unknown_handler": ('pool "a" { listen = ":0" handler = "status" }',
                        'x.conf:1: pool "a": handler = "status" is none of echo, http, inetd, program, module\n'),
    "root_missing": ('pool "a" {\n listen = ":0"\n handler = "http" }',
                     'x.conf:1: pool "a": http: root is missing; the handler needs it\n'),
    "root_is_not_there": ('pool "a" { listen = ":0" handler = "http" http {\n root = "nowhere" } }',
                          'x.conf:2: pool "a": http: root = "nowhere" (from the directory of this file): '
                          "No such file or directory\n"),
    "index_without_a_name": ('pool "a" { listen = ":0" handler = "http" http { root = "/"\n index = {""} } }',
                             'x.conf:2: pool "a": http: index = "" is too short (1 to 4095 bytes)\n'),
    "section_of_the_other": ('pool "a" { listen = ":0" handler = "echo" http {\n root = "/" } }',
                             'x.conf:1: pool "a": section http does not go with handler = echo\n'),
    "framing": ('pool "a" { listen = ":0" handler = "echo"\n echo { framing = words } }',
                'x.conf:2: pool "a": echo: framing = words is none of raw, line, length, fixed\n'),
    "size_over_limit": ('pool "a" { listen = ":0" handler = "echo"\n echo { framing = fixed\n limit = 100\n size = 101 } }',
                        'x.conf:2: pool "a": echo: size = 101 is over limit = 100\n'),
    # An option that is refused by itself is not weighed against others.
    "limit": ('pool "a" { listen = ":0" handler = "echo"\n echo { framing = fixed\n limit = 0\n size = 101 } }',
              'x.conf:3: pool "a": echo: limit = 0 is out of range (1 to 1G)\n'),
    "charset": ('pool "a" { listen = ":0" handler = "http"\n http { root = "/" charset = "utf-8\\r\\nX: y" } }',
                'x.conf:2: pool "a": http: charset is no name of a charset; letters, digits and - _ . are accepted\n'),
    "workers": ('\npool "web" { listen = ":0" handler = "echo"\n workers = 70000 }',
                'x.conf:3: pool "web": workers = 70000 is out of range (1 to 65536)\n'),
}

# Programs that cannot be executed: the files of the test's directory, by name, and what is said of one. PATH is it.
SCRIPTS = {"plain": ("text", 0o644), "orphan": ("#!/no/such/interpreter -x\n", 0o755), "empty": ("", 0o755),
           "chain": ("#!{directory}/plain\n", 0o755), "good": ("#!/bin/sh\n", 0o755)}
PROGRAMS = {
    "/no/such/program": '"/no/such/program" does not exist',
    "nothing": '"nothing" is in no directory of PATH ({directory})',
    "plain": '"plain" is in no directory of PATH ({directory})',
    "./orphan": '"./orphan" is a script whose interpreter /no/such/interpreter does not exist',
    "{directory}": '"{directory}" is not a regular file',
    "{directory}/plain": '"{directory}/plain" is not executable: Permission denied',
    "{directory}/orphan": '"{directory}/orphan" is a script whose interpreter /no/such/interpreter does not exist',
    "{directory}/chain": '"{directory}/chain" is a script whose interpreter {directory}/plain is not executable: '
                         "Permission denied",
    "orphan": '"{directory}/orphan" is a script whose interpreter /no/such/interpreter does not exist',
}


def brood(*arguments, cwd=None):
    return subprocess.run([str(BUILD / "src/brood"), *map(str, arguments)], stdin=subprocess.DEVNULL, cwd=cwd,
                          capture_output=True, timeout=60, check=False)


def dump(path, **options):
    result = brood("--dump", "-c", path, **options)
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout


@pytest.mark.parametrize("name", sorted(BAD))
def test_error(name, tmp_path):
    text, expected = BAD[name]
    (tmp_path / "x.conf").write_text(text)
    for option in "--check", "--dump":
        result = brood(option, "-c", "x.conf", cwd=tmp_path)
        assert (result.returncode, result.stdout, result.stderr.decode()) == (EX_CONFIG, b"", expected)


@pytest.fixture
def programs(tmp_path):
    for name, (text, mode) in SCRIPTS.items():
        (tmp_path / name).write_text(text.format(directory=tmp_path))
        (tmp_path / name).chmod(mode)
    return tmp_path


def write_programs(directory, handler, command):
    (directory / "x.conf").write_text(
        f'pool "a" {{\n listen = "127.0.0.1:0"\n handler = {handler}\n command = {{"{command}", "-x"}}\n'
        f' directory = "{directory}"\n environment = "PATH={directory}" }}')


@pytest.mark.parametrize("handler", ["inetd", "program"])
@pytest.mark.parametrize("command", sorted(PROGRAMS))
def test_programs_that_cannot_be_executed(handler, command, programs):
    write_programs(programs, handler, command.format(directory=programs))
    expected = 'x.conf:4: pool "a": command = %s\n' % PROGRAMS[command].format(directory=programs)
    for options in ["--check"], ["--dump"], []:
        result = brood(*options, "-c", "x.conf", cwd=programs)
        assert (result.returncode, result.stdout, result.stderr.decode()) == (EX_CONFIG, b"", expected)


@pytest.mark.parametrize("command", ["good", "./good", "{directory}/good", "/bin/cat"])
def test_programs_that_can_be_executed(command, programs):
    write_programs(programs, "inetd", command.format(directory=programs))
    result = brood("--check", "-c", "x.conf", cwd=programs)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"x.conf: OK\n", b"")


# ---- modules ----

MODULES = BUILD / "tests/modules"


def write_module(directory, module, options, key=""):
    (directory / "x.conf").write_text(f'pool "a" {{\n listen = "127.0.0.1:0"\n handler = module\n'
                                      f' module = "{module}"\n {key}\n {options}\n }}\n')


@pytest.mark.parametrize("module, reason", [
    ("no_symbol", "is no module: "), ("wrong_abi", "was compiled for module ABI "),
    ("wrong_size", "has a struct brood_module of "), ("unresolved", "cannot be loaded: "),
    ("constructor_crashes", "cannot be loaded: its process "), ("nothing", "cannot be loaded: "),
    ("bad_type", 'has an option "size" of type 77'), ("twice", 'has the option "size" twice'), ("bad_choices", 'has an option "size" without')])
def test_modules_that_cannot_be_used(module, reason, tmp_path):
    (tmp_path / "m.so").symlink_to(MODULES / f"{module}.so")
    write_module(tmp_path, "m.so", "module_options { a = 1 }")
    for options in ["--check"], ["--dump"], []:
        result = brood(*options, "-c", "x.conf", cwd=tmp_path)
        assert (result.returncode, result.stdout) == (EX_CONFIG, b"")
        line, = result.stderr.decode().splitlines()
        assert line.startswith(f'x.conf:4: pool "a": module = "{tmp_path}/m.so" {reason}')


@pytest.mark.parametrize("options, line, error", [
    ("module_options {\n colour = red }", 7, "unknown option colour; accepted are switch, number, limit, size, duration, "
     "text, choice, list, access, directory, file, fail_start, include"),
    ("module_options {\n choices = red }", 7, "unknown option choices; did you mean choice?"),
    ("module_options {\n choice = pink }", 7, "choice = pink is none of red, green, blue"),
    ("module_options {\n number = -11 }", 7, "number = -11 is out of range (-10 to 100)"),
    ("module_options {\n size = 2G }", 7, "size = 2G is out of range (1 to 1G)"),
    ("module_options {\n directory = nowhere }", 7,
     'directory = "nowhere" (from the directory of this file): No such file or directory'),
    ("module_options { number = 7\n limit = 7 }", 6, "number is not below limit")])
def test_options_of_a_module(options, line, error, tmp_path):
    write_module(tmp_path, MODULES / "options.so", options)
    for option in "--check", "--dump":
        result = brood(option, "-c", "x.conf", cwd=tmp_path)
        expected = f'x.conf:{line}: pool "a": module_options: {error}\n'
        assert (result.returncode, result.stdout, result.stderr.decode()) == (EX_CONFIG, b"", expected)


def test_a_module_beside_its_file(tmp_path):
    (tmp_path / "options.so").symlink_to(MODULES / "options.so")
    write_module(tmp_path, "options.so", 'module_options { number = -3 list = { x, "y z" } directory = "." }')
    first = dump("x.conf", cwd=tmp_path)
    text = first.decode()
    assert f'\tmodule = "{tmp_path}/options.so"\n' in text
    lines = [line for line in text.partition("\tmodule_options {\n")[2].splitlines() if "# " not in line]
    assert lines[:13] == [
        "\t\tswitch = off", "\t\tnumber = -3", "\t\tlimit = 1000", "\t\tsize = 64K", "\t\tduration = 1500ms",
        '\t\ttext = "a text"', "\t\tchoice = green", '\t\tlist = { "x", "y z" }', '\t\taccess = "off"',
        f'\t\tdirectory = "{tmp_path}/."', '\t\tfile = "/etc/fstab"', "\t\tfail_start = off", "\t}"]
    # What the module says of its options stands beside them.
    assert "\t\t# A number. Default 5, -10 to 100.\n\t\tnumber = -3\n" in text
    assert "\t\t# A colour. Default green; one of red, green, blue.\n\t\tchoice = green\n" in text
    assert "\tdefer_accept = 5s\n" in text  # its clients speak first
    (tmp_path / "dump.conf").write_bytes(first)
    assert dump(tmp_path / "dump.conf") == first


def test_start_refuses_what_check_refuses(tmp_path):
    (tmp_path / "x.conf").write_text('pidfile = "%s"\npool "a" { listen = "127.0.0.1:0" }' % (tmp_path / "pid"))
    result = brood("-c", "x.conf", cwd=tmp_path)
    assert result.returncode == EX_CONFIG
    assert result.stderr == b'x.conf:2: pool "a": handler is missing; a pool needs it\n'
    assert not (tmp_path / "pid").exists()


@pytest.mark.parametrize("handler, given, said", [("http", "", "5s"), ("http", "defer_accept = off", "off"),
                                                  ("http", "defer_accept = 9s", "9s"), ("echo", "", "off")])
def test_clients_that_speak_first_are_waited_for(tmp_path, handler, given, said):
    section = 'http { root = "/" }' if handler == "http" else ""
    (tmp_path / "x.conf").write_text(f'pool "a" {{\n listen = ":0"\n handler = {handler}\n {given}\n {section}\n }}\n')
    assert f"\tdefer_accept = {said}\n".encode() in dump(tmp_path / "x.conf")


def test_missing_file(tmp_path):
    result = brood("--check", "-c", tmp_path / "none.conf")
    assert result.returncode == EX_CONFIG
    assert result.stderr.decode() == f"{tmp_path}/none.conf: No such file or directory\n"


@pytest.mark.parametrize("name", ["conf/brood.conf", "conf/demo.conf"])
def test_files_that_come_with_brood(name, tmp_path):
    result = brood("--check", "-c", TOP / name)
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, f"{TOP / name}: OK\n", b"")
    first = dump(TOP / name)
    (tmp_path / "dump.conf").write_bytes(first)
    assert dump(tmp_path / "dump.conf") == first


def test_installed_file_is_accepted_as_installed(tmp_path):
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", tmp_path], check=True,
                   stdout=subprocess.DEVNULL, timeout=120)
    files = list(tmp_path.glob("**/etc/brood/brood.conf"))
    assert len(files) == 1
    assert brood("--check", "-c", files[0]).returncode == 0
    # and takes up what is put beside it
    (files[0].parent / "conf.d").mkdir()
    (files[0].parent / "conf.d/b.conf").write_text('pool "second" { listen = "127.0.0.1:0" handler = echo }')
    assert b'pool "second" {' in dump(files[0])


def test_relative_paths_are_beside_their_file(tmp_path):
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc/www").mkdir()
    (tmp_path / "x.conf").write_text('include("inc/*.conf")\n')
    (tmp_path / "inc/web.conf").write_text('pool "a" { listen = ":0" handler = http '
                                           'http { root = "www" mime_types = "types" } }')
    text = dump("x.conf", cwd=tmp_path).decode()
    assert f'root = "{tmp_path}/inc/www"\n' in text
    assert f'mime_types = "{tmp_path}/inc/types"\n' in text


def test_command_line_goes_over_the_file(tmp_path):
    (tmp_path / "x.conf").write_text('log_level = error\npool "a" { listen = ":0" handler = echo }')
    text = dump(tmp_path / "x.conf").decode()
    assert "log_level = error\n" in text and 'pidfile = ""\n' in text
    result = brood("--dump", "-c", tmp_path / "x.conf", "-l", "debug", "-L", "syslog", "-p", tmp_path / "x.pid")
    assert result.returncode == 0, result.stderr
    text = result.stdout.decode()
    assert "log_level = debug\n" in text and 'log_target = "syslog"\n' in text and f'pidfile = "{tmp_path}/x.pid"\n' in text
