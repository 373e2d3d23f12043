# SPDX-License-Identifier: MIT
#
# nearest: names that are no tests, each with the three tests that are spelled most like it.
#
# USE        awk -v names="l1_pinss disc" -f tests/support/nearest.awk tests/api/test_*.c ...
#            Ends with status 2. Prints on standard error:
#                no such test: l1_bigg; nearest: l1_big l1_pins l1_time
# METHOD     The distance of two names is the number of letters to insert, remove or change. The
#            name is compared with the whole name of a test and with the part after its module. A test
#            that has the whole name in its own is nearer than all others.
function plain(path,    s) {
    s = path
    sub(/.*\//, "", s)
    sub(/\.[a-z]+$/, "", s)
    sub(/^test_/, "", s)
    return s
}
function distance(a, b,    i, j, n, m, above, left, corner, row) {
    n = length(a)
    m = length(b)
    for (j = 0; j <= m; j++) row[j] = j
    for (i = 1; i <= n; i++) {
        corner = row[0]
        row[0] = i
        for (j = 1; j <= m; j++) {
            above = row[j]
            left = corner + (substr(a, i, 1) != substr(b, j, 1))
            if (above + 1 < left) left = above + 1
            if (row[j - 1] + 1 < left) left = row[j - 1] + 1
            corner = above
            row[j] = left
        }
    }
    return row[m]
}
BEGIN {
    count = split(names, wanted, " ")
    for (w = 1; w <= count; w++) {
        said = "no such test: " wanted[w] "; nearest:"
        name = plain(wanted[w])
        for (i = 1; i < ARGC; i++) {
            far[i] = distance(name, plain(ARGV[i]))
            topic = plain(ARGV[i])
            sub(/^[^_]*_/, "", topic)
            if (distance(name, topic) < far[i]) far[i] = distance(name, topic)
            if (name != "" && index(plain(ARGV[i]), name)) far[i] -= 100
        }
        for (n = 0; n < 3; n++) {
            best = 0
            for (i = 1; i < ARGC; i++) if (far[i] != "" && (!best || far[i] < far[best])) best = i
            if (!best) break
            said = said " " plain(ARGV[best])
            far[best] = ""
        }
        print said | "cat 1>&2"
    }
    close("cat 1>&2")
    exit 2
}
