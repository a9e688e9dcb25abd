# SPDX-License-Identifier: MIT
"""Where the sources, the build and the installed files are."""
import os
import pathlib
import re
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BROOD_BUILD", TOP / "build"))


def run(*command, **options):
    return subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300, check=False, **options)


def prefix():
    result = run("meson", "introspect", BUILD, "--buildoptions")
    return re.search(r'"name": "prefix",[^}]*?"value": "/([^"]*)"|"value": "/([^"]*)"[^}]*?"name": "prefix"',
                     result.stdout).expand(r"\1\2")
