#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the wheel and the sdist of the package for Python install without a network, need nothing
#         but libc, and pass the tests of the package in each Python that is here. A Python that counts
#         references (python3-dbg) finds none that a call keeps.
# Method: `make wheel`; a fresh environment for each file, in a name space without network where the
#         kernel allows one; tests/unit/python/run.py in it. Without FULL=1 either one file of it on the
#         sdist or the count of references, as SEED decides.
. tests/support/t.sh
python=${PYTHON:-python3}
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE

usable() { # python: 3.11 or later, with venv
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}
if ! usable "$python" || ! [ -f "$($python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; then
    t_skip the_wheel_works "python3-dev or python3-venv is missing"
    t_end packaging_python_wheel
fi
alone="unshare --map-root-user --net"
$alone true 2>/dev/null || alone=
build() { rm -f build/cellar_cache-*.whl build/cellar_cache-*.tar.gz && $MAKE -s wheel; }
t_case wheel_and_sdist_are_built build
wheel=$(realpath build/cellar_cache-*.whl) sdist=$(realpath build/cellar_cache-*.tar.gz)

mkdir -p "$t_tmp/in"
unpack() { (cd "$t_tmp/in" && $python -m zipfile -e "$wheel" .); }
t_case the_wheel_is_a_zip unpack
extension=$t_tmp/in/cellar/_cellar.abi3.so
needs_libc_alone() {
    ldd "$extension" | grep -v 'linux-vdso\|ld-linux\|libc\.so\|libm\.so\|libpthread' && return 1
    ldd "$extension" | grep 'libc.so'
}
exports_one_name() { [ "$(nm -D --defined-only "$extension" | awk '{ print $3 }')" = PyInit__cellar ]; }
# manylinux_2_34: no symbol of a newer libc.
is_old_enough() {
    nm -D "$extension" | sed -n 's/.*@GLIBC_2\.\([0-9]*\).*/\1/p' | awk '$1 > 34 { print; bad = 1 } END { exit bad }'
}
auditwheel_agrees() { auditwheel show "$wheel" | tr '\n' ' ' | grep 'platform tag: *"manylinux_2_34_x86_64"'; }
has_licences() { ls "$t_tmp"/in/*.dist-info/licenses/LICENSE "$t_tmp"/in/*.dist-info/licenses/LICENSE.uthash; }
has_stubs() { ls "$t_tmp/in/cellar/py.typed" "$t_tmp/in/cellar/__init__.pyi"; }
is_small() { [ "$(wc -c <"$wheel")" -lt 900000 ]; }
t_case the_extension_needs_libc_alone needs_libc_alone
t_case the_extension_exports_one_name exports_one_name
t_case the_extension_needs_no_newer_libc is_old_enough
if t_have auditwheel; then t_case auditwheel_finds_manylinux_2_34 auditwheel_agrees
else t_skip auditwheel_finds_manylinux_2_34 "no auditwheel"; fi
t_case licences_are_in_the_wheel has_licences
t_case stubs_are_in_the_wheel has_stubs
t_case the_wheel_is_below_900_kb is_small

works() { # python, file, tests (all): in an environment of its own
    rm -rf "$t_tmp/env" && "$1" -m venv "$t_tmp/env" &&
        $alone "$t_tmp/env/bin/pip" install -q --no-index --disable-pip-version-check "$2" &&
        env -u PYTHONPATH "$t_tmp/env/bin/python" tests/unit/python/run.py ${3-}
}
t_case the_wheel_passes_the_tests works "$python" "$wheel"
from_source() { # the wheel has shown the library at -O2
    CFLAGS=-O0
    export CFLAGS
    works "$@"
}
turn=$((${SEED:-0} % 2)) # a Python that counts references takes half of the time
usable python3-dbg || turn=0
if [ "${FULL-}" = 1 ]; then t_case the_sdist_passes_the_tests from_source "$python" "$sdist"
elif [ $turn = 0 ]; then t_case the_sdist_passes_the_tests_of_calls from_source "$python" "$sdist" calls; fi
for other in python3.11 python3.12 python3.13; do
    if ! usable $other; then
        t_skip "the_wheel_passes_the_tests_in_$other" "no $other with venv"
    elif [ "$($other --version)" != "$($python --version)" ]; then
        t_case "the_wheel_passes_the_tests_in_$other" works $other "$wheel"
    fi
done
if ! usable python3-dbg; then
    t_skip calls_keep_no_reference "no python3-dbg with venv"
elif [ "${FULL-}$turn" != 0 ]; then
    t_case calls_keep_no_reference from_source python3-dbg "$sdist" references
fi
t_skip the_package_works_without_the_gil "it is built for Pythons with a GIL"
t_end packaging_python_wheel
