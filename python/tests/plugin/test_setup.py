"""What pip makes of this package: with the native core where there is a C++ compiler, without where there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("setuptools")
PYTHON = Path(__file__).resolve().parents[2]
#: Answers like a compiler, and makes empty files.
FAKE = """#!/bin/sh
echo "$@" >> "{log}"
case "$1" in --version) exit 0;; -dumpmachine) echo x86_64-linux-gnu; exit 0;; esac
{fails}
while [ $# -gt 1 ]; do [ "$1" = -o ] && : > "$2"; shift; done
exit 0
"""


def built(folder, cxx):
    """The package as pip would build it, and what was said on stderr."""
    # What setuptools notes of the package goes into the folder, too: beside the sources it would count as installed.
    notes = ["egg_info", "--egg-base", str(folder)]
    command = [sys.executable, "setup.py", "-q", *notes, "build_py", "--build-lib", str(folder / "lib")]
    done = subprocess.run(command, cwd=PYTHON, env={**os.environ, "CXX": str(cxx)}, stderr=subprocess.PIPE, text=True, check=True)
    package = folder / "lib" / "dopt"
    assert (package / "plugin" / "config.schema.json").exists()
    return next(iter((package / "lib").glob("libdopt.*")), None) if (package / "lib").exists() else None, done.stderr


def compiler(folder, fails=""):
    path = folder / "cxx"
    path.write_text(FAKE.format(log=folder / "log", fails=fails))
    path.chmod(0o755)
    return path


def test_a_compiler_builds_the_core_into_the_package(tmp_path):
    library, _ = built(tmp_path, compiler(tmp_path))
    assert library is not None
    calls = (tmp_path / "log").read_text().splitlines()
    sources = [line for line in (PYTHON.parent / "native" / "sources.txt").read_text().splitlines() if line.startswith("src/")]
    assert sum(" -c " in call for call in calls) == len(sources)
    avx2 = next(call for call in calls if "kernels_avx2.cc" in call)
    assert "-mavx2" in avx2 and "-ffp-contract=off" in avx2 and "-DDOPT_HAVE_X86_SETS" in avx2
    assert not any("-mavx" in call for call in calls if "kernels_baseline.cc" in call)
    assert "exports.map" in calls[-1] and "-shared" in calls[-1]


def test_without_one_numpy_computes_and_that_is_said(tmp_path):
    assert built(tmp_path, tmp_path / "no-such-compiler")[0] is None
    library, said = built(tmp_path, compiler(tmp_path, "exit 1"))
    assert library is None and "NumPy will compute" in said


def test_an_installation_without_the_core_says_what_to_do(tmp_path):
    library, _ = built(tmp_path, tmp_path / "no-such-compiler")
    assert library is None
    code = "from dopt import native; core = native.load(); print(core.backend)"
    clean = {key: value for key, value in os.environ.items() if key != "DOPT_NATIVE_LIB"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**clean, "PYTHONPATH": str(tmp_path / "lib")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "numpy"
    assert "C++ compiler" in done.stderr and "native/build" not in done.stderr
