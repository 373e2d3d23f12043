#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    public_means, lru_is_close: the engine's policies reach their figures on real traces, with
#         the default stripes, and on a mix made here which always runs.
# Method: the bench's suite `replay`; floors as fixed before the policies were written. The public
#         traces take a minute: they run where BENCH_TRACES names their folder.
set -u
. tests/support/t.sh
bin=${CELLAR_BIN:-build/cellar}
side=${bin%/*}/cellar-replay
case $side in /*) ;; *) side=$PWD/$side ;; esac
mix() {
    BENCH_TRACES= sh bench/suites/replay.sh "$side" "$t_tmp/mix.jsonl" >"$t_tmp/table"
    cat "$t_tmp/table"
}
ratio() { # POLICY CAPACITY
    sed -n "s/.*\"subject\":\"$1\",.*\"capacity\":$2,.*\"value\":\([0-9.]*\).*/\1/p" "$t_tmp/mix.jsonl"
}
t_case the_mix_runs mix
capacities=$(sed -n 's/.*"capacity":\([0-9]*\).*/\1/p' "$t_tmp/mix.jsonl" | sort -nu)
for c in $capacities; do
    t_case "adaptive_is_never_much_worse_than_lru_at_$c" awk -v a="$(ratio cellar-adaptive "$c")" \
        -v l="$(ratio exact-lru "$c")" 'BEGIN { exit !(a != "" && a < l + .035) }'
    t_case "lru_is_close_to_exact_lru_at_$c" awk -v a="$(ratio cellar-lru "$c")" \
        -v l="$(ratio exact-lru "$c")" 'BEGIN { exit !(a != "" && a < l + .025 && a > l - .04) }'
done
sum() { # POLICY: over the three capacities
    for c in $capacities; do ratio "$1" "$c"; done | awk '{ s += $1 } END { print s }'
}
t_case adaptive_is_better_than_lru_on_the_whole awk -v a="$(sum cellar-adaptive)" -v l="$(sum exact-lru)" \
    'BEGIN { exit !(a > 0 && a < l) }'
if [ -z "${BENCH_TRACES:-}" ] || [ ! -f "$BENCH_TRACES/reference.csv" ]; then
    t_skip public_means 'BENCH_TRACES is not set'
    t_end slow_cli_replay_public
