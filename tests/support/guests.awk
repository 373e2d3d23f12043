# SPDX-License-Identifier: MIT
#
# guests: the files of tests that include a header of a guest, also through a header of support/.
#
# USE        awk -v headers="cellar_kit.h .." -v folders="kit .." -f tests/support/guests.awk FILE..
#            Prints the paths, one a line.

BEGIN {
    n = split(headers, list, " ")
    for (i = 1; i <= n; i++) of_guest[list[i]] = 1
    n = split(folders, list, " ")
    for (i = 1; i <= n; i++) of_guest[list[i]] = 1
}
/^#include "/ {
    target = $2
    gsub(/"/, "", target)
    folder = target
    sub(/\/.*/, "", folder)
    if ((target in of_guest) || (folder in of_guest)) needs[FILENAME] = 1
    else { from[++arrows] = FILENAME; to[arrows] = target }
}
END {
    do {
        more = 0
        for (i = 1; i <= arrows; i++) {
            if ((to[i] in needs) && !(from[i] in needs)) more = needs[from[i]] = 1
        }
    } while (more)
    for (f in needs) print f
}
