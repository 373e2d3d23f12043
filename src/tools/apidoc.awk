# SPDX-License-Identifier: MIT
#
# apidoc: reads the contracts in include/*.h; checks them, or writes man pages (mdoc.awk), the sections
# of the site, or a program with all examples.
#
# USE        awk -f src/tools/apidoc.awk -f src/tools/mdoc.awk -v mode=check|man|html|examples
#                [-v out=FOLDER | -v one=FILE] -v version=V -v symbols=src/tools/symbols.txt
#                -v date="November 20, 2026" [-v readme=README.md] [-v guides="include/life.md .."]
#                include/cellar.h ...      (its first block of C is the example of cellar(7))
#            { cellar --help; echo "== tour"; cellar tour --help; ..; } |
#                awk -f src/tools/apidoc.awk -f src/tools/mdoc.awk -v mode=program -v date=..
#                                          writes cellar(1)
# FORMAT     the comment directly before a CELLAR_API declaration (no empty line between) is its
#            contract, also before a `static inline` function if it has a `thread:` line;
#            declarations that follow each other without a gap are one family, share it, and become
#            one page with a link for each name:
#                /* What it does, in a sentence. More sentences, `names` in backquotes.
#                 * in:      what the arguments may be        (one line each, in this order;
#                 * out:     what is written                   more lines are indented;
#                 * returns: codes                             a line that says nothing is left out)
#                 * owns:    what the caller frees, and how
#                 * thread:  threads that may call it
#                 * cost:    what it costs
#                 * example: code on this line,
#                 *     or on the following lines, indented
#                 * since:   version, when it is not the one in src/tools/symbols.txt       */
#            A header of a guest begins with `guest: TEXT`: the status of its contracts.
#            The first comment of a header becomes its page in section 7: a line of capitals, or
#            capitals and two blanks before text, opens a section. So does each later comment that
#            begins with a line of capitals, or with capitals and a dot: an essay.
#            A struct, enum, type of function or a run of `#define CELLAR_..` lines is a place with
#            the comment directly before it. A line `/* ---- Topic */` in a struct begins a group of
#            fields; a later line with the same topic goes on with that group.
#            "as cellar_x" alone in a field stands for that field of the contract of cellar_x.
# RULES      every function with a contract has: a first sentence, thread, cost, example; returns
#            unless void; owns when an argument is a `**`. Every CELLAR_API function has a contract
#            and a line in src/tools/symbols.txt, an inline function has a `since:` line instead.
#            Every type and run of constants has a sentence; a type of function has `thread`, too.
#            "see CAPITALS" names an essay, of this header or of another one.
# LIMITS     two declaration forms: CELLAR_API type name(arguments); and static inline type
#            name(arguments) with its braces on lines of their own; over any number of lines.

# Report a fault, `at` FILE:LINE or at this line.
function complain(message, at) {
    printf "%s: %s\n", at != "" ? at : FILENAME ":" FNR, message | "cat 1>&2"
    errors++
}

function trim(text) { sub(/^[ \t]+/, "", text); sub(/[ \t]+$/, "", text); return text }

