# SPDX-License-Identifier: MIT
#
# inventory: every promise, every row and every defect of the inventory has a test that exists.
#
# USE        awk -f tests/support/inventory.awk tests/README.md tests/promises.tsv tests/inventory.tsv FILE...
#            FILE: test sources (.c .cc .sh), and logs of a run (.out) where there is one
# READS      promises.tsv: a row begins with a promise (P1) or the name of a table (kind, l1, loading);
#            a line that begins with a tab continues the row above. inventory.tsv: a row begins with a
#            requirement (1, 16-23) or a defect (D1). The last column of a numbered row names
#              `tests`          each must be a case of some source, and pass where a log has it
#              later: FILE      the part is not built: FILE must not exist yet
#              doc: FILE        met by words: FILE must exist
#              example: NAME    checked by a program of tests/examples/, which must exist
#            that of a row of a table
#              `name` is a case, a scenario or a mutant, `name_*` some of them, `test_x` and its like
#              a program, `x.pml` a model; any other text in backquotes is no name
#            README.md: programs wherever a table names one.
# REFUSES    a number that stands in no row or in two; a row without any of the four; a test that
#            does not exist or failed; a part that exists while its rows still say later.
# LIMITS     The last column decides. Ranges only where all wait for one part.

function bad(message) { print "inventory: " message; errors++ }

function exists(file,    line, got) {
    got = (getline line < file)
    close(file)
    return got >= 0
}

function number_of(id) { sub(/^[PD]/, "", id); return id + 0 }

function claim(kind, from, to,    n) {
    for (n = from; n <= to; n++) {
        if (claimed[kind, n]++) bad(kind n " stands in two rows")
    }
}

