#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    `cellar check` prints errors and warnings of policy files, and errors of settings, and
#         exits as its help says.
# Method: the built program on the file of tests/data, a file with warnings and one with errors.
. tests/support/t.sh
bin=${CELLAR_BIN:-build/cellar}
printf '[*]\nkey a ttl=2h ttl_max=1h\n' >"$t_tmp/warn"
printf '[*]\nkey a ttl=10\nkey b color=red\n' >"$t_tmp/bad"

says() { # CODE LAST-LINE ARGUMENT...
    code=$1 last=$2
    shift 2
    "$bin" check "$@" >"$t_tmp/out" 2>"$t_tmp/err"
    got=$?
    cat "$t_tmp/out" "$t_tmp/err"
    [ $got -eq "$code" ] && [ "$(tail -n 1 "$t_tmp/out")" = "$last" ]
}
t_case good_file_exits_0 says 0 'files: 1, errors: 0, warnings: 0' tests/data/s4.policy
t_case good_file_exits_0_with_strict says 0 'files: 1, errors: 0, warnings: 0' --strict \
    tests/data/s4.policy
t_case warning_exits_0 says 0 'files: 1, errors: 0, warnings: 1' "$t_tmp/warn"
t_case warning_exits_1_with_strict says 1 'files: 1, errors: 0, warnings: 1' --strict "$t_tmp/warn"
t_case errors_of_all_files_are_counted says 1 'files: 2, errors: 2, warnings: 1' "$t_tmp/bad" \
    "$t_tmp/warn"
lines() { "$bin" check "$t_tmp/bad" | grep -q "^$t_tmp/bad:2:7: error: ttl \"10\": a time needs a unit"; }
t_case error_has_file_line_and_column lines
json() {
    "$bin" check --json "$t_tmp/bad" "$t_tmp/warn" >"$t_tmp/json"
    [ $? -eq 1 ] && [ "$(wc -l <"$t_tmp/json")" -eq 4 ] &&
        grep -q '"line":3,"column":7,"severity":"error"' "$t_tmp/json" &&
        tail -n 1 "$t_tmp/json" | grep -q '^{"total":{"files":2,"errors":2,"warnings":1}}$' ||
        return 1
    ! t_have python3 || python3 -c 'import json, sys
for line in open(sys.argv[1]): json.loads(line)' "$t_tmp/json"
}
t_case json_has_an_object_a_line json
unreadable() { ! "$bin" check "$t_tmp/none" >"$t_tmp/out" 2>"$t_tmp/err" && [ ! -s "$t_tmp/out" ] &&
    grep -q '^cellar: check: .*: error: cannot be read: no such file; name a file of policies' "$t_tmp/err"; }
t_case unreadable_file_is_refused unreadable
printf 'memory = 4M\nstale = 5\nREDIS_DB=0\n' >"$t_tmp/app.conf"
printf 'memory = 4M\nREDIS_DB=0\n' >"$t_tmp/app.env"
t_case good_settings_exit_0 says 0 'files: 1, errors: 0, warnings: 0' --settings --strict \
    "$t_tmp/app.env"
t_case wrong_settings_exit_1 says 1 'files: 2, errors: 1, warnings: 0' --settings "$t_tmp/app.conf" \
    "$t_tmp/app.env"
setting_lines() {
    "$bin" check --settings "$t_tmp/app.conf" >"$t_tmp/out"
    grep -q "^$t_tmp/app.conf:2:10: error: stale: a time needs a unit" "$t_tmp/out" &&
        grep -q "^$t_tmp/app.conf:3:1: note: REDIS_DB: " "$t_tmp/out" &&
        "$bin" check --settings --json "$t_tmp/app.conf" |
            grep -q '"line":2,"column":10,"severity":"error"'
}
t_case error_of_settings_has_file_line_and_column setting_lines
unreadable_settings() {
    "$bin" check --settings "$t_tmp/none" >"$t_tmp/out" 2>"$t_tmp/err"
    [ $? -eq 2 ] && [ ! -s "$t_tmp/out" ] && grep -q 'cannot be read: ' "$t_tmp/err"
}
t_case unreadable_settings_are_refused unreadable_settings
t_end cli_check