BEGIN {
    keys = " in out returns owns thread cost example since "
    while (symbols != "" && (getline line < symbols) > 0) {
        split(line, word, " ")
        if (line !~ /^#/ && word[1] != "") since_of[word[1]] = word[2]
    }
}

mode == "program" {
    if (NR == 1) program_page()
    program_line($0)
    next
}
FNR == 1 {
    in_comment = in_decl = in_body = in_unit = ready = essay_done = 0
    header = FILENAME
    sub(/^.*\//, "", header)
    header_name[++headers_seen] = header
}

in_comment {
    take_comment($0)
    next
}
in_decl {
    if ($0 == "{") in_body = 1
    else decl = decl " " trim($0)
    if (in_body || !is_inline && $0 ~ /;/) end_declaration()
    next
}
in_body {
    if ($0 == "}") in_body = 0
    next
}
/^\/\*/ {
    ready = 0
    family = 0
    comment_count = 0
    in_comment = 1
    take_comment(substr($0, 3))
    next
}
/^static inline / && (family ? is_inline : ready && is_contract()) {
    decl = trim($0)
    in_decl = is_inline = 1
    next
}
/^static inline / && match($0, / \*?cellar_[a-z0-9_]*[a-z0-9]\(/) && $0 !~ /_default\(void\)/ {
    take_inline(substr($0, RSTART + 1, RLENGTH - 2))
    ready = family = joins = 0
    next
}
in_signature {
    take_signature($0)
    next
}
/^CELLAR_API / {
    decl = trim($0)
    in_decl = 1
    is_inline = 0
    if ($0 ~ /;/) end_declaration()
    next
}
in_unit || is_unit($0) {
    take_unit($0)
    ready = 0
    family = 0
    next
}
joins && /^ +\/\*.*\*\/$/ {
    unit_text[units] = unit_text[units] $0 "\n"
    next
}
{ ready = 0; family = 0; joins = 0 }

# A type or constants that programs use. What only builds the headers is none.
function is_unit(line) {
    return line ~ /^typedef / && line !~ /^typedef char / ||
           line ~ /^#define CELLAR_[A-Z0-9_]+[ (]/ &&
           line !~ /^#define CELLAR_(API|ZERO|SIZEOF_FIELD|PACKED|STRUCT)[ (]/
}

# An inline function that only builds a value: its signature is a place.
function take_inline(name) {
    sub(/^\*/, "", name)
    new_unit(name)
    if (!ready) unit_about[units] = unit_about[units - 1]
    name_unit(name)
    take_signature($0)
}

function take_signature(line) {
    in_signature = line !~ /[{})]$/
    in_body = !in_signature && line !~ /}$/
    sub(/ *\{.*$/, "", line)
    unit_text[units] = unit_text[units] line (in_signature ? "\n" : ";\n")
}

function new_unit(name) {
    place[++units] = name
    item_of[units] = header
    unit_at[units] = FILENAME ":" FNR
    item[++items] = "unit " units
    item_header[items] = header
    unit_about[units] = ""
    if (ready && !is_essay()) take_about()
}

function take_unit(line,    plain) {
    if (!in_unit && !(joins && line ~ /^#define/)) {
        new_unit("")
    }
    unit_text[units] = unit_text[units] line "\n"
    plain = line
    gsub(/\/\*[^*]*(\*\/|$)/, "", plain)
    sub(/[ ]+$/, "", plain)
    if (match(plain, /^#define CELLAR_[A-Z0-9_]+|^ +CELLAR_[A-Z0-9_]+( =|,|$)/)) {
        plain = substr(plain, RSTART, RLENGTH)
        gsub(/#define|[ =,]/, "", plain)
        name_unit(plain)
        joins = unit_text[units] ~ /^#define/
        in_unit = joins ? line ~ /\\$/ : 1
        return
    }
    if (!in_unit) unit_body = plain ~ /\{/
    in_unit = 1
    if (unit_text[units] ~ /^#define/) in_unit = line ~ /\\$/
    else if (unit_body ? plain ~ /^}/ : plain ~ /;$/) {
        in_unit = joins = 0
        if (!match(plain, /\(\*cellar_[a-z0-9_]+\)/) && unit_text[units] ~ /\(\*cellar_/) {
            plain = unit_text[units]
            match(plain, /\(\*cellar_[a-z0-9_]+\)/)
        }
        if (RSTART) plain = substr(plain, RSTART + 2, RLENGTH - 3)
        else { sub(/;.*$/, "", plain); sub(/^.*[ *}]/, "", plain) }
        place[units] = plain == "cellar" ? "type-cellar" : plain
        name_unit(plain)
    }
}

function name_unit(name) {
    if (place[units] == "") place[units] = name
    if (!(name in unit_of)) unit_of[name] = units
}

# The comment before a unit, and its fields if it has some.
function take_about() {
    unit_about[units] = comment_text(1)
    if (is_contract()) read_contract("unit " units)
}

# The comment without the star of each line, from line `from` on.
function comment_text(from,    i, text) {
    for (i = from; i <= comment_count; i++) text = text comment[i] "\n"
    gsub(/^[ \n]+|[ \n]+$/, "", text)
    gsub(/\n /, "\n", text)
    return text
}

# The title that a line of the first comment begins with, or "".
function heading(text) {
    if (match(text, /^ [A-Z][A-Z]+[A-Z ,]*($|  )/)) return trim(substr(text, 1, RLENGTH))
    return match(text, /^ [A-Z][A-Z]+ [A-Z][a-z]* [a-z]/) ? substr(text, 2, index(substr(text, 2), " ") - 1) : ""
}

function is_essay() { return comment[1] ~ /^ [A-Z][A-Z]+[A-Z ,-]*($|\. )/ }

# The parts of an essay: each line of capitals begins one.
function take_essay(    i, text, title) {
    for (i = 1; i <= comment_count; i++) {
        text = substr(comment[i], 2)
        if (text ~ /^[A-Z][A-Z]+[A-Z ,-]*($|\. )/) {
            title = text
            sub(/\. .*$/, "", title)
            item[++items] = "part " ++parts
            item_header[items] = part_header[parts] = header
            part_title[parts] = title
            add_title(title, "part " parts)
            sub(/^[A-Z][A-Z ,-]*(\. |$)/, "", text)
            if (text == "") continue
        } else if (match(text, /^[A-Z][A-Z ,-]*  /)) {
            add_title(trim(substr(text, 1, RLENGTH)), "part " parts)
        }
        part_text[parts] = part_text[parts] text "\n"
    }
}

function add_title(title, at) {
    if (!((header, title) in title_at)) title_at[header, title] = at
    titles[title]++
    title_header[title] = header
}

function take_comment(text,    ends) {
    ends = index(text, "*/")
    if (ends) { text = substr(text, 1, ends - 1); in_comment = 0 }
    sub(/^ \*/, "", text)
    sub(/[ ]+$/, "", text)
    comment[++comment_count] = text
    if (ends) {
        ready = 1
        if (!essay_done) keep_essay()
        else if (is_essay()) take_essay()
    }
}

# Keep the first comment of a header.
function keep_essay(    i, title) {
    essay_done = 1
    for (i = 1; i <= comment_count; i++) {
        essay_of[header] = essay_of[header] comment[i] "\n"
        title = heading(comment[i])
        if (title != "") add_title(title, "head")
        else if (comment[i] ~ /^ [A-Z][A-Z][A-Z]+ [^ ]/ && (comment[i - 1] ~ /^     / || comment[i + 1] ~ /^     /)) complain("two blanks behind a title:" comment[i])
        if (comment[i] ~ /^ guest: /) status_of[header] = substr(comment[i], 2)
    }
}

function is_contract(    i) {
    for (i = 1; i <= comment_count; i++) if (comment[i] ~ /^ thread:/) return 1
    return 0
}

# Turns the comment into the fields of contract number `n`.
function read_contract(n,    i, text, key, indent) {
    for (i = split("summary" keys, word, " "); i > 0; i--) field[n, word[i]] = ""
    key = "summary"
    for (i = 1; i <= comment_count; i++) {
        text = comment[i]
        if (match(text, /^ [a-z]+:/) && index(keys, " " substr(text, 2, RLENGTH - 2) " ")) {
            key = substr(text, 2, RLENGTH - 2)
            text = substr(text, RLENGTH + 1)
            if (field[n, key] != "") complain("`" key ":` stands twice")
            if (key != "example") { field[n, key] = trim(text); continue }
            field[n, key] = trim(text)
            indent = -1
            continue
        }
        if (key == "example") {
            if (indent < 0) { match(text, /^ */); indent = RLENGTH }
            text = substr(text, 1, indent) ~ /^ *$/ ? substr(text, indent + 1) : trim(text)
            field[n, key] = field[n, key] (field[n, key] != "" ? "\n" : "") text
        } else {
            text = key == "summary" ? substr(text, 2) : trim(text)
            field[n, key] = field[n, key] (field[n, key] != "" ? "\n" : "") text
        }
    }
    sub(/^[ \n]+/, "", field[n, "summary"])
    sub(/[ \n]+$/, "", field[n, "example"])
}

function end_declaration(    n, name, before, args) {
    in_decl = 0
    sub(/^(CELLAR_API|static inline) +/, "", decl)
    sub(/;.*$/, "", decl)
    gsub(/[ ]+/, " ", decl)
    if (!match(decl, /cellar_[a-z0-9_]+ ?\(/)) { complain("not understood: " decl); return }
    name = substr(decl, RSTART, RLENGTH - 1)
    before = trim(substr(decl, 1, RSTART - 1))
    args = substr(decl, RSTART + RLENGTH)
    sub(/\)[^)]*$/, "", args)
    name = trim(name)
    if (!family) {
        family = ++contracts
        if (ready) read_contract(family)
        else complain(name ": no contract directly before it")
        header_of[family] = FILENAME
        sub(/^.*\//, "", header_of[family])
    }
    n = ++functions
    item[++items] = "call " n
    item_header[items] = header
    inlines += is_inline
    fn_name[n] = name
    fn_type[n] = before
    fn_args[n] = args
    fn_family[n] = family
    family_of[name] = family
    if (first_of[family] == "") first_of[family] = n
    check_function(n, family)
    ready = 0
}

function check_function(n, f) {
    if (field[f, "summary"] == "") complain(fn_name[n] ": no first sentence")
    if (field[f, "thread"] == "") complain(fn_name[n] ": no `thread:` line")
    if (field[f, "cost"] == "") complain(fn_name[n] ": no `cost:` line")
    if (field[f, "example"] == "") complain(fn_name[n] ": no `example:` line")
    if (fn_type[n] != "void" && field[f, "returns"] == "") {
        complain(fn_name[n] ": no `returns:` line")
    }
    if (index(fn_args[n], "**") && field[f, "owns"] == "") complain(fn_name[n] ": no `owns:` line")
    if (is_inline && field[f, "since"] == "") complain(fn_name[n] ": no `since:` line")
    if (symbols != "" && is_inline == (fn_name[n] in since_of)) {
        complain(fn_name[n] ": " (is_inline ? "" : "not ") "in " symbols)
    }
}

# ---- places ----

function slug(text) { text = tolower(text); gsub(/[ ,]+/, "-", text); return text }

# The place of a title for a reader of `header`, or "": of its own essays first.
function title_place(title, header,    at) {
    if (!((header, title) in title_at)) header = title_header[title]
    if (header == "") return ""
    at = title_at[header, title]
    return at == "head" ? header : header "-" slug(part_title[substr(at, 6)])
}

# The place of a name in a contract, or "".
function name_place(name) {
    if (name in family_of || name in row_at || name in essay_of) return name
    if (sub(/_default$/, "", name) && (name ".struct_size") in row_at) return name "_default"
    return name in unit_of ? place[unit_of[name]] : ""
}

# The sentence that a comment begins with.
function first_sentence(text) {
    gsub(/\n */, " ", text)
    if (match(text, /[.:;?]( |$)/)) text = substr(text, 1, RSTART - 1)
    return text
}

# What a list says of a call: the sentence, or, when that is long, its first clause.
function one_line(f,    text) {
    text = field[f, "summary"]
    gsub(/\n */, " ", text)
    if (match(text, /\.( |$)/) && RSTART <= 110 && text !~ /^[^.]*:/) return substr(text, 1, RSTART - 1)
    return first_sentence(text)
}

# Split a text at each `mark` outside of brackets; with `codes` only before a code.
function split_at(text, mark, list, codes,    i, c, depth, n, piece) {
    n = depth = 0
    piece = ""
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (c == "(") depth++
        if (c == ")") depth--
        if (c == mark && depth == 0 && (mark == "," || substr(text, i + 1, 1) == " ") &&
            (!codes || code_at(trim(substr(text, i + 1))) != "")) {
            list[++n] = trim(piece)
            piece = ""
        } else piece = piece c
    }
    if (trim(piece) != "") list[++n] = trim(piece)
    return n
}

# The name of the last argument, field or function that a declaration declares.
function declared(text) {
    if (match(text, /\(\*[a-z0-9_]+\)/)) return substr(text, RSTART + 2, RLENGTH - 3)
    sub(/[[;].*$/, "", text)
    sub(/^.*[ *]/, "", text)
    return text
}

function unit_title(k) { return place[k] == "type-cellar" ? "cellar" : place[k] }

# The version since which the calls of family `f` exist; "" before the first release, 0.3.0.
function since(f,    text, part) {
    text = field[f, "since"] != "" ? field[f, "since"] : since_of[fn_name[first_of[f]]]
    split(text, part, ".")
    return part[1] * 1000 + part[2] < 3 ? "" : text
}

# ---- rows: fields, constants, codes ----

# Read the rows of unit `k`; return their number. 0: the unit is shown word for word. A row has the
# name of its place ("": none), a declaration and a note; one of a list has a number, too.
function unit_rows(k,    text, i, n, line, list, at, note, open, ended) {
    text = unit_text[k]
    rows = 0
    topic = ""
    if (match(text, /CELLAR_[A-Z_]+\(CELLAR_[A-Z_]+_ENUM\)/)) {
        at = substr(text, RSTART, index(substr(text, RSTART), "(") - 1)
        match(text, /CELLAR_[A-Z_]*##name/)
        list_rows(unit_text[unit_of[at]], substr(text, RSTART, RLENGTH - 6))
        n = split(text, list, "\n")
        for (i = 1; i <= n; i++) {
            if (!match(list[i], /^    CELLAR_[A-Z_]+( = [0-9]+)?/) || list[i] ~ /\(/) continue
            new_row()
            row_decl[rows] = trim(substr(list[i], 1, RLENGTH))
            row_name[rows] = row_decl[rows]
            sub(/ .*/, "", row_name[rows])
            if (match(list[i], /\/\*.*\*\//)) row_note[rows] = trim(substr(list[i], RSTART + 2, RLENGTH - 4))
        }
        for (i = rows; i > 0; i--) row_note[i] = code_meaning(row_name[i], row_note[i])
        return rows
    }
    if (text ~ /^#define [A-Z_]+\(X\)/) return list_rows(text, "")
    if (text ~ /^#define/ ? text ~ /\\\n|#define [A-Z0-9_]+\(/ : text !~ /\{/) return 0
    n = split(text, list, "\n")
    for (i = 1; i <= n; i++) {
        line = list[i]
        if (line ~ /^ +} [a-z]+;$/) { # the end of a union: its members are `as.i64` and so on
            gsub(/[ };]/, "", line)
            for (at = rows; at && row_decl[at] !~ /union/; at--) sub(/[a-z0-9_]+;/, line ".&", row_decl[at])
            continue
        }
        if (line ~ /^(typedef.*\{| *}.*;)$/ || line == "") continue
        if (line ~ /^ +\/\* ---- .*\*\/$/) {
            gsub(/^ +\/\* ---- | *\*\/$/, "", line)
            topic = line
            ended = 1
            continue
        }
        at = open ? 1 : index(line, "/*")
        note = at ? substr(line, at) : ""
        if (at) line = substr(line, 1, at - 1)
        open = (open || at) && note !~ /\*\//
        sub(/ *\*\/ *$/, "", note)
        sub(/^ *(\/?\*)? */, "", note)
        if (line ~ /[^ ]/) {
            if (ended || rows == 0) new_row()
            row_decl[rows] = row_decl[rows] " " trim(line)
            ended = line ~ /^#define|[;{,] *$/ && (line !~ /, *$/ || text ~ /^typedef enum/)
        } else if (at == 5 && list[i] ~ /^    \/\*/) {
            new_row()
            ended = 0
        }
        row_note[rows] = trim(row_note[rows] " " note)
    }
    for (i = 1; i <= rows; i++) {
        row_decl[i] = trim(row_decl[i])
        row_name[i] = row_place(k, row_decl[i])
        sub(/^#define /, "", row_decl[i])
        gsub(/  +/, " ", row_decl[i])
    }
    if (topic != "") group_rows()
    return rows
}

function new_row() { rows++; row_decl[rows] = row_note[rows] = row_number[rows] = ""; row_topic[rows] = topic }

# Bring the rows of one topic together, at the place of its first row.
function group_rows(    i, k, n) {
    for (i = 2; i <= rows; i++) {
        for (k = i - 1; k > 0 && row_topic[k] != row_topic[i]; k--) { }
        for (n = i; k && n > k + 1; n--) { swap(row_name, n); swap(row_decl, n); swap(row_note, n); swap(row_topic, n) }
    }
}

# The name of a declaration as a place: CELLAR_NAME, or STRUCT.FIELD.
function row_place(k, text) {
    if (match(text, /^(#define )?CELLAR_[A-Z0-9_]+/)) {
        text = substr(text, RSTART, RLENGTH)
        sub(/#define /, "", text)
        return text
    }
    if (text !~ /;$/ || text ~ /^}/) return ""
    return place[k] "." declared(text)
}

# The rows of X(NAME, NUMBER, .. "TEXT"), with `prefix` before the names.
function list_rows(text, prefix,    i, n, list, line, at) {
    n = split(text, list, "\n")
    for (i = 1; i <= n; i++) {
        if (!match(list[i], /X\(.*\)/) || list[i] ~ /^#/) continue
        line = substr(list[i], RSTART + 2, RLENGTH - 3)
        new_row()
        at = index(line, ",")
        row_name[rows] = prefix == "" ? "" : prefix substr(line, 1, at - 1)
        row_decl[rows] = prefix substr(line, 1, at - 1)
        line = trim(substr(line, at + 1))
        if (match(line, /^-?[0-9]+, */)) {
            row_number[rows] = line + 0
            row_decl[rows] = row_decl[rows] " = " row_number[rows]
            line = substr(line, RLENGTH + 1)
        }
        gsub(/", "/, ": ", line)
        gsub(/"/, "", line)
        row_note[rows] = line
    }
    return rows
}

function keep_field(name, at) { if (name in field_at) field_at[name] = ""; else field_at[name] = at }

# Keep the places of all rows, so that texts before them can name them.
function keep_rows(    k, i, n, name, at) {
    for (k = 1; k <= units; k++) {
        n = unit_rows(k)
        for (i = 1; i <= n; i++) {
            if (row_name[i] == "") continue
            if (!(row_name[i] in unit_of)) unit_of[row_name[i]] = k
            if (unit_of[row_name[i]] == k && row_name[i] != place[k]) row_at[row_name[i]] = 1
            if (row_name[i] ~ /^CELLAR/) continue
            name = substr(row_name[i], index(row_name[i], ".") + 1)
            keep_field(name, row_name[i])
            keep_field(item_of[k] " " name, row_name[i])
        }
    }
    for (name in unit_of) {
        if (name !~ /^CELLAR_/) continue
        at = name
        while (sub(/^[A-Z0-9]+_/, "", at) && at ~ /_/) {
            if (at in only_end) only_end[at] = ""
            else only_end[at] = name
        }
    }
}

# "see LEAVE A WAIT, or .." -> the longest title behind `see`; `said` gets its words. "": none
function seen_title(text, header,    words) {
    if (!match(text, /[Ss]ee [A-Z][A-Z]+([ -][A-Z]+)*/)) return ""
    said = substr(text, RSTART, RLENGTH)
    for (words = substr(said, 5); words != ""; sub(/[ -]?[A-Z]+$/, "", words)) {
        if (title_place(words, header) != "") {
            said = substr(said, 1, 4) words
            return words
        }
    }
    return ""
}

# Complain of each "see TITLE" that no header has.
function check_text(text, header, where,    at) {
    gsub(/\n */, " ", text)
    while (match(text, /[Ss]ee [A-Z][A-Z]+([ -][A-Z]+)*/)) {
        at = RSTART + RLENGTH
        if (substr(text, at, 1) !~ /[_.]/ && seen_title(text, header) == "") {
            complain(header ": " where ": no title \"" said "\"")
        }
        text = substr(text, at)
    }
}

# Whether a comment says what unit `k` is: before it, or behind a single declaration. Another place
# has the comment of a type that this one only names again.
function is_told(k) {
    return sentences(k) != "" || unit_of[place[k]] != k ||
           unit_text[k] !~ /\{|\n#/ && unit_text[k] ~ /\/\*/ && unit_text[k] !~ /\\\n/
}

function check_places(    i, k, key) {
    split(keys, key, " ")
    for (i = 1; i <= functions; i++) {
        for (k in key) check_text(field[fn_family[i], key[k]], header_of[fn_family[i]], fn_name[i])
        check_text(field[fn_family[i], "summary"], header_of[fn_family[i]], fn_name[i])
    }
    for (i = 1; i <= parts; i++) check_text(part_text[i], part_header[i], part_title[i])
    for (i = 1; i <= items; i++) {
        if (item[i] !~ /^unit/) continue
        k = substr(item[i], 6)
        if (place[k] == "") complain("not understood: " unit_text[k], unit_at[k])
        else if (!is_told(k)) complain(place[k] ": no sentence before it", unit_at[k])
        if (unit_text[k] ~ /^typedef[^{]*\(\*cellar_/ && !(("unit " k, "thread") in field)) {
            complain(place[k] ": no `thread:` line", unit_at[k])
        }
        check_text(unit_about[k] "\n" unit_text[k], item_header[i], place[k])
    }
}

# ---- HTML: sections for site.awk ----

function escaped(text) {
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    gsub(/>/, "\\&gt;", text)
    return text
}

function html(text,    out, name, to, words, at) {
    text = escaped(text)
    while (match(text, /`[^`]*`/)) {
        text = substr(text, 1, RSTART - 1) "<code>" substr(text, RSTART + 1, RLENGTH - 2) \
               "</code>" substr(text, RSTART + RLENGTH)
    }
    while (match(text, /[A-Za-z0-9_]*[A-Z_][A-Za-z0-9_]*|cellar\.h/)) {
        name = substr(text, RSTART, RLENGTH)
        out = out substr(text, 1, RSTART - 1)
        text = substr(text, RSTART + RLENGTH)
        if (match(text, name ~ /^[A-Z][A-Z0-9]+$/ ? "^([ -][A-Z]+)+" : name ~ /^cellar_/ ? "^[.][a-z0-9_]+" : "^$")) {
            name = name substr(text, 1, RLENGTH)
            text = substr(text, RLENGTH + 1)
        }
        words = name
        to = name_place(name)
        if (to == "" && match(name, /\./)) {
            text = substr(name, RSTART) text
            name = words = substr(name, 1, RSTART - 1)
            to = name_place(name)
        }
        if (to == "" && name ~ /_/) to = name ~ /^[a-z]/ ? field_place(name) : flag_place(name)
        if (to == "" && name ~ /^[A-Z][A-Z0-9 -]+$/) {
            for (; words != ""; sub(/[ -]?[A-Z0-9]+$/, "", words)) {
                to = code_place(words)
                if (to != "") break
                to = essay_place(words, substr(name, length(words) + 1) text, out)
                if (to != "") break
            }
            if (to == "") words = name
            if (to == "" && html_codes) to = name_place("CELLAR_" name)
            text = substr(name, length(words) + 1) text
            name = words
        }
        out = out (to != "" && to != html_here ? "<a href=\"#" to "\">" name "</a>" : name)
    }
    text = out text
    gsub(/cellar \*/, "<a href=\"#type-cellar\">cellar</a> *", text)
    return text
}

# The place of a constant that a text names without CELLAR or, in cellar_load.h or in a call with
# cellar_load_opts, without CELLAR_LOAD, or by the end of its name that no other one has.
function flag_place(name,    to, args) {
    sub(/^(CELLAR)?_/, "", name)
    to = name_place("CELLAR_" name)
    if (to == "") to = name_place(toupper(substr(html_header, 1, length(html_header) - 2)) "_" name)
    for (args = html_args; to == "" && match(args, /cellar_[a-z0-9]+/); args = substr(args, RSTART + RLENGTH)) {
        to = name_place(toupper(substr(args, RSTART, RLENGTH)) "_" name)
    }
    return to == "" && (name in only_end) ? only_end[name] : to
}

# The place of a field that a text names: of the struct around it, else of the only struct of its
# header or of all headers with such a field. An argument of the call is none.
function field_place(name,    at) {
    at = html_here
    sub(/\..*$/, "", at)
    if ((at "." name) in row_at) return at "." name
    if (!html_fields || index(html_args, name)) return ""
    at = html_header " " name
    return at in field_at ? field_at[at] : name in field_at ? field_at[name] : ""
}

# The place of a code that a text names without CELLAR, or "".
function code_place(name) {
    name = "CELLAR_" name
    return name in unit_of && unit_of[name] == unit_of["cellar_err"] ? name : ""
}

# The place of an essay that a text names in capitals: one of its own header, one "in cellar_x.h",
# or one behind "see".
function essay_place(title, rest, before,    header) {
    if ((html_header, title) in title_at) return title_place(title, html_header)
    if (match(rest, /^ (in|of) cellar[a-z_0-9]*\.h/)) {
        header = substr(rest, 5, RLENGTH - 4)
        return (header, title) in title_at ? title_place(title, header) : ""
    }
    if (match(before, /cellar[a-z_0-9]*\.h(<\/a>|<\/code>)*, $/)) { # "cellar_l2.h, CLOSE"
        header = substr(before, RSTART)
        sub(/\.h.*/, ".h", header)
        if ((header, title) in title_at) return title_place(title, header)
    }
    return before ~ /[Ss]ee $/ ? title_place(title, html_header) : ""
}

function html_note(text) {
    html_fields = 1
    text = html(whole_names(text))
    html_fields = 0
    return text
}

# A field of a contract.
function html_row(title, text) {
    if (text != "") print "<dt>" title "</dt><dd>" html_note(text) "</dd>" > page
}

# The entries as a field of a contract: a list, or a list behind each paragraph.
function html_entries(title,    i, on) {
    if (!entries) return
    print "<dt>" title "</dt><dd>" > page
    for (i = 1; i <= entries; i++) {
        if (on != (entry_name[i] != "")) print on ? "</dl>" : "<dl>" > page
        on = entry_name[i] != ""
        if (on) print "<dt>" html_note(entry_name[i]) "</dt><dd>" html_note(sentence(entry_text[i])) "</dd>" > page
        else print "<p>" html_note(entry_text[i]) "</p>" > page
    }
    print (on ? "</dl>" : "") "</dd>" > page
}

# ---- running text, for HTML and for mdoc.awk ----

# Print marks of HTML, a text and, behind other marks, a second text, in the form that is written.
function put(marks, text, behind, more) {
    if (mode == "html") print marks html(text) behind html(more) > page
    else {
        mdoc_marks(marks)
        if (text != "" || marks == "") mdoc_text(text)
        if (more != "") mdoc_text(more)
    }
}

function indent(line) { match(line, /^ */); return RLENGTH }

# The smallest indent of lines 1 to n.
function indent_of(list, n,    i, least) {
    least = 999
    for (i = 1; i <= n; i++) {
        if (list[i] != "" && indent(list[i]) < least) least = indent(list[i])
    }
    return least == 999 ? 0 : least
}

# Whether the lines of block[] are sentences, long ones with a comparison, not code or a picture.
function block_is_text(    i, text, signs, narrow) {
    for (i = 1; i <= blocks; i++) {
        text = text " " trim(block[i])
        if (trim(block[i]) ~ /[^.]  +|[{}|]|\(.*\);|^[#+]|--/) return 0
        if (block[i] ~ /[<>=]/) signs++
        if (i < blocks && length(block[i]) < 70) narrow++
    }
    if (signs && (narrow || blocks < 3)) return 0
    return text ~ /^ [A-Z`a-z].* [a-z]+ .* [a-z]+ .*[.:]$/
}

# Running text with lists. Lines with an indent are a list of words with their meaning, or a picture;
# "WORD  TEXT" with a hanging indent begins such a list, too.
function put_text(text,    i, n, list, column, kind, line, now) {
    n = split(text "\n\n", list, "\n")
    html_fields = 1
    for (i = 1; i <= n; i++) {
        line = list[i]
        if (kind != "ul" && match(line, /^[A-Za-z][A-Za-z_, -]*[A-Za-z]  +[^ ]/) &&
            (column == RLENGTH || line ~ /^[a-z]/ || substr(list[i + 1], 1, RLENGTH) ~ /^( +|[A-Z].*  )[^ ]$/)) column = RLENGTH
        else if (line == "" || line ~ /^[^ ]/ && substr(line, 1, column - 1) !~ /^[a-z_]+ $/) column = 0
        now = line == "" ? "" : line ~ /^- / ? "ul" : column && line ~ /^[^ ]/ ? "pre" : line ~ /^ / ? (kind == "ul" ? "ul" : "pre") : "p"
        if (line == "" && kind == "pre" && list[i + 1] ~ /^ /) now = "pre"
        if (now != kind) {
            if (kind == "pre") put_block()
            else if (kind != "") put(kind == "ul" ? "</li></ul>" : "</p>")
            if (now != "pre" && now != "") put("<" now ">")
        }
        if (now == "pre" && blocks && line != "" && indent(line) < indent(block[1])) put_block()
        if (now == "pre") block[++blocks] = line
        else if (line ~ /^- /) put((kind == "ul" ? "</li>" : "") "<li>", substr(line, 3))
        else if (now == "p" && match(line, /^[A-Z][A-Z ,-]*[A-Z]  /)) {
            put("<b>" trim(substr(line, 1, RLENGTH)) "</b>: ", trim(substr(line, RLENGTH)))
            if (kind == "p" || line !~ /:$/ && list[i + 1] ~ /^ /) complain("an empty line before a title, and no indent behind it: " line, "include")
        } else if (now != "") put("", trim(line))
        kind = now
    }
    html_fields = 0
}

# The column of the meaning in a line of a list of words: that of all, or behind a longer word. 0: none
function word_end(line, base, column) {
    if (substr(line, column - 1, 2) ~ /^ [^ ]$/) return column
    return substr(line, base, 1) != " " && match(line, /[^ ]  +[^ ]/) && (RSTART >= column || line ~ /^ *[A-Z][A-Z0-9_]+  [^ ]/) ? RSTART + RLENGTH - 1 : 0
}

# Whether block[] is a table: its first line heads three columns or more, in capitals the first, and
# each line has a blank before each of them. cell[ROW, COLUMN] gets the cells; a line with the last
# column alone goes on with the row before it.
function take_table(    i, k, base, line, text, at) {
    base = indent_of(block, blocks) + 1
    line = block[1]
    columns = rows = 0
    for (i = base; i <= length(line); i++) {
        if (substr(line, i, 1) != " " && (i == base || substr(line, i - 2, 2) == "  ")) at[++columns] = i
    }
    if (columns < 3 || line !~ /^ *[A-Z]+  /) return 0
    split("", cell)
    at[columns + 1] = 999
    for (i = 1; i <= blocks; i++) {
        line = block[i]
        for (k = 2; k <= columns; k++) if (substr(line, at[k] - 1, 1) ~ /[^ ]/) return 0
        if (line == "") continue
        if (rows && substr(line, 1, at[columns] - 1) ~ /^ *$/) {
            cell[rows, columns] = cell[rows, columns] " " trim(line)
            continue
        }
        rows++
        for (k = 1; k <= columns; k++) cell[rows, k] = trim(substr(line, at[k], at[k + 1] - at[k]))
    }
    return 1
}

function html_table(    i, k, tag) {
    print "<table>" > page
    for (i = 1; i <= rows; i++) {
        tag = i == 1 ? "th" : "td"
        printf "<tr>" > page
        for (k = 1; k <= columns; k++) printf "<%s>%s</%s>", tag, html(cell[i, k]), tag > page
        print "</tr>" > page
    }
    print "</table>" > page
}

# Print the lines of block[]: a table, "WORD  MEANING" with one column for all meanings, or as they are.
function put_block(    i, at, base, column, words, word) {
    if (take_table()) {
        if (mode == "html") html_table()
        else mdoc_table()
        blocks = 0
        return
    }
    if (block_is_text()) {
        put("<p>")
        for (i = 1; i <= blocks; i++) put(block[i] == "" ? "</p><p>" : "", trim(block[i]))
        put("</p>")
        blocks = 0
        return
    }
    base = indent_of(block, blocks) + 1
    for (i = 1; i <= blocks; i++) {
        match(block[i], /^ */)
        if (block[i] != "" && RLENGTH >= base && (!column || RLENGTH < column)) column = RLENGTH + 1
    }
    if (!column && match(block[1], /[^ ]  +/)) column = RSTART + RLENGTH
    words = column > 0
    for (i = 1; i <= blocks && words; i++) {
        words = block[i] == "" || word_end(block[i], base, column) && substr(block[i], base) !~ /^[^ ]*[;(#=]|^[a-z]+ *= /
    }
    for (i = widest = 0; i++ < blocks && words; ) {
        if (word_end(block[i], base, column) > widest + 2) widest = word_end(block[i], base, column) - 2
    }
    put(words ? "<dl>" : "<pre>")
    for (i = 1; i <= blocks; i++) {
        if (!words) put("", substr(block[i], base))
        else if (block[i] != "") {
            at = word_end(block[i], base, column)
            word = trim(substr(block[i], 1, at - 1))
            put(word == "" ? "" : (i > 1 ? "</dd>" : "") "<dt>", word, word == "" ? "" : "</dt><dd>", trim(substr(block[i], at)))
        }
    }
    put(words ? "</dd></dl>" : "</pre>")
    blocks = 0
}

# A table of the calls of a header with what they do.
function list_calls(header,    i, on) {
    for (i = 1; i <= functions && mode == "html"; i++) {
        if (header_of[fn_family[i]] != header) continue
        if (!on++) print "<table class=\"rows\"><tr><th>Call</th><th>What it does</th></tr>" > page
        print "<tr><td><code>" html(fn_name[i]) "</code></td><td>" html(one_line(fn_family[i])) "</td></tr>" > page
    }
    if (on) print "</table>" > page
}

# Take a name for the table of all; names with one `text` in a line share a row.
function take_call(name, text, header,    k) {
    for (k = ++calls; k > 1 && tolower(call_name[k - 1]) > tolower(name); k--) {
        call_name[k] = call_name[k - 1]
        call_text[k] = call_text[k - 1]
        call_header[k] = call_header[k - 1]
    }
    call_name[k] = name
    call_text[k] = text
    call_header[k] = header
}

# The table of all calls, inline functions and macros that stand for calls, by name.
function list_all(    i, k, line, name, names, text, letter, last) {
    for (i = 1; i <= functions; i++) take_call(fn_name[i], one_line(fn_family[i]), header_of[fn_family[i]])
    for (k = 1; k <= units; k++) {
        if ((place[k] ".struct_size") in row_at) take_call(place[k] "_default", "The default `" place[k] "`", item_of[k])
        if (unit_text[k] ~ /^static inline/) take_call(place[k], first_sentence(sentences(k)), item_of[k])
        for (i = split(unit_text[k], line, "\n"); i > 0; i--) {
            if (!match(line[i], /^#define CELLAR_[A-Z]+\([a-z]/) || sentences(k) == "") continue
            name = substr(line[i], 9, RLENGTH - 10)
            text = sentences(k)
            if (name != place[k] && match(text, name)) text = substr(text, RSTART)
            if (unit_of[name] == k) take_call(name, first_sentence(text), item_of[k])
        }
    }
    for (i = 1; i <= calls; i++) {
        letter = toupper(substr(call_name[i], 8, 1))
        if (letter != last) printf "%s<a href=\"#calls-%s\">%s</a>\n", last == "" ? "<p>" : "", letter, letter > page
        last = letter
    }
    print "</p>\n<table class=\"rows\"><tr><th>Call</th><th>What it does</th></tr>" > page
    for (i = 1; i <= calls; i++) {
        letter = toupper(substr(call_name[i], 8, 1))
        names = names (names == "" ? "" : "<br>") (letter == last ? "" : "<span id=\"calls-" letter "\"></span>") "<code>" html(call_name[i]) "</code>"
        last = letter
        if (call_text[i] == call_text[i + 1]) continue
        print "<tr><td>" names "</td><td>" html(call_text[i]) (call_header[i] in status_of ? " <small>(guest)</small>" : "") "</td></tr>" > page
        names = ""
    }
    print "</table>" > page
}

function put_essay(header,    i, n, list, text, title, inside, listed) {
    listed = 0
    n = split(essay_of[header], list, "\n")
    put("<section id=\"" header "\"><h2>" header "</h2>")
    for (i = 1; i <= n; i++) {
        if (list[i] ~ /SPDX-License/) continue
        if (mode == "man" && sub("^ " substr(header, 1, length(header) - 2) ": ", " ", list[i])) list[i] = " " toupper(substr(list[i], 2, 1)) substr(list[i], 3)
        if (mode == "man") sub(/^ guest: /, " Status: ", list[i])
        title = heading(list[i])
        if (title != "") {
            put_text(text)
            if (!listed++) list_calls(header)
            put("<h3>" title "</h3>")
            text = trim(substr(list[i], length(title) + 2))
            inside = text != ""
            if (inside) text = text "\n"
        } else text = text (inside ? trim(list[i]) : substr(list[i], 2)) "\n"
    }
    put_text(text)
    if (!listed) list_calls(header)
    begin_seen(header)
    if (mode == "html") html_related("", header_names(header))
    put("</section>")
}

function put_part(k) {
    put("<section id=\"" html_header "-" slug(part_title[k]) "\"><h3>" part_title[k] "</h3>")
    put_text(part_text[k])
    put("</section>")
}

# The meaning of a field without a comment, where its name, its neighbours or the comment of its
# struct give it; else "". A comment that ends in ", by NOUN" holds for the fields after it, too.
function field_note(k, i,    at, name, base, type) {
    at = place[k] "."
    name = base = substr(row_name[i], length(at) + 1)
    if (name == "struct_size") return "set by " place[k] "_default()"
    if (name == "opaque" || name ~ /^reserved[0-9]*$/) return "used by the library alone"
    if (i > 1 && row_note[i - 1] ~ /, by [a-z]+$/) return row_note[i - 1]
    if (match(unit_about[k], /as in cellar_[a-z_]+/)) {
        type = substr(unit_about[k], RSTART + 6, RLENGTH - 6)
        if ((type "." name) in row_at) return "as `" type "." name "`"
    }
    if (name == "len" && i > 1) return "bytes of `" substr(row_name[i - 1], length(at) + 1) "`"
    if (sub(/_(len|cap)$/, "", base) && (at base) in row_at) return "bytes of `" base "`"
    if (sub(/_count$/, "s", base) && (at base) in row_at) return "number of `" base "`"
    if (sub(/_?ctx$/, "", base)) {
        if ((at base) in row_at) return "given to `" base "`"
        base = base (base == "" ? "" : "_") "fn"
        return (at base) in row_at ? "given to `" base "`" : ""
    }
    if ((at name "_len") in row_at) return "`" name "_len` bytes"
    if ((at name "_cap") in row_at) return "room for `" name "_cap` bytes"
    type = row_decl[i]
    sub(/ .*$/, "", type)
    return (type in unit_of) && unit_text[unit_of[type]] ~ /^typedef enum/ ? "a `" type "`" : ""
}

# Places for the other names of a run of macros, which is shown word for word.
function name_anchors(k,    i, m, list, word) {
    m = split(unit_text[k], list, "\n")
    for (i = 1; i <= m; i++) {
        split(list[i], word, /[ (]/)
        if (word[1] == "#define" && word[2] != place[k] && unit_of[word[2]] == k) print "<span id=\"" word[2] "\"></span>" > page
    }
}

# What a comment says of a type or constants.
function sentences(k) {
    if (("unit " k, "thread") in field) return field["unit " k, "summary"]
    return unit_about[k] ~ /^----/ ? "" : unit_about[k]
}

# The arguments and the result of a type of function.
function fn_unit_args(k,    text) {
    text = unit_text[k]
    gsub(/\n */, " ", text)
    sub(/^[^(]*\([^)]*\)\(/, "", text)
    sub(/\);.*/, "", text)
    return text
}

function fn_unit_type(k,    text) {
    text = unit_text[k]
    sub(/ *\(\*.*/, "", text)
    return text
}

# A type or constants.
function html_unit(k,    i, n, kind, text) {
    html_here = place[k]
    print "<section id=\"" place[k] (unit_of[unit_title(k)] == k ? "" : "-" k) "\"><h3>" unit_title(k) "</h3>" > page
    put_text(sentences(k))
    kind = unit_text[k] ~ /^typedef enum/ ? "enum " : unit_text[k] ~ /^typedef struct/ ? "struct " : ""
    n = unit_rows(k)
    if (!n && unit_text[k] ~ /^#define/) name_anchors(k)
    text = unit_text[k]
    for (i = 1; i <= units && text ~ /^#define [A-Z_]+\(X\)/; i++) {
        if (!index(unit_text[i], place[k] "(CELLAR_") || unit_text[i] !~ /_ENUM\)/) continue
        print "<p>Its rows are those of " html(unit_title(i)) ".</p>" > page
        n = 0
        text = "#define " place[k] "(X) .."
    }
    print "<pre" (text ~ /^static inline/ ? " class=\"call\"" : "") ">#include \"" html_header "\"" (n ? "" : "\n\n" html(text)) \
          ((place[k] ".struct_size") in row_at ? "\n\n<span id=\"" place[k] "_default\">" place[k] " " place[k] "_default(void);</span>" : "") "</pre>" > page
    if (n) print "<table class=\"rows\"><tr><th>" (kind == "struct " ? "Field" : "Name") "</th><th>Meaning</th></tr>" > page
    for (i = 1; i <= n; i++) {
        html_here = row_name[i] != "" ? row_name[i] : place[k]
        if (topic_at(i) != "") print "<tr><th scope=\"col\" colspan=\"2\">" topic_at(i) "</th></tr>" > page
        if (row_note[i] == "" && kind == "struct ") row_note[i] = field_note(k, i)
        print "<tr" ((html_here in row_at) && unit_of[html_here] == k ? " id=\"" html_here "\"" : "") "><td><code>" html(row_decl[i]) "</code></td><td>" \
              html_note(row_text(row_note[i])) "</td></tr>" > page
    }
    if (n) print "</table>" > page
    if (("unit " k, "thread") in field) {
        print "<dl>" > page
        html_contract("unit " k, 0, fn_unit_args(k), fn_unit_type(k))
        print "</dl>" (field["unit " k, "example"] != "" ? "<pre>" html(field["unit " k, "example"]) "</pre>" : "") > page
    }
    find_uses(k)
    html_related(use_names(), unit_title(k))
    print "</section>" > page
    html_here = ""
}

# The fields of a contract of a call or a type of function.
function html_contract(n, is_call, args, type) {
    read_parameters(n, args)
    html_entries("Parameters")
    html_codes = is_call
    if (type ~ /cellar_err$/) {
        read_returns(field[n, "returns"])
        html_entries("Return values")
    } else html_row("Return values", is_call && field[n, "returns"] == "" ? "None." : sentence(field[n, "returns"]))
    html_codes = 0
    if (is_call && fn_type[first_of[n]] == "cellar_err") print "<dd>And the <a href=\"#cellar.h-refusals\">refusals of all calls</a>.</dd>" > page
    html_row("Ownership", sentence(field[n, "owns"]))
    html_row("Threads", sentence(threads_text(field[n, "thread"])))
    html_row("Cost", sentence(field[n, "cost"]))
}

# A declaration; one of over 80 columns has an argument a line.
function html_declaration(i,    k, n, list, head) {
    head = fn_type[i] (fn_type[i] ~ /\*$/ ? "" : " ")
    split("", list)
    n = length(head fn_name[i] fn_args[i]) > 77 ? split_at(fn_args[i], ",", list) : 0
    if (!n) print html(head) fn_name[i] "(" html(fn_args[i]) ");" > page
    else print html(head) fn_name[i] "(" > page
    for (k = 1; k <= n; k++) print "    " html(list[k]) (k < n ? "," : ");") > page
}

function html_family(f,    i) {
    print "<pre class=\"call\">#include \"" header_of[f] "\"\n" > page
    for (i = first_of[f]; i <= functions && fn_family[i] == f; i++) html_declaration(i)
    print "</pre>" > page
    put_text(field[f, "summary"])
    print "<dl>" > page
    html_row("Status", status_of[header_of[f]])
    html_contract(f, 1, fn_args[first_of[f]], fn_type[first_of[f]])
    html_row("Since", since(f))
    print "</dl>" > page
    find_related(f)
    html_related("", family_names(f))
    print "<pre>" html(field[f, "example"]) "</pre>" > page
}

# The calls of a type, what to read next, and the pages of the guide that name one of `names`.
function html_related(calls, names,    i, text) {
    for (i = find_guides(names); i > 0; i--) {
        text = "<a href=\"#" guide_id[top[i]] (top_part[i] == "" ? "" : "-" guide_slug(top_part[i])) "\">" escaped(guide_name(i)) "</a>" (text == "" ? "" : ", ") text
    }
    if (calls seen_names() text == "") return
    print "<dl>" > page
    html_row("Calls", calls)
    html_row("See also", seen_names())
    if (text != "") print "<dt>Pages</dt><dd>" text "</dd>" > page
    print "</dl>" > page
}

function html_call(n,    f) {
    f = fn_family[n]
    html_args = fn_args[n]
    print "<section id=\"" fn_name[n] "\"><h3>" fn_name[n] "</h3>" > page
    if (first_of[f] == n) html_family(f)
    else print "<p>" html(one_line(f)) ". See " html(fn_name[first_of[f]]) ".</p>" > page
    print "</section>" > page
    html_args = ""
}

# C with each example in a function that has the arguments of its call, and with each call pattern.
# Where a header needs other names, the C around it defines NAMES_cellar_x.
function examples(    f, n, i, list, line, inside, body) {
    for (f = 1; f <= headers_seen; f++) {
        n = split(essay_of[header_name[f]], list, "\n")
        for (i = 1; i <= n && list[i] != " CALL PATTERN"; i++) { }
        inside = body = ""
        while (++i <= n && (list[i] ~ /^     /)) {
            line = list[i]
            if (line ~ /^     static /) inside = 1
            if (inside) print line
            else if (line !~ /^     #include/) body = body line "\n"
            if (line ~ /}$/ && (line ~ /^     }/ || line ~ /^     static /)) inside = ""
        }
        field["pattern" f, "example"] = body
        if (body != "") example_function("pattern" f, "pattern" f, header_name[f], "void")
    }
    for (f = 1; f <= contracts; f++) example_function(f, fn_name[first_of[f]], header_of[f], fn_args[first_of[f]])
    for (f = 1; f <= units; f++) {
        if (field["unit " f, "example"] != "") example_function("unit " f, place[f], item_of[f], "void")
    }
}

function example_function(n, name, header, args,    own) {
    sub(/\.h$/, "", header)
    if (field[n, "example"] ~ /^[a-z][a-z0-9_]* [ a-z0-9_*]*[a-z0-9_]\([^;]*\)[ \n]\{/) { # a function of that type
        own = field[n, "example"]
        sub(/\(.*/, "", own)
        sub(/.*[ *]/, "", own)
        print "#define " own " example_" own "_of_" name "\nstatic " field[n, "example"]
        print "const " name " example_" name " = " own ";\n#undef " own
        return
    }
    print "static int example_" name "(" args ")\n{\n    {"
    print "#ifdef NAMES_" header "\n        NAMES_" header "\n#endif\n        {"
    print "#line 1 \"" header ".h: example of " name "\""
    print field[n, "example"] "\n    }}\n    return 0;\n}"
}

function html_page(    h) {
    page = out "/calls.html"
    print "<section id=\"calls\"><h2>All calls, A to Z</h2>\n<p>Each call, inline function and macro of the headers with what it does; a guest may change.</p>" > page
    list_all()
    print "</section>" > page
    for (h = 1; h <= headers_seen; h++) {
        html_header = header_name[h]
        put_essay(html_header)
        put_items(html_header)
    }
    close(page)
}

# The essays, types and, in HTML, the calls of a header.
function put_items(header,    i, n) {
    for (i = 1; i <= items; i++) {
        if (item_header[i] != header) continue
        n = substr(item[i], 6)
        if (item[i] ~ /^part/) put_part(n)
        else if (mode != "html") { if (item[i] ~ /^unit/) man_unit(n) }
        else if (item[i] ~ /^call/) html_call(n)
        else html_unit(n)
    }
}

END {
    if (mode == "program") { program_end(); exit NR == 0 }
    if (functions == 0) complain("no CELLAR_API function found")
    check_places()
    keep_rows()
    for (k = unit_rows(unit_of["cellar_err"]); k > 0; k--) meaning[row_name[k]] = row_note[k]
    for (k = 1; k <= contracts; k++) inherit(k)
    for (k = 1; k <= units; k++) if (("unit " k, "thread") in field) inherit("unit " k)
    if (mode == "check") {
        if (errors) { printf "contracts: %d failures\n", errors; exit 1 }
        printf "contracts: ok (%d calls, %d inline)\n", functions - inlines, inlines
        exit 0
    }
    if (errors) exit 1
    keep_returned()
    if (mode == "man") man_pages()
    if (mode == "examples") examples()
    if (mode == "html") html_page()
    if (errors) exit 1
}
