# SPDX-License-Identifier: MIT
#
# numbers: the table of README.md, "Numbers", out of the lines of a run.
#
# USE        awk -f lines.awk -f numbers.awk targets.tsv RESULTS.jsonl...     (make bench-numbers)
# ROWS       chosen once, here, before any run: ids of targets.tsv, beside one another where the row
#            has several; below them RAW's own distance, where the row is one to a peer.
# STATE      of the cross-core states the one with the most rounds; later lines replace earlier ones.
#            A figure under its floor is bold, one of a noisy row has a ~ behind it, one that was not
#            measured is "-".
# LIMITS     POSIX awk (mawk, gawk, busybox). Commits of all lines that were used are named.
BEGIN {
    rows = split("A5a A5b:get, of the speed of a bare two-line lookup without lock or cache (RAW), 1 / 2 threads\n" \
                 "A5a_ttl A5b_ttl:the same with a TTL on every entry, 1 / 2 threads\n" \
                 "A1:get x uthash + LRU under 64 locks, 2 threads\n" \
                 "A2a A2b:95:5 / 50:50 x the same\n" \
                 "A3:bounded read-through x the same\n" \
                 "A10:hot key x the same\n" \
                 "A6a:get_many(32) x own single get\n" \
                 "A6b:get_many(32) x RAW's single get\n" \
                 "A8a:a pinned 4 KiB read x copying it\n" \
                 "A14:p99.9 of get at 95:5 x RAW's\n" \
                 "B1:metadata per entry, everything included, 3 M, bytes\n" \
                 "A15a:longest set while growing from empty to 2 M, us\n" \
                 "B2a:RSS growth / budget after churn of sizes\n" \
                 "B2b:accounted bytes over budget, at any instant\n" \
                 "B5c:drop-in, all of it, object at -O2, bytes\n" \
                 "B5a:drop-in with all switches that leave parts out, object at -O2, bytes", row, "\n")
}
FNR == NR {
    if ($0 ~ /^#/ || $0 == "" || split($0, f, "\t") != 13) next
    FIELD[f[1]] = f[10]; FLOOR[f[1]] = f[11]; GOOD[f[1]] = f[13]; VS[f[1]] = f[8]
    KEY[f[1]] = f[3] SUBSEP f[4] SUBSEP f[5] SUBSEP f[6] SUBSEP f[7] SUBSEP f[8] SUBSEP f[9]
    RAW[f[1]] = f[3] SUBSEP "raw" SUBSEP f[5] SUBSEP f[6] SUBSEP f[7] SUBSEP f[8] SUBSEP f[9]
    next
}
function dash(s) { return s == "" ? "-" : s }
/"metric":/ {
    key = text("bench") SUBSEP text("subject") SUBSEP text("workload") SUBSEP \
          dash(number("threads")) SUBSEP text("metric") SUBSEP dash(text("vs")) SUBSEP \
          dash(text("clock"))
    state = text("c2c")
    if (key in ROUNDS && AT[key] != state && number("rounds") + 0 < ROUNDS[key]) next
    AT[key] = state
    ROUNDS[key] = number("rounds") + 0
    RATIO[key] = number("ratio"); VALUE[key] = number("value"); HIT[key] = number("hit")
    COMMIT[key] = text("commit"); NOISY[key] = text("note") == "noisy" ? "~" : ""
    HEAD[key] = text("cpu") ", " text("cc") " " text("flags") (number("quick") ? ", QUICK" : "")
}
function figure(id,    v) {
    if (!(KEY[id] in ROUNDS)) return "-"
    v = FIELD[id] == "ratio" ? RATIO[KEY[id]] : VALUE[KEY[id]]
    if (v == "") return "-"
    if (!(COMMIT[KEY[id]] in named)) commits = commits (commits == "" ? "" : ", ") COMMIT[KEY[id]]
    named[COMMIT[KEY[id]]] = 1
    head = HEAD[KEY[id]]
    v += 0
    return ((GOOD[id] == "h" ? v < FLOOR[id] : v > FLOOR[id]) ? "**" short(v) "**" : short(v)) \
           NOISY[KEY[id]]
}
function short(v) {
    return v == int(v) ? sprintf("%d", v) : sprintf(v >= 100 ? "%.0f" : v >= 10 ? "%.1f" : "%.2f", v)
}
END {
    for (i = 1; i <= rows; i++) {
        ids = substr(row[i], 1, index(row[i], ":") - 1)
        label = substr(row[i], index(row[i], ":") + 1)
        n = split(ids, id, " ")
        got = floors = raw = ""
        for (j = 1; j <= n; j++) {
            got = got (j > 1 ? " / " : "") figure(id[j])
            floors = floors (j > 1 ? " / " : "") FLOOR[id[j]]
            if (VS[id[j]] ~ /^uthash/ && RAW[id[j]] in RATIO)
                raw = raw (raw == "" ? "" : " / ") short(RATIO[RAW[id[j]]])
        }
        if (raw != "") label = label " (RAW itself: " raw ")"
        if (ids == "A3" && KEY["A3"] in HIT) {
            peer = KEY["A3"]
            sub(/cellar/, "uthash64", peer)
            sub(SUBSEP "uthash64" SUBSEP "wall$", SUBSEP "-" SUBSEP "wall", peer)
            label = label "; hit ratio " short(HIT[KEY["A3"]]) " against " short(HIT[peer])
        }
        out = out "| " label " | " got " | " floors " |\n"
    }
    print "Commit " dash(commits) "; " dash(head) ". Median of same-round ratios (`make bench`, then `make bench-numbers`)." \
          (out ~ /~/ ? " ~: taken on a busy machine, too few clean rounds to meet a floor." : "")
    print ""
    print "| figure | measured | our floor |"
    print "|---|--:|--:|"
    printf "%s", out
}
