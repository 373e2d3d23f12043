# SPDX-License-Identifier: MIT
#
# plot: result lines -> the small data files that plot.gp draws.
#
# throughput.dat  one block a workload: metric, then Mops/s median, p25, p75 of each subject
# memory.dat      subject, metadata bytes per entry at 3 M
# The churn suite writes its own churn_SUBJECT.tsv.
function text(key,    at, s) {
    at = index($0, "\"" key "\":\"")
    if (!at) return ""
    s = substr($0, at + length(key) + 4)
    return substr(s, 1, index(s, "\"") - 1)
}
function number(key,    at, s) {
    at = index($0, "\"" key "\":")
    if (!at) return ""
    s = substr($0, at + length(key) + 3)
    match(s, /^[-+0-9.eE]+/)
    return RLENGTH > 0 ? substr(s, 1, RLENGTH) + 0 : ""
}
/"metric":"(get|mix95|mix50|write)"/ && /"threads":2/ && !/"vs":/ && /"workload":"zipf1m_16_100"/ {
    # Of two cross-core states the one with more clean rounds is drawn.
    key = text("metric") SUBSEP text("subject")
    if (!(key in rounds) || number("rounds") >= rounds[key]) {
        rounds[key] = number("rounds")
        value[key] = number("value") " " number("p25") " " number("p75")
    }
}
/"metric":"meta_bytes"/ && /"workload":"fill3m_16_100"/ { meta[text("subject")] = number("value") }
END {
    m = split("get mix95 mix50 write", metric, " ")
    n = split("raw cellar uthash64t uthash64 uthash16 uthash1 glib1", subject, " ")
    file = out "/throughput.dat"
    printf "metric" >file
    for (s = 1; s <= n; s++) printf " %s low high", subject[s] >file
    for (i = 1; i <= m; i++) {
        printf "\n%s", metric[i] >file
        for (s = 1; s <= n; s++) {
            key = metric[i] SUBSEP subject[s]
            printf " %s", (key in value ? value[key] : "NaN NaN NaN") >file
        }
    }
    printf "\n" >file
    close(file)
    file = out "/memory.dat"
    for (s = 1; s <= n; s++) if (subject[s] in meta) print subject[s], meta[subject[s]] >file
    close(file)
}
