#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    replay_formats, replay_bad_input: `cellar replay` reads every format, plain and packed,
#         and counts as a textbook does. A file that is no trace is refused with its first wrong line
#         or record, the expected form, exit code 1 and nothing on stdout.
# Method: traces of a few records made here with known miss ratios; the same requests in each
#         format must give the same figures. Public traces: slow_cli_replay_public.sh.
set -u
. tests/support/t.sh
bin=${CELLAR_BIN:-build/cellar}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
d=$t_tmp/traces
mkdir "$d"

run() { # arguments of the command; sets rc
    "$bin" replay "$@" >"$t_tmp/out" 2>"$t_tmp/err" </dev/null
    rc=$?
    cat "$t_tmp/out" "$t_tmp/err"
}
refused() { # RC TEXT ARGUMENT...
    want=$1 text=$2
    shift 2
    run "$@"
    [ $rc -eq "$want" ] && [ ! -s "$t_tmp/out" ] && grep -q -- "$text" "$t_tmp/err"
}
line() { # POLICY CAPACITY: the value of its JSON line
    sed -n "s/^{\"bench\":\"replay\",\"subject\":\"\(cellar-\)*$1\",.*\"capacity\":$2,.*\"value\":\([0-9.]*\).*/\2/p" "$t_tmp/out"
}
u32() { # little-endian bytes of a number below 2^24, as printf wants them
    printf '\\%03o\\%03o\\%03o\\000' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255))
}

# A loop over 20 keys, 10 times, then 100 keys once: 300 requests, 120 objects.
ids=$(i=0; while [ $i -lt 200 ]; do echo $((i % 20 + 1)); i=$((i + 1)); done
      while [ $i -lt 300 ]; do echo $((i + 1)); i=$((i + 1)); done)
zero='\000\000\000\000'
for id in $ids; do printf "$(u32 "$id")$zero$(u32 70)$(u32 5)"; done >"$d/a.ctr"
for id in $ids; do
    printf "$(u32 5)$(u32 "$id")$zero$(u32 70)$zero$zero"
done >"$d/a.oracleGeneral"
{
    i=0
    while [ $i -lt 10 ]; do echo "1 20 0 $i"; i=$((i + 1)); done
    echo "201 100 0 10"
} >"$d/a.lis"
for id in $ids; do echo "5,k$id,10,60,1,get,0"; done >"$d/a.twitter"
for id in $ids; do echo "x,$id,5.25,70"; done >"$d/a.csv"
for id in $ids; do echo "key-$id"; done >"$d/a.txt"
sed 's/,/,k/' "$d/a.csv" >"$d/a2.csv"
for id in $ids; do # names in any order, other members, null, text with quotes, braces and commas
    echo "{ \"note\": \"a \\\"}, {\", \"at\": {\"key\": [1, \"]\"]}, \"size\":70,\"id\":$id ,\"ttl\":null, \"ts\":5.25, \"op\":\"GET\"}"
done >"$d/a.jsonl"

same() { # ARGUMENT...: exact FIFO and LRU of the trace above
    run --policy=exact-fifo,exact-lru,gdsf,w-tinylfu,w-tinylfu-lcs,belady,s3fifo,lru,fifo --capacity=10,20,120 "$@"
    [ $rc -eq 0 ] && [ "$(line exact-fifo 10)" = 1.000000 ] &&
        [ "$(line exact-lru 10)" = 1.000000 ] && [ "$(line exact-lru 20)" = 0.400000 ] &&
        [ "$(line belady 20)" = 0.400000 ] &&
        [ "$(line w-tinylfu 20)" = 0.400000 ] && [ "$(line w-tinylfu-lcs 120)" = 0.400000 ] &&
        [ "$(line gdsf 20)" = 0.400000 ] && [ "$(line lru 20)" = 0.400000 ] &&
        [ "$(line fifo 20)" = 0.400000 ] && [ "$(line s3fifo 120)" = 0.400000 ] &&
        grep -q '300 requests, 120 objects' "$t_tmp/out"
}
t_case format_ctr same "$d/a.ctr"
t_case format_oracle same "$d/a.oracleGeneral"
t_case format_lis same "$d/a.lis"
t_case format_twitter_is_seen_by_its_columns same "$d/a.twitter"
t_case format_csv same --columns=-,key,time,size "$d/a.csv"
t_case format_txt same "$d/a.txt"
t_case format_json_lines same "$d/a.jsonl"
cp "$d/a.jsonl" "$d/a.log"
t_case format_json_is_seen_by_its_first_line same "$d/a.log"
t_case format_by_name same --format=txt "$d/a.csv"
if t_have gzip; then
    gzip -k "$d/a.ctr" "$d/a.txt"
    t_case gzip_binary same "$d/a.ctr.gz"
    t_case gzip_text same "$d/a.txt.gz"
    head -c 60 "$d/a.ctr.gz" >"$d/cut.ctr.gz"
    t_case gzip_cut_short refused 1 'cut.ctr.gz: record [0-9]*: gzip cannot unpack it' "$d/cut.ctr.gz"
    gzip -c "$d/a.csv" | head -c 60 >"$d/cut.csv.gz"
    t_case gzip_of_columns_cut_short refused 1 'cut.csv.gz: line 1: gzip cannot unpack it' --columns=-,key,time,size "$d/cut.csv.gz"
    t_case gzip_of_names_cut_short refused 1 'cut.csv.gz: line 1: gzip cannot unpack it' --format=csv "$d/cut.csv.gz"
else
    t_skip gzip_binary 'no gzip'
