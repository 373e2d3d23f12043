# SPDX-License-Identifier: MIT
#
# lines: common parts of the report's programs: fields of a result line, and the form of figures.
#
# USE        awk -f lines.awk -f PROGRAM.awk ...
# INPUT      one JSON object a line, no nesting, no escapes, as bench/harness/json.c writes it.
# LIMITS     POSIX awk (mawk, gawk, busybox).
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
function show(v) {
    if (v == "") return "-"
    if (v == int(v) && v < 1e9 && v > -1e9) return sprintf("%d", v)
    return v >= 1000 || v <= -1000 ? sprintf("%.0f", v) : v >= 100 ? sprintf("%.1f", v) \
         : v >= 10 ? sprintf("%.2f", v) : v >= 0.1 ? sprintf("%.3f", v) : sprintf("%.5f", v)
}
# Split the subjects of a figure of results.json into list[]; return their count.
function subjects_of(list) { return split(substr($0, index($0, "\"subjects\":{") + 12), list, "],") }
# Read one of them into to[]: name, value, low, high, mark (~, ~~), note, wrong.
function subject_of(s, to,    cell, three) {
    split("", to)
    to["name"] = substr(s, 2, index(s, "\":[") - 2)
    s = substr(s, index(s, "[") + 1)
    sub(/[]}]+$/, "", s)
    split(s, cell, /,?"/)
    split(cell[1], three, ",")
    to["value"] = three[1]; to["low"] = three[2]; to["high"] = three[3]
    to["mark"] = cell[2]; to["note"] = cell[4]; to["wrong"] = cell[6]
}
