# SPDX-License-Identifier: MIT
#
# mdoc: writes the man pages of what apidoc.awk has read.
#
# USE        awk -f src/tools/apidoc.awk -f src/tools/mdoc.awk -v mode=man|program ..  (see apidoc.awk)
# PAGES      man3: each family of calls, each type, each group of constants; for each further name a
#            file with `.so PAGE`. man7: each header with its essays and types. man1: the program.
# READS      `in:` and `out:`: a clause that begins with the name of an argument begins an item.
#            `returns:`: a clause with codes is an item for each: "E_A (..), E_B", "E_A, E_B: text" or,
#            with a lead that all items get, "with a journal E_A (..), E_B". All else is a paragraph.
# NAMES      "see LOADS" in a text is "see LOADS in cellar_load(7)" on all other pages; cellar_load.h
#            becomes cellar_load(7). Both are links.
# LIMITS     Code is broken at 73 columns, which are 78 with the indent of a page.

BEGIN {
    split("p .Pp ul .Bl|-bullet /ul .El li .It /dl .El pre .Bd|-literal /pre .Ed", word, " ")
    for (i = 1; i in word; i += 2) {
        sub(/\|/, " ", word[i + 1])
        stands_for[word[i]] = word[i + 1]
    }
}

# ---- lines ----

function mdoc(text) {
    gsub(/\\/, "\\e", text)
    while (match(text, /`[^`]*`/)) {
        text = substr(text, 1, RSTART - 1) "\\fI" substr(text, RSTART + 1, RLENGTH - 2) "\\fP" \
               substr(text, RSTART + RLENGTH)
    }
    return text
}

# A text as one argument of a request. "\&": a word that is the name of a macro is none.
function quoted(text) {
    text = mdoc(text)
    gsub(/"/, "\\(dq", text)
    return "\"\\&" text "\""
}

function text_line(text) {
    gsub(/\(\)/, "\\\\\\&()", text) # or mdoc wants a macro for the name of a function
    if (text != "") print (text ~ /^[.']/ ? "\\&" : "") text (text ~ /\.\.$/ ? "\\&" : "") > page
}

# Running text: each sentence on a new line, as mdoc wants it.
function prose(text,    i, n, list) {
    gsub(/[ \n]+/, " ", text)
    text = mdoc(refer(text))
    gsub(/[.] /, ".\n", text)
    gsub(/ \.\.\n/, " .. ", text)
    n = split(text, list, "\n")
    for (i = 1; i <= n; i++) link_pages(trim(list[i]))
}

# One sentence, with a request for each page that it names.
function link_pages(text,    name, open, behind) {
    while (match(text, /\(?cellar[a-z_0-9]*\([1-8]\)[.,;:)]*( |$)/)) {
        name = trim(substr(text, RSTART, RLENGTH))
        fill(trim(substr(text, 1, RSTART - 1)))
        text = substr(text, RSTART + RLENGTH)
        open = sub(/^\(/, "", name)
        match(name, /\([1-8]\)/)
        behind = substr(name, RSTART + 3)
        gsub(/./, " &", behind)
        print (open ? ".Pf ( Xr " : ".Xr ") substr(name, 1, RSTART - 1) " " substr(name, RSTART + 1, 1) behind > page
    }
    fill(text)
}

# Break a sentence at blanks so that no line is longer than 78.
function fill(text,    at) {
    while (length(text) > 78) {
        for (at = 78; at > 1 && substr(text, at, 1) != " "; at--) { }
        if (at <= 1) break
        text_line(substr(text, 1, at - 1))
        text = substr(text, at + 1)
    }
    text_line(text)
}

# Name the pages of the essays and headers that a text names.
function refer(text,    out, words, name, at) {
    while (match(text, /[A-Z][A-Z]+([ -][A-Z]+)*|`?cellar[a-z_0-9]*\.h`?/)) {
        words = substr(text, RSTART, RLENGTH)
        out = out substr(text, 1, RSTART - 1)
        text = substr(text, RSTART + RLENGTH)
        name = words
        if (gsub(/`|\.h/, "", name)) {
            out = out (name != home && (name ".h") in essay_of ? name "(7)" : words)
            continue
        }
        at = ""
        if (out !~ /[A-Za-z0-9_]$/ && text !~ /^[a-z0-9_]/) {
            for (; name != "" && at == "" && code_place(name) == ""; sub(/[ -]?[A-Z]+$/, "", name)) {
                at = essay_place(name, substr(words, length(name) + 1) text, out)
                if (at != "") break
            }
        }
        if (at == "") { out = out words; continue }
        text = substr(words, length(name) + 1) text
        sub(/\.h.*/, "", at)
        out = out name (at == home || text ~ /^ (in|of) cellar/ || !is_referred(out, text) ? "" : " in " at "(7)")
    }
    return out text
}