fi
if t_have zstd; then
    zstd -q "$d/a.ctr" "$d/a.lis"
    t_case zstd_binary same "$d/a.ctr.zst"
    t_case zstd_text same "$d/a.lis.zst"
    echo nonsense >"$d/bad.ctr.zst"
    t_case zstd_damaged refused 1 'bad.ctr.zst: record 1: zstd cannot unpack it' "$d/bad.ctr.zst"
    mkdir "$t_tmp/empty"
    t_case tool_that_is_missing env PATH="$t_tmp/empty" /bin/sh -c \
        "'$bin' replay '$d/a.ctr.zst' 2>&1 | /bin/grep -q 'needs the program zstd'"
else
    t_skip zstd_binary 'no zstd'
fi
same_program() {
    side=${bin%/*}/cellar-replay
    "$side" --policy=exact-lru --capacity=20 "$d/a.ctr" | grep -q '"value":0.400000'
}
t_case program_of_its_own same_program

# ---- what is printed ----
json_line() {
    run --policy=s3fifo --capacity=12 --json="$t_tmp/lines" "$d/a.ctr"
    cat "$t_tmp/lines"
    [ $rc -eq 0 ] && ! grep -q '^{' "$t_tmp/out" && grep -q '^{"bench":"replay","subject":"cellar-s3fifo",'\
'"workload":"a","metric":"miss_ratio","capacity":12,"mode":"object","value":[01]\.[0-9]*' \
        "$t_tmp/lines" && [ "$(wc -l <"$t_tmp/lines")" -eq 1 ]
}
t_case json_lines_to_a_file json_line
shares() {
    run --policy=s3fifo --capacity=10%,50% "$d/a.ctr"
    [ $rc -eq 0 ] && [ -n "$(line s3fifo 12)" ] && [ -n "$(line s3fifo 60)" ]
}
t_case capacity_as_a_share shares
small_cells() { # 0.1 %, 1 %, 5 %, 10 % of 120 are under 16
    run --policy=s3fifo "$d/a.ctr"
    [ $rc -eq 0 ] && [ "$(grep -c '^{' "$t_tmp/out")" -eq 1 ] && [ -n "$(line s3fifo 24)" ]
}
t_case default_cells_from_16_entries small_cells
threads() {
    run --policy=lru --capacity=100% --threads=2 "$d/a.ctr"
    # Two threads may both miss a key that one of them is storing: a few per cent.
    [ $rc -eq 0 ] && awk -v v="$(line lru 120)" 'BEGIN { exit !(v >= .4 && v < .5) }'
}
t_case two_threads threads
live() { # on a terminal, and without one
    TERM=xterm script -qec "$bin replay --policy=lru --capacity=20 $d/a.ctr" /dev/null \
        >"$t_tmp/tty" 2>&1 </dev/null
    grep -q "$(printf '\033')\[Ka: reading, 300 requests [0-9.]* %" "$t_tmp/tty" || return 1
    run --policy=lru --capacity=20 "$d/a.ctr" && ! grep -q "$(printf '\033')" "$t_tmp/err"
}
if t_terminal; then t_case live_line_on_a_terminal live
else t_skip live_line_on_a_terminal "no script, or no terminals here"; fi
bytes() {
    run --mode=byte --policy=s3fifo,exact-lru --capacity=2M "$d/big.csv" --columns=key,size
    [ $rc -eq 0 ] && awk -v a="$(line s3fifo 2097152)" 'BEGIN { exit !(a > .4 && a < .9) }' &&
        [ "$(line exact-lru 2097152)" = 0.450000 ] # 9 passes of ten keys, 30 keys and one again
}
{
    i=0
    while [ $i -lt 90 ]; do echo "$((i % 10)),60000"; i=$((i + 1)); done
    while [ $i -lt 170 ]; do echo "$i,50000"; i=$((i + 1)); done
    while [ $i -lt 200 ]; do echo "$((i - 30)),50000"; i=$((i + 1)); done
} >"$d/big.csv"
t_case byte_mode bytes
sized() { # values of 60,000 bytes in a trace without sizes: 17 of them fit into 1 MiB
    i=0
    while [ $i -lt 300 ]; do echo "k$((i % 30))"; i=$((i + 1)); done >"$d/none.txt"
    run --mode=byte --policy=fifo --value-bytes=60000 --capacity=1100000 "$d/none.txt"
    [ $rc -eq 0 ] && [ "$(line fifo 1100000)" = 1.000000 ] && mv "$t_tmp/out" "$t_tmp/first" &&
        run --mode=byte --policy=fifo --value-bytes=60000 --capacity=1100000 --mean "$d/none.txt" &&
        [ $rc -eq 0 ] && [ "$(line fifo 1100000)" = 1.000000 ]
}
t_case values_of_a_trace_without_sizes sized
repeats() { # all but the times
    for n in 1 2; do
        run --mode=byte --policy=adaptive,s3fifo --value-bytes=3000 --capacity=1M --stripes=64 \
            "$d/long.txt"
        [ $rc -eq 0 ] || return 1
        sed 's/"ns_per_request":[0-9.]*//' "$t_tmp/out" | grep '^{' >"$t_tmp/run$n"
    done
    cmp "$t_tmp/run1" "$t_tmp/run2"
}
awk 'BEGIN { srand(3); for (i = 0; i < 30000; i++) print "k" int(exp(rand() * log(3000))) }' \
    >"$d/long.txt"
t_case a_run_repeats_itself repeats
budget() { # the memory that holds 300 entries: as many at the end, and misses as with max_entries
    run --mode=budget --policy=s3fifo --capacity=300 "$d/long.txt"
    [ $rc -eq 0 ] || return 1
    sed -n 's/.*"value":\([0-9.]*\).*"entries":\([0-9]*\).*/\1 \2/p' "$t_tmp/out" >"$t_tmp/got"
    run --policy=s3fifo --capacity=300 "$d/long.txt"
    awk -v v="$(line s3fifo 300)" '{ exit !($1 < v + .02 && $1 > v - .02 && $2 > 285 && $2 < 315) }' \
        "$t_tmp/got"
}
t_case budget_that_holds_the_entries budget
seeds() { # the median is within the range, one hash key gives less of a spread than eight
    run --policy=adaptive,exact-lru --capacity=300 "$d/long.txt"
    awk -F'[,:]' '/exact-lru",/ { exact = !/"seeds"/ }
        /cellar-adaptive",/ { for (i = 1; i < NF; i++) v[$i] = $(i + 1) }
        END { exit !(exact && v["\"seeds\""] == 8 && v["\"low\""] < v["\"value\""] &&
                     v["\"value\""] < v["\"high\""]) }' "$t_tmp/out" &&
        grep -q '^cellar-adaptive  *300  *0\.[0-9]*  *0\.[0-9]*\.\.0\.[0-9]* ' "$t_tmp/out" &&
        grep -q '"source":".*/long.txt","version":"[0-9a-z.-]*","commit":"c0ffee"' "$t_tmp/out" &&
        run --seeds=1 --policy=adaptive --capacity=300 "$d/long.txt" &&
        grep -q '"seed":0,"seeds":1,' "$t_tmp/out" &&
        of=$("$bin" version | sed -n '1s/.*(source [^ ]* *\(.*\))/\1/p') &&
        (unset BENCH_COMMIT && run --policy=lru --capacity=300 "$d/long.txt") &&
        grep -q "\"commit\":\"$of\"" "$t_tmp/out"
}
BENCH_COMMIT=c0ffee
export BENCH_COMMIT
t_case median_and_range_of_the_seeds seeds
default_table() {
    run --capacity=20 "$d/a.ctr"
    [ "$(sed -n 's/^{"bench":"replay","subject":"\([a-z0-9-]*\)".*/\1/p' "$t_tmp/out" | xargs)" = \
        'cellar-adaptive cellar-s3fifo cellar-lru cellar-fifo exact-lru exact-fifo' ]
}
t_case default_policies_are_ours_and_exact_ones default_table
textbook() { # 9 of 10 stay under LIRS while the loop is twice as long; the others keep none
    run --policy=2q,arc,lirs,sieve,bound --capacity=1,10,20 "$d/a.ctr"
    for p in 2q arc sieve; do
        [ "$(line $p 1)" = 1.000000 ] && [ "$(line $p 10)" = 1.000000 ] && [ "$(line $p 20)" = 0.400000 ] ||
            return 1
    done
    # 3,000 places of the bound pay 150 hits that take 20 places each.
    [ "$(line lirs 10)" = 0.730000 ] && [ "$(line lirs 20)" = 0.400000 ] &&
        [ "$(line bound 10)" = 0.500000 ] && [ "$(line bound 20)" = 0.400000 ] &&
        run --mode=byte --policy=bound --capacity=1M --value-bytes=104857 "$d/a.txt" &&
        [ "$(line bound 1048576)" = 0.500000 ] &&  # the same by bytes; a byte more a value is a hit less
        run --mode=byte --policy=bound --capacity=1M --value-bytes=104858 "$d/a.txt" &&
        [ "$(line bound 1048576)" = 0.503333 ] &&
        run --mode=byte --policy=bound,gdsf,exact-lru --capacity=2M --columns=key,size "$d/big.csv" &&
        awk -v b="$(line bound 2097152)" -v g="$(line gdsf 2097152)" -v l="$(line exact-lru 2097152)" \
            'BEGIN { exit !(b > .2 && b <= g && b <= l) }'
}
t_case textbook_policies_on_a_loop textbook
# 30,000 requests of 900 keys, low ones more often; the figures are those of libCacheSim aa0fc409.
awk 'BEGIN { for (x = 7; i < 30000; i++) {
                 x = x * 16807 % 2147483647; a = x % 900; x = x * 16807 % 2147483647; b = x % 900
                 print "k" (a < b ? a : b) } }' >"$d/mix.txt"
