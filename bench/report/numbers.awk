# SPDX-License-Identifier: MIT
#
# numbers: the table of bench/README.md, "Numbers", from the lines of a run.
#
# USE        awk -f lines.awk -f numbers.awk targets.tsv RESULTS.jsonl... [peers=1 RESULTS.jsonl...]
#            (make bench-numbers)
# ROWS       chosen once, here, before any run: ids of targets.tsv, side by side where the row has
#            several; below them RAW's own distance, where the row is a ratio to a peer.
# PEERS      rows of the files after the word peers=1 (peers.jsonl, l2.jsonl), chosen here, too: ours
#            by the best of the others, value by value as in peers.awk, with the other's name. Others
#            are the caches with a bound, and on disk all stores. A subject with a wrong value,
#            refused sets or more than one failed call in a hundred does not count. Bold: another
#            subject is faster. A row that no file has is left out, and named below the table.
# HITS       Ours with the quartiles of its hash keys.
# STATE      of the cross-core states the one with the most rounds; later lines replace earlier ones.
#            A figure under its floor is bold, one of a noisy row has a ~, one that was not measured
#            is "-".
# LIMITS     POSIX awk (mawk, gawk, busybox). Commits of all used lines are named.
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
                 "B2b:accounted bytes over budget, at any instant", row, "\n")
    # suite workload threads metric, and the subject (*: the best one):label
    peer_rows = split("servers servers 1 get redis:get x redis over a unix socket, one at a time, 1 thread\n" \
                  "servers servers 1 get_many64 redis:64 at once x redis over a unix socket, 1 thread\n" \
                  "peers zipf1m_16_100 2 get *:get x the best other cache in the process, 2 threads\n" \
                  "peers zipf1m_16_100_ttl 2 get *:the same with a TTL on every entry\n" \
                  "peers zipf1m_16_100 2 mix95 *:95:5 x the same\n" \
                  "peers bounded100k_16_100 2 readthrough *:bounded read-through x the same\n" \
                  "hitratio mix_1 - miss_ratio *:hits on a mix of zipf, scans and loops, room for 1 % of the names\n" \
                  "hitratio mix_1_bytes - miss_ratio *:the same, bounded by bytes that hold 1 %\n" \
                  "hitratio mix_10 - miss_ratio *:the same with room for 10 %\n" \
                  "hitratio mix_10_bytes - miss_ratio *:the same, bounded by bytes that hold 10 %\n" \
                  "hitratio zipf16m_bytes - miss_ratio *:hits on zipf 0.99, a million keys, 16 MiB as each one counts\n" \
                  "hitratio zipf16m_entries - miss_ratio *:the same, as many entries as ours holds in 16 MiB\n" \
                  "hitratio zipf16m_rss - miss_ratio *:the same, as much RSS as ours has with 16 MiB\n" \
                  "l2 put256 - l2_put *:put to disk, 256 B, x the best other store\n" \
                  "l2 put4k - l2_put *:the same, 4 KiB\n" \
                  "limit limit100k_16 2 check *:limiter, 100,000 keys, x the best other, 2 threads", peer_row, "\n")
    split("raw glib1 libcuckoo tbb_chm ck_ht dashmap jvm_chm node_map dogpile sqlite rocksdb rocksblob lmdb f2", list, " ")
    for (i in list) unbounded[list[i]] = 1
}
FNR == NR {
    if ($0 ~ /^#/ || $0 == "" || split($0, f, "\t") != 13) next
    FIELD[f[1]] = f[10]; FLOOR[f[1]] = f[11]; GOOD[f[1]] = f[13]; VS[f[1]] = f[8]
    KEY[f[1]] = f[3] SUBSEP f[4] SUBSEP f[5] SUBSEP f[6] SUBSEP f[7] SUBSEP f[8] SUBSEP f[9]
    RAW[f[1]] = f[3] SUBSEP "raw" SUBSEP f[5] SUBSEP f[6] SUBSEP f[7] SUBSEP f[8] SUBSEP f[9]
    next
}
function dash(s) { return s == "" ? "-" : s }
# Ours in suite limit is part of the lines of its ratios: the ratio to uthash always exists.
peers && /"metric":/ {
    if (/"vs":/ && !(/"bench":"limit"/ && /"vs":"uthash"/)) next
    if (number("value") == "" || (text("bench") == "limit" && text("clock") == "cpu")) next
    row_of = text("bench") " " text("workload") " " dash(number("threads")) " " text("metric")
    key = row_of SUBSEP text("subject")
    rounds = number("rounds") + number("dropped")
    if (key in at_peer && rounds < peer_rounds[key] && text("c2c") != peer_state[key]) next
    if (!(key in at_peer)) others[row_of] = others[row_of] " " text("subject")
    low[key] = number("p25"); high[key] = number("p75")
    at_peer[key] = number("value"); peer_rounds[key] = rounds; peer_state[key] = text("c2c")
    unfit[key] = number("bad") > 0 || text("note") == "wrong values" || \
                 text("note") == "sets refused" || number("failed") > 1
    shaky[key] = number("disturbed") > 0 || text("note") == "noisy"
    peer_commit[key] = text("commit")
    if (peer_head == "") peer_head = text("cpu") ", " text("cc") " " text("flags") \
                                     (number("quick") ? ", QUICK" : "")
    next
}
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
function name_commit(c) {
    if (!(c in named)) commits = commits (commits == "" ? "" : ", ") c
    named[c] = 1
}
# Ours by the best of the others, with its name; "": no subject to compare with.
function beside(row_of, rival,    name, n, i, k, ours, best, times, less) {
    ours = row_of SUBSEP "cellar"
    less = row_of ~ /miss_ratio$/
    if (!(ours in at_peer) || unfit[ours]) return ""
    n = split(others[row_of], name, " ")
    for (i = 1; i <= n; i++) {
        k = row_of SUBSEP name[i]
        if (name[i] == "cellar" || name[i] == "sequential" || unfit[k] || (rival != "*" && name[i] != rival)) continue
        if (rival == "*" && row_of !~ /^l2 / && name[i] in unbounded) continue
        if (best == "" || (less ? at_peer[k] < at_peer[best] : at_peer[k] > at_peer[best])) best = k
    }
    if (best == "" || (!less && at_peer[best] == 0)) return ""
    name_commit(peer_commit[ours])
    name_commit(peer_commit[best])
    k = best
    best = substr(best, length(row_of) + 2)
    if (less) {
        times = sprintf("%.1f %%", 100 * (1 - at_peer[ours]))
        if (at_peer[ours] > at_peer[k]) times = "**" times "**"
        if (low[ours] != high[ours])
            times = times sprintf(" [%.1f %.1f]", 100 * (1 - high[ours]), 100 * (1 - low[ours]))
        times = times sprintf(" against %.1f %%", 100 * (1 - at_peer[k]))
    } else {
        times = short(at_peer[ours] / at_peer[k])
        if (at_peer[ours] < at_peer[k]) times = "**" times "**"
    }
    return times (shaky[ours] || shaky[k] ? "~" : "") (rival == "*" ? " (" best ")" : "")
}
function figure(id,    v) {
    if (!(KEY[id] in ROUNDS)) return "-"
    v = FIELD[id] == "ratio" ? RATIO[KEY[id]] : VALUE[KEY[id]]
    if (v == "") return "-"
    name_commit(COMMIT[KEY[id]])
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
            split(KEY["A3"], part, SUBSEP)
            peer = part[1] SUBSEP "uthash64" SUBSEP part[3] SUBSEP part[4] SUBSEP part[5] SUBSEP "-" SUBSEP part[7]
            if (peer in HIT) label = label "; hit ratio " short(HIT[KEY["A3"]]) " against " short(HIT[peer])
        }
        out = out "| " label " | " got " | " floors " |\n"
    }
    for (i = 1; i <= peer_rows; i++) {
        split(peer_row[i], part, /[ :]/)
        label = substr(peer_row[i], index(peer_row[i], ":") + 1)
        got = beside(part[1] " " part[2] " " part[3] " " part[4], part[5])
        if (got != "") out = out "| " label " | " got " | - |\n"
        else without = without (without == "" ? "" : "; ") label
    }
    if (head == "") head = peer_head
    print "Commit " dash(commits) "; " dash(head) ". Median of same-round ratios (`make bench`, then `make bench-numbers`)." \
          (out ~ /~/ ? " ~: taken on a busy machine, too few clean rounds to meet a floor." : "")
    print ""
    print "| figure | measured | our floor |"
    print "|---|--:|--:|"
    printf "%s", out
    if (without != "") print "\nLeft out, not measured (`make bench-peers`, `make bench SUITE=l2`): " without "."
}
