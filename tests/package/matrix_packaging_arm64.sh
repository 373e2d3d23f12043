#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The static program for arm64, a file of the release, is built and runs.
# Method: make dist/static/cellar-aarch64, which is STATIC=1 with a cross compiler. Each command runs
#         under qemu-user, the server with redis-cli as its client and a disk tier over a restart.
#         qemu shows no weak memory order.
. tests/support/t.sh
unset $(env | sed -n 's/^\(CELLAR_[A-Z_]*\)=.*/\1/p') # those of the runner are no settings
cross=aarch64-linux-gnu-gcc arm=dist/static/cellar-aarch64

built() { $MAKE -s dist/static/cellar-aarch64; }
missing_header_is_named() { # a compiler that finds the header of this machine finds an error first
    mkdir "$t_tmp/none" && echo '#error' >"$t_tmp/none/uthash.h" &&
        ! $MAKE -s STATIC=1 NOLINK=1 CC=$cross ALL_LIBS= CPPFLAGS="-I$t_tmp/none" lib >"$t_tmp/said" 2>&1 && grep 'UTHASH_DIR=' "$t_tmp/said"
}
version_says_what_it_lacks() {
    "$bin" version >"$t_tmp/said" && cat "$t_tmp/said" && grep -q '^lz4 *no$' "$t_tmp/said" &&
        grep -q '^SQLite *no$' "$t_tmp/said" && grep -q '^TLS *no$' "$t_tmp/said"
}
tours() { "$bin" tour </dev/null; }
serves_and_keeps_entries() {
    serve --memory=16M --l2="$t_tmp/disk" --l2-bytes=32M && [ "$(rc set a 1)" = OK ] && [ "$(rc get a)" = 1 ] &&
        stop && serve --memory=16M --l2="$t_tmp/disk" && [ "$(rc get a)" = 1 ] && stop
}
inspects() { "$bin" inspect "$t_tmp/disk"; }
replays() {
    printf 'a\nb\na\n' >"$t_tmp/trace.txt"
    "$bin" replay --policy=lru --capacity=2 "$t_tmp/trace.txt" | grep '"subject":"cellar-lru",.*"value":0.666667'
}

if ! echo '#include <errno.h>' | $cross -E - >/dev/null 2>&1; then
    t_skip arm64_program_runs "no $cross, or no headers for it"
elif ! t_have qemu-aarch64; then
    t_skip arm64_program_runs "no qemu-aarch64 (package qemu-user)"
else
    t_case arm64_program_is_built built
    t_case missing_header_of_arm64_is_named missing_header_is_named
    printf '#!/bin/sh\nexec qemu-aarch64 %s "$@"\n' $arm >"$t_tmp/cellar" && chmod +x "$t_tmp/cellar"
    CELLAR_BIN=$t_tmp/cellar
    . tests/support/serve.sh
    t_case arm64_version_says_what_it_lacks version_says_what_it_lacks
    t_case arm64_tour_ends_well tours
    if t_have redis-cli; then
        t_case arm64_serves_and_keeps_entries serves_and_keeps_entries
        t_case arm64_inspects_a_directory inspects
    else
        t_skip arm64_serves_and_keeps_entries "no redis-cli (package redis-tools)"
    fi
    t_case arm64_replays_a_trace replays
fi
t_end packaging_arm64
