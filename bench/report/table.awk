# SPDX-License-Identifier: MIT
#
# table: joins result lines with targets.tsv; rows under their floor come first.
#
# USE        awk -f lines.awk -f table.awk [-v md=1] [-v check=1] [-v slack=0.8] [-v only="l1 hot"] targets.tsv
#            RESULTS.jsonl...
#            md: Markdown for bench/results.md, without capitals.   check: exit 1 when a row is under its floor.
#            slack: floors are multiplied (h) or divided (l) by it: the coarse check in CI.
#            only: rows of these suites (what was not run is not called missing).
# INPUT      one JSON object a line, no nesting, as bench/harness/json.c writes it. Later lines of
#            one figure and cross-core state replace earlier ones.
# VERDICTS   met     median at or past the floor and the worse quartile within 10 % of it
#            want    the same for what we want
#            UNDER   not met, measured cleanly
#            noisy   fewer than 9 clean rounds of that state, or over 20 % dropped: meets nothing
#            none    not measured
#            A figure is met only when every state that was measured cleanly meets it.
# LIMITS     POSIX awk (mawk, gawk, busybox).

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
function line(i, verdict, median, low, high, state, rounds,    spread) {
    spread = low == "" ? "" : show(low) " .. " show(high)
    if (md)
        return "| " ID[i] " | " WHAT[i] " | " show(median) " | " spread " | " show(FLOOR[i]) " | " \
               show(WANT[i]) " | " dash(state) " | " dash(rounds) " | " \
               (verdict == "UNDER" ? "**under**" : verdict) " |"
    return sprintf("%-7s %-8s %-52s %9s  %-20s %8s %8s  %-4s %4s", verdict, ID[i], WHAT[i], \
                   show(median), spread, show(FLOOR[i]), show(WANT[i]), dash(state), dash(rounds))
}

FNR == NR {
    if ($0 ~ /^#/ || $0 == "") next
    if (split($0, f, "\t") != 13) { print FILENAME ":" FNR ": not 13 fields" >"/dev/stderr"; bad = 2; exit 2 }
    n++
    ID[n] = f[1]; WHAT[n] = f[2]; SUITE[n] = f[3]; VS[n] = f[8]; FIELD[n] = f[10]
    FLOOR[n] = f[11]; WANT[n] = f[12]; GOOD[n] = f[13]
    KEY[n] = f[3] SUBSEP f[4] SUBSEP f[5] SUBSEP f[6] SUBSEP f[7] SUBSEP f[8] SUBSEP f[9]
    PEER[n] = f[3] SUBSEP f[8] SUBSEP f[5] SUBSEP f[6] SUBSEP f[7] SUBSEP "-" SUBSEP f[9]
    next
}
/"(skip|crash|hang|leak)":/ { said[++says] = $0; next }
/"metric":/ {
    state = dash(text("c2c"))
    key = text("bench") SUBSEP text("subject") SUBSEP text("workload") SUBSEP \
          dash(number("threads")) SUBSEP text("metric") SUBSEP dash(text("vs")) SUBSEP \
          dash(text("clock"))
    k = key SUBSEP state
    if (!((key, state) in seen)) { seen[key, state] = 1; STATES[key] = STATES[key] " " state }
    RATIO[k] = number("ratio"); VALUE[k] = number("value"); LOW[k] = number("p25")
    HIGH[k] = number("p75"); HIT[k] = number("hit"); NOTE[k] = text("note")
    SLEPT[k] = number("slept"); ROUNDS[k] = number("rounds"); WRONG += number("bad")
    COMMIT[k] = dash(text("commit"))
    if (!host) { host = text("cpu") "; " text("cc") " " text("flags"); alloc = text("alloc") }
    if (number("quick") == 1) quick = 1
}
END {
    if (bad) exit bad
    order = "UNDER none noisy met want"
    for (i = 1; i <= n; i++) {
        if (only != "" && index(" " only " ", " " SUITE[i] " ") == 0) continue
        count = split(STATES[KEY[i]], at_state, " ")
        if (count == 0) { out["none"] = out["none"] line(i, "none", "", "", "", "", "") "\n"; tally["none"]++ }
        figure = ""
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
            out[verdict] = out[verdict] line(i, verdict, median, low, high, at_state[s], ROUNDS[k]) "\n"
            if (verdict == "UNDER" || figure == "UNDER") figure = "UNDER"
            else if (verdict == "met" || figure == "met") figure = "met"
            else if (verdict == "want" || figure == "want") figure = "want"
            else figure = verdict
        }
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
    if (check && (tally["UNDER"] > 0 || WRONG > 0)) exit 1
}
