#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the tour does what its help says: table, checks, skips, exit codes, JSON; the live line and
#         colours appear on a terminal only.
# Method: the built program on folders made here; script(1) as a terminal where it is installed.
set -u
bin=${CELLAR_BIN:-build/cellar}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
passed=0 failed=0 skipped=0 number=0

ok() { # NAME: of the fact; the status of the last command decides
    status=$?
    number=$((number + 1))
    if [ $status -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok $number - $1"
    else
        failed=$((failed + 1))
        echo "not ok $number - $1"
        sed 's/^/# out: /' "$tmp/out" | head -n 20
        sed 's/^/# err: /' "$tmp/err" | head -n 20
    fi
}
skip() {
    number=$((number + 1)) skipped=$((skipped + 1))
    echo "ok $number - $1 # SKIP $2"
}
run() { # arguments of the program; sets rc
    "$bin" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
}
says() { grep -q -- "$1" "$tmp/out"; }
complains() { grep -q -- "$1" "$tmp/err" && [ ! -s "$tmp/out" ]; }
field() { # PASS NAME: a number of the JSON lines
    sed -n "s/^{\"pass\":$1,.*\"$2\":\([0-9.]*\)[,}].*/\1/p" "$tmp/out"
}

# ---- commands ----
run --version; [ $rc -eq 0 ] && says '^cellar [0-9]*\.[0-9]*\.[0-9]* (source '; ok version_option_prints_the_version
run version; [ $rc -eq 0 ] && says '^cellar '; ok version_command_prints_the_version
run --help; [ $rc -eq 0 ] && says '^Commands:' && says '^  tour '; ok help_lists_the_commands
run help tour; [ $rc -eq 0 ] && says '^Usage: cellar tour'; ok help_of_a_command
mv "$tmp/out" "$tmp/help"
run tour --help; [ $rc -eq 0 ] && cmp -s "$tmp/out" "$tmp/help"; ok help_option_prints_the_same
run tour --json --help; [ $rc -eq 0 ] && cmp -s "$tmp/out" "$tmp/help"; ok help_option_at_any_place
for c in tour replay inspect version help; do
    run $c --help; [ $rc -eq 0 ] && says "^Usage: cellar $c"; ok "help_for_$c"
done
run; [ $rc -eq 2 ] && complains '^Usage:'; ok no_command_is_wrong_usage
run nonsense; [ $rc -eq 2 ] && complains 'unknown command "nonsense"'; ok unknown_command_is_2
run "$(printf 'x\033[31m')"; [ $rc -eq 2 ] && complains '"x?\[31m"'
ok names_cannot_control_the_terminal
run version extra; [ $rc -eq 2 ] && complains 'no arguments'; ok version_takes_no_arguments
run help nonsense; [ $rc -eq 2 ]; ok help_on_an_unknown_command_is_2
run tour --wrong; [ $rc -eq 2 ] && complains 'wrong'; ok unknown_option_is_2
run tour --threads=0 "$tmp"; [ $rc -eq 2 ] && complains '1..64 (got "0")'; ok bad_thread_count_is_2
run tour --memory=1k "$tmp"; [ $rc -eq 2 ] && complains 'at least 1M'; ok too_small_a_budget_is_2
printf 'memory = 1k\nstale = 5\n' >"$tmp/wrong.conf"
run tour --settings="$tmp/wrong.conf" "$tmp"
[ $rc -eq 2 ] && complains 'wrong.conf:1:10: error: memory: ' && complains 'wrong.conf:2:10: error: stale: '
ok errors_of_a_settings_file_are_2
run tour --settings="$tmp/none.conf" "$tmp"; [ $rc -eq 2 ] && complains 'none.conf: error: cannot be read'
ok missing_settings_file_is_2
run_env() { (export "$1" && shift && "$bin" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null); rc=$?; }
run_env CELLAR_EVICTION=random tour "$tmp"
[ $rc -eq 2 ] && complains 'CELLAR_EVICTION:1: error: must be one of: adaptive'
ok wrong_variable_is_2
run tour a b; [ $rc -eq 2 ] && complains 'one folder'; ok two_folders_are_2
if [ -c /dev/full ]; then
    "$bin" help >/dev/full 2>"$tmp/err"; [ $? -eq 4 ] && grep -q 'cannot write' "$tmp/err"
    ok output_that_cannot_be_written_is_4
else
    skip output_that_cannot_be_written_is_4 "no /dev/full"
fi

# ---- the tour ----
run tour /nowhere/at/all; [ $rc -eq 2 ] && complains 'no such file or folder'
ok missing_folder_is_2
run tour "$bin"; [ $rc -eq 2 ] && complains 'not a folder'; ok a_file_is_no_folder
mkdir "$tmp/empty"
run tour "$tmp/empty"; [ $rc -eq 2 ] && complains 'no readable file'; ok empty_folder_is_2
: >"$tmp/empty/nothing"
ln -s /etc/passwd "$tmp/empty/link"
run tour "$tmp/empty"; [ $rc -eq 2 ] && complains '1 empty, 1 symlinks'; ok only_unusable_files_is_2

mkdir -p "$tmp/tree/sub dir"
i=0
while [ $i -lt 600 ]; do
    printf 'file %d\nsecond line\n' $i >"$tmp/tree/f$i"
    i=$((i + 1))
done
printf 'no end of line' >"$tmp/tree/sub dir/last"
: >"$tmp/tree/void"
ln -s f1 "$tmp/tree/to_f1"
ln -s . "$tmp/tree/around"
mkfifo "$tmp/tree/pipe"

# The cache does not wait for a slow disk. The tour then counts fewer answers from disk and is
# repeated.
disk() { sed -n "s/^{\"disk\":\"$1\",.*\"$2\":\([0-9]*\)[,}].*/\1/p" "$tmp/out"; }
run_with_disk() {
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        run "$@"
        from_disk=$(disk reopened from_disk)
        : "${from_disk:=$(sed -n 's/^closed and reopened: .*answers requested, \([0-9]*\) from disk.*/\1/p' "$tmp/out")}"
        [ "${from_disk:-0}" -lt 595 ] || break
    done
}
run_with_disk tour "$tmp/tree"
[ $rc -eq 0 ] && says '^601 files' && says 'all of them'; ok tour_reads_each_regular_file
says '^skipped: 1 empty, 1 special, 2 symlinks$'; ok tour_counts_what_it_skips
says '^pass  *1 cold  *2 from L1  *3 small budget$' && says '^misses  *601  *0 ' &&
    says '^hit ratio  *0.0 %  *100.0 % '
ok tour_prints_three_passes
says 'hits + misses = operations in every pass'; ok tour_checks_itself
says '^small budget by policy: 65,536 gets of 8,192 keys, 1,024 entries; hit ratio: adaptive [0-9.]* %, s3fifo [0-9.]* %, lru [0-9.]* %, fifo [0-9.]* %$'
ok tour_runs_each_policy
says '^advisor: expects a hit ratio of [0-9.]* % at twice the budget (now [0-9.]* %); measured: [0-9.]* %$'
ok tour_prints_the_advice
says '^rate limits: 8 threads, one key, limit 1,000 a second' && says '^strict token bucket .* a check$' &&
    says '^sliding log .* at most 1,000 in any second'
ok tour_checks_rate_limiters
says '^loading: 64 threads request one missing key: 1 load, [0-9]* joined it '; ok missing_key_is_loaded_once
says '^failing loader: 1,000 gets, 1,000 served stale, 1 load tried'; ok failing_loader_serves_stale_values
says '^absent keys: 100,000 requested, [0-9,]* rejected by the Bloom filter, '
ok bloom_filter_rejects_absent_keys
says '^status: 8 threads merge into one task: 2,000 merges, 2,000 in the value, [0-9,]* runs lost to another thread'
ok merges_that_meet_all_take_effect
says '^embeddings: 48 texts requested, 32 present: 1 loader call for 8 texts, 0 vectors wrong'
ok embedding_batch_loads_missing_texts_alone
says '^hot keys: 200,000 gets of 1,005 keys: hot:1 [0-9.]* %, hot:2 [0-9.]* %, hot:3 [0-9.]* %, hot:4 [0-9.]* %, hot:5 '
ok hottest_keys_are_named
says '^closed and reopened: 601 answers requested, [56]9*[0-9]* from disk, 0 different'
ok reopened_store_answers_from_disk
says '^killed during writes: [0-9,]* writes and [0-9,]* deletes acknowledged' && says '^  verified: [0-9,]* values found, 0 wrong, 0 deleted values returned$'
ok killed_store_returns_no_wrong_value
says '^port: 601 answers of this process requested as a client of Redis does, 0 different, '
ok port_gives_the_answers_of_the_process
[ ! -s "$tmp/err" ]; ok no_live_line_when_piped
! grep -q "$(printf '\033')" "$tmp/out"; ok no_colour_when_piped

run_with_disk tour --json --threads=3 "$tmp/tree"
[ $rc -eq 0 ] && [ "$(wc -l <"$tmp/out")" -eq 21 ]; ok json_is_one_object_a_line
grep -q '"threads":3,' "$tmp/out" && grep -q '"findings":0' "$tmp/out"
ok json_has_threads_and_findings
[ "$(field 1 operations)" = 601 ] && [ "$(field 1 misses)" = 601 ] && [ "$(field 1 hits)" = 0 ]
ok cold_pass_misses_all
[ "$(field 2 hits)" = 601 ] && [ "$(field 2 misses)" = 0 ] && [ "$(field 2 saved_ns)" -gt 0 ]
ok second_pass_hits_in_memory
[ "$(field 2 recomputed)" = 7 ] && [ "$(field 2 different)" = 0 ]; ok one_in_a_hundred_is_recomputed
[ $(($(field 3 hits) + $(field 3 misses))) -eq "$(field 3 operations)" ] &&
    [ "$(field 3 evicted)" -gt 0 ] && [ "$(field 3 hits)" -gt 0 ]
ok small_budget_evicts_and_still_hits
[ "$(field 3 held_bytes)" -le "$(field 3 budget_bytes)" ] && [ "$(field 3 over_bytes)" = 0 ] &&
    [ "$(field 3 budget_bytes)" = 1048576 ]; ok small_budget_is_held
policy() { sed -n "s/^{\"$1\":.*\"$2\":\([0-9.]*\)[,}].*/\1/p" "$tmp/out"; }
awk -v a="$(policy policies adaptive)" -v s="$(policy policies s3fifo)" \
    -v l="$(policy policies lru)" -v f="$(policy policies fifo)" \
    'BEGIN { exit !(a > f && s > f && l > f && a > l && f > .1 && a < .9) }'
ok json_has_each_policy
awk -v n="$(policy advisor now)" -v s="$(policy advisor hit_ratio)" -v t="$(policy advisor measured)" \
    'BEGIN { d = s - t; exit !(s > n + .02 && d < .05 && d > -.05) }'
ok json_has_the_advice_and_the_measured_ratio
limit() { sed -n "s/^{\"limiter\":\"$1\",.*\"$2\":\([0-9]*\)[,}].*/\1/p" "$tmp/out"; }
for l in 'strict token bucket' 'sliding log'; do
    [ "$(limit "$l" threads)" = 8 ] && [ "$(limit "$l" limit_a_second)" = 1000 ] &&
        [ "$(limit "$l" most_in_a_second)" -le 1000 ] && [ "$(limit "$l" admitted)" -ge 100 ] &&
        [ "$(limit "$l" checks)" -gt "$(limit "$l" admitted)" ] && [ "$(limit "$l" wrong_codes)" = 0 ]
    ok "no_second_holds_more_than_the_limit_($(echo "$l" | tr ' ' '_'))"
done
[ "$(limit 'sliding log' most_in_a_second)" = 1000 ]; ok sliding_log_admits_up_to_the_limit
loading() { sed -n "s/^{\"loading\":\"$1\",.*\"$2\":\([0-9]*\)[,}].*/\1/p" "$tmp/out"; }
[ "$(loading 'one missing key' threads)" = 64 ] && [ "$(loading 'one missing key' loads)" = 1 ] &&
    [ "$(loading 'one missing key' values)" = 64 ]; ok 64_threads_cause_one_load
[ "$(loading 'failing loader' stale)" = "$(loading 'failing loader' gets)" ] &&
    [ "$(loading 'failing loader' loads)" = 1 ]; ok failing_loader_runs_once
[ $(($(loading 'absent keys' rejected) + $(loading 'absent keys' loads))) -ge 100000 ] &&
    [ "$(loading 'absent keys' rejected)" -gt 97000 ]; ok bloom_filter_rejects_97_percent
ready() { sed -n "s/^{\"ready\":\"$1\",.*\"$2\":\([0-9]*\)[,}].*/\1/p" "$tmp/out"; }
[ "$(ready status merges)" = 2000 ] && [ "$(ready status in_the_value)" = 2000 ] &&
    [ "$(ready status runs)" -ge 2007 ]; ok json_has_the_merges_and_their_runs
[ "$(ready embeddings loaded)" = 8 ] && [ "$(ready embeddings calls)" = 1 ] &&
    grep -q '"hottest":\["hot:1","hot:2","hot:3","hot:4","hot:5"\]' "$tmp/out"
ok json_has_the_batch_and_the_hot_keys
jobs() { sed -n "s/^{\"jobs\":\"$1\",.*\"$2\":\([0-9]*\)[,}].*/\1/p" "$tmp/out"; }
[ "$(jobs tasks attempts)" = 110000 ] && [ "$(jobs tasks once)" = 100000 ] &&
    [ "$(jobs batch calls)" = 13 ] && [ "$(jobs batch ok)" = 63 ] && [ "$(jobs batch failed)" = 1 ]
ok json_has_the_tasks_and_the_batch_that_split
[ "$(disk reopened from_disk)" -ge 595 ] && [ "$(disk reopened different)" = 0 ] &&
    [ "$(disk killed wrong)" = 0 ] && [ "$(disk killed deleted_returned)" = 0 ] &&
    [ "$(disk killed found)" -gt 0 ]; ok json_has_the_checks_of_the_disk_tier
cp "$tmp/out" "$tmp/json"
if command -v python3 >/dev/null 2>&1; then
    python3 -c 'import json, sys; [json.loads(l) for l in sys.stdin]' <"$tmp/json" 2>"$tmp/err"
    ok json_parses
else
    skip json_parses "python3 is not installed"
fi
odd=$tmp/$(printf 'odd "name"\\ \001')
mkdir "$odd" && echo x >"$odd/file"
# Each of the other cases reads one or two lines of a whole tour. A tour runs its limiters for more than
# a second, so these tours run at the same time.
aside() { # NAME COMMAND...: start it; keep output and exit code for `of`
    aside=$1
    shift
    ("$@" >"$tmp/$aside.out" 2>"$tmp/$aside.err" </dev/null; echo $? >"$tmp/$aside.rc") &
}
of() { # NAME: let `says` and `ok` read the output of this tour
    cp "$tmp/$1.out" "$tmp/out"
    cp "$tmp/$1.err" "$tmp/err"
    rc=$(cat "$tmp/$1.rc")
}
# A container without /proc: a mount name space that hides the boot id.
no_boot() { unshare -rm sh -c 'mount -t tmpfs none /proc/sys/kernel/random && "$@"' no_boot "$@"; }
boots= terminals=
no_boot true >/dev/null 2>&1 && boots=yes
command -v script >/dev/null 2>&1 && script -qec true /dev/null >/dev/null 2>&1 </dev/null &&
    terminals=yes
# The first line of the table shows whether there is colour; the terminal is closed after it. The live
# line of a slow pass has "small budget:".
on_terminal() { TERM=xterm script -qec "$1" /dev/null | sed '/small budget[^:]/q'; }

printf '# budget\nCELLAR_MEMORY=4M\nREDIS_DB=0\n' >"$tmp/app.env"
aside nodisk env TMPDIR="$tmp/nowhere" "$bin" tour --settings="$tmp/app.env" --json "$tmp/tree"
aside demo env CELLAR_MEMORY=3M "$bin" demo --settings="$tmp/app.env" --json "$odd"
aside all env CELLAR_MEMORY=3M "$bin" tour --all --memory=2M --threads=1 -- "$tmp/tree"
[ -z "$boots" ] || aside noboot no_boot "$bin" tour "$tmp/tree"
if [ -n "$terminals" ]; then
    aside colour on_terminal "$bin tour $tmp/tree"
    aside nocolour on_terminal "NO_COLOR=1 $bin tour $tmp/tree"
    aside dumb on_terminal "TERM=dumb $bin tour $tmp/tree"
fi
wait

of nodisk
[ $rc -eq 0 ] && says '^{"disk":"killed","shown":false,'; ok tour_goes_on_without_a_disk
[ "$(field 1 budget_bytes)" = 4194304 ]; ok settings_file_sets_the_budget
of demo
[ $rc -eq 0 ] && [ "$(field 1 operations)" = 1 ]; ok demo_is_the_tour
[ "$(field 1 budget_bytes)" = 3145728 ]; ok environment_overwrites_the_settings_file
says 'odd \\"name\\"\\\\ \\u0001"'; ok folder_names_are_escaped
of all
[ $rc -eq 0 ] && says '^601 files'; ok all_runs
says '^budget  *2.00 MiB  *2.00 MiB  *1.00 MiB$'; ok memory_option_holds # and overwrites the environment
says "tour of $tmp/tree\$"; ok double_dash_ends_options
if [ -n "$boots" ]; then
    of noboot
    [ $rc -eq 0 ] && says 'no boot id without /proc' && ! says FINDING
    ok tour_without_proc_has_no_finding
else
    skip tour_without_proc_has_no_finding "no name spaces for this user"
fi
# The live line and colour, on a terminal.
if [ -n "$terminals" ]; then
    of colour; says "$(printf '\033')\[1mpass"; ok colour_on_a_terminal
    of nocolour; ! says "$(printf '\033')\[1m" && says 'small budget'; ok no_color_is_obeyed
    of dumb; ! grep -q "$(printf '\033')" "$tmp/out" && says 'small budget'
    ok dumb_terminals_get_plain_text
else
    skip colour_on_a_terminal "no script, or no terminals here"
    skip no_color_is_obeyed "no script, or no terminals here"
    skip dumb_terminals_get_plain_text "no script, or no terminals here"
fi

echo "cli_tour: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
