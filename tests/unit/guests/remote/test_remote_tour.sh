#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the tour of the remote tier finds nothing wrong.
# Method: the program with a server that the tour starts: CELLAR_TEST_ENGINE, or a redis-server in
#         PATH; without a server.
. tests/support/t.sh

tour_finds_nothing() {
    mkdir -p "$t_tmp/bin"
    [ -z "${CELLAR_TEST_ENGINE-}" ] || ln -sf "$CELLAR_TEST_ENGINE" "$t_tmp/bin/redis-server"
    PATH="$t_tmp/bin:$PATH" "$CELLAR_BIN" tour --remote >"$t_tmp/out" 2>"$t_tmp/err" &&
        grep -q '^  cut: [1-9]' "$t_tmp/out" && grep -q '^  stale: 0 ' "$t_tmp/out" ||
        { cat "$t_tmp/out" "$t_tmp/err"; return 1; }
}
missing_server_is_one_sentence() {
    PATH="$t_tmp/none" "$CELLAR_BIN" tour --remote >"$t_tmp/out" 2>"$t_tmp/err"
    [ $? -eq 3 ] && [ "$(wc -l <"$t_tmp/err")" -eq 1 ] &&
        grep -q '^cellar: tour: --remote: .*is redis-server or valkey-server installed' "$t_tmp/err"
}

if [ -n "${CELLAR_TEST_ENGINE-}" ] || [ -x /usr/bin/redis-check-rdb ] || t_have redis-server; then
    t_case tour_finds_nothing tour_finds_nothing
else
    t_skip tour_finds_nothing "no redis-server (package redis-tools)"
fi
t_case missing_server_is_one_sentence missing_server_is_one_sentence
t_end remote_tour
