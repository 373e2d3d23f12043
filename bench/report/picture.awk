# SPDX-License-Identifier: MIT
#
# picture: one row of the table of all subjects as an SVG with bars; the picture of README.md.
#
# USE        awk -f lines.awk -f picture.awk bench/results.json >bench/reads.svg     (make bench-report)
# INPUT      bench/results.json, as tables.awk writes it: the line of the machine, and ROW.
# OUTPUT     the fastest BARS subjects of that row, fastest first, whichever subjects they are.
#            Colours tell apart cellar, caches with a bound, maps without a bound, and raw.
# EXIT       2 when the head line or the row is missing.
# LIMITS     POSIX awk (mawk, gawk, busybox). No gnuplot, so that each machine draws it.
BEGIN {
    ROW = "peers zipf1m_16_100 2 get"
    BARS = 12
    n = split("libcuckoo tbb_chm dashmap jvm_chm node_map", list, " ")
    for (i = 1; i <= n; i++) unbounded[list[i]] = 1
}
/^\{"machine":/ { machine = text("machine"); commit = text("commit"); day = text("day") }
/^\{"figure":/ && text("figure") == ROW { subjects = subjects_of(row) }

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
    if (subjects == 0 || commit == "") {
        print "picture: no row or no commit in the file" >"/dev/stderr"
        exit 2
    }
    n = subjects > BARS ? BARS : subjects
    if (day != "") commit = commit "; " day
    for (i = 1; i <= n; i++) {
        subject_of(row[i], one)
        name[i] = one["name"]; value[i] = one["value"]; mark[i] = one["mark"]
    }
    height = 62 + 20 * n + 44
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"%d\" ", height
    printf "viewBox=\"0 0 720 %d\" font-family=\"sans-serif\" fill=\"#222222\">\n", height
    printf "<rect width=\"720\" height=\"%d\" fill=\"#ffffff\"/>\n", height
    print "<text x=\"12\" y=\"24\" font-size=\"16\" font-weight=\"bold\">" \
          "Reads by 2 threads, million gets a second</text>"
    legend(12, colour("cellar"), "cellar")
    legend(90, colour("moka"), "other caches with a bound")
    legend(280, colour("dashmap"), "maps without a bound")
    legend(440, colour("raw"), "raw: bare lookup, no lock, no cache")
    for (i = 1; i <= n; i++) {
        y = 62 + 20 * (i - 1)
        printf "<text x=\"132\" y=\"%d\" font-size=\"13\" text-anchor=\"end\"%s>%s</text>", y + 14,
               name[i] == "cellar" ? " font-weight=\"bold\"" : "", escape(name[i])
        printf "<rect x=\"140\" y=\"%d\" width=\"%.1f\" height=\"15\" fill=\"%s\"/>", y + 2,
               500 * value[i] / value[1], colour(name[i])
        printf "<text x=\"%.1f\" y=\"%d\" font-size=\"12\">%s</text>\n",
               146 + 500 * value[i] / value[1], y + 14, value[i] mark[i]
    }
    y = 62 + 20 * n + 18
    printf "<text x=\"12\" y=\"%d\" font-size=\"12\">1,000,000 entries of 16 + 100 bytes, keys by " \
           "zipf 0.99; the fastest %d of %d subjects; ~, ~~: disturbed</text>\n", y, n, subjects
    printf "<text x=\"12\" y=\"%d\" font-size=\"12\">%s, commit %s; make bench-all</text>\n", y + 17, escape(machine), escape(commit)
    print "</svg>"
}
