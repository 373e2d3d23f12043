#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    `cellar replay` runs the store that a program gets, each hash key can be repeated, and the
#         ways of running and printing agree with each other.
# Method: one generated trace; values of one run against those of another. Formats and what is
#         refused: test_cli_replay.sh.
set -u
. tests/support/t.sh
bin=${CELLAR_BIN:-build/cellar}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
run() { # arguments of the command; sets rc
    "$bin" replay "$@" >"$t_tmp/out" 2>"$t_tmp/err" </dev/null
    rc=$?
    cat "$t_tmp/out" "$t_tmp/err"
    [ $rc -eq 0 ]
}
field() { # POLICY NAME [CAPACITY]: of its JSON line
    sed -n "/\"subject\":\"\(cellar-\)*$1\",.*\"capacity\":${3:-[0-9]*},/s/.*\"$2\":\(\[[^]]*\]\|[^,}]*\).*/\1/p" "$t_tmp/out"
}
# 30,000 requests of 3,000 keys, low ones more often; times, sizes and TTLs for the runs by bytes.
awk 'BEGIN { srand(3); for (i = 0; i < 30000; i++) print "k" int(exp(rand() * log(3000))) }' >"$t_tmp/a.txt"
awk 'BEGIN { srand(5); print "key,time,size,ttl,op"
    for (i = 0; i < 30000; i++) { k = int(exp(rand() * log(3000)))
        print "k" k "," int(i / 100) "," 200 + k * 37 % 3000 "," (k % 7 == 0 ? 20 : 0) "," (k % 11 == 0 && i % 13 == 0 ? "set" : "get") } }' \
    >"$t_tmp/b.csv"

