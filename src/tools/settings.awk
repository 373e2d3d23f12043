# SPDX-License-Identifier: MIT
#
# settings: makes the tables of settings in include/cellar_kit.h and guide.md from
# src/guests/kit/settings_list.h.
#
# USE        awk -f src/tools/settings.awk src/guests/kit/settings_list.h             prints the table
#            awk -f src/tools/settings.awk -v header=include/cellar_kit.h \
#                src/guests/kit/settings_list.h >new.h         prints the header with the table in its place
#            awk -f src/tools/settings.awk -v readme=include/guide.md src/guests/kit/settings_list.h >new.md
#                                                       prints the guide, the same
# FORMAT     The table follows the line ` *     name ...` of the header. That of the guide follows
#            `| value | settings ...` and has a row for each kind of value.
# LIMITS     A row of the list has at most two lines; texts in it have no quotes.

BEGIN {
    form = " *     %-17s %-28s  %-8s  %s\n"
    kinds = split("SIZE TIME COUNT JITTER CHOICE FLAG TEXT", kind, " ")
    same["MEMORY"] = "SIZE"
    same["WINDOW"] = "TIME"
    same["OFF"] = "FLAG"
    same["LABEL"] = same["PATH"] = same["HOST"] = same["ROUTES"] = "TEXT"
    says["SIZE"] = "bytes: 512k, 64M, 2G; of memory also a share: 50%"
    says["TIME"] = "times: 250ms, 90s, 1h30m, never"
    says["COUNT"] = "numbers"
    says["JITTER"] = "share: 10%, +10%, +-10%"
    says["CHOICE"] = "words"
    says["FLAG"] = "0 or 1"
    says["TEXT"] = "texts"
}

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
    if (split(row, word, ",") > 1) note_kind(name, word[2], part[2], part[4], part[6])
    row = ""
}

# Add a setting to the row of its kind, for the guide.
function note_kind(name, k, values, other, standard,    text) {
    gsub(/ /, "", k)
    if (k in same) k = same[k]
    text = "`" name "`"
    if (other != "") text = text " or `" other "`"
    if (standard != "") text = text " " standard
    if (k == "CHOICE") text = text " (" values ")"
    of[k] = of[k] (of[k] == "" ? "" : ", ") text
}

function readme_table(    i) {
    for (i = 1; i <= kinds; i++) printf "| %s | %s |\n", says[kind[i]], of[kind[i]]
}

END {
    if (failed) exit 1
    if (readme != "") {
        while ((getline line < readme) > 0) {
            if (line ~ /^\| value \| settings/) skip = 1
            if (skip && line !~ /^\|/) skip = 0
            if (!skip || skip++ < 3) print line
            if (skip == 3) readme_table()
        }
        exit
    }
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
