#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the remote tier works with other servers than the one that its tests take by default.
# Method: some of its test programs run again on Valkey, Redis 7.2 and Redis 8, each a skip where
#         there is none. CELLAR_TEST_ENGINES="path path" names servers outside of PATH.
. tests/support/t.sh

# Print the path of the first server with this version.
engine_of() { # PATTERN
    for engine in ${CELLAR_TEST_ENGINES-} "$(command -v valkey-server)" "$(command -v redis-server)"; do
        [ -n "$engine" ] && [ -x "$engine" ] && "$engine" --version 2>/dev/null | grep -q "$1" &&
            { echo "$engine"; return; }
    done
}
passes() { # PROGRAM ENGINE
    CELLAR_TEST_ENGINE=$2 timeout 600 "$CELLAR_BUILD/t/test_remote_$1"
}
on_each() { # NAME PATTERN
    engine=$(engine_of "$2")
    for program in facts tier shared_load patience sentinels tls_link; do
        if [ -z "$engine" ]; then t_skip "${program}_on_$1" "no $1 (CELLAR_TEST_ENGINES names servers)"
        elif [ ! -x "$CELLAR_BUILD/t/test_remote_$program" ]; then t_skip "${program}_on_$1" "not built"
        else t_case "${program}_on_$1" passes $program "$engine"
        fi
    done
}

on_each valkey '^Valkey server v='
on_each redis_7_2 '^Redis server v=7\.2\.'
on_each redis_8 '^Redis server v=\(8\|7\.9\)\.'
t_end remote_engines