tinylfu_of_libcachesim() {
    run --policy=w-tinylfu,w-tinylfu-lcs --capacity=100,250 "$d/mix.txt"
    [ "$(line w-tinylfu-lcs 100)" = 0.830467 ] && [ "$(line w-tinylfu-lcs 250)" = 0.589500 ] &&
        [ "$(line w-tinylfu 250)" != 0.589500 ]
}
t_case tinylfu_of_libcachesim_misses_the_same tinylfu_of_libcachesim
{ echo 'level;size;obj_id;timestamp'; for id in $ids; do echo "x;70;$id;2026-02-28T23:00:05.5+01:00"; done; } >"$d/names.csv"
t_case a_line_of_names_tells_the_columns same "$d/names.csv"
quotes() { # as spreadsheets write: a mark of UTF-8, tabs, quotes, names with a capital
    printf '\357\273\277Key\t "Size"\tTimestamp\n"a\t""b"\t 7\t1\n"a\t""b"\t7\t2\nc\t9\t3\n' >"$d/q.csv"
    run --policy=lru --capacity=1 "$d/q.csv"
    [ $rc -eq 0 ] && grep -q '3 requests, 2 objects, 16 B' "$t_tmp/out" &&
        run --policy=lru --capacity=1 --columns=key,size,time "$d/q.csv" &&
        [ "$(line lru 1)" = 0.666667 ]
}
t_case quoted_fields_tabs_and_capitals quotes
{ echo 'level,key,time,size'; cat "$d/a.csv"; } >"$d/head.csv"
t_case a_line_of_names_above_columns_is_no_request same --columns=-,key,time,size "$d/head.csv"
iso_times_count_in_seconds() { # a leap day, a zone, a fraction: of 5 gets one hits, the entry of 10 s has expired after 11 s
    printf '%s\n' key,time,ttl a,2024-02-28T23:59:55Z,10 'a,2024-02-29 00:00:04Z,10' a,2024-02-29T01:00:06.9+01:00,10 \
        b,2024-02-28T19:00:08-05:00,0 c,2024-02-29T00:00:09,0 >"$d/iso.csv"
    sed 1d "$d/iso.csv" | sed 's/\(.*\),\(.*\),\(.*\)/{"ts":"\2","ttl":\3,"key":"\1"}/' >"$d/iso.jsonl"
    for file in csv jsonl; do
        run --mode=byte --policy=lru --capacity=1100000 --value-bytes=400000 "$d/iso.$file"
        [ $rc -eq 0 ] && [ "$(line lru 1100000)" = 0.800000 ] && ! grep -q backwards "$t_tmp/out" || return 1
    done
    printf 'key,time\na,2024-02-30x\n' >"$d/bad.csv"
    refused 1 'line 2: the time is not a number, nor of ISO 8601 in "a,2024-02-30x"' "$d/bad.csv" || return 1
    for time in 2026-01-99T00:00:00 2026-01-09T99:00:00 2026-01-09T00:99:00 2026-01-09T00:00:00Zx 2026-01-09T00:00:00+99 \
        2026-02-31T00:00:00 2026-02-29T00:00:00 2026-04-31T00:00:00 2026-06-31T00:00:00 2026-11-31T00:00:00 1900-02-29T00:00:00; do
        printf 'key,time\na,%s\n' $time >"$d/bad.csv"
        refused 1 'line 2: the time is not a number, nor of ISO 8601' "$d/bad.csv" || return 1
    done
    printf 'key,time,ttl\na,2024-02-29T05:30:00+0530,0\nb,2024-02-29T00:00:11Z,0\n' >"$d/zone.csv"
    run --policy=lru --capacity=1 "$d/zone.csv"
    [ $rc -eq 0 ] && ! grep -q backwards "$t_tmp/out"
}
t_case iso_times_are_read_or_refused iso_times_count_in_seconds
misses_of() { # MISSES REQUESTS OBJECTS ARGUMENT...: of exact LRU at 3 entries
    misses=$1 requests=$2 objects=$3
    shift 3
    run --policy=exact-lru --capacity=3 "$@"
    [ $rc -eq 0 ] && grep -q "$requests requests, $objects objects" "$t_tmp/out" &&
        [ "$(line exact-lru 3)" = "$(awk -v m="$misses" -v r="$requests" 'BEGIN { printf "%.6f", m / r }')" ]
}
printf '%s\n' key,op,size,op_count,key_size a,GET,9,3,1 b,SET,9,2,1 b,GET,9,1,1 c,GET,9,0,1 c,GET,9,1,1 >"$d/count.csv"
sed 1d "$d/count.csv" | sed 's/\(.*\),\(.*\),\(.*\),\(.*\),.*/{"key":"\1","op":"\2","op_count":\4}/' >"$d/count.jsonl"
t_case op_count_of_cachebench_repeats_a_request misses_of 2 5 3 "$d/count.csv"
t_case op_count_of_json_repeats_a_request misses_of 2 5 3 "$d/count.jsonl"
t_case column_of_a_count misses_of 2 5 3 --columns=key,op,size,count,- "$d/count.csv"
printf '%s\n' time,disk,offset,length,kind 1,1,23,9,Read 2,12,3,9,Read 3,1,23,9,Read 4,2,23,9,Read >"$d/disks.csv"
sed 1d "$d/disks.csv" >"$d/msr.csv"
t_case key_of_two_named_columns misses_of 3 4 3 --columns=key=disk+offset,size=length,op=kind "$d/disks.csv"
t_case key_of_two_columns misses_of 3 4 3 --columns=time,key,key,size,op "$d/msr.csv"
t_case named_column_that_is_missing refused 1 'disks.csv: line 1: a name of --columns is missing' --columns=key=disk+lba "$d/disks.csv"
printf '%s\n' disk,offset,size 1,0,8192 1,4095,2 1,4096,0 2,0,1 1,8191,1 >"$d/range.csv"
sed 1d "$d/range.csv" | sed 's/1,\(.*\),\(.*\)/{"key":\1,"size":\2}/; s/^2.*/{"key":9000,"size":1}/' >"$d/range.jsonl"
t_case range_is_a_request_for_each_block misses_of 3 7 3 --block=4096 --columns=key=disk+offset "$d/range.csv"
t_case range_of_listed_columns misses_of 3 7 3 --block=4096 --columns=key,key,size "$d/range.csv"
t_case range_of_json_lines misses_of 3 7 3 --block=4096 "$d/range.jsonl"
t_case range_without_an_offset refused 1 'the offset is not a number' --block=4096 --columns=-,key,time,size "$d/a2.csv"
printf '%s\n' 'time key  size' '1 a 9 ' '2  b 9' '3 a 9' '4 c 9' >"$d/blank.csv"
sed 1d "$d/blank.csv" >"$d/parted.csv"
t_case blanks_part_columns misses_of 3 4 3 --format=csv "$d/blank.csv"
t_case blanks_part_listed_columns misses_of 3 4 3 --columns=time,key,size "$d/parted.csv"
t_case blanks_are_no_part_of_a_key refused 1 'parted.csv: line 1: not 1 columns' --columns=key "$d/parted.csv"
printf '%s\n' url,id,object x,1,p y,1,p z,2,p x,3,q >"$d/several.csv"
t_case best_name_of_a_key_counts misses_of 3 4 3 "$d/several.csv"
standard_input_is_a_trace() {
    "$bin" replay --policy=lru --capacity=20 - <"$d/names.csv" >"$t_tmp/out" && [ "$(line lru 20)" = 0.400000 ]
}
t_case standard_input_is_a_trace standard_input_is_a_trace

