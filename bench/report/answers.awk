# SPDX-License-Identifier: MIT
#
# answers: what a user asks first, beside named caches; the first table of bench/results.md, and the
# table of README.md.
#
# USE        awk -f lines.awk -f answers.awk [-v readme=1] bench/results.json     (make bench-report)
# INPUT      bench/results.json, as tables.awk writes it.
# ROWS       chosen here, before any run. A row where another cache is better stays: its place is
#            bold. A row that was not measured is named below the table.
# OTHERS     the best three, best first, each in its best form: of several forms of one peer the best
#            counts. Maps without a bound are no caches; on disk all stores count. A subject with a
#            wrong value, with refused sets or over one failed call in a hundred does not count.
#            Rows of group Reads name HyperClockCache at any place.
# SPREAD     [a b]: p25 and p75 of ours. ~: disturbed, as in the table that has all subjects.
# README     rows with a label for it: ours, the best of the others, and their ratio.
# LIMITS     POSIX awk (mawk, gawk, busybox).
BEGIN {
    # group|question|suite workload threads metric|unit, h higher l lower is better|label of README.md
    rows = split("Reads|get, 1 thread|peers zipf1m_16_100 1 get|M/s h|\n" \
        "Reads|get, 2 threads|peers zipf1m_16_100 2 get|M/s h|get\n" \
        "Reads|get of one hot key, 2 threads|peers peers_hot 2 hot|M/s h|\n" \
        "Reads|get of 4 KiB, 2 threads|peers peers_4k 2 get|M/s h|\n" \
        "Reads|get, beside servers on a unix socket, 1 thread|servers servers 1 get|M/s h|\n" \
        "Writes|95 % gets, 5 % sets, 2 threads|peers zipf1m_16_100 2 mix95|M/s h|95 % gets, 5 % sets\n" \
        "Writes|50 % gets, 50 % sets, 2 threads|peers zipf1m_16_100 2 mix50|M/s h|\n" \
        "Writes|sets of present keys, 2 threads|peers zipf1m_16_100 2 write|M/s h|\n" \
        "Read-through|a full cache of 100,000 entries, 2 threads|peers bounded100k_16_100 2 readthrough|M/s h|read-through, room for 100,000 entries\n" \
        "Read-through|a full cache of 16 MiB, 2 threads|peers bounded16m_16_100 2 readthrough|M/s h|read-through, 16 MiB\n" \
        "Read-through|64 threads ask for one missing key: loads|stampede stampede64 - load_calls|loads l|\n" \
        "Read-through|the same: until the last thread has the value|stampede stampede64 - load_last_us|us l|\n" \
        "Hits at equal memory|zipf 0.99, the memory of our 16 MiB|hitratio zipf16m_rss - miss_ratio|hits|hits, zipf, equal RSS: that of ours with 16 MiB\n" \
        "Hits at equal memory|zipf 0.99, as many entries as in our 16 MiB|hitratio zipf16m_entries - miss_ratio|hits|hits, zipf, an equal number of entries\n" \
        "Hits at equal memory|zipf, scans and loops, bytes for 1 % of the names|hitratio mix_1_bytes - miss_ratio|hits|hits, zipf with scans and loops, bytes for 1 % of the keys\n" \
        "Hits at equal memory|the same, 10 %|hitratio mix_10_bytes - miss_ratio|hits|the same, bytes for 10 %\n" \
        "Hits at equal memory|the same, entries for 1 % of the names|hitratio mix_1 - miss_ratio|hits|\n" \
        "Hits at equal memory|the same, 10 %|hitratio mix_10 - miss_ratio|hits|\n" \
        "Tails|p99.9 of a get at 95 % gets, 2 threads|peers zipf1m_16_100 2 p999|ns l|\n" \
        "Tails|p99 of a get by the clock, half of the capacity|open open100k_16_100 - open50_p99|ns l|\n" \
        "Tails|longest set while 2 M entries come|grow grow2m_16_100 - grow_max|us l|\n" \
        "Threads|get: 2 threads / 1|peers zipf1m_16_100 2 get / peers zipf1m_16_100 1 get|x h|\n" \
        "Threads|read-through, 16 MiB: 2 threads / 1|peers bounded16m_16_100 2 readthrough / peers bounded16m_16_100 1 readthrough|x h|\n" \
        "TTLs|get, a TTL of an hour on each entry, 2 threads|peers zipf1m_16_100_ttl 2 get|M/s h|get, a TTL on each entry\n" \
        "TTLs|longest call while a million entries expire|expire expire1m_16_100 - expire_max|us l|\n" \
        "Disk|put of 256 B|l2 put256 - l2_put|MB/s h|put to disk, 256 B\n" \
        "Disk|put of 4 KiB|l2 put4k - l2_put|MB/s h|\n" \
        "Disk|get of 4 KiB from the page cache|l2 get4k - l2_get_hot|gets/s h|\n" \
        "Disk|get of 4 KiB from the disk|l2 get4k - l2_get_cold|gets/s h|\n" \
        "Restart|open of a store that was closed|l2 restart256 - l2_reopen_ms|ms l|\n" \
        "Limiter|checks of 100,000 keys, 2 threads|limit limit100k_16 2 check|M/s h|limiter, 100,000 keys\n" \
        "Limiter|checks of one key, 2 threads|limit limit_hot 2 check_hot|M/s h|\n" \
        "Size|memory of an entry beyond key and value, 1 M entries|memory fill1m_16_100 - meta_bytes|B l|\n" \
        "Size|memory / budget while sizes change|storm storm64m - storm_rss|x l|\n" \
        "Size|memory / budget after five phases of other sizes|churn churn5_short - rss_churn|x l|", row, "\n")
    split("raw sequential libcuckoo tbb_chm dashmap jvm_chm node_map", list, " ")
    for (i in list) map[list[i]] = 1
    split("rocksdb rocksblob lmdb f2", list, " ")
    for (i in list) store[list[i]] = 1
    n = split("uthash=uthash + LRU under locks;caffeine=Caffeine;moka=moka;quick_cache=quick_cache;foyer_hybrid=foyer (disk);" \
              "foyer=foyer;redis=Redis;lmdb=LMDB;rocksblob=RocksDB (blobs);rocksdb=RocksDB;f2=F2 (FASTER);" \
              "lru_cache=lru-cache;rocks_hyper=HyperClockCache;rocks_lru=LRUCache (RocksDB)", list, ";")
    for (i = 1; i <= n; i++) { split(list[i], part, "="); form[i] = part[1]; pretty[i] = part[2] }
    forms = n
}
/^\{"machine":/ {
    head = (number("quick") ? "A short run: not for publication. " : "") text("machine") "; commit " text("commit") \
           (text("day") == "" ? "" : "; " text("day"))
}
/^\{"figure":/ { every[text("figure")] = $0 }
# Return the name of the peer of which a subject is a form.
function family(name,    i) {
    for (i = 1; i <= forms; i++) if (index(name, form[i]) == 1) return pretty[i]
    return name
}
# Read the subjects of figure `key` into value[], shaky[]; `on_disk`: stores count.
function read_row(key, value, shaky, on_disk,    n, list, i, one) {
    split("", value); split("", shaky)
    $0 = every[key]
    n = key in every ? subjects_of(list) : 0
    for (i = 1; i <= n; i++) {
        subject_of(list[i], one)
        if (one["name"] == "cellar") { p25 = one["low"]; p75 = one["high"] }
        if (one["wrong"] != "" || one["name"] in map || (one["name"] in store && !on_disk)) continue
        shaky[one["name"]] = one["mark"] != "" ? "~" : ""
        value[one["name"]] = one["value"] + 0
    }
}
function figure(v, how) {
    if (how == "hits") return sprintf("%.1f %%", 100 * (1 - v))
    return v >= 1000 ? sprintf("%.0f", v) : v >= 100 ? sprintf("%.0f", v) : v >= 10 ? sprintf("%.1f", v) : \
           v == int(v) ? sprintf("%d", v) : sprintf("%.2f", v)
}
function before(a, b, how) { return how ~ /h$/ ? a > b : a < b }
# Quartiles of ours, "" if they are one number.
function quartiles(how,    a, b) {
    if (p25 == "") return ""
    a = figure(how == "hits" ? p75 : p25, how); b = figure(how == "hits" ? p25 : p75, how)
    sub(/ %$/, "", a); sub(/ %$/, "", b)
    return a == b ? "" : " [" a " " b "]"
}
END {
    if (head == "") { print "answers: no line of the machine" >"/dev/stderr"; exit 2 }
    if (readme) {
        when = match(head, /; commit [^ ,(]+; 20[0-9-]+$/) ? " (" substr(head, RSTART + 2) ")" : ""
        sub(/;/, ",", when)
        print "| figure" when " | cellar | best other cache | times |\n|---|--:|---|--:|"
    } else {
        print head "\n"
        print "| question | unit | cellar | place | the best others |\n|---|---|--:|---|---|"
    }
    for (r = 1; r <= rows; r++) {
        split(row[r], f, "|")
        split(f[3], two, " / ")
        how = f[4]
        unit = how; sub(/ [hl]$/, "", unit)
        if (readme && f[5] == "") continue
        read_row(two[1], v, shaky, f[3] ~ /^l2 /)
        q = quartiles(how)
        if (two[2] != "" && (two[2] in every)) {
            read_row(two[2], one, unsure, 0)
            for (k in v) if (k in one && one[k] > 0) v[k] = v[k] / one[k]; else delete v[k]
            q = ""
        } else if (two[2] != "") split("", v)
        if (!("cellar" in v)) { without = without (without == "" ? "" : "; ") f[1] ": " f[2]; continue }
        split("", best); split("", named); count = 0; place = 1
        for (k in v) {
            if (k ~ /^cellar/) continue
            name = family(k)
            if (!(name in best)) { list[++count] = name; best[name] = v[k]; named[name] = k }
            else if (before(v[k], best[name], how)) { best[name] = v[k]; named[name] = k }
        }
        for (a = 2; a <= count; a++)
            for (b = a; b > 1 && (before(best[list[b]], best[list[b - 1]], how) || (best[list[b]] == best[list[b - 1]] && list[b] < list[b - 1])); b--) {
                swap = list[b]; list[b] = list[b - 1]; list[b - 1] = swap
            }
        for (a = 1; a <= count; a++) if (before(best[list[a]], v["cellar"], how)) place++
        if (readme) {
            if (count == 0) continue
            top = list[1]
            if (how == "hits") times = (1 - v["cellar"]) / (1 - best[top])
            else times = how ~ /h$/ ? v["cellar"] / best[top] : best[top] / v["cellar"]
            times = sprintf("%.2f", times)
            sub(/^0\./, ".", times)
            print "| " f[5] " | " figure(v["cellar"], how) (how == "hits" ? "" : " " unit) shaky["cellar"] " | " \
                  top " " figure(best[top], how) shaky[named[top]] " | " times " |"
            continue
        }
        others = ""
        for (a = 1; a <= count && (a <= 3 || f[1] == "Reads"); a++)
            if (a <= 3 || list[a] == "HyperClockCache")
                others = others (a > 1 ? ", " : "") list[a] " " figure(best[list[a]], how) \
                         shaky[named[list[a]]]
        print "| " (f[1] != said ? "**" f[1] "**: " : "") f[2] " | " unit " | " figure(v["cellar"], how) shaky["cellar"] q " | " \
              (place > 1 ? "**" place "**" : 1) " of " count + 1 " | " (others == "" ? "-" : others) " |"
        said = f[1]
    }
    if (without != "" && !readme) print "\nNot measured yet: " without "."
}
