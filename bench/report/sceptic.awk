# SPDX-License-Identifier: MIT
#
# sceptic: buckets of timed calls as shares, and hits over time; in the third table of results.md.
#
# USE        awk -f lines.awk -f sceptic.awk RESULTS.jsonl...
# INPUT      lines with "hist" (ns,count,..) of suite peers, and with "series" of suite hitratio
#            (json_histogram and json_series of bench/harness/json.c). Later lines replace earlier ones.
# SHARES     gets of a hundred that took longer than so many ns, of each cache at the most threads.
# HITS       of a hundred requests, in EIGHTHS of the trace, in order.
# LIMITS     POSIX awk (mawk, gawk, busybox).
BEGIN {
    WORKLOAD = "zipf1m_16_100"
    TRACE = "mix_10"
    EIGHTHS = 8
    limits = split("200 500 1000 2000 5000 10000 100000 1000000", limit, " ")
}
# Split the list behind `key` into list[]; return its length.
function numbers(key, list,    s) {
    s = substr($0, index($0, "\"" key "\":[") + length(key) + 4)
    return split(substr(s, 1, index(s, "]") - 1), list, ",")
}
/"hist":\[/ && /"call":"get"/ && text("bench") == "peers" && text("workload") == WORKLOAD {
    if (number("threads") < threads) next
    if (number("threads") > threads) { timed = 0; split("", shares) }
    threads = number("threads")
    n = numbers("hist", list)
    all = 0
    for (i = 1; i <= limits; i++) over[i] = 0
    for (i = 1; i < n; i += 2) {
        all += list[i + 1]
        for (k = 1; k <= limits && list[i] > limit[k]; k++) over[k] += list[i + 1]
    }
    if (all == 0) next
    if (!(text("subject") in shares)) subject[++timed] = text("subject")
    shares[text("subject")] = ""
    for (i = 1; i <= limits; i++) shares[text("subject")] = shares[text("subject")] sprintf(" %.4g |", 100 * over[i] / all)
}
/"series":"/ && text("bench") == "hitratio" && text("workload") == TRACE {
    n = numbers("values", list)
    if (n < EIGHTHS) next
    if (!(text("subject") in hits)) of[++courses] = text("subject")
    hits[text("subject")] = ""
    for (i = 0; i < EIGHTHS; i++) {
        sum = 0
        for (k = int(i * n / EIGHTHS) + 1; k <= int((i + 1) * n / EIGHTHS); k++) sum += list[k]
        hits[text("subject")] = hits[text("subject")] sprintf(" %.1f |", 100 * sum / (int((i + 1) * n / EIGHTHS) - int(i * n / EIGHTHS)))
    }
}
END {
    if (timed > 0) {
        printf "\nGets of a hundred that took longer, 95 %% gets, %s, %d threads (all buckets: \"hist\" in the JSON):\n\n| subject |", WORKLOAD, threads
        for (i = 1; i <= limits; i++) printf limit[i] < 1000 ? " %d ns |" : " %d us |", limit[i] < 1000 ? limit[i] : limit[i] / 1000
        printf "\n|---|"
        for (i = 1; i <= limits; i++) printf "--:|"
        print ""
        for (i = 1; i <= timed; i++) print "| " subject[i] " |" shares[subject[i]]
    }
    if (courses == 0) exit
    printf "\nHits of a hundred over time, trace %s (draws, a loop, a scan, the draws again; 32 stretches: \"series\" in the JSON):\n\n| subject |", TRACE
    for (i = 1; i <= EIGHTHS; i++) printf " %d / %d |", i, EIGHTHS
    printf "\n|---|"
    for (i = 1; i <= EIGHTHS; i++) printf "--:|"
    print ""
    for (i = 1; i <= courses; i++) print "| " of[i] " |" hits[of[i]]
}