for id in $ids; do
    printf "$(u32 1)$(u32 70)$zero\\052\\000\\377\\001$(u32 "$id")$zero$(u32 5000000)$zero"
done >"$d/one.vscsi"
for id in $ids; do
    printf "\\052\\000\\377\\002$(u32 1)$(u32 70)$zero$(u32 "$id")$zero$(u32 5000000)$zero$zero$zero"
done >"$d/two.vscsi"
t_case vscsi_of_version_1 same "$d/one.vscsi"
t_case vscsi_of_version_2 same "$d/two.vscsi"
t_case vscsi_of_another_kind refused 1 'record 1: the version is neither 1 nor 2; expected vscsi' --format=vscsi "$d/a.ctr"

converted_trace_has_the_same_figures() {
    "$bin" replay --write="$d/new.ctr" - <"$d/names.csv" >"$t_tmp/out" && [ ! -s "$t_tmp/out" ] &&
        [ "$(wc -c <"$d/new.ctr")" -eq 4800 ] && same "$d/new.ctr" && grep -q '300 requests, 120 objects, 8' "$t_tmp/out"
}
t_case converted_trace_has_the_same_figures converted_trace_has_the_same_figures

value_that_is_refused_leaves_no_old_one() { # 1,000 bytes, then more than half of the memory, twice
    printf '%s\n' a,1000 a,700000 a,700000 b,1100000 >"$d/grows.csv"
    run --mode=byte --policy=lru,bound --capacity=1M --columns=key,size "$d/grows.csv"
    [ $rc -eq 0 ] && [ "$(line lru 1048576)" = 0.750000 ] && [ "$(line bound 1048576)" = 0.500000 ]
}
t_case value_that_is_refused_leaves_no_old_one value_that_is_refused_leaves_no_old_one
weights_stand_for_bytes() { # figures beside a store of all bytes; a capacity above any memory
    awk 'BEGIN { for (i = 0; i < 9000; i++) { x = (x * 16807 + 11) % 2147483647; k = int(exp(x / 2147483647 * 7))
                 print k "," 2000 + k * 37 % 30000 } }' >"$d/sizes.csv"
    for p in lru s3fifo; do
        run --mode=byte --policy=$p --capacity=3M --columns=key,size "$d/sizes.csv"
        weighed=$(line $p 3145728)
        run --mode=byte --policy=$p --capacity=3M --columns=key,size --copy "$d/sizes.csv"
        awk -v a="$weighed" -v b="$(line $p 3145728)" 'BEGIN { d = a - b; exit !(a > .1 && d < .02 && d > -.02) }' ||
            return 1
    done
    awk 'BEGIN { for (i = 0; i < 3000; i++) print i % 300 "," 900000000 }' >"$d/huge.csv"
    run --mode=byte --policy=lru,exact-lru --capacity=200G --columns=key,size "$d/huge.csv"
    [ $rc -eq 0 ] && [ "$(line exact-lru 214748364800)" = 1.000000 ] && grep -q '^cellar-lru' "$t_tmp/out"
}
t_case a_weight_stands_for_the_bytes_of_a_value weights_stand_for_bytes