store_has_the_default_memory() { # and more, where it is asked for or the entries need it
    run --policy=lru --capacity=300 "$t_tmp/a.txt" && [ "$(field lru memory_bytes)" = 67108864 ] &&
        run --policy=lru --capacity=300 --memory=128M "$t_tmp/a.txt" && [ "$(field lru memory_bytes)" = 134217728 ] &&
        run --policy=adaptive --seed=1 --capacity=300 --stripes=64 --memory=64M "$t_tmp/a.txt" && one=$(field adaptive value) &&
        run --policy=adaptive --seed=1 --capacity=300 "$t_tmp/a.txt" && [ "$(field adaptive value)" = "$one" ]
}
t_case store_has_the_defaults_of_the_library store_has_the_default_memory
value_of_one_hash_key_is_repeated() {
    run --policy=adaptive --seeds=4 --capacity=300 "$t_tmp/a.txt" && values=$(field adaptive values) || return 1
    for n in 0 1 2 3; do
        run --policy=adaptive --seed=$n --capacity=300 "$t_tmp/a.txt" && [ "$(field adaptive seed)" = $n ] &&
            [ "$(field adaptive seeds)" = 1 ] &&
            [ "$(echo "$values" | tr -d '[]' | cut -d, -f$((n + 1)))" = "$(field adaptive value)" ] || return 1
    done
    run --policy=adaptive --seed=2 --seeds=2 --capacity=300 "$t_tmp/a.txt" &&
        [ "[$(echo "$values" | tr -d '[]' | cut -d, -f3,4)]" = "$(field adaptive values)" ]
}
t_case value_of_one_hash_key_is_repeated value_of_one_hash_key_is_repeated
csv_has_a_line_for_each_key() {
    run --policy=adaptive,exact-lru --seeds=3 --capacity=100,300 --csv="$t_tmp/x.csv" "$t_tmp/a.txt" || return 1
    cat "$t_tmp/x.csv"
    [ "$(head -n 1 "$t_tmp/x.csv")" = trace,policy,mode,capacity,seed,miss_ratio ] && [ "$(grep -c '' "$t_tmp/x.csv")" = 9 ] &&
        [ "[$(sed -n 's/^"a",cellar-adaptive,object,300,[012],//p' "$t_tmp/x.csv" | paste -sd,)]" = "$(field adaptive values 300)" ] &&
        grep -qx "\"a\",exact-lru,object,300,,$(field exact-lru value 300)" "$t_tmp/x.csv"
}
t_case csv_has_a_line_for_each_hash_key csv_has_a_line_for_each_key
range_is_drawn_as_bars() { # a gnuplot that keeps its script
    mkdir -p "$t_tmp/bin"
    printf '#!/bin/sh\ncat >"%s"\n' "$t_tmp/script" >"$t_tmp/bin/gnuplot"
    chmod +x "$t_tmp/bin/gnuplot"
    PATH="$t_tmp/bin:$PATH" run --policy=adaptive --seeds=3 --capacity=300 --plot="$t_tmp/p.svg" "$t_tmp/a.txt" || return 1
    grep -q "using 1:3:4:5 with yerrorbars" "$t_tmp/script" &&
        grep -qx "300 \(0\.[0-9]*\) \1 $(field adaptive low) $(field adaptive high)" "$t_tmp/script" || { cat "$t_tmp/script"; return 1; }
}
t_case range_is_drawn_as_bars range_is_drawn_as_bars
textbook_policies_know_bytes_and_ttls() { # by bytes each is between the bound and 1, and less room is no fewer misses
    policies=exact-lru,exact-fifo,clock,sieve,s3-fifo,arc,w-tinylfu,gdsf
    run --mode=byte --policy=$policies,bound --capacity=1M,3M "$t_tmp/b.csv" || return 1
    for p in exact-lru exact-fifo clock sieve s3-fifo arc w-tinylfu gdsf; do
        awk -v small="$(field $p value 1048576)" -v large="$(field $p value 3145728)" -v bound="$(field bound value 1048576)" \
            'BEGIN { exit !(bound > 0 && bound <= small && small < 1 && large < small) }' || { echo "$p"; return 1; }
    done
    # With room for all, misses are first requests and ends of TTLs: the same for all.
    run --mode=byte --policy=$policies --capacity=100% "$t_tmp/b.csv" || return 1
    [ "$(sed -n 's/^{.*"value":\([0-9.]*\),.*/\1/p' "$t_tmp/out" | sort -u | wc -l)" = 1 ]
}
t_case textbook_policies_know_bytes_and_ttls textbook_policies_know_bytes_and_ttls
curve_of_lru_is_exact() { # one pass gives what a run at each capacity gives, also where keys are deleted
    awk -F, '{ print NR == 1 ? "key,op" : $1 "," (NR % 7 == 0 ? "delete" : NR % 5 == 0 ? "set" : "get") }' "$t_tmp/b.csv" >"$t_tmp/d.csv"
    for how in "--capacity=1,2,10,100,300,1000 $t_tmp/a.txt" "--capacity=1,2,10,100,300,1000 $t_tmp/d.csv" "--mode=byte --capacity=1M,2M,3M --columns=key,time,size,-,op $t_tmp/b.csv"; do
        # shellcheck disable=SC2086
        run --policy=exact-lru --mrc $how && sed -n 's/^{.*"capacity":\([0-9]*\).*"value":\([0-9.]*\),"byte_miss_ratio":\([0-9.]*\).*/\1 \2 \3/p' "$t_tmp/out" >"$t_tmp/curve" &&
            run --policy=exact-lru $how && sed -n 's/^{.*"capacity":\([0-9]*\).*"value":\([0-9.]*\),"byte_miss_ratio":\([0-9.]*\).*/\1 \2 \3/p' "$t_tmp/out" | cmp - "$t_tmp/curve" || return 1
        [ -s "$t_tmp/curve" ] || return 1
    done
    # A miss starts a TTL again, at small capacities alone: the curve has one deadline for all.
    run --policy=exact-lru --mode=byte --capacity=1M "$t_tmp/b.csv" && one=$(field exact-lru value) &&
        run --policy=exact-lru --mrc --mode=byte --capacity=1M "$t_tmp/b.csv" &&
        awk -v a="$one" -v b="$(field exact-lru value)" 'BEGIN { exit !(b - a < .002 && a - b < .002) }' || return 1
    run --policy=exact-lru --mrc "$t_tmp/a.txt" && [ "$(grep -c '^{' "$t_tmp/out")" -ge 20 ]
}
t_case curve_of_lru_is_exact curve_of_lru_is_exact
sample_is_close() { # 60,000 objects: the sample has a third of them
    awk 'BEGIN { srand(9); for (i = 0; i < 200000; i++) print (rand() < .2 ? "s" i : "k" int(exp(rand() * log(40000)))) }' >"$t_tmp/large.txt"
    run --policy=arc,s3-fifo,clock --capacity=6000,12000 "$t_tmp/large.txt" && cp "$t_tmp/out" "$t_tmp/full" &&
        run --policy=arc,s3-fifo,clock --mrc --capacity=6000,12000 "$t_tmp/large.txt" || return 1
    sed -n 's/^{.*"value":\([0-9.]*\).*/\1/p' "$t_tmp/full" >"$t_tmp/of.full"
    sed -n 's/^{.*"value":\([0-9.]*\).*/\1/p' "$t_tmp/out" | paste - "$t_tmp/of.full" |
        awk '{ d = $1 - $2; n++; same += d == 0; if (d > .01 || d < -.01) bad = 1 } END { exit bad || n != 6 || same == 6 }'
}
t_case sample_is_within_a_point_of_the_run sample_is_close
sizes_that_change_to_8_bytes_are_stored() { # a value above 64 bytes is its size, in 8 bytes
    awk 'BEGIN { print "key,size"; for (i = 0; i < 300; i++) { print "k" i ",5000"; print "k" i ",8" }
        for (i = 0; i < 300; i++) print "k" i ",8" }' >"$t_tmp/eight.csv"
    run --mode=byte --policy=lru --capacity=1M "$t_tmp/eight.csv" && [ "$(field lru value)" = 0.333333 ]
}
t_case sizes_that_change_to_8_bytes_are_stored sizes_that_change_to_8_bytes_are_stored
late_times_have_room_for_a_ttl() { # the second get of b hits, also at the end of time
    printf '%s\n' key,time,size,ttl a,0,400000,10 c,0,400000,10 d,0,400000,10 b,9223372036854775000,400000,10 b,9223372036854775000,400000,10 >"$t_tmp/late.csv"
    run --mode=byte --policy=exact-lru,lru --time-unit=ms --capacity=1M "$t_tmp/late.csv" &&
        [ "$(field exact-lru value)" = 0.800000 ] && [ "$(field lru value)" = 0.800000 ]
}
t_case late_times_have_room_for_a_ttl late_times_have_room_for_a_ttl
series_and_warm_up_cut_the_trace() { # the whole is the mean of its stretches; without the first half it is that of the rest
    run --policy=exact-lru --capacity=300 --every=5000 "$t_tmp/a.txt" && series=$(field exact-lru series | tr -d '[]') &&
        whole=$(field exact-lru value) && run --policy=exact-lru --capacity=300 --warm=50% "$t_tmp/a.txt" &&
        [ "$(field exact-lru requests)" = 15000 ] &&
        echo "$series" | awk -F, -v whole="$whole" -v half="$(field exact-lru value)" '
            { for (i = 1; i <= 6; i++) { sum += $i / 6; if (i > 3) rest += $i / 3 } a = sum - whole; b = rest - half
              exit !(NF == 6 && a < 1e-5 && a > -1e-5 && b < 1e-5 && b > -1e-5) }' || return 1
    run --policy=adaptive --seed=1 --capacity=300 --every=30000 "$t_tmp/a.txt" &&
        [ "$(field adaptive series)" = "[$(field adaptive value)]" ] &&
        ! run --policy=lru --every=100 "$t_tmp/a.txt" && grep -q -- '--every must leave at most 256 stretches' "$t_tmp/err"
}
t_case series_and_warm_up_cut_the_trace series_and_warm_up_cut_the_trace
jobs_give_the_same_figures() {
    how='--policy=adaptive,exact-lru,clock --seeds=2 --capacity=20,100,300,500'
    # shellcheck disable=SC2086
    run $how "$t_tmp/a.txt" && sed 's/"ns_per_request":[0-9.]*//' "$t_tmp/out" | grep '^{' >"$t_tmp/one" &&
        run $how --jobs=3 "$t_tmp/a.txt" && sed 's/"ns_per_request":[0-9.]*//' "$t_tmp/out" | grep '^{' | cmp - "$t_tmp/one" &&
        [ "$(grep -c . "$t_tmp/one")" = 12 ] || return 1
    # Standard input has one place for all processes: a trace of several reads.
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do cat "$t_tmp/a.txt"; done | sed 's/^/a_longer_name_of_/' >"$t_tmp/long.txt"
    for jobs in 1 4 4; do
        "$bin" replay --policy=exact-lru --capacity=20,100,300,500 --jobs=$jobs - <"$t_tmp/long.txt" |
            sed -n 's/^{.*"value":\([0-9.]*\),.*/\1/p' >"$t_tmp/two" || return 1
        [ $jobs = 1 ] && cp "$t_tmp/two" "$t_tmp/one"
        cmp "$t_tmp/two" "$t_tmp/one" || return 1
    done
    [ "$(grep -c . "$t_tmp/one")" = 4 ] && ! run --jobs=2 --policy=lru --mode=byte --capacity=5 "$t_tmp/a.txt"
}
t_case jobs_give_the_same_figures jobs_give_the_same_figures
t_end cli_replay_runs