fi
public() { sh bench/suites/replay.sh "$side" "$t_tmp/all.jsonl" >"$t_tmp/figures"; }
t_case public_traces_run public
figures() { # POLICY CONDITION over mean worst low (won) diff signed; bounded by entries
    sed -n "s/^$1 .* mean \([-0-9.]*\) .* worst \([-+0-9.]*\) .* won \([0-9.]*\)\/\([0-9.]*\)\/\([0-9.]*\)\/\([0-9.]*\).*/\1 \2 \3 \4 \5 \6/p" \
        "$t_tmp/figures" | sed 1q >"$t_tmp/one"
    sed -n "s/^$1 .* diff \([0-9.]*\) signed .*/\1/p" "$t_tmp/figures" | sed 1q >>"$t_tmp/one"
    cat "$t_tmp/figures"
    awk "NR == 1 { mean = \$1; worst = \$2; low = \$3 < \$4 ? \$3 : \$4; if (\$5 < low) low = \$5
                   if (\$6 < low) low = \$6 }
         NR == 2 { diff = \$1 }
         END { exit !(NR >= 1 && ($2)) }" "$t_tmp/one"
}
t_case public_mean_of_adaptive figures cellar-adaptive 'mean >= .108'
by_bytes() { # MEAN: of the same cells, bounded by memory_bytes
    awk -F'[:,}]' -v least="$1" '/"cellar-adaptive","workload":"public_bytes","metric":"mean_red/ {
        mean = $(NF - 1) } END { print "# mean " mean; exit !(mean >= least) }' "$t_tmp/all.jsonl"
}
t_case public_mean_of_adaptive_by_bytes by_bytes .106
t_case adaptive_is_never_much_worse_than_lru figures cellar-adaptive 'worst <= 2.0'
t_case adaptive_wins_its_cells figures cellar-adaptive 'low >= .80'
t_case s3fifo_is_the_published_one figures cellar-s3fifo 'NR == 2 && diff <= .5'
t_case lru_is_close figures cellar-lru 'NR == 2 && diff <= .5 && worst <= 2.5'
textbook() { # 2Q, ARC, LIRS, SIEVE and W-TinyLFU of libCacheSim at all sizes of one trace
    "$side" --policy=2q,arc,lirs,sieve,w-tinylfu-lcs --json="$t_tmp/text.jsonl" "$BENCH_TRACES/cp_vscsi.ctr.zst" >/dev/null
    awk -f bench/report/lines.awk -f bench/report/replay.awk "$BENCH_TRACES/reference.csv" "$t_tmp/text.jsonl" |
        awk '{ print; for (i = 1; i < NF; i++) if ($i == "max" && ($(i + 1) > .5 || $(i + 1) < -.5)) bad = 1 }
             END { exit bad || NR != 5 }'
}
t_case textbook_policies_are_the_published_ones textbook
# The table of bench/paper.md: textbook rows to the digit, the median of the engine within half a point.
paper_table() {
    at=490,2449,4897,9795
    "$side" --policy=exact-lru,exact-fifo,clock,sieve,s3-fifo,arc,2q,lirs,w-tinylfu-lcs,belady,gdsf --capacity=$at \
        --csv="$t_tmp/textbook.csv" "$BENCH_TRACES/cp_vscsi.ctr.zst" >/dev/null &&
        "$side" --policy=adaptive --seeds=32 --capacity=$at --csv="$t_tmp/ours.csv" "$BENCH_TRACES/cp_vscsi.ctr.zst" >/dev/null || return 1
    { cat "$t_tmp/textbook.csv"; sed 1d "$t_tmp/ours.csv"; } | tr -d '"' >"$t_tmp/paper.csv"
    awk -F, -v trace=cp_vscsi -f bench/report/paper.awk "$BENCH_TRACES/reference.csv" "$t_tmp/paper.csv" >"$t_tmp/paper"
    cat "$t_tmp/paper"
    sed -n '/^<!-- paper:begin -->$/,/^<!-- paper:end -->$/p' bench/paper.md | sed '1d;$d' >"$t_tmp/page"
    sed '$d' "$t_tmp/page" >"$t_tmp/page.textbook"
    sed '$d' "$t_tmp/paper" | cmp - "$t_tmp/page.textbook" && sed -n '$p' "$t_tmp/page" | cat - "$t_tmp/paper" | awk -F'[|(]' '
        NR == 1 || /cellar-adaptive/ { for (i = 3; i <= 9; i += 2) v[NR == 1, i] = $i + 0 }
        END { for (i = 3; i <= 9; i += 2) { d = v[1, i] - v[0, i]; if (!(d < .005 && d > -.005)) exit 1 } }'
}
t_case table_of_the_paper_page_is_made_again paper_table
# advisor_error: what the advisor says of eight sizes, against full replays at those sizes, in all
# cells of 1,000 entries and more that are long enough for it to speak.
advice() {
    "$side" --advisor --policy=adaptive --json="$t_tmp/advice.jsonl" "$BENCH_TRACES"/*.ctr.zst
}
error_of_advice() {
    awk -F'"value":' '/"subject":"advisor"/ { v = $2 + 0; sum += v; n++; if (v > worst) worst = v }
        END { printf "# %d cells, mean %.2f points, worst %.2f\n", n, n ? sum / n : 0, worst
              exit !(n >= 40 && sum / n <= 2) }' "$t_tmp/advice.jsonl"
}
t_case advisor_is_asked_everywhere advice
t_case advisor_error error_of_advice
t_end slow_cli_replay_public