drops() { # b is deleted and leaves its place to c: then a is a hit
    printf 'key,op\na,get\nb,get\nb,delete\nc,get\na,get\n' >"$d/drop.csv"
    run --policy=exact-fifo,sieve,2q,arc,lirs,w-tinylfu,w-tinylfu-lcs --capacity=2 "$d/drop.csv"
    [ "$(grep -c '"value":0.750000' "$t_tmp/out")" -eq 7 ]
}
t_case delete_frees_the_place_of_a_number drops
example() { # the policy that the page of the replay shows
    sed -n '/^```c$/,/^```$/p' bench/replay/README.md | grep -v '^```' >"$t_tmp/mru.c"
    grep -q 'REPLAY_POLICY(mru, "mru", ' "$t_tmp/mru.c" &&
        "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -I. -fsyntax-only "$t_tmp/mru.c"
}
t_case policy_of_the_page_compiles example
ttl() { # stored for 1 s, asked for again after 2
    printf '0,a,1,9,c,get,1\n0,b,1,9,c,get,0\n2,a,1,9,c,get,1\n2,b,1,9,c,get,0\n' >"$d/t.tw"
    i=0
    while [ $i -lt 120000 ]; do echo "2,x$i,1,9,c,set,0"; i=$((i + 1)); done >>"$d/t.tw"
    run --mode=byte --policy=s3fifo --capacity=1M "$d/t.tw"
    [ $rc -eq 0 ] && grep -q '120,000 writes' "$t_tmp/out" && [ "$(line s3fifo 1048576)" = 0.750000 ]
}
t_case ttl_and_writes_of_twitter ttl
deletes_are_counted() { # NAME ARGUMENT...: of 5 gets the first one of a, and the one behind its delete, miss
    name=$1
    shift
    run --policy=exact-lru,exact-fifo,gdsf,belady,bound,sieve,2q,arc,lirs,w-tinylfu,lru,fifo,s3fifo \
        --capacity=2 "$@" "$d/$name"
    [ $rc -eq 0 ] && grep -q '5 requests, 2 objects, .*, 1 writes, 3 deletes' "$t_tmp/out" &&
        [ "$(grep -c '"value":0.400000.*"requests":5,.*"writes":1,"deletes":3,' "$t_tmp/out")" -eq 13 ]
}
for word in get get set delete get get get delete delete; do echo "$word"; done >"$t_tmp/words"
awk '{ k = NR == 3 || NR == 6 ? "b" : NR == 9 ? "none" : "a"; print "5," k ",1,9,c," $1 ",0"
       print "{\"key\":\"" k "\",\"op\":\"" $1 "\"}" >j; print k ";" toupper($1) >c }' \
    j="$d/del.jsonl" c="$d/del.csv" "$t_tmp/words" >"$d/del.tw"
