# SPDX-License-Identifier: MIT
"""PEP 517 backend of cellar-cache, without other packages. `make wheel` puts its folder together.

PKG-INFO  metadata of sdist and wheel        cellar/  the Python files
src/      the files of the extension in src/python, and the library as one file, cellar_all.c
"""
import base64
import gzip
import hashlib
import os
import shlex
import subprocess
import sysconfig
import tarfile
import tempfile
import time
import zipfile

WORDS = ["-std=c11", "-D_GNU_SOURCE", "-fPIC", "-fvisibility=hidden", "-pthread", "-DCELLAR_API=",
         "-DPy_LIMITED_API=0x030B0000", "-Isrc", "-Isrc/include"]
LICENSES = ["LICENSE", "LICENSE.uthash"]
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", 315532800))  # of each file: equal sources, equal bytes


def _read(name):
    with open(name, "rb") as file:
        return file.read()


def _name():
    """Return the name of the package and its version, as files have it."""
    lines = _read("PKG-INFO").decode().splitlines()
    return "cellar_cache-" + next(line[9:] for line in lines if line.startswith("Version: "))


def get_requires_for_build_wheel(config_settings=None):
    return []


def get_requires_for_build_sdist(config_settings=None):
    return []


def build_sdist(folder, config_settings=None):
    """Write this folder as an archive. Return its name."""
    def plain(member):
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime, member.mode = EPOCH, 0o755 if member.isdir() else 0o644
        return None if member.name.endswith("__pycache__") else member
    name = _name()
    with gzip.GzipFile(os.path.join(folder, name + ".tar.gz"), "wb", mtime=0) as packed, \
            tarfile.open(fileobj=packed, mode="w") as out:
        for entry in sorted(os.listdir()):
            out.add(entry, f"{name}/{entry}", filter=plain)
    return name + ".tar.gz"


def _compile(folder):
    """Compile the extension, which holds the library, and return its bytes."""
    cc = shlex.split(os.environ.get("CC", "cc"))
    # Not -isystem: there gcc follows links, and python3-dbg would get the pyconfig.h of python3.
    words = [*shlex.split(os.environ.get("CFLAGS", "-O2")), *WORDS,
             "-I" + sysconfig.get_path("include")]
    sources = [f"src/python/{name}" for name in sorted(os.listdir("src/python"))
               if name.endswith(".c")]
    objects = [f"{folder}/{n}.o" for n in range(len(sources) + 1)]
    running = [subprocess.Popen([*cc, *words, "-c", source, "-o", out])
               for source, out in zip(["src/cellar_all.c", *sources], objects)]
    if any([process.wait() for process in running]):
        raise SystemExit("cellar: it needs Linux, a C11 compiler and Python.h (python3-dev)")
    subprocess.check_call([*cc, "-shared", "-s", "-pthread", "-Wl,-z,relro,-z,now", *objects, "-lm",
                           "-o", folder + "/so"])
    return _read(folder + "/so")


def build_wheel(folder, config_settings=None, metadata_directory=None):
    """Compile the extension and write the wheel. Return its name."""
    name, tag = _name(), f"cp311-abi3-linux_{os.uname().machine}"
    info, records = name + ".dist-info/", []
    when = time.gmtime(EPOCH)[:6]
    with tempfile.TemporaryDirectory() as build:
        extension = _compile(build)
    with zipfile.ZipFile(os.path.join(folder, f"{name}-{tag}.whl"), "w", zipfile.ZIP_DEFLATED) as out:
        def put(path, data, mode=0o644):
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            records.append(f"{path},sha256={digest},{len(data)}\n")
            member = zipfile.ZipInfo(path, when)
            member.external_attr, member.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            out.writestr(member, data)
        for file in sorted(os.listdir("cellar")):
            if file.endswith((".py", ".pyi", ".typed")):
                put("cellar/" + file, _read("cellar/" + file))
        put("cellar/_cellar.abi3.so", extension, 0o755)
        put(info + "METADATA", _read("PKG-INFO"))
        for file in LICENSES:
            put(info + "licenses/" + file, _read(file))
        put(info + "WHEEL", ("Wheel-Version: 1.0\nGenerator: cellar\nRoot-Is-Purelib: false\n"
                             f"Tag: {tag}\n").encode())
        records.append(f"{info}RECORD,,\n")
        out.writestr(zipfile.ZipInfo(info + "RECORD", when), "".join(records))
    return f"{name}-{tag}.whl"
