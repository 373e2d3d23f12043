#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    `cellar serve` serves clients of Redis from settings and options, ends with a signal, and
#         exits as its help says.
# Method: the built program on a socket file in a folder of the test, asked by redis-cli.
. tests/support/t.sh
. tests/support/serve.sh
unset $(env | sed -n 's/^\(CELLAR_[A-Z_]*\)=.*/\1/p') # those of the runner are no settings

exits() { # CODE TEXT ARGUMENT...
    code=$1 text=$2
    shift 2
    timeout 20 "$bin" serve "$@" >"$t_tmp/out" 2>"$t_tmp/err"
    got=$?
    cat "$t_tmp/out" "$t_tmp/err"
    [ $got -eq "$code" ] && [ ! -s "$t_tmp/out" ] && grep -q "$text" "$t_tmp/err"
}
printf '%s\n' "a password of some length" >"$t_tmp/password"
: >"$t_tmp/empty"
mkdir "$t_tmp/open" && chmod 777 "$t_tmp/open"
echo "resp_password =" >"$t_tmp/no-password"
printf '%0257d\n' 7 >"$t_tmp/long-password"
mkdir "$t_tmp/foreign" && : >"$t_tmp/foreign/letter" && : >"$t_tmp/file"
printf '[*]\nkey\n' >"$t_tmp/policy"
echo 'resp_listen = 300.1.1.1' >"$t_tmp/listen"
own="--port=0 --unix=$t_tmp/s" # no other process has it
while IFS='|' read -r fact code words text; do
    # shellcheck disable=SC2086 # words are meant to be split
    t_case "${fact}_exits_$code" exits "$code" "$text" $words
done <<END
unknown_option|2|--memorie=1|did you mean "--memory"
argument|2|now|takes no arguments
wrong_size|2|--memory=large|must be a size
size_of_zero|2|--memory=0|memory must be a size
share_over_100_percent|2|--memory=101%|or a share
budget_above_the_memory|2|--memory=1000T|must be at most the memory of this container
budgets_above_64_bits|2|--memory=16777215T --shared=1T|must be at most the memory of this container
small_disk|2|--l2=$t_tmp/tiny --l2-bytes=1M|l2-bytes must be a size such as 4G, from 16M to 4T
wrong_time|2|--drain=soon|must be a time
wrong_write_mode|2|--l2-write=often|must be eviction, set or through
wrong_port|2|--port=65536|must be 0..65535
other_word_of_env|2|--env=valkey|env must be redis
empty_password_in_settings|2|--settings=$t_tmp/no-password|resp_password: must not be empty
wrong_address_in_settings|2|--settings=$t_tmp/listen|listen:1:15: error: resp_listen: must be a numeric
empty_password_file|2|--password-file=$t_tmp/empty|is empty
password_of_257_bytes|2|--password-file=$t_tmp/long-password|is longer than 256 bytes
missing_password_file|2|--password-file=$t_tmp/none|cannot read
shared_store_of_zero|2|--shared=0|shared must be a size
wrong_size_of_the_shared_store|2|--shared=x|shared must be a size such as 256M
shared_store_with_a_disk|2|--shared=8M --l2=$t_tmp/tiny --l2-bytes=16M|shared does not go with --l2
small_shared_store|3|--shared=1M $own|shared_bytes must be at least 2 MiB
small_budget|3|--memory=4K|cannot open the store: cellar_open: memory_bytes must be at least 1M, or .* (got 4k)
foreign_folder|3|$own --l2=$t_tmp/foreign --l2-bytes=16M|cannot open the store: cellar_open: .*not of a disk tier
disk_in_a_file|3|$own --l2=$t_tmp/file --l2-bytes=16M|cannot open the store: cellar_open: .*not a directory
disk_without_its_folder|3|$own --l2=$t_tmp/none/store --l2-bytes=16M|cannot open the store: cellar_open: .*its folder must exist
missing_policy_file|3|$own --policy=$t_tmp/none|cannot open the store: cellar_policy_read: cannot be read: no such file: $t_tmp/none
wrong_policy_file|3|$own --policy=$t_tmp/policy|cannot open the store: cellar_policy_read: the rule has no pattern: $t_tmp/policy:2:4
database_named_twice|3|$own --namespaces=0=a,0=b|namespaces must be like
unknown_group|3|$own --unix-group=no-such-group|unix_group is no group
no_listener|3|--port=0|cannot open the port
socket_in_an_open_folder|3|--port=0 --unix=$t_tmp/open/s|cannot open the port
public_address_without_password|3|--listen=0.0.0.0 --listen-public --port=47113|cannot open the port
END

