#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The adapters compile against the harnesses that they name.
# Method: BENCH_HARNESSES names a folder with checkouts libCacheSim (with its cmake folder `b`), mokabench
#         and YCSB. One that is not there is a skip. The copies are left as they are.
. tests/support/t.sh

at=${BENCH_HARNESSES:-/none}
libcachesim() {
    # shellcheck disable=SC2046
    $CC -std=gnu11 $t_warn -Iinclude -isystem "$at/libCacheSim/libCacheSim/include" -isystem "$at/libCacheSim/b/libCacheSim/include" \
        $(pkg-config --cflags-only-I glib-2.0 | sed 's/-I/-isystem /g') -fPIC -c -o "$t_tmp/lcs.o" bench/adapters/libcachesim/cellar.c
}
mokabench() { # the edits of apply.sh find their places, and the driver is type checked
    cp -r "$at/mokabench" "$t_tmp/mb" && sh bench/adapters/mokabench/apply.sh "$t_tmp/mb" "$t_tmp" >"$t_tmp/out" &&
        grep -q 'run_multi_threads_cellar(config' "$t_tmp/mb/src/main.rs" && grep -q '^pub(crate) mod cellar;' "$t_tmp/mb/src/cache.rs" &&
        grep -q 'fn run_multi_threads_cellar' "$t_tmp/mb/src/lib.rs" || return 1
    [ ! -d "$at/mokabench/target" ] || (cd "$t_tmp/mb" && cargo check -q --offline --features quick_cache)
}
ycsb() {
    javac -d "$t_tmp/classes" -sourcepath "$at/YCSB/core/src/main/java" bench/adapters/ycsb/CellarClient.java && # shellcheck disable=SC2015
        [ -f "$t_tmp/classes/cellar/ycsb/CellarClient.class" ]
}
adapter() { # FACT FOLDER TOOL COMMAND
    if [ ! -d "$at/$2" ]; then t_skip "$1" "BENCH_HARNESSES has no checkout $2"
    elif ! t_have "$3"; then t_skip "$1" "no $3"
    else t_case "$1" "$4"; fi
}
page_names_each_adapter() {
    for f in bench/adapters/*/*.*; do
        grep -q "${f##*/}" bench/adapters/README.md || { echo "$f"; return 1; }
    done
}
t_case page_names_each_adapter page_names_each_adapter
adapter libcachesim_adapter_compiles libCacheSim pkg-config libcachesim
adapter mokabench_adapter_compiles mokabench cargo mokabench
adapter ycsb_binding_compiles YCSB javac ycsb
t_end bench_adapters
