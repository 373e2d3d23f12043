#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    tests/promises.tsv names an existing test for each promise, tests/inventory.tsv one for each
#         requirement and defect of what is built. Pages and tests stay short.
# Method: inventory.awk over the tests' sources; then over tables with one mistake each, which it
#         must refuse.
. tests/support/t.sh
awk=${AWK:-awk}

sources="tests/*/test_* tests/unit/*/test_* tests/unit/*/*/test_* tests/*/slow_* tests/unit/*/slow_* tests/unit/*/*/slow_* tests/*/matrix_* \
    tests/concurrency/sim/*.c tests/concurrency/sim/mutants.txt"
inventory=tests/support/inventory.awk
check() { # folder of README.md, promises.tsv and inventory.tsv; the sources are always the real ones
    # shellcheck disable=SC2086 # the patterns are meant to be expanded
    $awk -f $inventory "$1/README.md" "$1/promises.tsv" "$1/inventory.tsv" $sources
}
refuses() { # words of the complaint, file, sed program that plants the mistake
    cp tests/README.md tests/promises.tsv tests/inventory.tsv "$t_tmp"
    sed "$3" "tests/$2" >"$t_tmp/$2"
    if cmp -s "tests/$2" "$t_tmp/$2"; then
        echo "the mistake was not planted"
        return 1
    fi
    check "$t_tmp" >"$t_tmp/said" && return 1
    cat "$t_tmp/said"
    grep -q "$1" "$t_tmp/said"
}
refuses_log() { # a test that failed in the last run
    printf 'not ok 3 - seed_empty_value\n' >"$t_tmp/x.out"
    # shellcheck disable=SC2086
    $awk -f $inventory tests/README.md tests/promises.tsv tests/inventory.tsv $sources \
        "$t_tmp/x.out" >"$t_tmp/said" && return 1
    grep -q 'D7: seed_empty_value fails' "$t_tmp/said"
}

# No page and no test is longer than one reads: tests/README.md 180 lines of 300 bytes, bench/README.md 200 lines,
# a source 1,200 lines.
none_is_long() {
    awk 'FNR > 180 || length > 300 { print FILENAME ": " FNR; bad = 1 } END { exit bad }' tests/README.md &&
        awk 'FNR > 200 { print FILENAME ": " FNR; bad = 1 } END { exit bad }' bench/README.md &&
        awk 'FNR == 1201 { print FILENAME; bad = 1 } END { exit bad }' tests/*/*.[ch] tests/*/*/*.[ch] tests/*/*/*/*.[ch]
}
# The bench has at most 30,835 lines, without the suite of the Python package; JSON counts as lines of 120 bytes.
bench_is_short() {
    find bench -type f ! -name '*.json' ! -path bench/suites/python.py -exec cat {} + >"$t_tmp/text" && find bench -name '*.json' -exec cat {} + >"$t_tmp/json" &&
        lines=$(($(wc -l <"$t_tmp/text") + $(wc -c <"$t_tmp/json") / 120)) && echo "bench: $lines lines" && [ $lines -le 30835 ]
}
# A test that reads a clock of the system stands in the section Clocks of the page, with its margin.
clocks='clock_gettime\(|base_now_ns\(\)|thread_cpu_n[s]|base_now_ms\(&(host|system)|_real_ms\(|(share|mono)_now'
clocks="$clocks"'|kit_time_lef[t]|kit_real_cloc[k]|AWAI[T]|alarm\(|took_m[s]|[^_]time\(NULL|[^T] timeout [0-9]|date \+'
clocks_are_named() { # page
    grep -lE "$clocks" tests/*/test_* tests/unit/*/test_* tests/unit/*/*/test_* tests/*/slow_* tests/unit/*/slow_* tests/unit/*/*/slow_* | $awk -v page="$1" '
        BEGIN { while ((getline line <page) > 0) { if (line ~ /^## /) on = line ~ /Clocks/; if (on) text = text line } }
        { name = $0; sub(/.*\//, "", name); sub(/^test_/, "", name); sub(/\..*/, "", name) }
        !index(text, "`" name "`") { print $0 " reads a clock: name it in Clocks of " page; bad = 1 }
        END { exit bad }'
}
unnamed_clock() { sed 's/`base_tsc_clock`//' tests/README.md >"$t_tmp/page" && ! clocks_are_named "$t_tmp/page"; }
t_case tests_with_a_clock_stand_on_the_page clocks_are_named tests/README.md
t_case a_clock_without_a_margin_is_refused unnamed_clock
t_case every_row_has_its_test check tests
t_case pages_and_tests_are_short none_is_long
t_case bench_is_short bench_is_short
t_case a_missing_test_is_refused refuses 'D7: no test is called seed_full_value' inventory.tsv \
    's/seed_empty_value/seed_full_value/'
t_case a_missing_row_is_refused refuses 'row 43 stands in no row' inventory.tsv '/^43	/d'
t_case duplicate_row_is_refused refuses 'D19 stands in two rows' inventory.tsv 's/^D20	/D19	/'
t_case a_row_without_a_column_is_refused refuses 'has not three columns' inventory.tsv \
    's/^D20	/D20 /'
t_case an_empty_cell_is_refused refuses 'P2: names neither' promises.tsv \
    's/^\(P2	[^	]*	\).*/\1soon/'
t_case a_missing_promise_is_refused refuses 'P7 stands in no row' promises.tsv 's/^P7	/kind	/'
t_case a_missing_test_of_a_continued_row_is_refused refuses 'P12: no test is called no_sync_fails' \
    promises.tsv 's/^\(		.*\)`failed_syncs_drop_no_record`/\1`no_sync_fails`/'
t_case a_line_that_continues_no_row_is_refused refuses 'continues no row' promises.tsv '1i\
		`seed_empty_value`'
t_case an_unknown_table_is_refused refuses 'no table is called l9' promises.tsv 's/^l1	/l9	/'
t_case later_row_of_existing_part_is_refused refuses 'waits for src/core/l1/read.c, which is there' \
    inventory.tsv 's,doc: README.md,later: src/core/l1/read.c,'
t_case row_of_a_missing_example_is_refused refuses 'tests/examples/e2e_editor.c does not exist' \
    inventory.tsv 's,e2e_image_editor.c,e2e_editor.c,'
t_case a_missing_name_of_a_table_is_refused refuses 'no test is called storm_loads_uncounted' \
    promises.tsv 's/million_loads_return_flight_memory/storm_loads_uncounted/'
t_case a_missing_mutant_is_refused refuses 'no test is called flightless' promises.tsv \
    's/`flight\.\*`/`flightless.*`/'
t_case a_missing_model_is_refused refuses 'no model is called l1_pin2' promises.tsv \
    's/`l1_pin.pml`/`l1_pin2.pml`/'
t_case a_missing_program_is_refused refuses 'no program is called test_l1_adaptiv' promises.tsv \
    's/`test_l1_adaptive`/`test_l1_adaptiv`/'
t_case a_missing_program_of_the_page_is_refused refuses 'no program is called test_remote_cut' \
    README.md 's/`test_remote_cuts`/`test_remote_cut`/'
t_case failed_test_is_refused refuses_log
t_end tests_inventory
