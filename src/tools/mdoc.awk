# SPDX-License-Identifier: MIT
#
# mdoc: writes the man pages of what apidoc.awk has read.
#
# USE        awk -f src/tools/apidoc.awk -f src/tools/mdoc.awk -v mode=man|program ..  (see apidoc.awk)
# PAGES      man3: each family of calls, each type, each group of constants; for each further name a
#            file with `.so PAGE`. man7: each header with its essays and types. man1: the program.
# SEE ALSO   of a call: the types of its arguments; the call that undoes it, calls that its contract
#            names or that name it, calls with the same words in their names, neighbours. Of a type:
#            FUNCTIONS has its calls, SEE ALSO the types that hold it. Then the pages of the guide.
# READS      `in:` and `out:`: a clause that begins with the name of an argument begins an item.
#            `returns:`: a clause with codes is an item for each: "E_A (..), E_B", "E_A, E_B: text" or,
#            with a lead that all items get, "with a journal E_A (..), E_B". All else is a paragraph.
# NAMES      "see LOADS" in a text is "see LOADS in cellar_load(7)" on all other pages; cellar_load.h
#            becomes cellar_load(7). Both are links.
# LIMITS     Code is shown as written: a line of a contract has 100 columns at most.

BEGIN {
    split("p .Pp ul .Bl|-bullet /ul .El li .It /dl .El pre .Bd|-literal /pre .Ed", word, " ")
    for (i = 1; i in word; i += 2) {
        sub(/\|/, " ", word[i + 1])
        stands_for[word[i]] = word[i + 1]
    }
}

# ---- lines ----

