"""Puts the native core into the package where there are a C++ compiler and its sources; else NumPy computes, and says so."""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

NATIVE = Path(__file__).resolve().parent.parent / "native"


def answer(*command):
    """What a command prints; None when it cannot be run or fails."""
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def compiler():
    """The C++ compiler of this machine, None without one, without the sources, or where DOPT_NO_NATIVE is set."""
    if os.environ.get("DOPT_NO_NATIVE") or not (NATIVE / "flags.json").exists() or sys.platform == "win32":
        return None
    asked = os.environ.get("CXX")
    names = [asked] if asked else ["c++", "g++", "clang++"]
    return next((name for name in names if answer(name, "--version") is not None), None)


def build_core(cxx, target):
    """Compiles the library into ``target``, as scripts/build-native.js does. Raises CalledProcessError."""
    triple = answer(cxx, "-dumpmachine") or ""
    x86, apple = triple.startswith(("x86_64", "amd64")), "apple" in triple
    flags = json.loads((NATIVE / "flags.json").read_text())
    sources = [line for line in (NATIVE / "sources.txt").read_text().splitlines() if line.startswith("src/")]
    common = [*flags["compile"], *flags["library"], *(flags["x86"] if x86 else [])]
    common += ["-I%s" % (NATIVE / "include"), "-I%s" % (NATIVE / "src")]
    with tempfile.TemporaryDirectory() as scratch:
        objects = [os.path.join(scratch, Path(source).name + ".o") for source in sources]

        def compile_one(source, made):
            own = flags["sets"].get(source, []) if x86 else []
            subprocess.run([cxx, *common, *own, "-c", str(NATIVE / source), "-o", made], check=True)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_one, sources, objects))
        elf = [] if apple else [*flags["linkElf"], "-Wl,--version-script=%s" % (NATIVE / "exports.map")]
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([cxx, *flags["link"], *objects, "-o", str(target), *elf], check=True)


class BuildWithCore(build_py):
    """Python files, then the library among them."""

    def run(self):
        super().run()
        cxx = compiler()
        if cxx is None or getattr(self, "editable_mode", False):
            return
        target = Path(self.build_lib) / "dopt" / "lib" / ("libdopt.dylib" if sys.platform == "darwin" else "libdopt.so")
        try:
            build_core(cxx, target)
        except subprocess.CalledProcessError as error:
            print("dopt: %s could not build the native core; NumPy will compute: %s" % (cxx, error), file=sys.stderr)


class MachineDependent(Distribution):
    """A wheel with the core is one for this kind of machine."""

    def has_ext_modules(self):
        return compiler() is not None


setup(cmdclass={"build_py": BuildWithCore}, distclass=MachineDependent)