# The cases a source defines: T_CASE(name), T_CASE_ON(name, KIT), T_ALONE(name), `t_case name`, `ok name`, `skip name`,
# `with_tool name`, the words of `for fact in .. ; do`, and the schedule driver's scenarios, `SIM_SCENARIO(name`.
function read_source(line,    part, count, i) {
    while (match(line, /(T_(CASE|CASE_ON|ALONE)|SIM_SCENARIO(_OF)?)\([a-z0-9_]+[,)]/)) {
        part = substr(line, RSTART, RLENGTH - 1)
        sub(/^.*\(/, "", part)
        known[part] = FILENAME
        line = substr(line, RSTART + RLENGTH)
    }
    if (sub(/^for fact in /, "", line)) facts = 1
    if (facts) {
        facts = line !~ /; do/
        sub(/; do.*/, "", line)
        count = split(line, cells, " ")
        for (i = 1; i <= count; i++) known[cells[i]] = FILENAME
    }
    while (match(line, /(^|[ ;])(t_case|t_skip|ok|skip|with_[a-z]+) +[a-z][a-z0-9_]*/)) {
        part = substr(line, RSTART, RLENGTH)
        sub(/^.* /, "", part)
        known[part] = FILENAME
        line = substr(line, RSTART + RLENGTH)
    }
}

function read_log(line) {
    if (line ~ /^ok [0-9]+ - /) {
        sub(/^ok [0-9]+ - /, "", line)
        sub(/ # SKIP.*/, "", line)
        known[line] = FILENAME
    } else if (line ~ /^not ok [0-9]+ - /) {
        sub(/^not ok [0-9]+ - /, "", line)
        failing[line] = FILENAME
    }
}

# Note a row: its number and the cell with its tests.
function read_row(id, cell,    kind, from, to, at) {
    gsub(/ /, "", id)
    if (id !~ /^[PD]?[0-9]+(-[0-9]+)?$/) return
    kind = id ~ /^P/ ? "P" : id ~ /^D/ ? "D" : "row "
    at = index(id, "-")
    from = number_of(at ? substr(id, 1, at - 1) : id)
    to = at ? number_of(substr(id, at + 1)) : from
    claim(kind, from, to)
    rows++
    row_id[rows] = kind == "row " ? "row " id : id
    row_cell[rows] = cell
    row_range[rows] = to > from
}

# Note the programs that a line names, and in a row of promises.tsv (`all`) every other name.
function read_names(line, all,    word) {
    while (match(line, /`[^`]+`/)) {
        word = substr(line, RSTART + 1, RLENGTH - 2)
        line = substr(line, RSTART + RLENGTH)
        if (word ~ /^(test|slow|matrix)_[a-z0-9_]+(\*|\.sh|\.c)?$/ ||
            all && word ~ /^([a-z0-9_\/]+\.pml|[a-z0-9_]+(\.[a-z0-9_]+)?(\.?\*)?)$/) {
            words[++word_count] = word
            word_line[word_count] = page " line " FNR
        }
    }
}

FNR == 1 { page = FILENAME; sub(/.*\//, "", page); table = "" }
page == "README.md" {
    if ($0 ~ /^\|/) read_names($0, 0)
    next
}
FILENAME ~ /\.tsv$/ {
    if ($0 ~ /^#/) next
    if (split($0, cells, "\t") != 3) bad(page " line " FNR " has not three columns: " $0)
    else if (page == "inventory.tsv") read_row(cells[1], cells[3])
    else if (cells[1] cells[2] != "") {
        table = cells[1]
        if (table ~ /^P[0-9]+$/) read_row(table, cells[3])
        else if (table ~ /^(kind|l1|loading)$/) read_names(cells[3], 1)
        else bad(page " line " FNR ": no table is called " table)
    } else if (table ~ /^P/) row_cell[rows] = row_cell[rows] " " cells[3]
    else if (table != "") read_names(cells[3], 1)
    else bad(page " line " FNR " continues no row")
    next
}
FNR == 1 { name = page; sub(/\.[a-z]+$/, "", name); programs[name] = 1 }
FILENAME ~ /mutants\.txt$/ { if ($1 ~ /^[a-z0-9_]+\.[a-z0-9_]+$/) known[$1] = FILENAME; next }
FILENAME ~ /\.out$/ { read_log($0); next }
{ read_source($0) }

function check_row(i,    cell, met, name, file) {
    cell = row_cell[i]
    while (match(cell, /`[a-z0-9_]+`/)) {
        name = substr(cell, RSTART + 1, RLENGTH - 2)
        cell = substr(cell, RSTART + RLENGTH)
        met++
        if (row_range[i]) bad(row_id[i] ": a range cannot name tests")
        if (!(name in known)) bad(row_id[i] ": no test is called " name)
        else if (name in failing) bad(row_id[i] ": " name " fails (" failing[name] ")")
        else named[name]++
    }
    cell = row_cell[i]
    while (match(cell, /(later|doc|example): [^ ,;]+/)) {
        file = substr(cell, RSTART, RLENGTH)
        name = file
        sub(/:.*/, "", name)
        sub(/^[a-z]+: /, "", file)
        cell = substr(cell, RSTART + RLENGTH)
        met++
        if (name == "example") file = "tests/examples/" file
        if (name == "later" && exists(file)) bad(row_id[i] ": waits for " file ", which is there")
        if (name != "later" && !exists(file)) bad(row_id[i] ": " file " does not exist")
        waiting += name == "later"
    }
    if (!met) bad(row_id[i] ": names neither a test nor what it waits for")
}

function some_begin(set, start,    name) {
    for (name in set) if (index(name, start) == 1) return 1
    return 0
}

function check_word(word, line) {
    if (word ~ /\.pml$/) {
        sub(/.*\//, "", word)
        if (!exists("tests/concurrency/model/" word)) bad(line ": no model is called " word)
    } else if (word ~ /^(test|slow|matrix)_/) {
        sub(/\.(sh|c)$/, "", word)
        if (sub(/\*$/, "", word) ? !some_begin(programs, word) : !(word in programs))
            bad(line ": no program is called " word)
    } else if (sub(/\*$/, "", word) ? !some_begin(known, word) : !(word in known)) {
        bad(line ": no test is called " word)
    }
}

function complete(kind, last,    n) {
    for (n = 1; n <= last; n++) {
        if (!claimed[kind, n]) bad(kind n " stands in no row")
    }
}

END {
    for (i = 1; i <= rows; i++) check_row(i)
    for (i = 1; i <= word_count; i++) check_word(words[i], word_line[i])
    complete("P", 25)
    complete("row ", 149)
    complete("D", 31)
    for (name in named) tests++
    if (errors) {
        print "inventory: " errors " failures"
        exit 1
    }
    print "inventory: ok, " rows " rows, " tests " tests, " waiting " waiting"
}