function mdoc(text) {
    gsub(/\\/, "&e", text)
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
    text = mdoc(refer(whole_names(text)))
    gsub(/[.] /, ".\n", text)
    gsub(/ \.\.\n/, " .. ", text)
    gsub(/ \.\n/, " . ", text)
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

# Name the codes and flags of a text in full: CELLAR_E_BUSY of E_BUSY, "CELLAR_RULE_DRY_RUN, _STRICT".
function whole_names(text,    out, name, to, last) {
    while (match(text, /_?[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|_[A-Z]+/)) {
        name = substr(text, RSTART, RLENGTH)
        out = out substr(text, 1, RSTART - 1)
        text = substr(text, RSTART + RLENGTH)
        to = name ~ /^[A-Z_0-9]+$/ && name !~ /^CELLAR_/ && text !~ /^([a-z]|\.[a-z])/ && out !~ /["A-Za-z0-9]$/ ? flag_place(name) : ""
        if (to == "" && name ~ /^_/) {
            while (sub(/_[A-Z0-9]+$/, "", last) && !((last name) in unit_of)) { }
            if (last != "CELLAR") to = last name
        }
        if (to ~ /^CELLAR_/) name = to
        last = name
        out = out name
    }
    return out text
}

# A text as a sentence: a capital first, a dot at the end. The name of an argument stays as it is.
function sentence(text,    word) {
    if (text == "") return text
    sub(/^(is|are) /, "", text)
    if (text ~ /^of ([0-9]|[a-z_]+_len )/) sub(/^of /, "", text)
    match(text, /^[a-z]*/)
    word = substr(text, 1, RLENGTH)
    if (word != "" && substr(text, RLENGTH + 1) ~ /^([ ,;:'-]|\.?( |$))/ && word !~ /^(true|false|errno|malloc|epoll|ctx|fn|buf|ns|ms|us)$/ &&
        (!(word in argument) || text ~ /^out of/)) {
        text = toupper(substr(text, 1, 1)) substr(text, 2)
    }
    return text (text ~ /[.:]$/ ? "" : ".")
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

# Code, as it is written.
function literal(text,    i, n, list) {
    n = split(text, list, "\n")
    for (i = 1; i <= n; i++) code_line(list[i])
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

# The fields of contract `n` that are "as cellar_x" alone or before ";": those of cellar_x.
function inherit(n,    key, k, name, rest, from) {
    split("in out returns owns thread cost", key, " ")
    for (k = 1; k in key; k++) {
        if (!match(field[n, key[k]], /^as cellar_[a-z0-9_]+(;|$)/)) continue
        rest = substr(field[n, key[k]], RLENGTH)
        name = substr(field[n, key[k]], 4, RLENGTH - 3)
        if (!sub(/;$/, "", name)) rest = ""
        from = contract_of(name)
        if (from == "" || from == n) continue
        inherit(from)
        if (field[from, key[k]] == "") continue
        if (key[k] ~ /^(in|out)$/) same_arguments(n, from)
        named[n] = named[n] " " name
        field[n, key[k]] = (key[k] ~ /^(in|out)$/ ? "" : "as " name ": ") field[from, key[k]] rest
    }
}

# Complain where contract `n` takes the parameters of contract `from`, but has others.
function same_arguments(n, from,    k, list) {
    for (k = split_at(fn_args[first_of[from]], ",", list); k > 0; k--) {
        if (!index(fn_args[first_of[n]] ",", list[k] ",")) complain(fn_name[first_of[n]] ": no `" list[k] "`, as " fn_name[first_of[from]] " has", header_of[n])
    }
}

# The number of the contract of a call or a type of function, or "".
function contract_of(name) {
    if (name in family_of) return family_of[name]
    return (name in unit_of) && (("unit " unit_of[name], "thread") in field) ? "unit " unit_of[name] : ""
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
            else if (match(text, /^as (in )?cellar_[a-z0-9_]+$/)) same_entries(names, text, key)
            else if (text != "") new_entry(names (key == "in" ? "" : " (out)"), text)
            else usual_entries(names, key == "in" ? "" : " (out)")
        }
    }
    sort_entries(args)
}

function swap(list, i,    text) { text = list[i]; list[i] = list[i - 1]; list[i - 1] = text }

# Bring the entries into the order of the arguments, if each one has an argument.
function sort_entries(args,    i, k, list, position, at, name) {
    for (i = split_at(args, ",", list); i > 0; i--) position[declared(list[i])] = i
    for (i = 1; i <= entries; i++) {
        name = entry_name[i]
        gsub(/^\*|(->|,| ).*/, "", name)
        if (!(name in position)) return
        at[i] = position[name]
    }
    for (i = 2; i <= entries; i++) {
        for (k = i; k > 1 && at[k - 1] > at[k]; k--) { swap(at, k); swap(entry_name, k); swap(entry_text, k) }
    }
}

# An entry for each of the arguments `names`, with what another contract says of it: "as cellar_x".
function same_entries(names, text, key,    i, n, list, call, other) {
    n = split(names, list, ", ")
    call = text
    sub(/^as (in )?/, "", call)
    for (i = 1; i <= n; i++) {
        other = parameter_text(contract_of(call), list[i], key)
        new_entry(list[i] (key == "in" ? "" : " (out)"), other == "" ? text : other)
    }
}

# What contract `n` says of its argument `name`, or "".
function parameter_text(n, name, key,    i, k, text, list, names, own) {
    if (n == "") return ""
    text = field[n, key]
    gsub(/\n */, " ", text)
    gsub(/[.] [*]/, "; *", text)
    for (k = split_at(n ~ /^unit/ ? fn_unit_args(substr(n, 6)) : fn_args[first_of[n]], ",", list); k > 0; k--) own[declared(list[k])] = 1
    k = split_at(text, ";", list)
    for (i = 1; i <= k; i++) {
        names = arguments_at(list[i])
        if (!index(", " names ",", ", " name ",")) continue
        for (text = clause_rest; i < k && match(list[i + 1], /^\*?[a-z0-9_]*/); i++) {
            names = substr(list[i + 1], 1, RLENGTH)
            sub(/^\*/, "", names)
            if (names in own) break
            text = text "; " list[i + 1]
        }
        return text == "" ? usual_text(name) : text
    }
    return ""
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
function read_returns(text,    i, j, k, l, at, part, clause, lead, free) {
    entries = 0
    gsub(/\n */, " ", text)
    sub(/\.$/, "", text)
    k = split_at(text, ".", part)
    for (i = 1; i <= k; i++) {
        l = split_at(part[i], ";", clause)
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
        text = text != "" ? lead (lead == "" ? "" : ": ") text : lead != "" ? lead : meaning[name]
        new_entry(name, code_text(name, text))
        if (behind != "") new_entry("", behind)
    }
}

# Keep the calls that return each code, for its row in cellar_err.
function keep_returned(    k, i, j, n, list) {
    for (k = 1; k <= contracts; k++) {
        if (fn_type[first_of[k]] != "cellar_err") continue
        read_returns(field[k, "returns"])
        for (i = 1; i <= entries; i++) {
            n = split(entry_name[i], list, /, */)
            for (j = 1; j <= n; j++) {
                if (list[j] == "" || index(returned_by[list[j]] ",", " " fn_name[first_of[k]] ",")) continue
                returned_by[list[j]] = returned_by[list[j]] (returned_by[list[j]] == "" ? " " : ", ") fn_name[first_of[k]]
            }
        }
    }
    returned_by["CELLAR_DEFERRED"] = " changes in a shared tier: see LOWER TIERS"
    n = split("E_INVAL E_UNSUPPORTED E_ABI E_CLOSED E_FORKED E_TYPE", list, " ")
    for (i = 1; i <= n; i++) returned_by["CELLAR_" list[i]] = " any call: see REFUSALS"
}

# The meaning of a code, and calls that return it: all, or the first three and the number of others.
function code_meaning(name, note,    n, list) {
    n = split(returned_by[name], list, ",")
    if (!n || name == "CELLAR_OK") return note
    if (n < 6) return note ". Returned by" returned_by[name]
    return note ". Returned by" list[1] "," list[2] "," list[3] " and " n - 3 " other calls"
}

# A text beside a code as a sentence, where it is a bare name of a field ("max_rows": the meaning of
# the code, with that name), a flag ("NO_WAIT: ..": with that flag), an essay, or another code.
function code_text(name, text,    word, rest) {
    if (text ~ /^([a-z>*-]+_|[a-z]+->)[a-z0-9_>.*-]*((,| or| and) [a-z]+_[a-z0-9_]+)*( set)?$/) return meaning[name] (text ~ / set$/ ? "; " : ": ") text
    if (sub(/^also:? /, "", text)) return meaning[name] "; also " text
    if (text ~ /^cellar[a-z0-9_]*\.h, [A-Z]/) return meaning[name] "; see " text
    if (!match(text, /^[A-Z][A-Z0-9_]+([ -][A-Z]+)*/)) {
        if (match(text, /^as [A-Z][A-Z0-9_]+$/)) return as_code(substr(text, 4), text)
        return text
    }
    word = substr(text, 1, RLENGTH)
    rest = substr(text, RLENGTH + 1)
    if (word ~ /_/ && rest ~ /^(:|$)/ && flag_place(word) ~ /^CELLAR_/ && code_place(word) == "") {
        return "with " flag_place(word) ": " (rest == "" ? meaning[name] : substr(rest, 3))
    }
    return word ~ /^[A-Z -]+$/ && rest ~ /^( in cellar[a-z0-9_]*\.h)?$/ && title_place(word, html_header) != "" ? \
        meaning[name] "; see " text : text
}

# The text of an entry before this one with code `name`, else `text`.
function as_code(name, text,    i) {
    for (i = 1; i <= entries; i++) if (entry_name[i] == code_place(name)) return entry_text[i]
    return text
}

# ---- contracts ----

# The entries of apidoc.awk; a paragraph stands between two lists.
function put_entries(macro,    i) {
    for (i = 1; i <= entries; i++) {
        if (entry_name[i] == "") paragraph(entry_text[i])
        else put_item(macro, entry_name[i], sentence(entry_text[i]))
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
    if (type !~ /cellar_err$/) { mdoc_text(field[n, "returns"] == "" ? "None." : sentence(field[n, "returns"])); return }
    read_returns(field[n, "returns"])
    put_entries("Dv")
    if (n !~ /^unit/) paragraph("Also the codes that each call may return: REFUSALS in cellar.h. cellar_err(3) has all codes")
}

function section(title, text) {
    if (text == "") return
    section_head(title)
    mdoc_text(sentence(text))
}

function threads_text(text) {
    if (text ~ /^any([;,.:]|$)/) sub(/^any/, "any thread", text)
    return text
}

# The sections of a contract.
function sections(n, args, type) {
    parameters(n, args)
    returns(n, type)
    section("OWNERSHIP", field[n, "owns"])
    section("THREADS", threads_text(field[n, "thread"]))
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

# Take the name of a type or of constants for SEE ALSO, of those with a page: three at most.
function take_type(name) {
    if (name ~ /^cellar(_err|_bytes)?$/ || taken >= 3 || (("3 " name) in seen)) return
    if (!(name in unit_of) || place[unit_of[name]] != name || name in list_of) return
    seen["3 " name] = 1
    taken++
}

# The types, or the headers, in a text.
function take_named(text,    name) {
    while (match(text, /cellar_[a-z0-9_]+(\.h)?/)) {
        name = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        if (!sub(/\.h$/, "", name)) take_type(name)
        else if ((name ".h") in essay_of) seen["7 " name] = 1
    }
}

function begin_seen(header) {
    split("", seen)
    taken = 0
    sub(/\.h$/, "", header)
    seen["7 " header] = seen["7 cellar"] = 1
}

# Keep which calls have a type, which types hold a type, which contracts name a call, and which calls
# have the words of a call in their names.
function keep_uses(    i, n, k, text) {
    uses_kept = 1
    for (i = 1; i <= items; i++) {
        n = substr(item[i], 6)
        text = ""
        if (item[i] ~ /^call/) text = (fn_type[n] ~ /cellar_err$/ ? "" : fn_type[n] " ") fn_args[n]
        if (item[i] ~ /^unit/ && unit_text[n] !~ /^#/) {
            text = unit_text[n]
            gsub(/\/\*([^*]|\*[^\/])*\*\//, "", text)
        }
        keep_names(i, text, item[i] ~ /^call/ || text ~ /^static inline/)
    }
    for (n = 1; n <= functions; n++) {
        text = fn_name[n]
        sub(/_[a-z0-9]+$/, "", text)
        if (text != "cellar") stem_calls[text] = stem_calls[text] " " fn_name[n]
        while (text != "cellar") {
            longer[text] = longer[text] " " fn_name[n]
            sub(/_[a-z0-9]+$/, "", text)
        }
    }
    for (i = 1; i <= contracts; i++) {
        text = contract_text(i) named[i]
        while (match(text, /cellar_[a-z0-9_]+/)) {
            n = substr(text, RSTART, RLENGTH)
            text = substr(text, RSTART + RLENGTH)
            if (n in family_of) {
                names_calls[i] = names_calls[i] " " n
                named_by[family_of[n]] = named_by[family_of[n]] " " fn_name[first_of[i]]
            }
        }
    }
    k = split("open close acquire release set delete add remove pin unpin begin end join leave start stop subscribe unsubscribe " \
              "submit cancel attach detach get set create free lock unlock pause resume alloc free claim settle ban unban", word, " ")
    for (i = 1; i < k; i += 2) {
        undone_by[word[i]] = undone_by[word[i]] " " word[i + 1]
        undone_by[word[i + 1]] = undone_by[word[i + 1]] " " word[i]
    }
}

function keep_names(i, text, is_call,    name, had) {
    while (match(text, /cellar(_[a-z0-9]+)*[^a-z0-9_(]/)) {
        name = substr(text, RSTART, RLENGTH - 1)
        text = substr(text, RSTART + RLENGTH - 1)
        if ((name in had) || !(name in unit_of) || is_call && name == "cellar") continue
        had[name] = 1
        if (is_call) calls_of[name] = calls_of[name] " " i
        else if (item[i] != "unit " unit_of[name]) held_by[name] = held_by[name] " " i
    }
}

# Add points to the score of the families of the calls in a list, once each.
function rate(list, points, f,    i, n, name, g, had) {
    n = split(list, name, " ")
    for (i = 1; i <= n; i++) {
        if (!(name[i] in family_of)) continue
        g = family_of[name[i]]
        if (g == f || (g in had)) continue
        had[g] = 1
        score[g] += points
    }
}

# The calls named as `name` with one word replaced by its opposite.
function opposites(name,    i, k, n, m, word, other, out, list) {
    n = split(name, word, "_")
    for (i = 2; i <= n; i++) {
        m = split(undone_by[word[i]], other, " ")
        for (k = 1; k <= m; k++) {
            list = name
            if (sub("_" word[i] "(_|$)", "_" other[k] "&", list)) sub("_" other[k] "_" word[i], "_" other[k], list)
            out = out " " list
        }
    }
    return out
}

# What to read behind family `f`, in seen[]: types of its arguments, and the calls with the best score.
function find_related(f,    g, n, best, up, list) {
    if (!uses_kept) keep_uses()
    begin_seen(header_of[f])
    split("", score)
    for (n = first_of[f]; fn_family[n] == f; n++) {
        rate(opposites(fn_name[n]), 90, f)
        rate(longer[fn_name[n]], 40, f)
        up = fn_name[n]
        sub(/_[a-z0-9]+$/, "", up)
        rate(stem_calls[up], 25, f)
        for (list = ""; up != "cellar" && up != ""; sub(/_[a-z0-9]+$/, "", up)) list = list " " up
        rate(list, 45, f)
    }
    rate(names_calls[f], 50, f)
    rate(named_by[f], 30, f)
    for (g = f - 4; g <= f + 4; g++) {
        if (g != f && (g in first_of) && header_of[g] == header_of[f]) score[g] += 18 - 3 * (g < f ? f - g : g - f)
    }
    take_named(fn_args[first_of[f]] " " fn_type[first_of[f]])
    for (n = taken; n < 8; n++) {
        best = ""
        for (g in score) if (best == "" || is_nearer(g + 0, best + 0, f)) best = g
        if (best == "" || score[best] < 12 && n > 3) break
        seen["3 " fn_name[first_of[best]]] = 1
        delete score[best]
    }
}

function is_nearer(g, h, f,    near) {
    if (score[g] != score[h]) return score[g] > score[h]
    near = (g < f ? f - g : g - f) - (h < f ? f - h : h - f)
    return near ? near < 0 : g < h
}

# The calls of type `k` in use[], and in seen[] the types that hold it or that it holds.
function find_uses(k,    i, n, title, list) {
    if (!uses_kept) keep_uses()
    begin_seen(item_of[k])
    title = unit_title(k)
    split("", use)
    uses = 0
    if (unit_text[k] ~ /^static inline/) return
    if (unit_text[k] ~ /^typedef/) uses = split(calls_of[title], use, " ")
    n = title == "cellar" ? 0 : split(held_by[title], list, " ")
    for (i = 1; i <= n; i++) take_type(place[substr(item[list[i]], 6)])
    taken = -2
    if (unit_text[k] ~ /^typedef/) take_constants(k)
    take_named(unit_about[k] " " (unit_text[k] ~ /^typedef/ ? unit_text[k] : ""))
    if (!uses) take_calls(sentences(k) " " unit_text[k])
    delete seen["3 " title]
}

# The runs of constants that the flags of a type take, also named as "bits CELLAR_LOAD_..".
function take_constants(k,    i, n, text, name) {
    for (i = unit_rows(k); i > 0; i--) if (row_name[i] ~ /flags$/) text = text " " row_note[i]
    while (match(text, /CELLAR_[A-Z0-9_]+/)) {
        name = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        for (n = 1; n <= units && name ~ /_$/; n++) {
            if (item_of[n] == item_of[k] && unit_text[n] ~ /^#define/ && index(place[n], name) == 1) name = place[n]
        }
        if ((name in unit_of) && unit_text[unit_of[name]] ~ /^#define/) take_type(place[unit_of[name]])
    }
}

# The calls that a text names, four at most.
function take_calls(text,    name) {
    while (taken < 4 && match(text, /cellar_[a-z0-9_]+/)) {
        name = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        if (!(name in family_of) || (("3 " name) in seen)) continue
        seen["3 " name] = 1
        taken++
    }
}

function item_name(i) { return item[i] ~ /^call/ ? fn_name[substr(item[i], 6)] : place[substr(item[i], 6)] }

function item_line(i) { return item[i] ~ /^call/ ? one_line(fn_family[substr(item[i], 6)]) : first_sentence(sentences(substr(item[i], 6))) }

function use_names(    i, text) {
    for (i = 1; i <= uses; i++) text = text (i > 1 ? ", " : "") item_name(use[i])
    return text
}

function family_names(f,    n, text) {
    for (n = first_of[f]; fn_family[n] == f; n++) text = text " " fn_name[n]
    return text
}

function header_names(header,    i, text) {
    for (i = 1; i <= functions; i++) if (header_of[fn_family[i]] == header) text = text " " fn_name[i]
    return text
}

# The names in seen[] in one line, without headers, in the order of the headers.
function seen_names(    i, text) {
    for (i = 1; i <= items; i++) {
        if (item[i] !~ /^part/ && (("3 " item_name(i)) in seen) && (item[i] ~ /^call/ || unit_of[item_name(i)] == substr(item[i], 6))) {
            text = text (text == "" ? "" : ", ") item_name(i)
        }
    }
    return text
}

# ---- pages of the guide ----

# The title of page `i` of top[], and its part: "Guide: Which call".
function guide_name(i) { return guide_title[top[i]] (top_part[i] == "" ? "" : ": " top_part[i]) }

function guide_slug(text) { # as in site.awk
    text = tolower(text)
    gsub(/[^a-z0-9 _-]/, "", text)
    gsub(/ /, "-", text)
    return text
}

# Count in which pages, and in which section of each, a name stands; a constant counts for its type.
function read_guides(    i, n, list, line, part, fenced, name) {
    guides_read = 1
    n = split(guides, list, " ")
    for (i = 1; i <= n; i++) {
        part = fenced = ""
        guide_id[i] = list[i]
        gsub(/^.*\/|\.md$/, "", guide_id[i])
        while ((getline line < list[i]) > 0) {
            if (line ~ /^```/) fenced = !fenced
            if (!fenced && line ~ /^#+ /) {
                gsub(/^#+ |`/, "", line)
                if (guide_title[i] == "") { guide_title[i] = line; sub(/:.*/, "", guide_title[i]) }
                else part = line
            }
            while (match(line, /cellar_[a-z0-9_]+|CELLAR_[A-Z0-9_]+/)) {
                name = substr(line, RSTART, RLENGTH)
                line = substr(line, RSTART + RLENGTH)
                if (line ~ /^\.h/) continue
                if (name ~ /^C/ && (name in unit_of)) name = unit_title(unit_of[name])
                hits[name, i]++
                if (++part_hits[name, i, part] > most_hits[name, i]) {
                    most_hits[name, i] = part_hits[name, i, part]
                    most_part[name, i] = part
                }
            }
        }
        close(list[i])
    }
    guide_count = n
}

# The two pages that name the calls or types of a list most, in top[], with their parts in top_part[].
# Return their number.
function find_guides(names,    i, k, n, list, count, most, at, found) {
    if (!guides_read) read_guides()
    n = split(names, list, " ")
    for (i = 1; i <= guide_count; i++) {
        for (k = 1; k <= n; k++) count[i] += hits[list[k], i]
    }
    for (found = 0; found < 2; ) {
        at = 0
        for (i = 1; i <= guide_count; i++) if (count[i] > (at ? count[at] : 0)) at = i
        if (!at) break
        top[++found] = at
        most = 0
        for (k = 1; k <= n; k++) {
            if (hits[list[k], at] <= most) continue
            most = hits[list[k], at]
            top_part[found] = most_part[list[k], at]
        }
        count[at] = 0
    }
    return found
}

function see_also(names,    i, n, name, list, at, part, text) {
    for (name in seen) {
        for (at = ++n; at > 1 && tolower(list[at - 1]) > tolower(name); at--) list[at] = list[at - 1]
        list[at] = name
    }
    section_head("SEE ALSO")
    for (i = 1; i <= n; i++) {
        split(list[i], part, " ")
        print ".Xr " part[2] " " part[1] (i < n ? " ," : "") > page
    }
    text = ""
    for (i = find_guides(names); i > 0; i--) {
        text = "\"" guide_name(i) "\" (" guide_id[top[i]] ".html)" (text == "" ? "" : " and " text)
    }
    fresh = 0
    if (text != "") paragraph("On the site, share/doc/cellar: " text)
    tell()
    if (one == "") close(page)
}

# ---- pages ----

function page_head(name, number, source, of) {
    page = one != "" ? one : out "/man" number "/" name "." number
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
function library(header, number,    pair) {
    pair = header in status_of ? "cellar_all" : "cellar"
    section_head(number == 3 ? "LIBRARY" : "SYNOPSIS")
    if (number == 7) print ".In " header "\n.Pp" > page
    fill(mdoc("libcellar: link with `pkg-config --cflags --libs cellar`, or with") " \\%-lcellar.")
    fill("In the drop-in: " pair ".h and " pair ".c.")
    if (number == 3) section_head("SYNOPSIS")
    if (number == 3) print ".In " header > page
}

# `.so` needs the folder above it: a reader finds the page by the path of its manuals.
function also(name, title) {
    if (name == title) return
    if (one != "") { print ".so man3/" title ".3 of " name > one; return }
    print ".so man3/" title ".3" > (out "/man3/" name ".3")
    close(out "/man3/" name ".3")
}

function call_page(f,    n, i, k, list, names) {
    html_header = header_of[f]
    html_args = fn_args[first_of[f]]
    split("", argument)
    names = family_names(f)
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
    see_also(names)
}

# The topic that begins with row `i`, or "".
function topic_at(i) { return i == 1 || row_topic[i] != row_topic[i - 1] ? row_topic[i] : "" }

# The rows of a type or of constants, in groups; a macro as it is defined.
function man_rows(k,    i, n, kind, text) {
    kind = unit_text[k] ~ /^typedef struct/ ? "Va" : "Dv"
    n = unit_rows(k)
    if (!n && unit_text[k] ~ /^#/) {
        text = unit_text[k]
        sub(/[ \n]$/, "", text)
        code(text)
    }
    for (i = 1; i <= n; i++) {
        if (topic_at(i) != "") { end_items(); request(".Ss " topic_at(i)) }
        if (row_note[i] == "" && kind == "Va") row_note[i] = field_note(k, i)
        sub(/[;,]$/, "", row_decl[i])
        put_item(kind, row_decl[i], row_text(row_note[i]))
    }
    end_items()
}

# The note of a field or constant: a sentence, unless it is a number, a name or a type of C.
function row_text(note) {
    split("", argument)
    return note ~ / |^[a-z]+$/ && note !~ /^(float|double)$/ ? sentence(note) : note
}

# The declaration of a type or of an inline function.
function man_declaration(k,    i, n, list, text) {
    text = unit_text[k]
    gsub(/[ \n]+/, " ", text)
    sub(/ *;? *$/, "", text)
    if (text ~ /^#/) return
    if (text ~ /\{/ || text !~ /^static|\(\*/) {
        if (text ~ /\{/) text = substr(text, 1, index(text, "{")) " ... } " unit_title(k)
        request(".Vt \"" text ";\"")
        return
    }
    if (!match(text, /\(\*[a-z0-9_]+\)\(/)) match(text, /[a-z0-9_]+\(/)
    request(".Ft \"" trim(substr(text, 1, RSTART - 1)) "\"")
    request(".Fo \"" substr(text, RSTART, RLENGTH - 1) "\"")
    text = substr(text, RSTART + RLENGTH)
    sub(/\)[^)]*$/, "", text)
    n = split_at(text, ",", list)
    for (i = 1; i <= n; i++) request(".Fa \"" list[i] "\"")
    request(".Fc")
}

# Whether unit `k` has a page: no other one declares its name, and no type has its rows.
function is_own(k) { return unit_of[unit_title(k)] == k && !(place[k] in list_of) }

# A type or constants on the page of its header.
function man_unit(k,    n, i, list) {
    if (!is_own(k)) return
    section_head(unit_title(k))
    split("", argument)
    put_text(sentences(k))
    if (!unit_rows(k) && unit_text[k] !~ /^#/) code(substr(unit_text[k], 1, length(unit_text[k]) - 1))
    man_rows(k)
    n = "unit " k
    if (!((n, "thread") in field)) return
    split("In in Out out Returns returns Ownership owns Threads thread", list, " ")
    for (i = 1; i in list; i += 2) if (field[n, list[i + 1]] != "") put_item("Sy", list[i], sentence(field[n, list[i + 1]]))
    end_items()
}

# The page of a type or of constants, with an alias for each name in it.
function type_page(k,    i, n, title, names, about, list, lines) {
    title = unit_title(k)
    html_header = item_of[k]
    names = title
    n = unit_rows(k)
    for (i = 1; i <= n; i++) {
        if (unit_text[k] ~ /^#define/ && row_name[i] != title && row_name[i] != "") names = names " " row_name[i]
        if (row_name[i] ~ /^CELLAR/) also(row_name[i], title)
    }
    if ((title ".struct_size") in row_at) also(title "_default", title)
    lines = split(n ? "" : unit_text[k], list, "\n")
    for (i = 1; i <= lines; i++) {
        if (!match(list[i], /^#define [A-Z0-9_]+/) || substr(list[i], 9, RLENGTH - 8) == title) continue
        names = names " " substr(list[i], 9, RLENGTH - 8)
        also(substr(list[i], 9, RLENGTH - 8), title)
    }
    about = first_sentence(sentences(k))
    if (about == "" && n == 1) about = row_note[1]
    page_head(title, 3, item_of[k])
    page_names(names, about == "" ? "types of " item_of[k] : about)
    html_args = ""
    split("", argument)
    library(item_of[k], 3)
    man_declaration(k)
    if ((title ".struct_size") in row_at) request(".Ft " title "\n.Fn " title "_default \"void\"")
    section_head("DESCRIPTION")
    put_text(sentences(k))
    if (n) section_head(unit_text[k] ~ /^typedef struct/ ? "FIELDS" : "VALUES")
    man_rows(k)
    if (("unit " k, "thread") in field) sections("unit " k, fn_unit_args(k), fn_unit_type(k))
    find_uses(k)
    if (uses) section_head("FUNCTIONS")
    if (uses) request(".Bl -tag -width Ds")
    for (i = 1; i <= uses; i++) {
        request(".It Xr " item_name(use[i]) " 3")
        mdoc_text(item_line(use[i]) ".")
    }
    if (uses) request(".El")
    see_also(title)
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
    taken = -5
    take_named(text)
    delete seen["7 " name]
    see_also(header_names(header))
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
        if (on) code_line(line)
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
    gsub(/\\/, "&e", text)
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
