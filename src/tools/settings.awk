# SPDX-License-Identifier: MIT
#
# settings: makes the tables of settings in include/cellar_kit.h and settings.md from
# src/guests/kit/settings_list.h.
#
# USE        awk -f src/tools/settings.awk src/guests/kit/settings_list.h             prints the table
#            awk -f src/tools/settings.awk -v header=include/cellar_kit.h \
#                src/guests/kit/settings_list.h >new.h         prints the header with the table in its place
#            awk -f src/tools/settings.awk -v page=include/settings.md src/guests/kit/settings_list.h >new.md
#                                                       prints the page, the same
# FORMAT     The table follows the line ` *     NAME ...` of the header. That of the page follows
#            `| setting | ...` and has a row for each setting.
# LIMITS     A row of the list has at most two lines; texts in it have no quotes.

BEGIN { form = " *     %-17s %-28s  %-8s  %s\n" }

/^#define KIT_SETTINGS\(X\)/ { on = 1; next }
on && /^$/ { on = 0 }
on {
    row = row $0
    if (row !~ /"\)( \\)?$/) { sub(/\\$/, "", row); next }
    n = split(row, part, "\"")
    # part[2]: values, part[4]: name in other programs, part[6]: default, part[8]: help
    if (n != 9 || split(part[1], word, /[(,] */) < 4) {
        print "settings: not a row: " row | "cat 1>&2"
        failed = 1
        exit 1
    }
    table = table sprintf(form, word[2], part[2], part[6], part[8])
    if (part[4] != "") table = table sprintf(form, "", part[4], "", "the same, by another name")
    sub(": " word[4] "$", "", part[8]) # the field has a column of its own
    rows = rows sprintf("| `%s`%s | `%s` | %s | %s | %s |\n", word[2], \
                        part[4] == "" ? "" : " or `" part[4] "`", word[4], part[2], \
                        part[6] == "" ? "not set" : part[6], part[8])
    row = ""
}

END {
    if (failed) exit 1
    if (page != "") {
        while ((getline line < page) > 0) {
            if (line ~ /^\| setting \|/) skip = 1
            if (skip && line !~ /^\|/) skip = 0
            if (!skip || skip++ < 3) print line
            if (skip == 3) printf "%s", rows
        }
        exit
    }
    head = sprintf(form, "NAME", "VALUES", "DEFAULT", "MEANING")
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
