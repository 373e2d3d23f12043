# SPDX-License-Identifier: MIT
#
# peers: the first of each metric, and our place; tables of bench/results.md and bench/results_all.md.
#
# USE        awk -f lines.awk -f peers.awk [-v md=1|2] [-v day=2026-11-27] [-v causes=causes.tsv] RESULTS.jsonl...
#            md=1: results_all.md, every subject of a row; md=2: results.md, the best three of a row
# INPUT      lines of the suites of `wanted` (bench/harness/json.c writes them). Of several cross-core
#            states of a figure the one with most rounds counts, which is the same for all subjects;
#            later lines of the same state replace earlier ones.
# WALK       figure = suite, workload, threads, metric -> all subjects by value, best first -> a line:
#            first of those with a bound, ours, our place among them, ours / first; the fastest of the
#            unbounded maps and ours / that one; all values. First and ours with p25 and p75.
# WHY        A subject before us, or a map without a bound that is faster than 1 / 0.8 of ours, has a
#            cause in causes.tsv, printed once below the table under the number of the row. Rows
#            without a cause are named there; noisy ones apart, since an uncertain value has no cause.
# HEAD       md: processor, compiler, the commit, and `day`; of several commits the suites of each.
# TROUBLE    below the table, but for md=2: subjects that crashed, hung, leaked or were left out.
# PLACE      a place behind the first is printed bold: a losing row is printed like a winning one.
#            ~: over a fifth of its windows was disturbed, or fewer than 9 were not; such a value
#            proves nothing. ~~: fewer than 5 were not, and it is the median of the disturbed ones.
# ROOM       Rows zipf16m_* have the entries and the RSS of each subject after its value.
# WRONG      A subject with a wrong value, with refused sets where each one counts (grow: a value that
#            is not stored costs nothing), or with over one failed call in a hundred is shown with
#            that word and has no place. Fewer failed calls are shown, and so are the hits of a
#            read-through: a miss costs a set there, and the load of its user.
# NOTE       by value: the table of targets has the ratios of one round.
# LIMITS     POSIX awk (mawk, gawk, busybox).
function better(a, b, m) { return less[m] ? a < b : a > b }
# Ours to the other, above 1 when ours is better; two zeros are equal.
function times(ours, other, m) {
    if (ours == other) return "1.00"
    if (less[m]) return ours == 0 ? "inf" : sprintf("%.2f", other / ours)
    return other == 0 ? "inf" : sprintf("%.2f", ours / other)
}
# "4.2 [4.1 4.4]": a value and its quartiles.
function spread(k) {
    return show(value[k]) (low[k] == "" || low[k] == high[k] ? "" : " [" show(low[k]) " " show(high[k]) "]")
}
# Note that a figure of `suite` is of `commit`.
function suite_of(commit, suite) {
    if (commit == "") return
    if (!(commit in suites)) commit_at[++commits] = commit
    if (!among(suites[commit] "", suite) || suites[commit] == "")
        suites[commit] = suites[commit] (suites[commit] == "" ? "" : " ") suite
}
function among(list, word) { return list == "*" || index(" " list " ", " " word " ") > 0 }
# Number of the cause why a peer is before us in figure part[]; "" and one more row without a cause.
function why(who,    i, row) {
    for (i = 1; i <= reasons; i++)
        if (among(r_suite[i], part[1]) && among(r_workload[i], part[2]) && among(r_threads[i], part[3]) &&
            among(r_metric[i], part[4]) && among(r_who[i], who)) {
            if (!(i in note)) { note[i] = ++notes; noted[notes] = reason[i] }
            return " (" note[i] ")"
        }
    row = part[1] " " part[2] " " part[3] " " part[4] " (" who ")"
    if (noisy[f, who] != "" || noisy[f, "cellar"] != "") shaky = shaky (shaky == "" ? "" : ", ") row
    else without = without (without == "" ? "" : ", ") row
    return ""
}
function read_causes(    line, field, n) {
    while (causes != "" && (getline line < causes) > 0) {
        number_of++
        if (line ~ /^#/ || line == "") continue
        n = split(line, field, "\t")
        if (n != 6) {
            print causes ":" number_of ": not 6 fields" >"/dev/stderr"
            bad = 2
            exit 2
        }
        reasons++
        r_suite[reasons] = field[1]; r_workload[reasons] = field[2]; r_threads[reasons] = field[3]
        r_metric[reasons] = field[4]; r_who[reasons] = field[5]; reason[reasons] = field[6]
    }
}
BEGIN {
    read_causes()
    split("raw libcuckoo tbb_chm ck_ht dashmap jvm_chm node_map dogpile sqlite rocksdb rocksblob lmdb f2 sequential", list, " ")
    for (i in list) unbounded[list[i]] = 1
    split("peers scale servers memory grow churn open limit storm stampede expire hitratio l2", list, " ")
    for (i in list) wanted[list[i]] = 1
    split("p50 p99 p999 p9999 set_p99 set_p999 meta_bytes meta_accounted storm_rss storm_over expire_max expire_p999 " \
          "expire_left load_calls load_last_us miss_ratio room_rss limit_key_bytes grow_max grow_p9999 grow_over_1ms " \
          "grow_wall rss_churn over_budget open20_p50 open20_p99 open20_p999 open50_p50 open50_p99 open50_p999 " \
          "open80_p50 open80_p99 open80_p999 open90_p50 open90_p99 open90_p999 " \
          "l2_written l2_put_p50 l2_put_p99 l2_put_p999 l2_reopen_ms l2_reopen l2_key_bytes l2_keys_lost " \
          "l2_flip_wrong l2_l1_more_ns l2_frozen_p999 l2_frozen_max dropin_bytes dropin_text dropin_seconds " \
          "dropin_guests " \
          "load_miss_over load_bare_us load_last_x absent_get absent_load bloom_over worst_points_above_lru " \
          "points_from_reference advice_error kit_rules_set kit_pattern_stall kit_pattern_idle kit_tag_end " \
          "work_task_bytes work_late work_cron work_journal_replay " \
          "port_p99 port_start port_rss port_binary " \
          "remote_large " \
          "workers_time workers_cpu workers_call workers_heard workers_heard_p99", list, " ")
    for (i in list) less[list[i]] = 1
}
# The last text of each subject about a workload; a driver that was never built prints it only once.
/"(crash|hang|leak|skip)":"/ {
    kind = /"crash":"/ ? "crash" : /"hang":"/ ? "hang" : /"leak":"/ ? "leak" : "skip"
    if (!wanted[text("bench")]) next
    said = kind ": " (text("subject") == "" ? "" : text("subject") ": ") text(kind)
    if (!(said in trouble)) { trouble[said] = ""; told[++tellings] = said }
    where = text("bench") (text("workload") == "" ? "" : " " text("workload"))
    if (index(", " trouble[said] ",", ", " where ",") == 0)
        trouble[said] = trouble[said] (trouble[said] == "" ? "" : ", ") where
}
# Ours in suite limit is part of the lines of its ratios: the ratio to uthash always exists.
/"metric":/ && (!/"vs":/ || (/"bench":"limit"/ && /"vs":"uthash"/)) {
    if (text("subject") ~ /^cellar_/) next # ours with a tier: no subject of its own
    if (!wanted[text("bench")] || text("metric") == "scaling" || number("value") == "") next
    if (text("bench") == "limit" && text("clock") == "cpu") next
    if (text("bench") == "hitratio" && text("metric") ~ /^room_/) { # no figure: the room of the next
        room[text("workload"), text("subject"), text("metric")] = number("value")
        next
    }
    figure = text("bench") " " text("workload") " " (number("threads") == "" ? "-" : number("threads")) \
             " " text("metric")
    key = figure SUBSEP text("subject")
    rounds = number("rounds") + number("dropped")
    if (key in value && rounds < seen[key] && text("c2c") != state[key]) next
    if (!(figure in known)) { known[figure] = 1; order[++figures] = figure }
    if (!(key in value)) who[figure] = who[figure] " " text("subject")
    value[key] = number("value"); seen[key] = rounds; state[key] = text("c2c")
    low[key] = high[key] = ""
    if (!/"vs":/) { low[key] = number("p25"); high[key] = number("p75") }
    unit[figure] = text("unit")
    if (text("cpu") != "") machine = text("cpu") "; " text("cc") " " text("flags")
    suite_of(text("commit"), text("bench"))
    noisy[key] = number("disturbed") > 0 ? "~~" : text("note") == "noisy" ? "~" : ""
    wrong[key] = number("bad") > 0 || text("note") == "wrong values" ? "WRONG VALUES" : \
                 text("note") == "sets refused" ? "SETS REFUSED" : \
                 number("failed") > 1 ? show(number("failed")) " % OF CALLS FAILED" : ""
    aside[key] = number("failed") > 0 && number("failed") <= 1 ? " (" show(number("failed")) " % failed)" : ""
    if (text("metric") == "readthrough" && number("hit") != "") aside[key] = aside[key] sprintf(" (%.1f %% hits)", 100 * number("hit"))
    if (text("metric") == "miss_ratio" && (text("workload"), text("subject"), "room_rss") in room)
        aside[key] = sprintf(" (%d entries, %.1f MB)", room[text("workload"), text("subject"), "room_entries"], \
                             room[text("workload"), text("subject"), "room_rss"] / 1e6)
    if (number("quick") == 1) quick = 1
}
END {
    if (bad) exit bad
    if (figures == 0) exit 0
    if (quick) print "A short run: not for publication.\n"
    if (md) {
        if (machine != "" && commits > 0) {
            printf "%s; commit", machine
            for (i = 1; i <= commits; i++)
                printf "%s %s%s", (i > 1 ? "," : ""), commit_at[i], (commits > 1 ? " (" suites[commit_at[i]] ")" : "")
            print (day == "" ? "" : "; " day) "\n"
        }
    }
    if (md == 2) {
        print "| figure | cellar | place | times the best other | the best others | map without a bound |"
        print "|---|--:|---|--:|---|---|"
    } else if (md) {
        print "| suite, workload | threads | metric | first with a bound | its value | cellar | place | cellar / first | fastest map without a bound | cellar / it | all subjects |"
        print "|---|--:|---|---|--:|--:|---|--:|---|--:|---|"
    } else printf "%-46s %-14s %10s %10s %6s %7s\n", "figure", "first", "value", "cellar", "place", "ours/it"
    for (i = 1; i <= figures; i++) {
        f = order[i]
        split(f, part, " ")
        m = part[4]
        n = split(who[f], name, " ")
        for (a = 2; a <= n; a++)
            for (b = a; b > 1 && better(value[f, name[b]], value[f, name[b - 1]], m); b--) {
                swap = name[b]; name[b] = name[b - 1]; name[b - 1] = swap
            }
        ours = (f, "cellar") in value ? value[f, "cellar"] : ""
        first = map = every = three = other = ""
        place = 1
        bounded = named = 0
        for (a = 1; a <= n; a++) {
            k = f SUBSEP name[a]
            every = every (every == "" ? "" : ", ") name[a] " " show(value[k]) \
                    (wrong[k] != "" ? " (" wrong[k] ")" : "") noisy[k] aside[k]
            if (name[a] in unbounded) { if (map == "" && name[a] !~ /^(raw|sequential)$/) map = name[a]; continue }
            if (wrong[k] != "") continue
            if (first == "") first = name[a]
            bounded++
            if (name[a] != "cellar" && other == "") other = name[a]
            if (name[a] != "cellar" && named++ < 3)
                three = three (three == "" ? "" : ", ") name[a] " " show(value[k]) noisy[k]
            if (ours != "" && better(value[k], ours, m)) place++
        }
        if (first == "" || n == 1) continue # no subject to compare with
        if (ours == "") { rank = "not measured"; against = "-" }
        else { rank = place; against = times(ours, value[f, first], m); if (place == 1) wins++; else losses++ }
        because = ours != "" && place > 1 ? why(first) : ""
        over = map == "" || ours == "" ? "-" : times(ours, value[f, map], m)
        if (over != "-" && over != "inf" && over < 0.8) over = over why(map)
        if (md == 2)
            print "| " part[1] " " part[2] (part[3] == "-" ? "" : ", " part[3] " thread" (part[3] > 1 ? "s" : "")) ", " m ", " \
                  unit[f] " | " (ours == "" ? "-" : spread(f SUBSEP "cellar") noisy[f, "cellar"]) " | " \
                  (rank == 1 ? "1 of " bounded : ours == "" ? rank : "**" rank "** of " bounded) because " | " \
                  (ours == "" || other == "" ? "-" : times(ours, value[f, other], m)) " | " \
                  (three == "" ? "-" : three) " | " (map == "" ? "-" : map " " show(value[f, map]) noisy[f, map] " (x " over ")") " |"
        else if (md)
            print "| " part[1] " " part[2] " | " part[3] " | " m " | " first " | " spread(f SUBSEP first) " " unit[f] \
                  noisy[f, first] " | " (ours == "" ? "-" : spread(f SUBSEP "cellar") noisy[f, "cellar"]) " | " \
                  (rank == 1 && ours != "" ? "1" : "**" rank "**") because " | " against " | " \
                  (map == "" ? "-" : map " " show(value[f, map]) noisy[f, map]) " | " over " | " every " |"
        else
            printf "%-46s %-14s %10s %10s %6s %7s\n", f, first, show(value[f, first]), \
                   (ours == "" ? "-" : show(ours)), rank, against
    }
    printf "%splaces: first in %d, behind in %d figures; `~` marks noisy values, `~~` medians of disturbed windows\n", \
           (md ? "\n" : ""), wins, losses
    if (notes > 0) print (md ? "\n" : "") "causes, by the number in the row:" (md ? "\n" : "")
    for (i = 1; i <= notes; i++) print (md ? "* " : "  ") "(" i ") " noted[i]
    if (without != "") print (md ? "\n" : "") "cause not examined yet: " without
    if (shaky != "") print (md ? "\n" : "") "behind by noisy values, which prove nothing: " shaky
    if (md == 2) exit 0
    if (tellings > 0) print (md ? "\n" : "") "crashed, hung, leaked or left out:" (md ? "\n" : "")
    for (i = 1; i <= tellings; i++) print (md ? "* " : "  ") told[i] " (" trouble[told[i]] ")"
}
