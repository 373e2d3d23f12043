# SPDX-License-Identifier: MIT
#
# picture: one row of the table of all subjects as an SVG with bars; the picture of README.md.
#
# USE        awk -f picture.awk bench/results_all.md >bench/reads.svg     (make bench-report)
# INPUT      the lines between the peers markers, as peers.awk writes them: the head line with
#            processor, compiler and the commit, or the commit of each suite, and the row of ROW.
# OUTPUT     the fastest BARS subjects of that row, fastest first, whichever subjects they are.
#            Colours tell apart cellar, caches with a bound, maps without a bound, and raw.
# EXIT       2 when the head line or the row is missing.
# LIMITS     POSIX awk (mawk, gawk, busybox). No gnuplot, so that each machine draws it.
BEGIN {
    ROW = "| peers zipf1m_16_100 | 2 | get |"
    SUITE = "peers"
    BARS = 12
    n = split("libcuckoo tbb_chm ck_ht dashmap jvm_chm node_map", list, " ")
    for (i = 1; i <= n; i++) unbounded[list[i]] = 1
}
/<!-- peers:begin -->/ { inside = 1; next }
/<!-- peers:end -->/ { inside = 0 }
inside && head == "" && /; commit / { head = $0; next }
inside && index($0, ROW) == 1 { row = $0 }

# Return the commit of `suite` in the head line.
function commit_of(suite,    rest, commit, suites) {
    rest = substr(head, index(head, "; commit ") + 9)
    if (match(rest, /^[^ ,(;]+;/)) return substr(rest, 1, RLENGTH - 1) # one for all suites
    while (match(rest, /[^ ,(]+ \([^)]*\)/)) {
        commit = substr(rest, RSTART, RLENGTH)
        rest = substr(rest, RSTART + RLENGTH)
        suites = substr(commit, index(commit, "(") + 1)
        sub(/\)$/, "", suites)
        if (index(" " suites " ", " " suite " ")) return substr(commit, 1, index(commit, " ") - 1)
    }
    return ""
}
function escape(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); return s }
function colour(name) {
    if (name == "cellar") return "#c0392b"
    if (name == "raw") return "#bbbbbb"
    return name in unbounded ? "#8fa3b8" : "#2f6db5"
}
function legend(x, fill, words) {
    printf "<rect x=\"%d\" y=\"42\" width=\"10\" height=\"10\" fill=\"%s\"/>", x, fill
    printf "<text x=\"%d\" y=\"51\" font-size=\"12\">%s</text>\n", x + 15, words
}
END {
    commit = commit_of(SUITE)
    if (row == "" || commit == "") {
        print "picture: no row or no commit in the table" >"/dev/stderr"
        exit 2
    }
    cells = split(row, cell, / *\| */)
    n = split(cell[cells - 1], subject, ", ")
    if (n > BARS) n = BARS
    machine = substr(head, 1, index(head, "; commit ") - 1)
    if (match(head, /; 20[0-9-]+$/)) commit = commit substr(head, RSTART)
    height = 62 + 20 * n + 44
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"%d\" ", height
    printf "viewBox=\"0 0 720 %d\" font-family=\"sans-serif\" fill=\"#222222\">\n", height
    printf "<rect width=\"720\" height=\"%d\" fill=\"#ffffff\"/>\n", height
    print "<text x=\"12\" y=\"24\" font-size=\"16\" font-weight=\"bold\">" \
          "Reads by 2 threads, million gets a second</text>"
    legend(12, colour("cellar"), "cellar")
    legend(90, colour("moka"), "other caches with a bound")
    legend(280, colour("ck_ht"), "maps without a bound")
    legend(440, colour("raw"), "raw: bare lookup, no lock, no cache")
    most = 0
    for (i = 1; i <= n; i++) {
        split(subject[i], part, " ")
        if (part[2] + 0 > most) most = part[2] + 0
    }
    for (i = 1; i <= n; i++) {
        split(subject[i], part, " ")
        y = 62 + 20 * (i - 1)
        printf "<text x=\"132\" y=\"%d\" font-size=\"13\" text-anchor=\"end\"%s>%s</text>", y + 14,
               part[1] == "cellar" ? " font-weight=\"bold\"" : "", escape(part[1])
        printf "<rect x=\"140\" y=\"%d\" width=\"%.1f\" height=\"15\" fill=\"%s\"/>", y + 2,
               500 * part[2] / most, colour(part[1])
        printf "<text x=\"%.1f\" y=\"%d\" font-size=\"12\">%s</text>\n",
               146 + 500 * part[2] / most, y + 14, escape(part[2])
    }
    y = 62 + 20 * n + 18
    printf "<text x=\"12\" y=\"%d\" font-size=\"12\">1,000,000 entries of 16 + 100 bytes, keys by " \
           "zipf 0.99; the fastest %d of %d subjects; ~, ~~: disturbed</text>\n", y, n, split(cell[cells - 1], part, ", ")
    printf "<text x=\"12\" y=\"%d\" font-size=\"12\">%s, commit %s; make bench-all</text>\n", y + 17, escape(machine), escape(commit)
    print "</svg>"
}