sed -i 1i'key;operation' "$d/del.csv"
sed 1d "$d/del.csv" | tr \; , >"$d/plain.csv" # words of an operation are no line of names
t_case operations_of_a_csv_without_names deletes_are_counted plain.csv --columns=key,op
for kind in tw jsonl csv; do t_case "deletes_of_${kind}_run_and_are_counted" deletes_are_counted "del.$kind"; done
backwards() {
    printf '5,a\n7,b\n6,c\n9,a\n' >"$d/back.csv"
    run --columns=time,key --capacity=2 "$d/back.csv"
    [ $rc -eq 0 ] && grep -q '1 times ran backwards and were replaced' "$t_tmp/out"
}
t_case times_that_run_backwards backwards
pipe() {
    "$bin" replay --policy=lru --capacity=20 --format=ctr /dev/stdin <"$d/a.ctr" | grep -q '^{' &&
        cat "$d/a.ctr" | "$bin" replay --policy=lru --capacity=20 --format=ctr /dev/stdin |
        grep -q '"value":0.400000'
}
t_case a_pipe_is_read pipe
pipe_many() { # as the file itself: shares, exact policies, packed or not
    run --policy=lru,belady --capacity=10%,20 "$d/a.ctr"
    cut -c-60 "$t_tmp/out" | sed '1d;/^{/d' >"$t_tmp/file"
    for tool in cat 'gzip -c' ${zstd:+'zstd -qc'}; do
        $tool <"$d/a.ctr" | "$bin" replay --policy=lru,belady --capacity=10%,20 --format=ctr - |
            cut -c-60 | sed '1d;/^{/d' | cmp - "$t_tmp/file" || return 1
    done
}
! t_have zstd || zstd=1
t_case a_pipe_is_a_trace_like_its_file pipe_many
pipe_large() {
    cat "$d/a.ctr" | "$bin" replay --policy=lru --capacity=121 --format=ctr /dev/stdin \
        >"$t_tmp/out" 2>"$t_tmp/err"
    [ $? -eq 2 ] && [ ! -s "$t_tmp/out" ] && grep -q 'larger than the whole trace' "$t_tmp/err"
}
t_case capacity_of_a_pipe_is_checked_at_its_end pipe_large
pipe_text() {
    echo 'no trace at all' | "$bin" replay --policy=lru --capacity=20 /dev/stdin \
        >"$t_tmp/out" 2>"$t_tmp/err"
    [ $? -eq 1 ] && [ ! -s "$t_tmp/out" ] && grep -q '/dev/stdin: line 1: a blank' "$t_tmp/err"
}
t_case pipe_without_a_trace_is_refused pipe_text
if t_have gnuplot; then
    plot() {
        run --policy=s3fifo,lru --capacity=10,20,60 --plot="$t_tmp/p'q.svg" "$d/a.ctr"
        [ $rc -eq 0 ] && grep -q '<svg' "$t_tmp/p'q.svg"
    }
    t_case plot_of_a_trace plot
    plots() {
        run --policy=s3fifo --capacity=10,20 --plot="$t_tmp/m.svg" "$d/a.ctr" "$d/a.txt"
        [ $rc -eq 0 ] && [ -s "$t_tmp/m-a.svg" ]
    }
    t_case plot_a_file_for_each_trace plots
    plot_nowhere() {
        run --policy=s3fifo --capacity=10,20 --plot="$t_tmp/none/x.svg" "$d/a.ctr"
        [ $rc -eq 4 ] && grep -q 'could not draw' "$t_tmp/err"
    }
    t_case plot_that_cannot_be_written plot_nowhere
else
    t_skip plot_of_a_trace 'no gnuplot'
fi

# ---- files that are no trace ----
head -c 4790 "$d/a.ctr" >"$d/short.ctr"
head -c 100 "$d/a.oracleGeneral" >"$d/short.og"
head -c 70000 /dev/zero | tr '\000' 'k' >"$d/long.txt"
cp README.md "$d/prose.ctr"
: >"$d/e.txt" >"$d/e.ctr"
no_trace() { # FILE LINES OPTIONS TEXT: a trace of these lines, if there are any
    [ -z "$2" ] || printf -- "$2" >"$d/$1"
    # shellcheck disable=SC2086 # options are words
    refused 1 "$1: $4" $3 "$d/$1"
}
while IFS='|' read -r fact file lines options text; do
    t_case "$fact" no_trace "$file" "$lines" "$options" "$text"