# Whether a title between two texts leads on: it begins a sentence, stands behind "see" or "as", or
# alone between brackets, commas and the like. Else it is a word, as TLS may be.
function is_referred(before, behind) {
    return before ~ /(^|[.;] |[Ss]ee |[Aa]s |\(7\),? (or|and) )$/ || behind ~ /^ in cellar/ ||
           before ~ /([:,] | (in|of) |\()$/ && behind ~ /^([).,;:]|$)/
}

# Code, each line broken at 73 columns: before the comment at its end, then behind commas and operators.
function literal(text,    i, n, list) {
    n = split(text, list, "\n")
    for (i = 1; i <= n; i++) literal_line(list[i])
}

function literal_line(line,    at, lead, tail, front, well) {
    tail = sub(/ +\\$/, "", line) ? " \\" : ""
    sub(/ +\*\/$/, " */", line)
    match(line, /^ */)
    lead = substr(line, 1, RLENGTH)
    if (length(line) > 73 && match(line, /[^ ] +(\/\*.*\*\/|\/\/ .*)$/)) {
        front = substr(line, 1, RSTART)
        literal_line(lead trim(substr(line, RSTART + 1)) tail)
        line = front
    }
    while (length(line) > 73) {
        at = 0
        for (well = 2; well >= 0 && at <= length(lead) + 8; well--) {
            for (at = 73; at > length(lead) + 8 && !may_break(line, at, well); at--) { }
        }
        if (at <= length(lead) + 8) break
        code_line(substr(line, 1, at - 1) tail)
        line = lead (line ~ /^ *\/\// ? "// " : "    ") trim(substr(line, at))
    }
    code_line(line tail)
}

# Whether a line can end before the blank at column `at`: no table, and not inside a text in quotes;
# well 2: behind the condition of an `if`; 1: behind a comma or an operator; 0: anywhere.
function may_break(line, at, well,    before) {
    if (substr(line, at, 1) != " ") return 0
    before = substr(line, 1, at - 1)
    if (line ~ /^ *\/[\/*]/) return 1
    if (well == 2) return line ~ /^ *(if|while) \(/ && before ~ /\)$/ && substr(line, at) ~ /^ [a-z_]+[( ]/
    return line !~ /[^ ]    +[^ ]/ && (!well || before ~ /[,;:?=|&{]$/) && gsub(/"/, "", before) % 2 == 0
}

function code_line(line) { print (line ~ /^[.']/ ? "\\&" : "") mdoc(line) > page }

# ---- requests, and running text between them ----

function tell() {
    if (pending == "") return
    if (gap && !fresh) print ".Pp" > page
    prose(pending)
    pending = ""
    gap = fresh = 0
}

function request(line) {
    tell()
    if (line == ".Pp") { gap = 1; return }
    print line > page
    in_code = line ~ /^\.Bd/
    fresh = line !~ /^\.E[dl]/
    gap = 0
}

function section_head(title) { request(".Sh " title) }

# The marks of HTML that put() in apidoc.awk gets.
function mdoc_marks(text,    mark) {
    while (match(text, /<[^>]*>/)) {
        mark = substr(text, RSTART + 1, RLENGTH - 2)
        text = substr(text, RSTART + RLENGTH)
        if (mark ~ /^h[34]$/) section_head(substr(text, 1, index(text, "<") - 1))
        else if (mark == "b") mdoc_text("`" substr(text, 1, index(text, "<") - 1) "`:")
        else if (mark == "dl") request(".Bl -tag -width " substr("xxxxxxxxxxxxxx", 1, widest < 14 ? widest : 2))
        else if (mark == "dt") item_due = 1
        else if (mark in stands_for) request(stands_for[mark])
    }
}

function mdoc_text(text) {
    if (in_code && text == "") print "" > page
    else if (in_code) literal(text)
    else if (item_due) request(".It Sy " quoted(text))
    else if (text != "") pending = pending (pending == "" ? "" : " ") text
    item_due = 0
}

# The table in cell[], its last column beside the others or, where they leave no room, below them.
function mdoc_table(    i, k, at, width, room, lead, line, text) {
    for (i = 1; i <= rows; i++) {
        for (k = 1; k < columns; k++) if (length(cell[i, k]) > width[k]) width[k] = length(cell[i, k])
    }
    for (k = 1; k < columns; k++) room += width[k] + 2
    lead = room > 49 ? 4 : room
    request(".Bd -literal")
    for (i = 1; i <= rows; i++) {
        line = ""
        for (k = 1; k < columns; k++) line = line sprintf("%-" (width[k] + 2) "s", cell[i, k])
        text = cell[i, columns]
        if (room > 49) { sub(/ +$/, "", line); code_line(line); line = "    " }
        while (length(line text) > 73 && match(substr(text, 1, 74 - lead), / [^ ]*$/)) {
            at = RSTART
            code_line(line substr(text, 1, at - 1))
            text = substr(text, at + 1)
            line = sprintf("%" lead "s", "")
        }
        code_line(line text)
    }
    request(".Ed")
}

function code(text) {
    request(".Bd -literal")
    literal(text)
    request(".Ed")
}

function put_item(macro, name, text) {
    if (!in_items) {
        tell()
        if (macro == "Dv" && !fresh) print ".Pp" > page
        request(".Bl -tag -width Ds" (macro == "Dv" ? " -compact" : ""))
    }
    in_items = 1
    request(".It " macro " " quoted(name))
    mdoc_text(text)
}

function paragraph(text) {
    end_items()
    request(".Pp")
    mdoc_text(text (text ~ /[.:]$/ ? "" : "."))
}

function end_items() {
    if (in_items) request(".El")
    in_items = 0
}

# ---- entries: parameters and codes, also for HTML ----

# A row of a parameter or a code; a paragraph has no name.
function new_entry(name, text) {
    if (name == "") {
        if (match(text, /^[a-z]+ /) && !(substr(text, 1, RLENGTH - 1) in argument)) text = toupper(substr(text, 1, 1)) substr(text, 2)
        if (text !~ /[.:]$/) text = text "."
    }
    entry_name[++entries] = name
    entry_text[entries] = text
}

# The code that a text begins with, or "".
function code_at(text) {
    return match(text, /^[A-Z][A-Z0-9_]+/) ? code_place(substr(text, 1, RLENGTH)) : ""
}

# The arguments that a clause begins with, as in "key and value, terminated"; `clause_rest` gets the rest.
function arguments_at(clause,    names) {
    while (match(clause, /^\*?[a-z][a-z0-9_]*(->[a-z0-9_]+)*/) && argument_at(substr(clause, 1, RLENGTH))) {
        names = names (names == "" ? "" : ", ") substr(clause, 1, RLENGTH)
        clause = substr(clause, RLENGTH + 1)
        if (!sub(/^(, | and )/, "", clause)) break
    }
    sub(/^[.: ]+/, "", clause)
    clause_rest = clause
    return names
}

function argument_at(name) {
    gsub(/\*|->.*/, "", name)
    return name in argument
}

# The entries of `in:` and `out:` of contract `n`; one of both has one entry.
function read_parameters(n, args,    i, j, k, key, list, names, first, only, text) {
    entries = 0
    split("", argument)
    for (i = k = split_at(args, ",", list); i > 0; i--) argument[declared(list[i])] = list[i]
    only = k == 1
    first = declared(list[1])
    for (key = "in"; key != ""; key = key == "in" ? "out" : "") {
        text = field[n, key]
        gsub(/\n */, " ", text)
        gsub(/[.] [*]/, "; *", text)
        k = split_at(text, ";", list)
        for (i = 1; i <= k; i++) {
            names = arguments_at(list[i])
            text = clause_rest
            for (; i < k && arguments_at(list[i + 1]) == ""; i++) text = text (text == "" ? "" : "; ") list[i + 1]
            if (names == "" && (only || key == "in" && !entries && text ~ /^(a|an|any|the) /)) names = first
            for (j = entries; j && (entry_name[j] != names || key == "in"); j--) { }
            if (j && names != "") entry_text[j] = entry_text[j] "; " (text == "" ? "set by the call" : "(out) " text)
            else if (names == "") { if (key == "in" || text != field[n, "in"]) new_entry("", (key == "in" ? "" : "Out: ") text) }
            else if (text != "") new_entry(names (key == "in" ? "" : " (out)"), text)
            else usual_entries(names, key == "in" ? "" : " (out)")
        }
    }
}

# An entry for each of the arguments `names`, with what their types and neighbours say.
function usual_entries(names, mark,    i, n, list) {
    n = split(names, list, ", ")
    for (i = 1; i <= n; i++) new_entry(list[i] mark, usual_text(list[i]))
}

function usual_text(name,    type, base, fn) {
    base = name
    gsub(/\*|->.*/, "", base)
    type = argument[base]
    if (name == "key" && ("key_len" in argument)) return "1 to CELLAR_KEY_MAX bytes"
    if ((base "_len") in argument) return "`" base "_len` bytes"
    if (sub(/_(len|cap)$/, "", base) && (base in argument)) return "bytes of `" base "`"
    if (name ~ /ctx$/) {
        for (fn in argument) if (argument[fn] ~ /^cellar_[a-z_]*fn /) return "given to `" fn "`"
    }
    if (match(type, /cellar_[a-z0-9_]+/)) {
        type = substr(type, RSTART, RLENGTH)
        if (type in unit_of) return "see " type (mode == "man" ? "(3)" : "")
    }
    if (type ~ /char \*/) return "text that a zero byte ends"
    if (type ~ /^bool /) return "true or false"
    type = argument[base]
    sub(/[ *]+[a-z0-9_]*$/, "", type)
    return "a `" type "`"
}

# Whether a text begins with a code that has a remark, stands alone or is the first of a list.
function is_code(text,    name) {
    name = code_at(text)
    return name != "" && substr(text, length(name) - 6) ~ /^( \(|[,:]|$)/
}

# Where the codes of a clause begin: 1, or behind a lead, as in "with a journal E_IO (..)". 0: none
function codes_begin(clause,    i, c, depth, rest, piece) {
    if (is_code(clause)) return 1
    for (i = 1; i < length(clause); i++) {
        c = substr(clause, i, 1)
        depth += (c == "(") - (c == ")")
        rest = substr(clause, i + 1)
        if (c != " " || depth || !is_code(rest) || !is_code(piece[split_at(rest, ",", piece, 1)])) continue
        if (substr(clause, i - 1, 1) == ":" || rest ~ /^[A-Z0-9_]+( \(|, [A-Z][A-Z0-9_]+[ ,])/) return i + 1
    }
    return 0
}

# The entries of `returns:`: the codes of each clause, and paragraphs of the others.
function read_returns(text,    i, j, k, l, at, sentence, clause, lead, free) {
    entries = 0
    gsub(/\n */, " ", text)
    sub(/\.$/, "", text)
    k = split_at(text, ".", sentence)
    for (i = 1; i <= k; i++) {
        l = split_at(sentence[i], ";", clause)
        for (j = 1; j <= l; j++) {
            at = codes_begin(clause[j])
            lead = at ? substr(clause[j], 1, at - 1) : clause[j]
            sub(/:? $/, "", lead)
            if (!at || j == 1 && at > 40) {
                free = free (free == "" ? "" : j > 1 ? "; " : ". ") lead (at ? ":" : "")
                lead = ""
            }
            if (!at) continue
            if (free != "") new_entry("", free)
            free = ""
            read_codes(substr(clause[j], at), lead)
        }
    }
    if (free != "") new_entry("", free)
}

# "E_A, E_B: text": one entry, as the text is of both. Else an entry for each code; each text begins
# with `lead`.
function read_codes(clause, lead,    i, m, name, names, text, behind, piece) {
    m = split_at(clause, ",", piece, 1)
    for (i = 1; i <= m; i++) {
        name = code_at(piece[i])
        text = substr(piece[i], length(name) - 6)
        names = names (names == "" ? "" : ", ") name
        if (text == "" && piece[m] ~ /^[A-Z0-9_]+:/) continue
        if (text ~ /^:/) name = names
        names = ""
        sub(/^[: ]+/, "", text)
        behind = ""
        if (match(text, /^\([^()]*(\([^()]*\)[^()]*)*\)/)) {
            behind = substr(text, RLENGTH + 1)
            text = substr(text, 2, RLENGTH - 2)
            sub(/^,? /, "", behind)
            if (behind !~ /^(codes|$)/) { text = text ", " behind; behind = "" }
        }
        new_entry(name, text != "" ? lead (lead == "" ? "" : ": ") text : lead != "" ? lead : meaning[name])
        if (behind != "") new_entry("", behind)
    }
}

# ---- contracts ----

# The entries of apidoc.awk; a paragraph stands between two lists.
function put_entries(macro,    i) {
    for (i = 1; i <= entries; i++) {
        if (entry_name[i] == "") paragraph(entry_text[i])
        else put_item(macro, entry_name[i], entry_text[i])
    }
    end_items()
}

function parameters(n, args) {
    read_parameters(n, args)
    if (!entries) return
    section_head("PARAMETERS")
    put_entries("Va")
}

# The items of `returns:` of contract `n`, of a call that returns codes or another type.
function returns(n, type) {
    section_head("RETURN VALUES")
    if (type !~ /cellar_err$/) { mdoc_text(field[n, "returns"] == "" ? "None." : field[n, "returns"]); return }
    read_returns(field[n, "returns"])
    put_entries("Dv")
    if (n !~ /^unit/) paragraph("Also the refusals of each call: REFUSALS in cellar.h")
}

function section(title, text) {
    if (text == "") return
    section_head(title)
    mdoc_text(text)
}

# The sections of a contract.
function sections(n, args, type) {
    parameters(n, args)
    returns(n, type)
    section("OWNERSHIP", field[n, "owns"])
    section("THREADS", field[n, "thread"])
    section("COST", field[n, "cost"])
    if (field[n, "example"] == "") return
    section_head("EXAMPLES")
    code(field[n, "example"])
}

# ---- SEE ALSO ----

function contract_text(n) {
    return field[n, "summary"] " " field[n, "in"] " " field[n, "out"] " " field[n, "returns"] " " \
           field[n, "owns"] " " field[n, "thread"] " " field[n, "cost"]
}

# Take a name for SEE ALSO: of calls six at most, one of each family.
function take(name,    f) {
    if (name in family_of) {
        f = family_of[name]
        if (taken >= 6 || (f in has_taken)) return
        has_taken[f] = 1
        taken++
    } else if (!(name in unit_of) || place[unit_of[name]] != name) return
    seen["3 " name] = 1
}

# The types of the arguments of a call, and the names and headers in a text.
function take_named(text,    name) {
    while (match(text, /cellar_[a-z0-9_]+(\.h)?/)) {
        name = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        if (!sub(/\.h$/, "", name)) take(name)
        else if ((name ".h") in essay_of) seen["7 " name] = 1
    }
}

function begin_seen(header) {
    split("", seen)
    split("", has_taken)
    taken = 0
    sub(/\.h$/, "", header)
    seen["7 " header] = seen["7 cellar"] = 1
}

# What to read behind family `f`: what its contract names, calls that name it, else its neighbours.
function find_related(f,    g, n, near) {
    for (g = 1; g <= contracts && !(contracts in words_of); g++) {
        words_of[g] = contract_text(g)
        gsub(/[^a-z0-9_]+/, " ", words_of[g])
        words_of[g] = " " words_of[g] " "
    }
    begin_seen(header_of[f])
    has_taken[f] = 1
    take_named(fn_args[first_of[f]] " " contract_text(f))
    for (near = 1; near >= 0; near--) {
        for (g = 1; g <= contracts; g++) {
            if ((header_of[g] == header_of[f]) != near) continue
            for (n = first_of[f]; fn_family[n] == f; n++) if (index(words_of[g], " " fn_name[n] " ")) take(fn_name[first_of[g]])
        }
    }
    for (g = f - 1; g <= f + 1 && taken == 0; g += 2) {
        if ((g in first_of) && header_of[g] == header_of[f]) take(fn_name[first_of[g]])
    }
}

function see_also(    i, n, name, list, at, part) {
    for (name in seen) {
        for (at = ++n; at > 1 && list[at - 1] > name; at--) list[at] = list[at - 1]
        list[at] = name
    }
    section_head("SEE ALSO")
    for (i = 1; i <= n; i++) {
        split(list[i], part, " ")
        print ".Xr " part[2] " " part[1] (i < n ? " ," : "") > page
    }
    close(page)
}

# ---- pages ----

function page_head(name, number, source, of) {
    page = out "/man" number "/" name "." number
    print ".\\\" SPDX-License-Identifier: MIT. Generated from " source "." > page
    print ".Dd " date > page
    print ".Dt " toupper(name) " " number > page
    print ".Os cellar " version > page
    section_head("NAME")
}

# The name of a page, of `.Nm` and `.Nd`; and where the header is.
function page_names(names, about,    i, n, list) {
    n = split(names, list, " ")
    for (i = 1; i <= n; i++) request(".Nm " list[i] (i < n ? " ," : ""))
    gsub(/\n */, " ", about)
    request(".Nd " mdoc(about))
}

# Section 7 has no LIBRARY: there the text stands in the SYNOPSIS.
function library(header, number,    name, pair) {
    name = header == "cellar_remote.h" ? "cellar-remote" : "cellar"
    pair = header == "cellar_remote.h" ? "cellar_remote" : header in status_of ? "cellar_all" : "cellar"
    section_head(number == 3 ? "LIBRARY" : "SYNOPSIS")
    if (number == 7) print ".In " header "\n.Pp" > page
    fill(mdoc("lib" name ": link with `pkg-config --cflags --libs " name "`, or with") " \\%-l" name ".")
    fill("In the drop-in: " pair ".h and " pair ".c.")
    if (number == 3) section_head("SYNOPSIS")
    if (number == 3) print ".In " header > page
}

# `.so` needs the folder above it: a reader finds the page by the path of its manuals.
function also(name, title) {
    if (name == title) return
    print ".so man3/" title ".3" > (out "/man3/" name ".3")
    close(out "/man3/" name ".3")
}

function call_page(f,    n, i, k, list, names) {
    html_header = header_of[f]
    for (n = first_of[f]; fn_family[n] == f; n++) names = names fn_name[n] " "
    page_head(fn_name[first_of[f]], 3, header_of[f])
    page_names(names, one_line(f))
    library(header_of[f], 3)
    for (n = first_of[f]; fn_family[n] == f; n++) {
        request(".Ft \"" fn_type[n] "\"")
        request(".Fo " fn_name[n])
        k = split_at(fn_args[n], ",", list)
        for (i = 1; i <= k; i++) request(".Fa \"" list[i] "\"")
        request(".Fc")
        also(fn_name[n], fn_name[first_of[f]])
    }
    section_head("DESCRIPTION")
    put_text(field[f, "summary"])
    if (header_of[f] in status_of) paragraph("Status: " substr(status_of[header_of[f]], 8))
    sections(f, fn_args[first_of[f]], fn_type[first_of[f]])
    section("SINCE", since(f))
    find_related(f)
    see_also()
}

# The declaration or the rows of a type or of constants.
function man_rows(k,    i, n, kind, text) {
    kind = unit_text[k] ~ /^typedef struct/ ? "Va" : "Dv"
    n = unit_rows(k)
    if (!n) {
        text = unit_text[k]
        if (text !~ /^#/) gsub(/[ \n]+/, " ", text)
        sub(/[ \n]$/, "", text)
        code(text)
    }
    for (i = 1; i <= n; i++) {
        if (row_note[i] == "" && kind == "Va") row_note[i] = field_note(k, i)
        sub(/[;,]$/, "", row_decl[i])
        put_item(kind, row_decl[i], row_note[i])
    }
    end_items()
}

# Whether unit `k` has a page: no other one declares its name, and no type has its rows.
function is_own(k) { return unit_of[unit_title(k)] == k && !(place[k] in list_of) }

# A type or constants on the page of its header.
function man_unit(k,    n, i, list) {
    if (!is_own(k)) return
    section_head(unit_title(k))
    put_text(sentences(k))
    man_rows(k)
    n = "unit " k
    if (!((n, "thread") in field)) return
    split("In in Out out Returns returns Ownership owns Threads thread", list, " ")
    for (i = 1; i in list; i += 2) if (field[n, list[i + 1]] != "") put_item("Sy", list[i], field[n, list[i + 1]])
    end_items()
}

# The page of a type or of constants, with an alias for each name in it.
function type_page(k,    i, n, title, names, about, list) {
    title = unit_title(k)
    html_header = item_of[k]
    names = title
    n = unit_rows(k)
    for (i = 1; i <= n; i++) {
        if (unit_text[k] ~ /^#define/ && row_name[i] != title && row_name[i] != "") names = names " " row_name[i]
        if (row_name[i] ~ /^CELLAR/) also(row_name[i], title)
    }
    if ((title ".struct_size") in row_at) also(title "_default", title)
    for (i = split(n ? "" : unit_text[k], list, "\n"); i > 0; i--) {
        if (!match(list[i], /^#define [A-Z0-9_]+/) || substr(list[i], 9, RLENGTH - 8) == title) continue
        names = names " " substr(list[i], 9, RLENGTH - 8)
        also(substr(list[i], 9, RLENGTH - 8), title)
    }
    about = first_sentence(sentences(k))
    if (about == "" && n == 1) about = row_note[1]
    page_head(title, 3, item_of[k])
    page_names(names, about == "" ? "types of " item_of[k] : about)
    library(item_of[k], 3)
    if ((title ".struct_size") in row_at) request(".Ft " title "\n.Fn " title "_default \"void\"")
    section_head("DESCRIPTION")
    put_text(sentences(k))
    man_rows(k)
    if (("unit " k, "thread") in field) sections("unit " k, fn_unit_args(k), fn_unit_type(k))
    begin_seen(item_of[k])
    for (i = 1; i <= functions; i++) if (match(fn_args[i], title "[ *]")) take(fn_name[i])
    take_named(unit_about[k])
    delete seen["3 " title]
    see_also()
}

function header_page(header,    i, n, name, text) {
    name = header
    sub(/\.h$/, "", name)
    html_header = header
    home = name
    page_head(name, 7, header)
    text = essay_of[header]
    i = index(text, " " name ": ")
    text = i ? substr(text, i + length(name) + 3) : "types and rules of " header
    sub(/\n[ \n]*\n.*/, "", text)
    page_names(name, first_sentence(text))
    library(header, 7)
    section_head("DESCRIPTION")
    put_essay(header)
    put_items(header)
    for (i = n = 0; i++ < functions; ) {
        if (header != "cellar.h" && header_of[fn_family[i]] != header) continue
        if (n++ == 0) section_head("FUNCTIONS")
        if (n == 1) request(".Bl -tag -width Ds")
        request(".It Xr " fn_name[i] " 3")
        mdoc_text(one_line(fn_family[i]) ".")
    }
    if (n) request(".El")
    if (header == "cellar.h" && readme != "") readme_example()
    begin_seen(header)
    text = essay_of[header]
    for (i = 1; i <= parts; i++) if (part_header[i] == header) text = text part_text[i]
    take_named(text)
    delete seen["7 " name]
    see_also()
    home = ""
}

function man_pages(    i, f, k, n, name) {
    for (k = 1; k <= units; k++) {
        if (!match(unit_text[k], /CELLAR_[A-Z_]+\(CELLAR_[A-Z_]+_ENUM\)/)) continue
        name = substr(unit_text[k], RSTART, RLENGTH)
        sub(/\(.*/, "", name)
        list_of[name] = place[k]
        also(name, place[k])
    }
    for (i = 1; i <= headers_seen; i++) header_page(header_name[i])
    for (f = 1; f <= contracts; f++) call_page(f)
    for (k = 1; k <= units; k++) if (is_own(k)) type_page(k)
}

# The first block of C in the README, a whole program.
function readme_example(    line, on) {
    section_head("EXAMPLES")
    request(".Bd -literal")
    while ((getline line < readme) > 0) {
        if (on && line ~ /^```/) break
        if (on) literal_line(line)
        if (line == "```c") on = 1
    }
    close(readme)
    request(".Ed")
}

# ---- the program's own help, word for word ----

function program_page() {
    page_head("cellar", 1, "cellar --help")
    page_names("cellar", "the program that comes with the cache library")
    section_head("SYNOPSIS")
    print ".Nm cellar" > page
    print ".Ar command" > page
    print ".Op Ar options" > page
    section_head("DESCRIPTION")
    request(".Bd -literal")
    split("", seen)
    seen["7 cellar"] = 1
}

# Blank lines only between two others. The lines below "Examples:" and the calls of "See also:" in
# the overview are kept for their own sections; "== NAME" begins the help of a command.
function program_line(text) {
    if (text == "") { blank_due = 1; return }
    if (text ~ /^See also: /) {
        while (match(text, /cellar_[a-z0-9_]+/)) {
            seen["3 " substr(text, RSTART, RLENGTH)] = 1
            text = substr(text, RSTART + RLENGTH)
        }
        return
    }
    if (text ~ /^== /) {
        request(".Ed")
        request(".Ss cellar " substr(text, 4))
        request(".Bd -literal")
        in_examples = 0
        blank_due = 0
        return
    }
    if (text == "Examples:") { in_examples = 1; return }
    if (in_examples) { program_examples[++example_count] = trim(text); return }
    if (blank_due) print "" > page
    blank_due = 0
    help_line(text)
}

function help_line(text) {
    gsub(/\\/, "\\e", text)
    print (text ~ /^[.']/ ? "\\&" : "") text > page
}

function program_end(    i) {
    request(".Ed")
    section_head("EXAMPLES")
    request(".Bd -literal")
    for (i = 1; i <= example_count; i++) help_line(program_examples[i])
    request(".Ed")
    see_also()
}