if ! t_have redis-cli; then
    t_skip serves_redis_cli "no redis-cli (package redis-tools)"
    t_end cli_serve
fi
answers() {
    serve && [ "$(rc set a 1)" = OK ] && [ "$(rc get a)" = 1 ] && stop && [ ! -e "$t_tmp/s" ]
}
t_case clients_are_served_until_sigterm answers
in_use() { serve && exits 3 'cannot open the port' --port=0 --unix="$t_tmp/s" && stop; }
t_case socket_in_use_exits_3 in_use
disk_in_use() {
    serve --l2="$t_tmp/used" --l2-bytes=32M &&
        exits 3 "l2_path is in use by another process $serve_pid:" --port=0 --unix="$t_tmp/other" \
            --l2="$t_tmp/used" && stop &&
        CELLAR_L2_OPTIONAL=1 serve --l2="$t_tmp/file" --l2-bytes=16M && [ "$(rc ping)" = PONG ] && stop
}
t_case disk_in_use_exits_3_unless_it_is_optional disk_in_use
secret() { # MODE LINES FILE OPTION: a file of a mode with a password makes so many warnings
    chmod "$1" "$t_tmp/$3" && serve "--$4=$t_tmp/$3" && stop &&
        [ "$(grep -c "warning: each user may open the ${4%-file} file .* (mode 0$1)" \
            "$t_tmp/serve_err")" = "$2" ]
}
open_password() { for m in "644 1" "640 0" "600 0"; do secret $m password password-file || return; done; }
t_case password_file_that_each_user_may_read_warns open_password
open_settings() {
    echo "memory = 16M" >"$t_tmp/plain" && echo "resp_password = secret" >"$t_tmp/with" &&
        REDIS_PASSWORD=pw secret 644 0 plain settings && secret 644 1 with settings &&
        secret 600 0 with settings
}
t_case settings_with_a_password_that_each_user_may_read_warn open_settings
documents() { # a socket beside the port of the setting would need a free one: --port=0 wins
    REDIS_PORT=1 REDIS_HOST=redis.internal REDIS_PASSWORD=pw REDIS_MAX_CONNECTIONS=2 \
        CELLAR_RESP_TIMEOUT=90s serve --env=redis && rc get a | grep -q NOAUTH &&
        [ "$(rc --no-auth-warning -a pw config get maxclients | tail -n 1)" = 2 ] &&
        [ "$(rc --no-auth-warning -a pw config get timeout | tail -n 1)" = 90 ] && stop &&
        CELLAR_RESP_LISTEN=127.0.0.1 REDIS_PASSWORD=pw serve --env=redis --password-file="$t_tmp/password" &&
        [ "$(rc --no-auth-warning -a "a password of some length" ping)" = PONG ] && stop
}
t_case settings_of_the_documents_reach_the_port documents
said() { grep -q "^cellar: serve: $1" "$t_tmp/serve_err"; }
pod() { # what Kubernetes sets beside Services named redis, cellar and cellar-resp, and a real Redis
    REDIS_PORT=tcp://10.0.0.11:6379 CELLAR_RESP_PORT=tcp://10.0.0.12:6379 serve &&
        [ "$(rc ping)" = PONG ] && stop && said 'REDIS_PORT:1: note: not read: Kubernetes' &&
        said 'CELLAR_RESP_PORT:1: note: not read: Kubernetes' &&
        REDIS_PORT=21421 REDIS_HOST=redis.internal REDIS_PASSWORD=secretsecretsecret serve &&
        [ "$(rc set a 1)" = OK ] && stop && [ "$(wc -l <"$t_tmp/serve_err")" -eq 3 ] &&
        said 'REDIS_PASSWORD:1: note: not read: .* --env=redis' &&
        CELLAR_SERVICE_HOST=10.0.0.1 CELLAR_SERVICE_PORT=1 CELLAR_PORT=tcp://10.0.0.1:1 \
            CELLAR_PORT_1_TCP_ADDR=10.0.0.1 CELLAR_RESP_SERVICE_HOST=10.0.0.1 serve && stop &&
        [ ! -s "$t_tmp/serve_err" ]
}
t_case variables_of_a_pod_are_no_settings pod
unknown_variable() {
    CELLAR_MEMROY=16M CELLAR_WRONG_NAME=1 serve && stop &&
        said 'CELLAR_MEMROY: warning: .*; did you mean "CELLAR_MEMORY"?$' &&
        said 'CELLAR_WRONG_NAME: warning: no setting has this variable$' &&
        [ "$(wc -l <"$t_tmp/serve_err")" -eq 2 ]
}
t_case unknown_variable_of_cellar_is_a_warning unknown_variable
settings() {
    CELLAR_MEMORY=16M serve && [ "$(rc config get maxmemory | tail -n 1)" = 16777216 ] && stop &&
        CELLAR_MEMORY=16M serve --memory=8M &&
        [ "$(rc config get maxmemory | tail -n 1)" = 8388608 ] && stop &&
        serve --memory=2% && [ "$(rc config get maxmemory | tail -n 1)" -gt 1048576 ] && stop &&
        echo 'memory = 12M' >"$t_tmp/conf" && serve --settings="$t_tmp/conf" &&
        [ "$(rc config get maxmemory | tail -n 1)" = 12582912 ] && stop
}
t_case options_come_after_environment_after_file settings
survives() {
    serve --l2="$t_tmp/store" --l2-bytes=32M && rc set a 7 && rc incr a && [ "$(rc save)" = OK ] &&
        stop && serve --l2="$t_tmp/store" --l2-bytes=32M && [ "$(rc get a)" = 8 ] && stop
}
t_case values_survive_a_restart_with_a_disk_tier survives
l2_bytes_of() { "$bin" inspect --json "$1" | sed -n 's/.*"l2_bytes":\([0-9]*\).*/\1/p'; }
kept() {
    serve --l2="$t_tmp/store" && [ "$(rc get a)" = 8 ] && stop &&
        [ "$(l2_bytes_of "$t_tmp/store")" = 33554432 ]
}
t_case disk_tier_without_a_size_keeps_its_size kept
sized() { # half of the free space, 1 GiB at most
    serve --l2="$t_tmp/new" && rc set a 1 && stop && new=$(l2_bytes_of "$t_tmp/new") &&
        rm -r "$t_tmp/new" && [ "$new" -ge 16777216 ] && [ "$new" -le 1073741824 ]
}
case $(stat -f -c %T "$t_tmp") in
tmpfs) t_skip new_disk_tier_without_a_size_has_one "the files would be memory" ;;
*) t_case new_disk_tier_without_a_size_has_one sized ;;
esac
small_disk() { # serve ends because the port cannot open; the files of its store stay
    mkdir -p "$t_tmp/small"
    unshare -rm sh -c 'mount -t tmpfs -o size=100M none "$2" &&
        { "$1" serve --l2="$2/new/" --port=0 --unix="$2/none/s" || [ $? = 3 ]; } &&
        "$1" inspect --json "$2/new"' sh "$bin" "$t_tmp/small" | tee "$t_tmp/json" &&
        grep -q '"l2_bytes":52428800[,}]' "$t_tmp/json"
}
if unshare -rm mount -t tmpfs none "$t_tmp" 2>/dev/null; then
    t_case directory_with_a_slash_gets_half_of_a_small_disk small_disk
