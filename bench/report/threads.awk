# SPDX-License-Identifier: MIT
#
# threads: suites scale and sceptic with a column for each thread count.
#
# USE        awk -f lines.awk -f threads.awk [-v only=REGEX] RESULTS.jsonl...
#            only: names of workloads
# CELL       the median, and in brackets x of one thread; - not measured. Of several cross-core states
#            the one with most rounds counts, and later lines replace earlier ones of the same state.
# LIMITS     POSIX awk (mawk, gawk, busybox).
/"bench":"(scale|sceptic)"/ && /"metric":/ {
    if (only != "" && text("workload") !~ only) next
    if (/"vs":/ && text("vs") != "one_thread" || text("clock") == "cpu") next
    row = text("workload") SUBSEP text("metric") SUBSEP text("subject")
    at = row SUBSEP number("threads")
    rounds = number("rounds") + number("dropped")
    if (at in most && rounds < most[at] && text("c2c") != state[at]) next
    if (!(row in seen)) { seen[row] = 1; order[++rows] = row }
    if (!(number("threads") in column)) {
        for (i = ++columns; i > 1 && count[i - 1] > number("threads"); i--) count[i] = count[i - 1]
        count[i] = number("threads"); column[count[i]] = 1
    }
    if (/"vs":/) { times[at] = number("ratio"); next }
    most[at] = rounds; state[at] = text("c2c")
    value[at] = show(number("value")) (text("note") == "noisy" ? "~" : "")
    if (text("metric") == "readthrough" && number("hit") != "")
        hits[row] = sprintf("%.1f %%", 100 * number("hit"))
}
END {
    if (rows == 0) exit
    printf "\nBy threads (Mops/s or ns; in brackets x one thread):\n\n| workload | metric | subject | hits |"
    for (i = 1; i <= columns; i++) printf " %d |", count[i]
    printf "\n|---|---|---|--:|"
    for (i = 1; i <= columns; i++) printf "--:|"
    print ""
    for (k = 1; k <= rows; k++) {
        split(order[k], part, SUBSEP)
        printf "| %s | %s | %s | %s |", part[1], part[2], part[3], order[k] in hits ? hits[order[k]] : "-"
        for (i = 1; i <= columns; i++) {
            at = order[k] SUBSEP count[i]
            printf " %s |", !(at in value) ? "-" : value[at] (at in times ? sprintf(" (%.2f)", times[at]) : "")
        }
        print ""
    }
}
