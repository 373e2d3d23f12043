#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    keys and values of any bytes do no harm to the package for Python.
# Method: python_runs.c under ASan and UBSan, with Python in it: FUZZ_RUNS (200,000) inputs, 10^7 of
#         them in two minutes; SEED=n. With coverage: matrix_fuzz.sh.
. tests/support/t.sh
python=${CELLAR_PYTHON:-python3}
config=$(command -v "$(basename "$("$python" -c 'import sys; print(sys.executable)')")-config")
build() {
    # shellcheck disable=SC2046 # words are meant to be split
    $CC -std=c11 -D_GNU_SOURCE -O1 -g -DPy_LIMITED_API=0x030B0000 -I. -Iinclude -Isrc \
        -isystem "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')" \
        -fsanitize=address,undefined -fno-sanitize-recover=all -o "$t_tmp/fuzz" \
        tests/fuzz/python_runs.c src/python/codec.c $("$config" --embed --ldflags)
}
# Each object has a block of its own: a read past it is found.
run() { PYTHONMALLOC=malloc "$t_tmp/fuzz" "${FUZZ_RUNS:-200000}" "${SEED:-1}"; }
if [ -z "${CELLAR_PYTHON-}" ] || [ -z "$config" ]; then
    t_skip keys_and_values_of_any_bytes_do_no_harm "python3-dev is missing"
else
    t_case the_fuzz_target_builds build
    t_case keys_and_values_of_any_bytes_do_no_harm run
fi
t_end python_fuzz