else
    t_skip directory_with_a_slash_gets_half_of_a_small_disk "no mount may be made here"
fi
guarded() {
    serve --password-file="$t_tmp/password" && rc get a | grep -q NOAUTH &&
        [ "$(rc --no-auth-warning -a "a password of some length" ping)" = PONG ] && stop
}
t_case password_is_needed guarded
reads() { serve --read-only && rc set a 1 | grep -q READONLY && [ "$(rc dbsize)" = 0 ] && stop; }
t_case read_only_refuses_writes reads
danger() { serve && rc flushall | grep -q danger && [ "$(rc flushdb)" = OK ] && stop; }
t_case dangerous_commands_need_the_option danger
shutdown() {
    serve --danger && rc set a 1 && rc shutdown >/dev/null && wait $serve_pid
}
t_case shutdown_ends_the_program shutdown
until_done() { # COMMAND...: try it for 20 s
    n=0
    until "$@"; do
        n=$((n + 1))
        [ $n -lt 1000 ] || return 1
        sleep 0.02
    done
}
is_allowed() { [ "$(rc set "$1" 1)" = OK ]; }
reload() {
    printf '[*]\ndeny secret*\n' >"$t_tmp/policy"
    serve --policy="$t_tmp/policy" && rc set secret 1 | grep -q denied &&
        printf '[*]\ndeny other*\n' >"$t_tmp/policy" && kill -HUP $serve_pid && until_done is_allowed secret &&
        printf '[*]\nkey\n' >"$t_tmp/policy" && kill -HUP $serve_pid &&
        until_done grep -q 'the present policies stay' "$t_tmp/serve_err" &&
        rc set other 1 | grep -q denied && stop
}
t_case sighup_reads_the_policies_again reload
sections() { # WANTED OPTION...: so many sections are unknown
    wanted=$1
    shift
    printf '[*]\ndeny a*\n[db0]\ndeny b*\n[users]\ndeny c*\n[root]\ndeny d*\ndeny e*\n' >"$t_tmp/policy"
    serve --policy="$t_tmp/policy" "$@" && stop && cat "$t_tmp/serve_err" &&
        [ "$(grep -c 'warning: no namespace has section' "$t_tmp/serve_err")" = "$wanted" ] &&
        grep -q 'policy:8:1: warning: .*"root"' "$t_tmp/serve_err"
}
t_case section_without_a_database_warns sections 2
t_case section_of_a_named_database_is_known sections 1 --namespaces="3=users"
t_case section_of_the_shared_store_warns sections 3 --shared=8M
user_signals() { # each request behind them shows that the program runs on
    serve && kill -USR1 $serve_pid && [ "$(rc ping)" = PONG ] && kill -USR2 $serve_pid &&
        [ "$(rc ping)" = PONG ] && stop
}
t_case user_signals_have_no_effect user_signals
fill() { awk -v n=$1 'BEGIN { while (n-- > 0) printf "SET key:%d value-%d\r\n", n, n }'; }
gone() { [ ! -e "$t_tmp/s" ]; }
second() { # $1 $2: signals
    serve --drain=600s || return 1
    : >"$t_tmp/monitor"
    stdbuf -oL redis-cli -s "$t_tmp/s" monitor >"$t_tmp/monitor" &
    reader=$!
    # A client that stops reading holds the end until its replies are sent: a backlog below its limit.
    until_done grep -q OK "$t_tmp/monitor" && kill -STOP $reader && fill 15000 | rc --pipe &&
        kill -"$1" $serve_pid && until_done gone && kill -"$2" $serve_pid
    done=$?
    wait $serve_pid
    code=$?
    kill -KILL $reader
    [ $done -eq 0 ] && [ $code -gt 128 ]
}
t_case second_signal_ends_at_once second TERM TERM
t_case second_signal_of_another_kind_ends_at_once second TERM INT
drain() {
    serve --drain=0ms --l2="$t_tmp/short" --l2-bytes=32M --l2-write=eviction &&
        fill 20000 | rc --pipe >/dev/null && stop &&
        grep -q 'l2.close_ms: wrote' "$t_tmp/serve_err" &&
        serve --l2="$t_tmp/short" --l2-bytes=32M && [ "$(rc dbsize)" -lt 20000 ] && stop &&
        [ ! -s "$t_tmp/serve_err" ]
}
t_case drain_limits_the_whole_end drain
# A delete is in the file when it returns, and all before it: the log is written in order.
killed() { # SAVE FOUND OPTION...: fill, SAVE or not, SIGKILL; then so many keys are found
    save=$1 found=$2
    shift 2
    rm -rf "$t_tmp/killed"
    serve --l2="$t_tmp/killed" --l2-bytes=32M "$@" && fill 5000 | rc --pipe >/dev/null &&
        rc set mark 1 && rc del mark || return 1
    [ $save = no ] || [ "$(rc save)" = OK ] || return 1
    kill -KILL $serve_pid
    wait $serve_pid
    serve --l2="$t_tmp/killed" --l2-bytes=32M "$@" && until_done read_back &&
        [ "$(rc dbsize)" = "$found" ] && stop
}
by_settings() { CELLAR_L2_WRITE=eviction killed no 0; }
read_back() { rc info persistence | grep -q '^loading:0'; }
t_case save_then_sigkill_keeps_all_keys killed yes 5000 --l2-write=eviction
t_case sigkill_keeps_all_keys_by_default killed no 5000
t_case settings_name_the_write_mode by_settings
t_case sigkill_keeps_all_keys_written_through killed no 5000 --l2-write=through
on_disk() { grep -q "$1" "$t_tmp/ticked/data.seg"; }
ticked() {
    CELLAR_THREADS=0 serve --l2="$t_tmp/ticked" --l2-bytes=16M &&
        [ "$(rc set tick-wrote-it 1)" = OK ] && until_done on_disk tick-wrote-it && stop
}
t_case without_threads_serve_writes_to_the_disk ticked
# A value above a quarter of l2_bytes stays in memory alone.
too_long() {
    serve --l2="$t_tmp/long" --l2-bytes=32M --l2-write=eviction && rc set a 1 &&
        head -c 9000000 /dev/zero | rc -x set b && rc save | grep -q 'ERR.* 1 ' &&
        [ "$(rc lastsave)" = 0 ] && rc del b && [ "$(rc save)" = OK ] &&
        [ "$(rc lastsave)" -gt 0 ] && stop
}
t_case save_counts_what_does_not_fit_and_lastsave_stays too_long
counted() {
    serve --l2="$t_tmp/counted" --l2-bytes=32M && rc set a 1 ex 5 && rc set b 1 ex 3600 &&
        rc info persistence | tr -d '\r' >"$t_tmp/info" && stop &&
        grep -q '^cellar_disk_rejected_ttl:1$' "$t_tmp/info" &&
        grep -q '^cellar_disk_owes:0$' "$t_tmp/info"
}
t_case info_counts_keys_that_are_refused counted
names() {
    serve --namespaces="0=image_task" && rc set a 1 &&
        rc cellar.namespaces | grep -q image_task && stop
}
t_case database_has_the_name_of_the_option names
switched_off() {
    serve --namespaces="1=users" --l2="$t_tmp/off" --l2-bytes=16M && rc set a 1 &&
        rc -n 1 set a 2 && stop || return 1
    CELLAR_ENABLED=0 serve --namespaces="1=users" --l2="$t_tmp/off" --l2-bytes=16M &&
        [ -z "$(rc get a)" ] && [ -z "$(rc -n 1 get a)" ] && rc set a 3 | grep -q disabled && stop
}
t_case enabled_0_switches_the_databases_off switched_off
t_end cli_serve