done <<'END'
ctr_cut_short|short.ctr|||record 300: cut short.*; expected ctr records of 16 bytes
oracle_cut_short|short.og|||record 5: cut short.*; expected oracle records of 24
lis_no_number|b.lis|1 2 0 0\n3 x 0 0\n||line 2: not 4 numbers in "3 x 0 0"; expected 4 numbers a line
lis_three_numbers|b3.lis|1 2 0\n||line 1: not 4 numbers
lis_negative|bn.lis|-1 2 0 0\n||line 1: a negative or too large start
twitter_negative_size|n.tw|0,a,1,1,c,get,0\n0,a,1,-5,c,get,0\n||line 2: a negative size in "0,a,1,-5,c,get,0"; expected 7
twitter_six_columns|c.tw|0,a,1,1,c,get,0\n0,a,1,5,c,get\n||line 2: not 7 columns
twitter_time_no_number|x.tw|0,a,1,1,c,get,0\nx,a,1,5,c,get,0\n||line 2: the time is not a number
twitter_operation_unknown|o.tw|0,a,1,1,c,get,0\n0,a,1,1,c,touch,0\n||line 2: the operation is unknown in "0,a,1,1,c,touch,0"; expected 7
csv_negative_size|n.csv|1,-3\n|--columns=key,size|line 1: a negative size in "1,-3"; expected the columns
csv_zero_byte|zero.csv|1\0,3\n1,3\n|--columns=key,size|line 1: a zero byte
csv_columns_missing|m.csv|1,3\n1\n|--columns=key,size|line 2: not 2 columns
quote_without_its_end|open.csv|key,size\na,1\n"b,1\n||line 3: a quote is not closed
text_with_a_zero|z.txt|a\n\000b\n||line 2: a zero byte
line_too_long|long.txt|||line 1: longer than 65,535 bytes
empty_trace|e.txt|||no request before the end; expected one word a line
empty_binary_trace|e.ctr|||no request before the end; expected ctr
text_as_ctr_is_refused|prose.ctr|||record 1: text in "# cellar"; expected ctr
text_as_oracle_is_refused|prose.ctr||--format=oracle|record 1: text in .*; expected oracle
columns_without_names_are_refused|a.csv|||line 1: several columns in "x,1,5.25,70"; expected .*--columns
END
t_case prose_is_refused refused 1 \
    '^cellar: replay: README.md: line [0-9]*: a blank in "[^"]*"; expected one word a line; .*--format' \
    README.md
t_case source_code_is_refused refused 1 'LICENSE: line 1: a blank in "MIT License"' LICENSE
t_case program_is_refused refused 1 'line 1: a zero byte' "$bin"
wrong_json() { # LINE REASON: behind a good line; the error shows what stands there
    printf '{"key":"a","time":1}\n%s\n' "$1" >"$d/w.jsonl"
    refused 1 "w.jsonl: line 2: $2; expected an object a line, such as {\"key\":\"a\",\"time\":1," "$d/w.jsonl"
}
while IFS='|' read -r fact line reason; do
    t_case "$fact" wrong_json "$line" "${reason:-not one object of JSON in .*}"
