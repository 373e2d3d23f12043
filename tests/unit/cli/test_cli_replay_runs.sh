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
t_end cli_replay_runs
