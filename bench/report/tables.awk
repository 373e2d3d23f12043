# SPDX-License-Identifier: MIT
#
# tables: the tables of the bench, from result lines.
#
# USE        awk -f lines.awk -f tables.awk -v table=NAME [-v commit=HASH] [options] FILES
#            commit: lines of another commit are left out. The options stand behind each name.
#   floors   md=1 check=1 slack=.8 only="l1 hot"  targets.tsv RESULTS.jsonl...: under the floor first.
#   peers    md=1 causes=causes.tsv  results.json or RESULTS.jsonl...: the first of each figure, our place.
#   json     day=2026-11-27  RESULTS.jsonl...: bench/results.json, all subjects of each figure.
#   threads  md=1  RESULTS.jsonl...: suites scale and sceptic with a column for each thread count.
#            md: of scale only equal memory.
#   sceptic  RESULTS.jsonl...: buckets of timed calls as shares, and hits over time.
#   own      ref=NAME keep="PEERS" json=PATH logfile=PATH  lines of `make bench WL=my.wl`: 30 lines at most
# INPUT      one JSON object a line, no nesting. Of several cross-core states of a figure the one with
#            most rounds counts; later lines of the same state replace earlier ones.
# VERDICTS   met, want: median at or past floor or want, and the worse quartile within 10 % of it. UNDER.
#            noisy: meets nothing. none: not measured. Each state measured cleanly meets the floor.
#            A noisy state has a row if no state is clean. md: rows at want are a list.
# PLACES     by value, among the subjects with a bound. A wrong value, refused sets or over 1 % of failed
#            calls: no place. A subject before us, or a map faster than 1 / .8 of ours, has a cause.
# MARKS      ~: over a fifth of the windows disturbed, or fewer than 9 not. ~~: median of disturbed ones.
# LIMITS     POSIX awk (mawk, gawk, busybox).
commit != "" && /"commit":"/ && text("commit") != commit { next }

# Return whether figure `at` has a line of another state with more rounds; note the state of this one.
function outdated(at,    rounds) {
    rounds = number("rounds") + number("dropped")
    if (at in most && rounds < most[at] && text("c2c") != state[at]) return 1
    most[at] = rounds; state[at] = text("c2c")
    return 0
}
BEGIN {
    read_causes()
    split("raw libcuckoo tbb_chm dashmap jvm_chm node_map rocksdb rocksblob lmdb f2 sequential", list, " ")
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
    WORKLOAD = "zipf1m_16_100"
    TRACE = "mix_10"
    EIGHTHS = 8
    limits = split("200 500 1000 2000 5000 10000 100000 1000000", limit, " ")
}

# ---- floors ----

function dash(s) { return s == "" ? "-" : s }
function past(v, bound, good) { return good == "h" ? v >= bound : v <= bound }
# Median past the bound, and the worse quartile past the bound relaxed by 10 %.
function reaches(median, low, high, bound, good) {
    if (!past(median, bound, good)) return 0
    if (low == "" || high == "") return 1
    return good == "h" ? low >= bound * 0.9 : high <= bound * 1.1
}
function judge(median, low, high, note, i,    floor) {
    if (median == "") return "none"
    if (note == "noisy") return "noisy"
    floor = FLOOR[i]
    if (slack != "") floor = GOOD[i] == "h" ? floor * slack : floor / slack
    if (!reaches(median, low, high, floor, GOOD[i])) return "UNDER"
    return reaches(median, low, high, WANT[i], GOOD[i]) ? "want" : "met"
}
function floor_line(i, verdict, median, low, high, state, rounds,    spread) {
    spread = low == "" ? "" : show(low) " .. " show(high)
    if (md)
        return "| " ID[i] " | " WHAT[i] " | " show(median) " | " spread " | " show(FLOOR[i]) " | " \
               show(WANT[i]) " | " dash(state) " | " dash(rounds) " | " \
               (verdict == "UNDER" ? "**under**" : verdict) " |"
    return sprintf("%-7s %-8s %-52s %9s  %-20s %8s %8s  %-4s %4s", verdict, ID[i], WHAT[i], \
                   show(median), spread, show(FLOOR[i]), show(WANT[i]), dash(state), dash(rounds))
}

