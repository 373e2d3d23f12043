# SPDX-License-Identifier: MIT
#
# plot: result lines -> the small data files that plot.gp draws.
#
# throughput.dat  one block a workload: metric, then Mops/s median, p25, p75 of each subject
# memory.dat      subject, metadata bytes per entry at 1 M, least first
# peers_NAME.dat  suite peers: subject, Mops/s at 1 and 2 threads with p25, p75, best first; NAME: the
#                 metric, of the reference workload, of a bounded read-through, of one hot key, or
#                 get4k
# scaling.dat     subject, 2 threads / 1 of get and of mix95, best first
# l2put.dat       store and size, p50, p99, p99.9 of a put in ns
# open.dat        subject, p99 of a get in ns at 50 and at 80 % of its own capacity, least first
# openload.dat    a block a subject of `curves`: its name, then thousand requests a second and p99 in ns
# missratio_TRACE.dat  capacity in percent, a column a subject; limiter.dat  limiter, ns a check at 1, 2
# The churn suite writes its own churn_SUBJECT.tsv.
# gnuplot takes an underscore for an index.
function plain(name) { gsub(/_/, "-", name); return name }
function label(name) { return name ~ /^cellar/ ? "\"{/:Bold " name "}\"" : "\"" plain(name) "\"" }
# Places of list 1..n by value, best first: a reader looks for the order, not for ours.
function rank(n,    i, k, swap) {
    for (i = 1; i <= n; i++) place[i] = i
    for (i = 2; i <= n; i++)
        for (k = i; k > 1 && worth[place[k]] > worth[place[k - 1]]; k--) {
            swap = place[k]; place[k] = place[k - 1]; place[k - 1] = swap
        }
}
# 2 threads / 1; 0: not both measured.
function scales(metric, name,    one, two) {
    one = p_value[metric, name, 1] + 0
    two = p_value[metric, name, 2] + 0
    return one > 0 && two > 0 ? two / one : 0
}
/"bench":"l1"/ && /"metric":"(get|mix95|mix50|write)"/ && /"threads":2/ && !/"vs":/ && /"workload":"zipf1m_16_100"/ {
    # Of two cross-core states the one with more rounds is drawn: the same for all subjects.
    key = text("metric") SUBSEP text("subject")
    if (number("value") != "" && (!(key in rounds) || number("rounds") + number("dropped") >= rounds[key])) {
        rounds[key] = number("rounds") + number("dropped")
        l1_seen[text("subject")] = 1 # a subject without a window has no column
        value[key] = number("value") " " number("p25") " " number("p75")
    }
}
/"metric":"meta_bytes"/ && /"workload":"fill1m_16_100"/ {
    if (!(text("subject") in meta)) memories[++m_count] = text("subject")
    meta[text("subject")] = number("value")
}
# Return the plot of all peers that a window belongs to; "": none.
function bars(workload, metric) {
    if (workload == "zipf1m_16_100") return metric ~ /^(get|mix95|mix50|write)$/ ? metric : ""
    if (workload == "peers_hot") return metric ~ /^hot(95)?$/ ? metric : ""
    if (workload == "bounded100k_16_100") return metric == "readthrough" ? metric : ""
    return workload == "peers_4k" && metric == "get" ? "get4k" : ""
}
/"bench":"peers"/ && !/"vs":/ {
    of = bars(text("workload"), text("metric"))
    key = of SUBSEP text("subject") SUBSEP number("threads")
    if (of != "" && number("value") != "" && (!(key in p_rounds) || number("rounds") + number("dropped") >= p_rounds[key])) {
        p_rounds[key] = number("rounds") + number("dropped")
        p_value[key] = number("value") " " number("p25") " " number("p75")
        if (!(text("subject") in p_seen)) { p_seen[text("subject")] = 1; p_name[++p_count] = text("subject") }
    }
}
# One exact LRU and one of each engine: the variants would share one line.
/"metric":"miss_ratio"/ && /"bench":"hitratio"/ && text("workload") ~ /_[0-9]+$/ &&
    !/"subject":"(uthash16|uthash64|uthash64t|cachetools|lru_cache|caffeine2|caffeine_fresh)"/ {
    split_at = match(text("workload"), /_[0-9]+$/)
    trace = substr(text("workload"), 1, split_at - 1)
    percent = substr(text("workload"), split_at + 1)
    if (!(trace in traces)) traces[trace] = 1
    if (!(text("subject") in h_seen)) { h_seen[text("subject")] = 1; h_name[++h_count] = text("subject") }
    miss[trace, percent, text("subject")] = number("value")
}
/"bench":"l2"/ && /"metric":"l2_put_p/ && !/"vs":/ && number("value") != "" {
    put[text("workload"), text("subject"), text("metric")] = number("value")
    if (!(text("subject") in d_seen)) { d_seen[text("subject")] = 1; d_name[++d_count] = text("subject") }
}
/"bench":"open"/ && /"metric":"open_capacity"/ { capacity[text("subject")] = number("value") }
/"bench":"open"/ && /"metric":"open[2589]0_p99"/ {
    if (!(text("subject") in o_seen)) { o_seen[text("subject")] = 1; o_name[++o_count] = text("subject") }
    late[text("subject"), substr(text("metric"), 5, 2)] = number("value")
}
/"bench":"limit"/ && /"metric":"check"/ && (!/"vs":/ || /"vs":"uthash"/) && /"clock":"wall"/ {
    limiter[text("subject"), number("threads")] = 1000 * number("threads") / number("value")
}
END {
    # One line for each cache, as in plot.gp.
    curves = "raw cellar uthash64 caffeine moka quick_cache foyer otter ristretto theine cachetools lru_cache"
    m = split("get mix95 mix50 write", metric, " ")
    any = n = 0
    for (i = split("uthash1 uthash16 uthash64 uthash64t cellar raw", name, " "); i >= 1; i--)
        if (name[i] in l1_seen) subject[++n] = name[i]
    for (key in value) any = 1
    file = out "/throughput.dat"
    if (any) {
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
    }
    file = out "/memory.dat"
    for (s = 1; s <= m_count; s++) worth[s] = -meta[memories[s]]
    rank(m_count)
    for (k = 1; k <= m_count; k++) {
        s = memories[place[k]]
        if (s != "raw") print label(s), meta[s] >file
    }
    close(file)
    for (i = split("get mix95 mix50 write readthrough hot hot95 get4k", of_all, " "); i >= 1; i--) {
        file = out "/peers_" of_all[i] ".dat"
        printf "" >file
        for (s = 1; s <= p_count; s++) worth[s] = p_value[of_all[i], p_name[s], 1] + 0
        rank(p_count)
        for (k = 1; k <= p_count; k++) {
            s = place[k]
            one = of_all[i] SUBSEP p_name[s] SUBSEP 1
            two = of_all[i] SUBSEP p_name[s] SUBSEP 2
            if (p_value[one] + 0 > 0) # some subjects have no window
                print label(p_name[s]), p_value[one], \
                      (p_value[two] + 0 > 0 ? p_value[two] : "NaN NaN NaN") >file
        }
        close(file)
    }
    file = out "/scaling.dat"
    printf "" >file
    for (s = 1; s <= p_count; s++) worth[s] = scales("get", p_name[s])
    rank(p_count)
    for (k = 1; k <= p_count; k++) {
        s = p_name[place[k]]
        if (scales("get", s) > 0) print label(s), scales("get", s), \
            (scales("mix95", s) > 0 ? scales("mix95", s) : "NaN") >file
    }
    close(file)
    file = out "/l2put.dat"
    printf "" >file
    for (i = split("put256 put4k put64k", size, " "); i >= 1; i--)
        for (s = 1; s <= d_count; s++) {
            key = size[4 - i] SUBSEP d_name[s] SUBSEP "l2_put_p"
            if ((key "50") in put)
                print label(d_name[s] " " substr(size[4 - i], 4)), put[key "50"], put[key "99"], put[key "999"] >file
        }
    close(file)
    file = out "/open.dat"
    printf "" >file
    for (s = 1; s <= o_count; s++) worth[s] = -late[o_name[s], "80"]
    rank(o_count)
    for (k = 1; k <= o_count; k++) {
        s = o_name[place[k]]
        print label(s), late[s, "50"], late[s, "80"] >file
    }
    close(file)
    file = out "/openload.dat"
    printf "" >file
    for (s = 1; s <= o_count; s++) {
        if (index(" " curves " ", " " o_name[s] " ") == 0 || !(o_name[s] in capacity)) continue
        print "\"" o_name[s] "\"" >file
        for (i = split("20 50 80 90", step, " "); i >= 1; i--)
            if ((o_name[s], step[5 - i]) in late)
                print capacity[o_name[s]] * step[5 - i] / 100, late[o_name[s], step[5 - i]] >file
        printf "\n\n" >file
    }
    close(file)
    for (trace in traces) {
        file = out "/missratio_" trace ".dat"
        printf "percent" >file
        for (s = 1; s <= h_count; s++) printf " %s", plain(h_name[s]) >file
        for (i = split("1 5 10", step, " "); i >= 1; i--) {
            percent = step[4 - i]
            printf "\n%s", percent >file
            for (s = 1; s <= h_count; s++)
                printf " %s", ((trace, percent, h_name[s]) in miss ? miss[trace, percent, h_name[s]] : "NaN") >file
        }
        printf "\n" >file
        close(file)
        print trace >(out "/missratio.list")
    }
    close(out "/missratio.list")
    file = out "/limiter.dat"
    printf "" >file
    n = split("cellar governor xtimerate uthash", name, " ")
    for (s = 1; s <= n; s++) worth[s] = (name[s], 1) in limiter ? -limiter[name[s], 1] : -1e99
    rank(n)
    for (k = 1; k <= n; k++) {
        s = name[place[k]]
        if ((s, 1) in limiter)
            print label(s), limiter[s, 1], ((s, 2) in limiter ? limiter[s, 2] : "NaN") >file
    }
    close(file)
}
