# SPDX-License-Identifier: MIT
#
# own: the table of `make bench WL=my.wl`: at most 30 lines.
#
# USE        awk -f lines.awk -f own.awk -v ref=uthash64 -v keep="PEERS" -v json=PATH -v logfile=PATH RESULTS.jsonl
# ROWS       a line for each operation and subject, best first; a column for each thread count:
#            the median, and in brackets x ref of the same rounds. ~: noisy. hits: at the most threads.
# SAID       subjects that took no part, gets without a single hit, wrong values, rows that the
#            30 lines leave out: of each operation the best, ours, ref and those that keep names (or begins) stay longest.
# LIMITS     POSIX awk (mawk, gawk, busybox).
function kept(name,   n, i, word) {
    if (name == "cellar" || name == ref) return 1
    n = split(keep, word, /[ ,]+/)
    for (i = 1; i <= n; i++) if (word[i] != "" && index(name, word[i]) == 1) return 1
    return 0
}
function field(at) {
    if (!(at in value)) return "-"
    return show(value[at]) mark[at] (at in times ? sprintf(" (%.2f)", times[at]) : "")
}
/"(skip|crash|hang|leak)":/ {
    kind = /"skip":/ ? "skip" : /"crash":/ ? "crash" : /"hang":/ ? "hang" : "leak"
    why = kind == "skip" ? text(kind) : kind ": " text(kind)
    name_of = text("subject") != "" ? text("subject") : "the workload"
    if ((why, name_of) in told) next
    told[why, name_of] = 1
    if (!(why in left)) whys[++why_count] = why
    left[why] = left[why] " " name_of
    next
}
/"metric":/ {
    if (text("clock") == "cpu") next
    metric = text("metric"); subject = text("subject"); t = number("threads")
    if (metric == "scaling" || metric == "p50" || metric == "p9999") next
    at = metric SUBSEP subject SUBSEP t
    rounds = number("rounds") + number("dropped")
    wrong += number("bad")
    if (at in most && rounds < most[at] && text("c2c") != state[at]) next
    if (text("vs") == ref) { times[at] = number("ratio"); ratios = 1; next }
    if (text("vs") != "" || number("value") == "") next
    most[at] = rounds; state[at] = text("c2c")
    if (!(metric in seen)) { seen[metric] = 1; metrics[++metric_count] = metric }
    if (!((metric, subject) in seen)) { seen[metric, subject] = 1; names[metric] = names[metric] " " subject; rows++ }
    if (!((t, "column") in seen)) {
        seen[t, "column"] = 1
        for (i = ++columns; i > 1 && column[i - 1] > t; i--) column[i] = column[i - 1]
        column[i] = t
    }
    value[at] = number("value"); mark[at] = text("note") == "noisy" ? "~" : ""
    unit[metric] = text("unit"); good[metric] = text("unit") == "ns" ? -1 : 1
    if (number("hit") != "") hit[metric, subject] = number("hit")
    if (number("quick") == 1) quick = " (quick run: not for publication)"
}
END {
    printf "%-12s %-17s", "operation", "subject"
    for (i = 1; i <= columns; i++) printf " %16s", column[i] " thread" (column[i] > 1 ? "s" : "")
    printf " %7s\n", "hits"
    room = 25 - (why_count > 6 ? 6 : why_count)
    for (m = 1; m <= metric_count; m++) {
        metric = metrics[m]
        n = split(names[metric], name, " ")
        for (i = 2; i <= n; i++) # by the rate at the first thread count, best first
            for (k = i; k > 1 && good[metric] * value[metric, name[k], column[1]] > good[metric] * value[metric, name[k - 1], column[1]]; k--) {
                swap = name[k]; name[k] = name[k - 1]; name[k - 1] = swap
            }
        share = int(room * n / (rows > 0 ? rows : 1)) - 2
        for (k = 1; k <= n; k++) {
            if ((metric, name[k]) in hit && hit[metric, name[k]] == 0 && metric != "write") none = none ", " metric " of " name[k]
            if (shown >= room || (k > 1 && k > share && !kept(name[k]))) { cut++; continue }
            shown++
            printf "%-12s %-17s", metric " " (unit[metric] == "ns" ? "ns" : ""), name[k]
            for (i = 1; i <= columns; i++) printf " %16s", field(metric SUBSEP name[k] SUBSEP column[i])
            printf " %7s\n", (metric, name[k]) in hit ? sprintf("%.1f %%", 100 * hit[metric, name[k]]) : "-"
        }
    }
    if (none != "") print "no get found its key: " substr(none, 3, 200)
    if (rows == 0) print "no figure was measured: see the log"
    for (i = 1; i <= why_count && i <= 6; i++) print "left out:" substr(left[whys[i]], 1, 90) ": " whys[i]
    if (wrong > 0) print "WRONG VALUES: " wrong
    print "Mops/s (higher is better) or ns (lower); " (ratios ? "in brackets x " ref : "no ratios: " ref " took no part") "; ~ noisy" quick
    if (cut > 0) print cut " more rows stand in the JSON"
    print "JSON: " json "   log: " logfile
}
