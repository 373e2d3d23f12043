#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the tour does what its help says: five acts, their figures, exit codes; colours appear on a
#         terminal only.
# Method: the built program; script(1) as a terminal where it is installed. Words of the command line:
#         test_cli_program.sh; acts with planted mistakes: test_cli_findings.c.
set -u
. tests/support/t.sh
bin=${CELLAR_BIN:-build/cellar}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac

# The 8 threads of the limiter's act would take both processors from the test that runs beside.
run() { # WANTED ARGUMENT...: the exit code
    wanted=$1
    shift
    nice -n 10 "$bin" "$@" >"$t_tmp/out" 2>"$t_tmp/err" </dev/null
    rc=$?
    cat "$t_tmp/out" "$t_tmp/err"
    [ $rc -eq "$wanted" ]
}
says() { grep -q -- "$1" "$t_tmp/out"; }
figure() { # ACT NAME: its number in the text
    awk -v act="$1" -v name="$2" '$0 == act { on = 1; next } /^[^ ]/ && on && seen { exit }
        on && /^ / { seen = 1 } on && ($1 == name || $1 == name ":") {
            sub(/^[^|:]*(\|[^|]*\||:) /, ""); gsub(/,/, ""); print $1; exit }' "$t_tmp/out"
}

full() { "$bin" help >/dev/full 2>"$t_tmp/err"; [ $? -eq 4 ] && grep -q 'cannot write' "$t_tmp/err"; }
if [ -c /dev/full ]; then t_case output_that_cannot_be_written_is_4 full
else t_skip output_that_cannot_be_written_is_4 "no /dev/full"; fi

checks_itself() { # its folder is removed
    mkdir "$t_tmp/folder"
    (export TMPDIR="$t_tmp/folder" && run 0 tour) && rmdir "$t_tmp/folder" && [ ! -s "$t_tmp/err" ] && ! says FINDING &&
        [ "$(tail -n 1 "$t_tmp/out" | sed 's/[0-9][0-9.]* .*s;/TIME;/')" = 'took TIME; every figure holds' ] &&
        [ "$(grep -Ecx 'memory and speed|a stampede|kill -9|a limiter at its bound|why' "$t_tmp/out")" -eq 5 ] &&
        ! grep "$(printf '\033')" "$t_tmp/out"
}
memory() { # it has the value or evicted it
    says '^  held  *|#* *| [0-9,]* KiB at most$' && says '^  found  *|#* *| [0-9,]* values: 2 MiB hold no more$' &&
        [ "$(figure 'memory and speed' held)" -le 2048 ] && [ "$(figure 'memory and speed' wrong)" = 0 ] &&
        [ $(($(figure 'memory and speed' found) + $(figure 'memory and speed' evicted))) -eq 50000 ]
}
stampede() { says '^  loads  *|# *| 1 of the source$' && says '^  values  *|#* *| 64 returned$'; }
killed() {
    says '^  wrong  *| *| 0 of them$' && says '^  back  *| *| 0 of 3,200 deleted ones$' &&
        [ "$(figure 'kill -9' found)" -gt 0 ] && [ "$(figure 'kill -9' found)" -le 12800 ]
}
limiter() {
    says '^  1.1 s  *|#* *| [0-9]* admitted$' && says '^  most: [0-9,]* in any second$' &&
        [ "$(figure 'a limiter at its bound' most)" -le 1000 ] && [ "$(figure 'a limiter at its bound' denied)" -gt 0 ] &&
        [ "$(figure 'a limiter at its bound' admitted)" -ge 100 ]
}
reasons() {
    for row in old:evicted brief:expired tagged:tag deleted:deleted; do says "^  ${row%:*}  *--> ${row#*:}\$" || return 1; done
}
t_case tour_checks_itself_in_five_acts checks_itself
t_case small_budget_is_held memory
t_case 64_threads_cause_one_load stampede
t_case killed_store_returns_no_wrong_value killed
t_case no_second_holds_more_than_the_limit limiter
t_case reason_of_each_key_is_told reasons
work() { run 0 tour --work && [ "$(figure work attempts)" = 22000 ] && [ "$(figure work once)" = 20000 ]; }
t_case work_runs_each_task_to_success work
port() { run 0 "$1" --port && says '^port$' && [ "$(figure port same)" = 1000 ]; }
t_case port_gives_the_values_of_the_process port tour
t_case demo_is_the_tour port demo
no_disk() {
    (export TMPDIR="$t_tmp/nowhere" && run 3 tour) && grep -q 'set TMPDIR' "$t_tmp/err" && says '^  deleted  *--> deleted$'
}
t_case tour_goes_on_without_a_disk no_disk
# A container without /proc: a mount name space that hides the boot id.
no_boot() { unshare -rm sh -c 'mount -t tmpfs none /proc/sys/kernel/random && "$@"' no_boot "$@"; }
without_proc() {
    no_boot nice -n 10 "$bin" tour >"$t_tmp/out" 2>"$t_tmp/err" </dev/null && says 'no boot id without /proc' && ! says FINDING
}
if no_boot true >/dev/null 2>&1; then t_case tour_without_proc_has_no_finding without_proc
else t_skip tour_without_proc_has_no_finding "no name spaces for this user"; fi

coloured() { # COLOUR or none, VARIABLE=VALUE: the name of an act on a terminal
    TERM=xterm script -qec "$2 $bin tour --work" /dev/null >"$t_tmp/out" 2>&1 </dev/null
    cat "$t_tmp/out"
    case $1 in
    bold) says "$(printf '\033')\[1mwork" ;;
    plain) ! says "$(printf '\033')\[1m" && says 'every figure holds' ;;
    none) ! says "$(printf '\033')" && says 'every figure holds' ;;
    esac
}
for row in colour_on_a_terminal:bold:TERM=xterm no_color_is_obeyed:plain:NO_COLOR=1 dumb_terminals_get_plain_text:none:TERM=dumb; do
    what=${row#*:}
    if t_terminal; then t_case "${row%%:*}" coloured "${what%:*}" "${what#*:}"
    else t_skip "${row%%:*}" "no script, or no terminals here"; fi
done
t_end cli_tour
