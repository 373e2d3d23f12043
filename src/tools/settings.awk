# SPDX-License-Identifier: MIT
#
# settings: makes the table of settings in include/cellar_kit.h from src/kit/settings_list.h.
#
# USE        awk -f src/tools/settings.awk src/kit/settings_list.h             prints the table
#            awk -f src/tools/settings.awk -v header=include/cellar_kit.h \
#                src/kit/settings_list.h >new.h         prints the header with the table in its place
# FORMAT     The table follows the line ` *     name ...` of the header.
# LIMITS     A row of the list has at most two lines; texts in it have no quotes.

BEGIN { form = " *     %-12s  %-28s  %-8s  %s\n" }

/^#define KIT_SETTINGS\(X\)/ { on = 1; next }
on && /^$/ { on = 0 }
on {
    row = row $0
    if (row !~ /"\)( \\)?$/) { sub(/\\$/, "", row); next }
    name = row
    sub(/^ *X\(/, "", name)
    sub(/,.*/, "", name)
    n = split(row, part, "\"")
    # part[2]: values, part[4]: name in the documents, part[6]: default, part[8]: help
    if (n != 9) { print "settings: not a row: " row | "cat 1>&2"; failed = 1; exit 1 }
    table = table sprintf(form, name, part[2], part[6], part[8])
    if (part[4] != "") table = table sprintf(form, "", part[4], "", "the same in the documents")
    row = ""
}

END {
    if (failed) exit 1
    head = sprintf(form, "name", "values", "default", "meaning")
    if (header == "") { printf "%s", head table; exit }
    while ((getline line < header) > 0) {
        if (line == substr(head, 1, length(head) - 1)) {
            printf "%s", head table
            skip = 1
            continue
        }
        if (skip && line !~ /^ \*     /) skip = 0
        if (!skip) print line
    }
}