table == "floors" && FNR == NR {
    if ($0 ~ /^#/ || $0 == "") next
    if (split($0, cell, "\t") != 13) { print FILENAME ":" FNR ": not 13 fields" >"/dev/stderr"; broken = 2; exit 2 }
    n++
    ID[n] = cell[1]; WHAT[n] = cell[2]; SUITE[n] = cell[3]; VS[n] = cell[8]; FIELD[n] = cell[10]
    FLOOR[n] = cell[11]; WANT[n] = cell[12]; GOOD[n] = cell[13]
    KEY[n] = cell[3] SUBSEP cell[4] SUBSEP cell[5] SUBSEP cell[6] SUBSEP cell[7] SUBSEP cell[8] SUBSEP cell[9]
    PEER[n] = cell[3] SUBSEP cell[8] SUBSEP cell[5] SUBSEP cell[6] SUBSEP cell[7] SUBSEP "-" SUBSEP cell[9]
    next
}
table == "floors" && /"(skip|crash|hang|leak)":/ { said[++says] = $0; next }
table == "floors" && /"metric":/ {
    c2c = dash(text("c2c"))
    key = text("bench") SUBSEP text("subject") SUBSEP text("workload") SUBSEP \
          dash(number("threads")) SUBSEP text("metric") SUBSEP dash(text("vs")) SUBSEP \
          dash(text("clock"))
    k = key SUBSEP c2c
    if (!((key, c2c) in seen)) { seen[key, c2c] = 1; STATES[key] = STATES[key] " " c2c }
    RATIO[k] = number("ratio"); VALUE[k] = number("value"); LOW[k] = number("p25")
    HIGH[k] = number("p75"); HIT[k] = number("hit"); NOTE[k] = text("note")
    SLEPT[k] = number("slept"); ROUNDS[k] = number("rounds"); WRONG += number("bad")
    COMMIT[k] = dash(text("commit")); ran[text("bench")] = 1
    if (!host) { host = text("cpu") "; " text("cc") " " text("flags"); alloc = text("alloc") }
    if (number("quick") == 1) quick = 1
}
function floors_end(    order, i, s, v, m, k, low, high, median, verdict, figure, count, at_state, head, named, commits, out, tally, words, kind, who, told, reason, reasons,
                    best, most_rounds, good, goods, suites) {
    order = "UNDER none noisy met want"
    for (i = 1; i <= n; i++) {
        if (SUITE[i] == "l1" && !("l1" in ran)) { # the same workloads, measured once in a full run
            SUITE[i] = "peers"
            sub(/^l1/, "peers", KEY[i]); sub(/^l1/, "peers", PEER[i])
        }
        if (only != "" && index(" " only " ", " " SUITE[i] " ") == 0) continue
        if (md && !(SUITE[i] in ran)) continue # not of this run
        count = split(STATES[KEY[i]], at_state, " ")
        if (count == 0) { out["none"] = out["none"] floor_line(i, "none", "", "", "", "", "") "\n"; tally["none"]++ }
        figure = best = ""
        for (s = 1; s <= count; s++) {
            k = KEY[i] SUBSEP at_state[s]
            if (!(COMMIT[k] in named)) commits = commits (commits == "" ? "" : ", ") COMMIT[k]
            named[COMMIT[k]] = 1
            low = LOW[k]; high = HIGH[k]
            if (FIELD[i] == "ratio") median = RATIO[k]
            else if (FIELD[i] == "value") median = VALUE[k]
            else if (FIELD[i] == "slept") { median = SLEPT[k]; low = high = "" }
            else {
                median = HIT[k] != "" && HIT[PEER[i] SUBSEP at_state[s]] != "" ? HIT[k] - HIT[PEER[i] SUBSEP at_state[s]] : ""
                low = high = ""
            }
            verdict = judge(median, low, high, NOTE[k], i)
            if (verdict == "noisy") {
                if (best == "" || ROUNDS[k] + 0 > most_rounds) {
                    most_rounds = ROUNDS[k] + 0
                    best = floor_line(i, verdict, median, low, high, at_state[s], ROUNDS[k]) "\n"
                }
            } else if (md && verdict == "want") {
                if (good[SUITE[i]] == "") goods[++suites] = SUITE[i]
                good[SUITE[i]] = good[SUITE[i]] (good[SUITE[i]] == "" ? "" : "; ") ID[i] " " WHAT[i] " " show(median)
            } else out[verdict] = out[verdict] floor_line(i, verdict, median, low, high, at_state[s], ROUNDS[k]) "\n"
            if (verdict == "UNDER" || figure == "UNDER") figure = "UNDER"
            else if (verdict == "met" || figure == "met") figure = "met"
            else if (verdict == "want" || figure == "want") figure = "want"
            else figure = verdict
        }
        if (figure == "noisy") out["noisy"] = out["noisy"] best
        if (count > 0) tally[figure]++
    }
    head = host "; commit " dash(commits) "; allocator " alloc
    if (md) {
        print head (quick ? "; QUICK run: not for publication" : "") "\n"
        print "| id | figure | median | p25 .. p75 | floor | want | c2c | rounds | state |"
        print "|---|---|--:|---|--:|--:|---|--:|---|"
    } else {
        print "\n" head (quick ? "  (quick: not for publication)" : "")
        printf "%-7s %-8s %-52s %9s  %-20s %8s %8s  %-4s %4s\n", "state", "id", "figure", "median", \
               "p25 .. p75", "floor", "want", "c2c", "rnds"
    }
    m = split(order, verdicts, " ")
    for (v = 1; v <= m; v++) printf "%s", out[verdicts[v]]
    if (suites > 0) print "\nAt what we want, with medians:\n"
    for (i = 1; i <= suites; i++) print "* " goods[i] ": " good[goods[i]]
    if (md) print ""
    printf "%sfigures: %d under their floor, %d not measured, %d noisy, %d met, %d at what we want", \
           (md ? "" : "\n"), tally["UNDER"], tally["none"], tally["noisy"], tally["met"], tally["want"]
    print (WRONG > 0 ? "; WRONG VALUES WERE SEEN" : "")
    for (i = 1; i <= says; i++) {
        $0 = said[i]
        kind = index($0, "\"skip\":") ? "skip" : index($0, "\"crash\":") ? "crash" : \
               index($0, "\"hang\":") ? "hang" : "leak"
        # A second run of one file repeats its lines. The page has a line for each reason.
        words = kind ": " text("bench") (md ? "" : " " text("workload") " " text("subject")) ": " text(kind)
        if (!(words in told)) { told[words] = ""; reason[++reasons] = words }
        who = " " text("subject")
        if (md && index(told[words] " ", who " ") == 0) told[words] = told[words] who
    }
    for (i = 1; i <= reasons; i++) print (md ? "* " : "") reason[i] (told[reason[i]] ~ /[^ ]/ ? " (" substr(told[reason[i]], 2) ")" : "")
    UNDER = tally["UNDER"]
}

# ---- peers, json ----

function better(a, b, m) { return less[m] ? a < b : a > b }
# Return ours to the other, above 1 when ours is better; two zeros are equal.
function ratio_of(ours, other, m) {
    if (ours == other) return "1.00"
    if (less[m]) return ours == 0 ? "inf" : sprintf("%.2f", other / ours)
    return other == 0 ? "inf" : sprintf("%.2f", ours / other)
}
# Return "4.2 [4.1 4.4]": a value and its quartiles.
function spread(k) {
    return show(value[k]) (low[k] == "" || low[k] == high[k] ? "" : " [" show(low[k]) " " show(high[k]) "]")
}
function among(list, word) { return list == "*" || index(" " list " ", " " word " ") > 0 }
# Return the number of the cause why a peer is before us in figure f; "" and one more row without a cause.
function cause(who,    i, row) {
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
            broken = 2
            exit 2
        }
        reasons++
        r_suite[reasons] = field[1]; r_workload[reasons] = field[2]; r_threads[reasons] = field[3]
        r_metric[reasons] = field[4]; r_who[reasons] = field[5]; reason[reasons] = field[6]
    }
}
# The last text of each subject about a workload; a driver that was never built prints it only once.
table == "peers" && /"(crash|hang|leak|skip)":"/ {
    kind = /"crash":"/ ? "crash" : /"hang":"/ ? "hang" : /"leak":"/ ? "leak" : "skip"
    if (!wanted[text("bench")]) next
    words = kind ": " (text("subject") == "" ? "" : text("subject") ": ") text(kind)
    if (!(words in trouble)) { trouble[words] = ""; told[++tellings] = words }
    where = text("bench") (text("workload") == "" ? "" : " " text("workload"))
    if (index(", " trouble[words] ",", ", " where ",") == 0)
        trouble[words] = trouble[words] (trouble[words] == "" ? "" : ", ") where
}
# Ours in suite limit is part of the lines of its ratios: the ratio to uthash always exists.
(table == "peers" || table == "json") && /"metric":/ && (!/"vs":/ || (/"bench":"limit"/ && /"vs":"uthash"/)) {
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
    if (outdated(key)) next
    if (!(figure in known)) { known[figure] = 1; order[++figures] = figure }
    if (!(key in value)) who[figure] = who[figure] " " text("subject")
    value[key] = number("value")
    low[key] = high[key] = ""
    if (!/"vs":/) { low[key] = number("p25"); high[key] = number("p75") }
    unit[figure] = text("unit")
    if (text("cpu") != "") machine = text("cpu") "; " text("cc") " " text("flags")
    if (text("commit") != "") measured = text("commit")
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
# Figures of results.json.
table == "peers" && /^\{"machine":/ { machine = text("machine"); measured = text("commit"); day = text("day"); quick = number("quick") }
table == "peers" && /^\{"figure":/ {
    figure = text("figure"); order[++figures] = figure; unit[figure] = text("unit")
    n = subjects_of(list)
    for (i = 1; i <= n; i++) {
        subject_of(list[i], cell)
        key = figure SUBSEP cell["name"]
        who[figure] = who[figure] " " cell["name"]
        value[key] = cell["value"]; low[key] = cell["low"]; high[key] = cell["high"]
        noisy[key] = cell["mark"]; aside[key] = cell["note"]; wrong[key] = cell["wrong"]
    }
}
# Print results.json: a line for the machine, one for each figure. Quartiles are of ours, as on the page.
function json_end(    i, k, n, name, key, line) {
    printf "{\"machine\":\"%s\",\"commit\":\"%s\",\"day\":\"%s\",\"quick\":%d}\n", machine, measured, day, quick
    for (i = 1; i <= figures; i++) {
        line = "{\"figure\":\"" order[i] "\",\"unit\":\"" unit[order[i]] "\",\"subjects\":{"
        n = sorted(order[i], name)
        for (k = 1; k <= n; k++) {
            key = order[i] SUBSEP name[k]
            line = line (k > 1 ? "," : "") "\"" name[k] "\":[" show(value[key]) \
                   (name[k] != "cellar" || low[key] == "" ? "" : "," show(low[key]) "," show(high[key])) \
                   (noisy[key] aside[key] wrong[key] == "" ? "" : ",\"" noisy[key] "\"") \
                   (aside[key] wrong[key] == "" ? "" : ",\"" aside[key] "\"") \
                   (wrong[key] == "" ? "" : ",\"" wrong[key] "\"") "]"
        }
        print line "}}"
    }
}
# Fill name[] with the subjects of a figure, best first; return their count.
function sorted(figure, name,    n, a, b, m, swap) {
    n = split(who[figure], name, " ")
    m = figure; sub(/.* /, "", m)
    for (a = 2; a <= n; a++)
        for (b = a; b > 1 && better(value[figure, name[b]], value[figure, name[b - 1]], m); b--) {
            swap = name[b]; name[b] = name[b - 1]; name[b - 1] = swap
        }
    return n
}
function peers_end(    i, a, k, m, n, name, ours, first, map, three, other, place, bounded, others, rank, because, over, wins, losses) {
    if (figures == 0) return
    if (quick) print "A short run: not for publication.\n"
    if (md) {
        print machine "; commit " measured (day == "" ? "" : "; " day) "\n"
        print "| figure | cellar | place | times the best other | the best others | map without a bound |"
        print "|---|--:|---|--:|---|---|"
    } else printf "%-46s %-14s %10s %10s %6s %7s\n", "figure", "first", "value", "cellar", "place", "ours/it"
    for (i = 1; i <= figures; i++) {
        f = order[i]
        split(f, part, " ")
        m = part[4]
        n = sorted(f, name)
        ours = (f, "cellar") in value ? value[f, "cellar"] : ""
        first = map = three = other = ""
        place = 1
        bounded = others = 0
        for (a = 1; a <= n; a++) {
            k = f SUBSEP name[a]
            if (name[a] in unbounded) { if (map == "" && name[a] !~ /^(raw|sequential)$/) map = name[a]; continue }
            if (wrong[k] != "") continue
            if (first == "") first = name[a]
            bounded++
            if (name[a] != "cellar" && other == "") other = name[a]
            if (name[a] != "cellar" && others++ < 3)
                three = three (three == "" ? "" : ", ") name[a] " " show(value[k]) noisy[k] aside[k]
            if (ours != "" && better(value[k], ours, m)) place++
        }
        if (first == "" || n == 1) continue # no subject to compare with
        if (md && part[1] == "scale") continue # results.json has it
        if (ours == "") rank = "not measured"
        else { rank = place; if (place == 1) wins++; else losses++ }
        because = ours != "" && place > 1 ? cause(first) : ""
        over = map == "" || ours == "" ? "-" : ratio_of(ours, value[f, map], m)
        if (over != "-" && over != "inf" && over < 0.8) over = over cause(map)
        if (md)
            print "| " part[1] " " part[2] (part[3] == "-" ? "" : ", " part[3] " thread" (part[3] > 1 ? "s" : "")) ", " m ", " \
                  unit[f] " | " (ours == "" ? "-" : spread(f SUBSEP "cellar") noisy[f, "cellar"]) " | " \
                  (rank == 1 ? "1 of " bounded : ours == "" ? rank : "**" rank "** of " bounded) because " | " \
                  (ours == "" || other == "" ? "-" : ratio_of(ours, value[f, other], m)) " | " \
                  (three == "" ? "-" : three) " | " (map == "" ? "-" : map " " show(value[f, map]) noisy[f, map] " (x " over ")") " |"
        else
            printf "%-46s %-14s %10s %10s %6s %7s\n", f, first, show(value[f, first]), \
                   (ours == "" ? "-" : show(ours)), rank, (ours == "" ? "-" : ratio_of(ours, value[f, first], m))
    }
    printf "%splaces: first in %d, behind in %d figures; `~` marks noisy values, `~~` medians of disturbed windows\n", \
           (md ? "\n" : ""), wins, losses
    if (notes > 0) print (md ? "\n" : "") "causes, by the number in the row:" (md ? "\n" : "")
    for (i = 1; i <= notes; i++) print (md ? "* " : "  ") "(" i ") " noted[i]
    if (without != "") print (md ? "\n" : "") "cause not examined yet: " without
    if (shaky != "") print (md ? "\n" : "") "behind by noisy values, which prove nothing: " shaky
    if (md) return # the floors have the trouble
    if (tellings > 0) print "crashed, hung, leaked or left out:"
    for (i = 1; i <= tellings; i++) print "  " told[i] " (" trouble[told[i]] ")"
}

# ---- threads ----

table == "threads" && /"bench":"(scale|sceptic)"/ && /"metric":/ {
    if (/"vs":/ && text("vs") != "one_thread" || text("clock") == "cpu") next
    if (md && text("bench") == "scale" && text("workload") !~ /_rss$/) next
    row = text("workload") SUBSEP text("metric") SUBSEP text("subject")
    at = row SUBSEP number("threads")
    if (outdated(at)) next
    if (!(row in seen)) { seen[row] = 1; order[++rows] = row }
    if (!(number("threads") in column)) {
        for (i = ++columns; i > 1 && count[i - 1] > number("threads"); i--) count[i] = count[i - 1]
        count[i] = number("threads"); column[count[i]] = 1
    }
    if (/"vs":/) { times[at] = number("ratio"); next }
    value[at] = show(number("value")) (text("note") == "noisy" ? "~" : "")
    if (text("metric") == "readthrough" && number("hit") != "")
        hits[row] = sprintf("%.1f %%", 100 * number("hit"))
}
function threads_end(    i, k, part, at) {
    if (rows == 0) return
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

# ---- sceptic ----

# Split the list behind `key` into list[]; return its length.
function numbers(key, list,    s) {
    s = substr($0, index($0, "\"" key "\":[") + length(key) + 4)
    return split(substr(s, 1, index(s, "]") - 1), list, ",")
}
table == "sceptic" && /"hist":\[/ && /"call":"get"/ && text("bench") == "peers" && text("workload") == WORKLOAD {
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
    if (!(text("subject") in shares)) timed_of[++timed] = text("subject")
    shares[text("subject")] = ""
    for (i = 1; i <= limits; i++) shares[text("subject")] = shares[text("subject")] sprintf(" %.4g |", 100 * over[i] / all)
}
table == "sceptic" && /"series":"/ && text("bench") == "hitratio" && text("workload") == TRACE {
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
function sceptic_end(    i) {
    if (timed > 0) {
        printf "\nGets of a hundred that took longer, 95 %% gets, %s, %d threads (all buckets: \"hist\" in the JSON):\n\n| subject |", WORKLOAD, threads
        for (i = 1; i <= limits; i++) printf limit[i] < 1000 ? " %d ns |" : " %d us |", limit[i] < 1000 ? limit[i] : limit[i] / 1000
        printf "\n|---|"
        for (i = 1; i <= limits; i++) printf "--:|"
        print ""
        for (i = 1; i <= timed; i++) print "| " timed_of[i] " |" shares[timed_of[i]]
    }
    if (courses == 0) return
    printf "\nHits of a hundred over time, trace %s (draws, a loop, a scan, the draws again; 32 stretches: \"series\" in the JSON):\n\n| subject |", TRACE
    for (i = 1; i <= EIGHTHS; i++) printf " %d / %d |", i, EIGHTHS
    printf "\n|---|"
    for (i = 1; i <= EIGHTHS; i++) printf "--:|"
    print ""
    for (i = 1; i <= courses; i++) print "| " of[i] " |" hits[of[i]]
}

# ---- own ----

function kept(name,   n, i, word) {
    if (name == "cellar" || name == ref) return 1
    n = split(keep, word, /[ ,]+/)
    for (i = 1; i <= n; i++) if (word[i] != "" && index(name, word[i]) == 1) return 1
    return 0
}
function own_cell(at) {
    if (!(at in value)) return "-"
    return show(value[at]) mark[at] (at in times ? sprintf(" (%.2f)", times[at]) : "")
}
table == "own" && /"(skip|crash|hang|leak)":/ {
    kind = /"skip":/ ? "skip" : /"crash":/ ? "crash" : /"hang":/ ? "hang" : "leak"
    why = kind == "skip" ? text(kind) : kind ": " text(kind)
    name_of = text("subject") != "" ? text("subject") : "the workload"
    if ((why, name_of) in told) next
    told[why, name_of] = 1
    if (!(why in left)) whys[++why_count] = why
    left[why] = left[why] " " name_of
    next
}
table == "own" && /"metric":/ {
    if (text("clock") == "cpu") next
    metric = text("metric"); name_of = text("subject"); t = number("threads")
    if (metric == "scaling" || metric == "p50" || metric == "p9999") next
    at = metric SUBSEP name_of SUBSEP t
    WRONG += number("bad")
    if (outdated(at)) next
    if (text("vs") == ref) { times[at] = number("ratio"); ratios = 1; next }
    if (text("vs") != "" || number("value") == "") next
    if (!(metric in seen)) { seen[metric] = 1; metrics[++metric_count] = metric }
    if (!((metric, name_of) in seen)) { seen[metric, name_of] = 1; names[metric] = names[metric] " " name_of; rows++ }
    if (!((t, "column") in seen)) {
        seen[t, "column"] = 1
        for (i = ++columns; i > 1 && column[i - 1] > t; i--) column[i] = column[i - 1]
        column[i] = t
    }
    value[at] = number("value"); mark[at] = text("note") == "noisy" ? "~" : ""
    unit[metric] = text("unit"); good[metric] = text("unit") == "ns" ? -1 : 1
    if (number("hit") != "") hit[metric, name_of] = number("hit")
    if (number("quick") == 1) quick = " (quick run: not for publication)"
}
function own_end(    i, k, m, n, name, swap, room, share, none, cut) {
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
            for (i = 1; i <= columns; i++) printf " %16s", own_cell(metric SUBSEP name[k] SUBSEP column[i])
            printf " %7s\n", (metric, name[k]) in hit ? sprintf("%.1f %%", 100 * hit[metric, name[k]]) : "-"
        }
    }
    if (none != "") print "no get found its key: " substr(none, 3, 200)
    if (rows == 0) print "no figure was measured: see the log"
    for (i = 1; i <= why_count && i <= 6; i++) print "left out:" substr(left[whys[i]], 1, 90) ": " whys[i]
    if (WRONG > 0) print "WRONG VALUES: " WRONG
    print "Mops/s (higher is better) or ns (lower); " (ratios ? "in brackets x " ref : "no ratios: " ref " took no part") "; ~ noisy" quick
    if (cut > 0) print cut " more rows stand in the JSON"
    print "JSON: " json "   log: " logfile
}

END {
    if (broken) exit broken
    if (table == "floors") floors_end()
    else if (table == "peers") peers_end()
    else if (table == "json") json_end()
    else if (table == "threads") threads_end()
    else if (table == "sceptic") sceptic_end()
    else if (table == "own") own_end()
    if (table == "floors" && check && (UNDER > 0 || WRONG > 0)) exit 1
}
