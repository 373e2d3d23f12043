#!/bin/sh
# SPDX-License-Identifier: MIT
#
# torture: runs the programs that search for rare faults, in turn, each time with another seed.
#
# USE        make torture TORTURE_HOURS=n      -> build/torture.md; n may be a fraction
#            TORTURE_RUNS=n ends after n runs. TORTURE_ROWS=FILE takes the rows from that file.
# WALK       next row -> next seed -> run -> a line of build/torture/runs.tsv -> page -> next row,
#            until the hours are over. The last run may end later by its own length.
# AGAIN      runs.tsv and the seed stay: the next `make torture` goes on with the next row. The
#            table counts the runs since the last change of src/ or include/; failures of older
#            trees stay on the page. Remove build/torture to begin from nothing.
# SEEDS      The first one is drawn, each later one is the next number. The simulation runs a range
#            of seeds: six digits are added.
# ROWS       name|settings, the size of one run|command. $T is the folder of the test programs.
# VERDICT    exit status 0 has passed, if something ran. A run without an end within
#            TORTURE_LIMIT (3600 s) has failed. build/torture/NAME-SEED.log keeps what a failed run
#            said; the page has one line that repeats it.
set -u
LC_ALL=C
export LC_ALL
: "${TORTURE_HOURS:=1}" "${TORTURE_RUNS:=1000000}" "${TORTURE_LIMIT:=3600}"
: "${TORTURE_TREE:=0}" "${TORTURE_ROWS:=}" "${AWK:=awk}"
T=${CELLAR_BUILD:-build}/t
dir=build/torture
runs=$dir/runs.tsv
page=build/torture.md
rows="
cache_lives|LIVES=350|$T/test_cache_lives
cache_history|HISTORY_OPS=5000000|$T/test_cache_history
l1_linear|T_SCALE=6|$T/test_l1_linear
lanes_storm|STORM_ROUNDS=500|$T/test_lanes_storm
load_storm|T_SCALE=4 LOAD_CANCELS=40000|$T/test_load_storm
l2_kill|KILL_CYCLES=500|$T/test_l2_kill
work_kill|WORK_KILL_CYCLES=400|$T/test_work_kill
object_ledger|ACQUIRES=20000000|$T/test_object_ledger
remote_attack|ATTACK=24|$T/test_remote_attack
all_soak|SOAK_SECONDS=600|$T/test_all_soak
simulation||${T%/t}/simdrv --check 120
calls_fuzz|CALLS_SECONDS=30|sh tests/fuzz/slow_calls_fuzz.sh
matrix_fuzz|FUZZ_SECONDS=20|sh tests/fuzz/matrix_fuzz.sh"
[ -z "$TORTURE_ROWS" ] || rows=$(cat "$TORTURE_ROWS")
rows=$(echo "$rows" | grep '|')
count=$(echo "$rows" | grep -c '|')
unset T_SHARE T_WRAP AUDIT

mkdir -p $dir || exit 2
touch $runs
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo none)
[ -s $dir/seed ] || echo $(($(od -An -N4 -tu4 /dev/urandom | tr -d ' ') % 2000000000)) >$dir/seed

write_page() {
    $AWK -F '\t' -v tree="$TORTURE_TREE" -v rows="$rows" '
        BEGIN { n = split(rows, row, "\n"); for (i = 1; i <= n; i++) sub(/\|.*/, "", row[i]) }
        $1 == tree {
            if (!started[$3, $4]++) sizes[$3] = sizes[$3] SUBSEP $4
            done[$3, $4] += $7 == "ok"
            failed[$3] += $7 == "failed"
            skipped[$3] += $7 == "skipped"
            seed[$3] = $5; seconds[$3] += $6; commit[$3] = $2
            all += $6; bad += $7 == "failed"
        }
        $7 == "failed" { failure[++failures] = sprintf("- %s, commit %s: `%s`", $3, $2, $8) }
        END {
            print "# Torture\n"
            printf "Since the last change of src/ and include/ (checksum %s): %.2f hours, ", tree, all / 3600
            printf "%d failures.\n", bad
            print "Written by `make torture`; src/tools/torture.sh states the rows.\n"
            print "| row | done | failures | skipped | last seed | seconds | commit |"
            print "|---|---|--:|--:|--:|--:|---|"
            for (i = 1; i <= n; i++) {
                r = row[i]
                m = split(substr(sizes[r], 2), size, SUBSEP)
                what = ""
                for (j = 1; j <= m; j++)
                    what = what (j > 1 ? "; " : "") done[r, size[j]] + 0 " x" (size[j] == "" ? "" : " " size[j])
                print "| " r " | " what " | " failed[r] + 0 " | " skipped[r] + 0 " | " seed[r] " | " \
                    seconds[r] + 0 " | " commit[r] " |"
            }
            print "\n## Failures, with the line that repeats each: " failures + 0 "\n"
            for (i = 1; i <= failures; i++) print failure[i]
        }' $runs >$page.new && mv $page.new $page
}

end=$($AWK -v now="$(date +%s)" -v hours="$TORTURE_HOURS" 'BEGIN { printf "%d", now + hours * 3600 }')
at=$($AWK 'END { print NR }' $runs)
left=$TORTURE_RUNS
while [ "$left" -gt 0 ] && [ "$(date +%s)" -lt "$end" ]; do
    left=$((left - 1))
    row=$(echo "$rows" | sed -n "$((at % count + 1))p")
    at=$((at + 1))
    seed=$(($(cat $dir/seed) + 1))
    echo $seed >$dir/seed
    name=${row%%|*} rest=${row#*|}
    size=${rest%%|*} command=${rest#*|}
    digits=
    [ "$name" != simulation ] || digits=000000
    again="SEED=$seed$digits${size:+ $size} $command"
    log=$dir/$name-$seed.log
    start=$(date +%s)
    program=${command%% *}
    if [ "$program" != "${program#*/}" ] && [ ! -x "$program" ]; then
        verdict=skipped # its library is not installed
    else
        timeout -k 5 "$TORTURE_LIMIT" sh -c "$again" >"$log" 2>&1 </dev/null
        status=$?
        verdict=failed
        if [ $status -eq 0 ]; then
            verdict=ok
            case $(tail -n 1 "$log") in *": 0 passed, 0 failed"*) verdict=skipped ;; esac
        fi
    fi
    spent=$(($(date +%s) - start))
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$TORTURE_TREE" "$commit" "$name" "$size" "$seed" \
        $spent $verdict "$again" >>$runs
    printf '%-8s %-14s seed %s, %s s\n' $verdict "$name" "$seed" $spent
    if [ $verdict = failed ]; then echo "         $again   (log: $log)"; else rm -f "$log"; fi
    write_page
done
write_page
echo "torture: $page"