done <<'END'
json_size_no_number|{"key":"a","size":"9x"}|the size is not a number in "9x"
json_time_no_number|{"key":"a","time":"noon"}|the time is not a number, nor of ISO 8601 in "noon"
json_negative_ttl|{"key":"a","ttl":-4}|a negative ttl in "-4"
json_operation_unknown|{"op":"touch","key":"a"}|the operation is unknown in "touch"
json_without_a_key|{"size":9}|no key in "{"size":9}"
json_list|["a"]
json_object_without_its_end|{"key":"a"
json_word_behind_the_object|{"key":"a"} x
json_comma_behind_the_last_member|{"key":"a",}
json_name_without_a_colon|{"key" "a"}
json_name_without_a_value|{"key":}
json_text_without_its_end|{"key":"a}
json_escape_without_its_letter|{"key":"a\
json_list_without_its_end|{"key":[1}
json_name_without_quotes|{key:1}
json_word|a
END
printf 'one key\nanother key\none key\n' >"$d/blanks.txt"
blanks_by_name() {
    run --policy=lru --capacity=2 --format=txt "$d/blanks.txt"
    [ $rc -eq 0 ] && grep -q '3 requests, 2 objects' "$t_tmp/out"
}
t_case format_txt_takes_any_line_as_a_key blanks_by_name
printf 'x\033[31m y\n' >"$d/colour.txt"
no_escape() {
    refused 1 'colour.txt: line 1: a control character in "x?\[31m y"' "$d/colour.txt" &&
        ! grep -q "$(printf '\033')" "$t_tmp/err"
}
t_case line_in_an_error_cannot_control_the_terminal no_escape

# ---- wrong usage ----
while IFS='|' read -r fact words text; do
    # shellcheck disable=SC2086 # words are meant to be split
    t_case "$fact" refused 2 "$text" $words
done <<END
csv_needs_columns|--format=csv $d/n.csv|csv needs a first line of names
no_such_file|$d/nothing.ctr|cannot read .*nothing.ctr: no such file.*; name a file
a_folder|$d|is a folder; name the trace files in it
capacity_zero|--capacity=0 $d/a.ctr|a.ctr: a capacity must be at least 1 entry (got 0)
capacity_zero_per_cent|--capacity=0.1% $d/a.ctr|must be at least 1 entry
capacity_beyond_the_trace|--capacity=121 $d/a.ctr|capacity 121 is larger than the whole trace (120 objects): nothing is evicted.*; name a capacity below 120, such as --capacity=10%$
capacity_beyond_the_bytes|--mode=byte --capacity=1G --columns=key,size $d/big.csv|larger than the whole trace ([0-9]* bytes)
capacity_no_number|--capacity=10,many $d/a.ctr|--capacity must be numbers.*(got "10,many")
capacity_negative|--capacity=-5 $d/a.ctr|--capacity must be
capacity_over_all|--capacity=101% $d/a.ctr|--capacity must be
byte_budget_too_small|--mode=byte --capacity=5000 --columns=key,size $d/big.csv|must be at least 1 MiB (got 5000 bytes)
no_trace||needs a trace; name one
unknown_policy|--policy=best $d/a.ctr|--policy must be.*exact-lru, .*gdsf, .*sieve.*(got "best")
policy_twice|--policy=lru,lru $d/a.ctr|must be different names
policies_of_entries_refuse_bytes|--mode=byte --policy=lirs $d/a.ctr|policy lirs ignores sizes
belady_in_byte_mode|--mode=byte --policy=belady $d/a.ctr|belady ignores sizes
tinylfu_of_libcachesim_in_byte_mode|--mode=byte --policy=w-tinylfu-lcs $d/a.ctr|w-tinylfu-lcs ignores sizes
unknown_format|--format=xml $d/a.ctr|--format must be ctr
unknown_column|--columns=key,colour $d/a.csv|in the order of the file
columns_without_key|--columns=time,size $d/a.csv|with key among them
name_without_a_column|--columns=disk+offset $d/disks.csv|or COLUMN=NAME
names_of_json_columns|--columns=key=disk+offset $d/range.jsonl|NAME needs csv
block_of_words|--block=4096 $d/a.txt|--block needs csv or JSON lines
block_of_no_bytes|--block=0 $d/range.csv|--block must be 1..1073741823 (got "0")
value_bytes_zero|--value-bytes=0 $d/a.ctr|--value-bytes must be 1..1073741823 (got "0")
unknown_mode|--mode=words $d/a.ctr|must be object, byte or budget
unknown_unit|--time-unit=days $d/a.ctr|must be s, ms
stripes_no_power|--stripes=3 $d/a.ctr|power of two
threads_zero|--threads=0 $d/a.ctr|--threads must be 1..64 (got "0")
seeds_zero|--seeds=0 $d/a.ctr|--seeds must be 1..64 (got "0")
write_to_no_file|--write=/nowhere/x $d/a.ctr|write cannot write /nowhere/x
json_that_cannot_be_written|--json=$d/none/x $d/a.ctr|--json cannot write .*no such file
END
no_memory() { # in an address space of 40 MB
    (ulimit -v 40000 && exec "$bin" replay --policy=lru --capacity=20 "$d/a.ctr") \
        >"$t_tmp/out" 2>"$t_tmp/err"
    rc=$?
    cat "$t_tmp/out" "$t_tmp/err"
    [ $rc -eq 3 ] && [ ! -s "$t_tmp/out" ] && grep -q '^cellar: replay: .*; ' "$t_tmp/err"
}
if (ulimit -v 40000) 2>/dev/null && (ulimit -v 40000 && "$bin" version) >/dev/null 2>&1; then
    t_case without_memory_the_exit_code_is_3 no_memory
else
    t_skip without_memory_the_exit_code_is_3 'no limit of the address space here'
fi
second_is_bad() { # the first trace is printed, the second prints nothing to stdout
    run --policy=lru --capacity=20 "$d/a.ctr" "$d/short.ctr"
    [ $rc -eq 1 ] && [ "$(grep -c '^{' "$t_tmp/out")" -eq 1 ] && grep -q 'record 300' "$t_tmp/err"
}
t_case first_is_printed_second_is_bad second_is_bad

# ---- fifo_is_exact: the engine with one stripe and a textbook queue miss the same requests ----
shape() { # NAME: 20,000 requests
    awk -v shape="$1" 'BEGIN { s = 11
        for (i = 0; i < 20000; i++) {
            s = (s * 16807) % 2147483647; u = s / 2147483647
            if (shape == "even") print int(u * 3000)
            if (shape == "skewed") print int(u * u * u * 8000)
            if (shape == "loop") print i % 1100
            if (shape == "scan") print (i % 4000 < 2000 ? int(u * u * 1500) : "s" i)
            if (shape == "shift") print int(u * 800) + int(i / 20)
        } }' >"$d/$1.txt"
}
fifo_is_exact() {
    shape "$1"
    run --policy=fifo,exact-fifo --stripes=1 --capacity=1,2,10,100,1000 "$d/$1.txt"
    [ $rc -eq 0 ] || return 1
    for c in 1 2 10 100 1000; do
        [ -n "$(line fifo $c)" ] && [ "$(line fifo $c)" = "$(line exact-fifo $c)" ] || return 1
    done
}
for s in even skewed loop scan shift; do t_case "fifo_is_exact_$s" fifo_is_exact $s; done

# ---- the advice compared with replays ----
awk 'BEGIN { s = 7; for (i = 0; i < 60000; i++) {
    s = (s * 16807) % 2147483647; u = s / 2147483647; print int(u * u * u * 20000) } }' >"$d/adv.txt"
advice() {
    run --advisor --policy=adaptive,lru --capacity=2000 "$d/adv.txt"
    [ $rc -eq 0 ] && grep -q 'advisor at 2,000, mean error [01]\.' "$t_tmp/out" &&
        [ "$(grep -c '"subject":"advisor"' "$t_tmp/out")" = 1 ] &&
        sed -n 's/^{"bench":"replay","subject":"advisor".*"value":\([0-9.]*\),.*/\1/p' \
            "$t_tmp/out" | awk '{ exit !($1 > 0 && $1 <= 2) }'
}
t_case advisor_beside_replays advice
no_advice() { # the cache is too small for advice: nothing is printed, nothing fails
    run --advisor --policy=adaptive --capacity=20 "$d/a.ctr"
    [ $rc -eq 0 ] && ! grep -q advisor "$t_tmp/out"
}
t_case advisor_of_a_small_cache_is_silent no_advice
t_end cli_replay
