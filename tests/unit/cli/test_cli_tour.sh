#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the tour does what its help says: five acts, their figures, exit codes; colours appear on a
#         terminal only.
# Method: the built program; script(1) as a terminal where it is installed.
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
# The 8 threads of the limiter's act would take both processors from the test that runs beside.
run() { # arguments of the program; sets rc
    nice -n 10 "$bin" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
}
says() { grep -q -- "$1" "$tmp/out"; }
complains() { grep -q -- "$1" "$tmp/err" && [ ! -s "$tmp/out" ]; }
figure() { # ACT NAME: its number in the text
    awk -v act="$1" -v name="$2" '$0 == act { on = 1; next } /^[^ ]/ && on && seen { exit }
        on && /^ / { seen = 1 } on && ($1 == name || $1 == name ":") {
            sub(/^[^|:]*(\|[^|]*\||:) /, ""); gsub(/,/, ""); print $1; exit }' "$tmp/out"
}

# ---- commands ----
run --version; [ $rc -eq 0 ] && says '^cellar [0-9]*\.[0-9]*\.[0-9]*\(-dev\)* (source '; ok version_option_prints_the_version
run version; [ $rc -eq 0 ] && says '^cellar '; ok version_command_prints_the_version
run --help; [ $rc -eq 0 ] && says '^Commands:' && says '^  tour '; ok help_lists_the_commands
run help tour; [ $rc -eq 0 ] && says '^Usage: cellar tour'; ok help_of_a_command
mv "$tmp/out" "$tmp/help"
run tour --help; [ $rc -eq 0 ] && cmp -s "$tmp/out" "$tmp/help"; ok help_option_prints_the_same
run tour --work --help; [ $rc -eq 0 ] && cmp -s "$tmp/out" "$tmp/help"; ok help_option_at_any_place
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
run tour /usr/share; [ $rc -eq 2 ] && complains 'takes no arguments (got "/usr/share")'
ok arguments_are_2
if [ -c /dev/full ]; then
    "$bin" help >/dev/full 2>"$tmp/err"; [ $? -eq 4 ] && grep -q 'cannot write' "$tmp/err"
    ok output_that_cannot_be_written_is_4
else
    skip output_that_cannot_be_written_is_4 "no /dev/full"
fi

# ---- the tour ----
mkdir "$tmp/folder"
(export TMPDIR="$tmp/folder"; run tour; exit $rc)
rc=$?
[ $rc -eq 0 ] && [ "$(tail -n 1 "$tmp/out" | sed 's/[0-9][0-9.]* .*s;/TIME;/')" = 'took TIME; every figure holds' ]
ok tour_checks_itself
rmdir "$tmp/folder"; ok temporary_folder_is_removed
[ ! -s "$tmp/err" ] && ! says FINDING; ok tour_has_no_finding
[ "$(grep -Ecx 'memory and speed|a stampede|kill -9|a limiter at its bound|why' "$tmp/out")" -eq 5 ]
ok tour_has_five_acts
says '^  held  *|#* *| [0-9,]* KiB at most$'; ok small_budget_is_held
says '^  found  *|#* *| [0-9,]* values: 2 MiB hold no more$'; ok tour_says_why_it_finds_less
says '^  loads  *|# *| 1 of the source$' && says '^  values  *|#* *| 64 returned$'
ok missing_key_is_loaded_once
says '^  wrong  *| *| 0 of them$' && says '^  back  *| *| 0 of 3,200 deleted ones$'
ok killed_store_returns_no_wrong_value
says '^  1.1 s  *|#* *| [0-9]* admitted$' && says '^  most: [0-9,]* in any second$'; ok tour_checks_a_rate_limiter
says '^  old  *--> evicted$' && says '^  brief  *--> expired$' &&
    says '^  tagged  *--> tag$' && says '^  deleted  *--> deleted$'
ok reason_of_each_key_is_told
! grep -q "$(printf '\033')" "$tmp/out"; ok no_colour_when_piped

[ "$(figure 'memory and speed' held)" -le 2048 ] &&
    [ $(($(figure 'memory and speed' found) + $(figure 'memory and speed' evicted))) -eq 50000 ] &&
    [ "$(figure 'memory and speed' wrong)" = 0 ]; ok memory_has_the_value_or_evicted_it
[ "$(figure 'a stampede' loads)" = 1 ] && [ "$(figure 'a stampede' values)" = 64 ]
ok 64_threads_cause_one_load
[ "$(figure 'kill -9' found)" -gt 0 ] && [ "$(figure 'kill -9' found)" -le 12800 ] &&
    [ "$(figure 'kill -9' back)" = 0 ]; ok killed_store_is_found_again
[ "$(figure 'a limiter at its bound' most)" -le 1000 ] &&
    [ "$(figure 'a limiter at its bound' admitted)" -ge 100 ] &&
    [ "$(figure 'a limiter at its bound' denied)" -gt 0 ]; ok no_second_holds_more_than_the_limit
run tour --work
[ $rc -eq 0 ] && [ "$(figure work attempts)" = 22000 ] && [ "$(figure work once)" = 20000 ]
ok work_runs_each_task_to_success
run tour --port
[ $rc -eq 0 ] && [ "$(figure port same)" = 1000 ]; ok port_gives_the_values_of_the_process
run demo --port; [ $rc -eq 0 ] && says '^port$'; ok demo_is_the_tour
(export TMPDIR="$tmp/nowhere"; run tour; exit $rc)
[ $? -eq 3 ] && grep -q 'set TMPDIR' "$tmp/err" && says '^  deleted  *--> deleted$'
ok tour_goes_on_without_a_disk
# A container without /proc: a mount name space that hides the boot id.
no_boot() { unshare -rm sh -c 'mount -t tmpfs none /proc/sys/kernel/random && "$@"' no_boot "$@"; }
if no_boot true >/dev/null 2>&1; then
    no_boot nice -n 10 "$bin" tour >"$tmp/out" 2>"$tmp/err" </dev/null
    [ $? -eq 0 ] && says 'no boot id without /proc' && ! says FINDING
    ok tour_without_proc_has_no_finding
else
    skip tour_without_proc_has_no_finding "no name spaces for this user"
fi
on_terminal() { TERM=xterm script -qec "$1" /dev/null >"$tmp/out" 2>"$tmp/err" </dev/null; }
if command -v script >/dev/null 2>&1 && script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
    on_terminal "$bin tour --work"; says "$(printf '\033')\[1mwork"; ok colour_on_a_terminal
    on_terminal "NO_COLOR=1 $bin tour --work"
    ! says "$(printf '\033')\[1m" && says 'every figure holds'; ok no_color_is_obeyed
    on_terminal "TERM=dumb $bin tour --work"
    ! grep -q "$(printf '\033')" "$tmp/out" && says 'every figure holds'
    ok dumb_terminals_get_plain_text
else
    skip colour_on_a_terminal "no script, or no terminals here"
    skip no_color_is_obeyed "no script, or no terminals here"
    skip dumb_terminals_get_plain_text "no script, or no terminals here"
fi

echo "cli_tour: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
