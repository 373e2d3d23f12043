# SPDX-License-Identifier: MIT
#
# coverage: writes build/coverage.md from what llvm-cov exported; see coverage.sh.
#
# READS    PART.lcov: lines, functions, branches of .c files. PART.json: branches of .h files, of
#          which lcov repeats those of an inline function for each file that includes it; MC/DC.
# KEYS     A count belongs to a set: "tests" (ends and killed together) or "sim". An outcome of a
#          branch is FILE, line, its number on that line; the two builds of the tests agree on it.
#          Functions that a macro of a header makes on one line are one function, called if one is.

FNR == 1 {
    set = FILENAME ~ /sim\.[a-z]*$/ ? "sim" : "tests"
    mcdc = FILENAME ~ /ends\.json$/
    if (set == "sim") has_sim = 1
}
FILENAME ~ /\.lcov$/ {
    kind = substr($0, 1, index($0, ":") - 1)
    split(substr($0, length(kind) + 2), field, ",")
    if (kind == "SF") { name = place(substr($0, 4)); header = name ~ /\.h$/ }
    else if (name == "") next
    else if (kind == "DA") count("line", name SUBSEP field[1], field[2])
    else if (kind == "FN") { sub(/.*:/, "", field[2]); line_of[name, field[2]] = field[1] }
    else if (kind == "FNDA") called(field[2], field[1])
    else if (kind == "BRDA" && !header && !asserted(name, field[1]))
        count("branch", name SUBSEP field[1] SUBSEP field[3], field[4] == "-" ? 0 : field[4])
    next
}
/^"filename"/ {
    split($0, field, "\"")
    name = place(field[4])
    if (name == "") next
    # The branches of a file stand at the end of the line before that with its name.
    if (name ~ /\.h$/) branches(before)
    if (mcdc && match($0, /"mcdc":\{[^}]*/)) {
        split(substr($0, RSTART, RLENGTH), field, /[:,}]/)
        mcdc_all[module(name)] += field[3]
        mcdc_met[module(name)] += field[5]
    }
}
{ before = $0 }

function place(path) {
    if (!match(path, /src\/(core|guests)\/.*/)) return ""
    return substr(path, RSTART)
}
function module(path,    part) { split(path, part, "/"); return part[3] }
function called(name_of, times,    line) {
    sub(/.*:/, "", name_of)
    if (header) {
        line = line_of[name, name_of]
        if (!((name, line) in first_of)) first_of[name, line] = name_of
        name_of = first_of[name, line]
    }
    count("function", name SUBSEP name_of, times)
}
function count(what, key, times,    id) {
    id = set SUBSEP what SUBSEP key
    if (!(id in seen)) { seen[id] = 0; order[++orders] = id }
    if (times > 0) seen[id] = 1
}
function branches(text,    n, i, list, c) {
    if (!match(text, /"branches":\[\[[^"]*$/)) return
    text = substr(text, RSTART + 13, RLENGTH - 13)
    n = split(text, list, /\],?\[?/)
    for (i = 1; i <= n; i++) {
        if (split(list[i], c, ",") < 6 || asserted(name, c[1])) continue
        count("branch", name SUBSEP c[1] SUBSEP c[2] SUBSEP "taken", c[5])
        count("branch", name SUBSEP c[1] SUBSEP c[2] SUBSEP "not", c[6])
    }
}
function asserted(path, line,    text, n) {
    if (!(path in read)) {
        read[path] = 1
        while ((getline text <path) > 0)
            if (++n && text ~ /BASE_(ASSERT|REQUIRE)\(/) assert_at[path, n] = 1
        close(path)
    }
    return (path, line) in assert_at
}

function share(met, all) { return all ? sprintf("%.1f", 100 * met / all) : "-" }
function cell(s, what, where) { return share(met[s, what, where], all[s, what, where]) }
function missed(s, what, where) { return sprintf("%d", all[s, what, where] - met[s, what, where]) }
function add(s, what, where, hit) { all[s, what, where]++; met[s, what, where] += hit }
function row(name,    text) {
    text = "| " name " | " cell("tests", "line", name) " | " missed("tests", "line", name) " | " \
        cell("tests", "branch", name) " | " missed("tests", "branch", name) " | " \
        share(mcdc_met[name], mcdc_all[name]) " |"
    if (has_sim) text = text " " cell("sim", "line", name) " | " cell("sim", "branch", name) " |"
    print text
}
function sort(list, n,    i, j, x) { # by text
    for (i = 2; i <= n; i++) {
        x = list[i]
        for (j = i - 1; j > 0 && list[j] > x; j--) list[j + 1] = list[j]
        list[j + 1] = x
    }
}

END {
    for (i = 1; i <= orders; i++) {
        split(order[i], key, SUBSEP)
        m = module(key[3])
        if (!(m in known)) { known[m] = 1; modules[++count_m] = m }
        hit = seen[order[i]]
        add(key[1], key[2], m, hit)
        add(key[1], key[2], "all", hit)
        if (m != "remote") add(key[1], key[2], "all but remote", hit)
        if (key[1] == "tests" && key[2] == "branch") {
            if (!(key[3] in lost)) files[++count_f] = key[3]
            lost[key[3]] += !hit
            outcomes[key[3]]++
        }
        if (key[1] == "tests" && key[2] == "function" && !hit)
            never[++count_n] = sprintf("%s: `%s`%s", key[3], key[4],
                seen["sim" SUBSEP "function" SUBSEP key[3] SUBSEP key[4]] ? " (the simulation calls it)" : "")
    }
    for (m in mcdc_all) {
        for (i = 1; i <= 2; i++) {
            sum = i == 1 ? "all" : "all but remote"
            if (m ~ /^all/ || (i == 2 && m == "remote")) continue
            sums[sum] += mcdc_all[m]
            sums_met[sum] += mcdc_met[m]
        }
    }
    for (sum in sums) { mcdc_all[sum] = sums[sum]; mcdc_met[sum] = sums_met[sum] }
    sort(modules, count_m)
    sort(never, count_n)
    print "# Coverage\n"
    print "Commit " commit ", " day ". Written by `make coverage`; src/tools/coverage.sh states what is counted."
    print "Runs: " runs "\n"
    print "| module | lines % | missed | branches % | missed | MC/DC % |" \
        (has_sim ? " simulation: lines % | branches % |" : "")
    print "|---|--:|--:|--:|--:|--:|" (has_sim ? "--:|--:|" : "")
    for (i = 1; i <= count_m; i++) row(modules[i])
    row("all but remote")
    row("all")
    print "\n## Functions never called: " count_n + 0 "\n"
    for (i = 1; i <= count_n; i++) print "- " never[i]
    print "\n## Files with most missed branches\n\n| file | missed | of |\n|---|--:|--:|"
    for (i = 1; i <= 10 && i <= count_f; i++) {
        most = 0
        for (j = 1; j <= count_f; j++)
            if (files[j] != "" && (!most || lost[files[j]] > lost[files[most]])) most = j
        print "| " files[most] " | " lost[files[most]] " | " outcomes[files[most]] " |"
        files[most] = ""
    }
}
