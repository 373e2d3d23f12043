#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the shared library works from another language by its documented rules: prefixes of option
#         structs, whole output structs, loaders that keep exceptions out of C.
# Method: tests/examples/python/test_cellar.py, one process for each case, on the library of the
#         build.
. tests/support/t.sh
python=tests/examples/python
PYTHONDONTWRITEBYTECODE=1
CELLAR_LIBRARY=$(realpath "${CELLAR_SO:-build/libcellar.so}")
export PYTHONDONTWRITEBYTECODE CELLAR_LIBRARY

if python3 -c 'import ctypes' 2>/dev/null; then
    for name in $(sed -n 's/^def \([a-z_]*\)():$/\1/p' $python/test_cellar.py); do
        t_case "$name" python3 $python/test_cellar.py "$name"
    done
else
    t_skip python_uses_the_shared_library "no python3 with ctypes"
fi
t_end packaging_python
