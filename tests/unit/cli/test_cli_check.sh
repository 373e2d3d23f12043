#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    `cellar check` prints errors and warnings of policy files, and errors of settings, and
#         exits as its help says.
# Method: the built program on the file of tests/data, a file with warnings and one with errors.
. tests/support/t.sh
bin=${CELLAR_BIN:-build/cellar}
unset $(env | sed -n 's/^\(CELLAR_[A-Z_]*\)=.*/\1/p') # those of the runner are no settings
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

# ---- settings that are wrong, one by one or together: place, setting, rule and remedy ----
# LINES@PLACE@TEXT: PLACE is empty for settings that do not fit together.
cat >"$t_tmp/wrong" <<'END'
memory = 1@1:10: @memory: 1 is out of range: from 1M
memory = 64s@1:12: @memory: a size has no unit but k, M, G or T
memory = 101%@1:13: @memory: a share is 1% to 100%
memory = M@1:10: @memory: needs a number
max_value = 1G@1:13: @max_value: 1G is out of range: 1..2^30 - 1
max_entries = 1k@1:16: @max_entries: must be a number without unit
eviction = lr@1:12: @eviction: must be one of: adaptive s3fifo lru fifo
default_ttl = 300@1:18: @default_ttl: a time needs a unit: ms s m h d w
default_ttl = 0s@1:15: @default_ttl: 0s is out of range: from 1ms, or never
stale = 50d@1:9: @stale: 50d is out of range: to 49d
jitter = 101%@1:13: @jitter: 101% is out of range: 0%..100%, +n%, +-n%
key_version = 0@1:15: @key_version: 0 is out of range: from 1
l2_bytes = 15M\nl2_path = /x@1:12: @l2_bytes: 15M is out of range: 16M..4T
l2_bytes = 50%\nl2_path = /x@1:14: @l2_bytes: a size has no unit but k, M, G or T
l2_optional = 2@1:15: @l2_optional: must be 0 or 1, false or true, no or yes, off or on
resp_port = 65536@1:13: @resp_port: 65536 is out of range: 1..65,535
resp_port = tcp://10.0.0.11:6379@1:13: @resp_port: needs a number
resp_listen = redis.internal@1:15: @resp_listen: must be a numeric address, or localhost
resp_password =@1:16: @resp_password: must not be empty: write a password, or leave it out
task_routes = x@1:15: @task_routes: needs {"pattern": "queue"} or {"pattern": {"queue": ..}}
memory = 1M\nmemory = 2M@2:10: @memory: is set twice, first in line 1
memroy = 1M@1:1: @memroy: unknown setting; did you mean "memory"?
CELLAR_L2_BYTE = 1G@1:1: @CELLAR_L2_BYTE: unknown setting; did you mean "CELLAR_L2_BYTES"?
l2_required = 1@1:1: @l2_required: unknown setting
l2_path = "/x@1:11: @l2_path: the quote has no end
memory 1M@1:8: @a line is: name = value
l2_path = /x@@l2_path: needs l2_bytes, too: 16M..4T (without it only cellar serve opens)
l2_bytes = 1G@@l2_bytes: needs l2_path, too: a directory
l2_write = through@@l2_write: through needs a disk: set l2_path and l2_bytes
END
wrong_settings() {
    n=0
    while IFS=@ read -r lines place text; do
        n=$((n + 1))
        printf "$(printf %s "$lines" | sed 's/%/%%/g')\\n" >"$t_tmp/one.conf"
        "$bin" check --settings "$t_tmp/one.conf" >"$t_tmp/out" 2>"$t_tmp/err"
        if [ $? -ne 1 ] || [ -s "$t_tmp/err" ] ||
            [ "$(head -n 1 "$t_tmp/out")" != "$t_tmp/one.conf:${place:- }error: $text" ] ||
            [ "$(tail -n 1 "$t_tmp/out")" != 'files: 1, errors: 1, warnings: 0' ]; then
            printf '%s\n' "$lines" && cat "$t_tmp/out" "$t_tmp/err" && return 1
        fi
    done <"$t_tmp/wrong"
    [ $n -ge 25 ]
}
t_case each_wrong_setting_has_place_rule_and_remedy wrong_settings
echo 'l2_path = /x' >"$t_tmp/half.conf"
together_in_json() {
    "$bin" check --settings --json "$t_tmp/half.conf" >"$t_tmp/json"
    [ $? -eq 1 ] && grep -q '"line":0,"column":1,"severity":"error","text":".*l2_path: needs' \
        "$t_tmp/json" && grep -q '"errors":1,' "$t_tmp/json"
}
t_case settings_that_do_not_fit_are_errors_in_json together_in_json
printf 'l2_path = /x\nl2_bytes = 1G\nl2_write = through\ntz = +08:00\n' >"$t_tmp/fit.conf"
t_case settings_that_fit_exit_0 says 0 'files: 1, errors: 0, warnings: 0' --settings --strict \
    "$t_tmp/fit.conf"
printf 'tz = Mars/Base\n' >"$t_tmp/tz.conf"
no_zone() {
    says 0 'files: 1, errors: 0, warnings: 1' --settings "$t_tmp/tz.conf" &&
        grep -q "tz.conf: warning: tz: no zone file here for \"Mars/Base\": .* +08:00" "$t_tmp/out" &&
        says 1 'files: 1, errors: 0, warnings: 1' --settings --strict "$t_tmp/tz.conf"
}
t_case zone_that_this_machine_lacks_is_a_warning no_zone
policy_of_settings() {
    printf 'policy = %s\n' "$t_tmp/bad" >"$t_tmp/policy.conf"
    says 1 'files: 1, errors: 2, warnings: 0' --settings "$t_tmp/policy.conf" || return 1
    printf 'policy = %s\n' "$t_tmp/none" >"$t_tmp/policy.conf"
    "$bin" check --settings "$t_tmp/policy.conf" 2>"$t_tmp/err"
    [ $? -eq 2 ] && grep -q 'cannot be read: .*; name a file of policies' "$t_tmp/err"
}
t_case policy_file_of_settings_is_checked policy_of_settings
variables() {
    CELLAR_PORT=tcp://10.0.0.1:1 CELLAR_PORT_1_TCP=x CELLAR_SERVICE_HOST=x CELLAR_MEMORY=64M \
        CELLAR_INTERVAL=5 says 0 'files: 1, errors: 0, warnings: 0' --settings "$t_tmp/app.env" &&
        CELLAR_MEMROY=1 says 0 'files: 1, errors: 0, warnings: 1' --settings "$t_tmp/app.env" &&
        grep -q '^CELLAR_MEMROY: warning: .*; did you mean "CELLAR_MEMORY"?$' "$t_tmp/out" &&
        CELLAR_MEMROY=1 says 0 'files: 1, errors: 0, warnings: 0' tests/data/s4.policy
}
t_case unknown_variable_of_cellar_is_a_warning variables
t_end cli_check
