# SPDX-License-Identifier: MIT
#
# mutate: finds places for small mistakes in C files, and plants chosen ones.
#
# USE        awk -f mutate.awk FILE...                               lists the places, one a line:
#                FILE:LINE <tab> number in its file <tab> function <tab> kind <tab> text -> text
#            awk -v chosen=LIST -v to=FOLDER -f mutate.awk FILE...   writes FOLDER/FILE
#                LIST: id <tab> FILE <tab> number; of two places that overlap the later one is not
#                planted, and its id is printed
# KINDS      operator   a < b -> a <= b and its like; && <-> ||; + <-> -; * <-> /; & <-> |; << <-> >>
#            constant   a number and 1 more, 1 -> 0, true <-> false
#            dropped    a statement that is a call or an assignment
#            swapped    the branches of an if or of a ?: change places
# FORM       A place is a range of tokens of one function. Planted, it holds both texts, and
#            mutation_is(ID) chooses. Lines keep their numbers.
# LEFT OUT   asserts, logs, points of the simulation, texts, case labels, sizeof, static data,
#            macros. What does not compile is dropped by mutation.sh: this file knows no types.

BEGIN {
    FS = "\t"
    split("* / % + - << >> < > <= >= == != & ^ | && ||", op, " ")
    split("10 10 10 9 9 8 8 7 7 7 7 6 6 5 4 3 2 1", rank, " ")
    for (i = 1; i in op; i++) order[op[i]] = rank[i]
    for (i = split("= += -= *= /= %= &= |= ^= <<= >>=", op, " "); i > 0; i--) assigns[op[i]] = 1
    split("< <= > >= == != && || + - * / % & | << >>", op, " ")
    split("<= < >= > != == || && - + / * / | & >> <<", rank, " ")
    for (i = 1; i in op; i++) other[op[i]] = rank[i]
    for (i = split("if for while switch return do else case default goto break continue sizeof " \
                   "static enum struct union typedef extern const", op, " "); i > 0; i--) word[op[i]] = 1
    quiet = "(^|_)(log|logf|printf|snprintf|vsnprintf|fprintf|talk|talks|talk_now|assert)$|" \
            "^BASE_(ASSERT|REQUIRE|AUDIT|POINT|SIZE_BEGIN|SIZE_END|TALK)$|^(sizeof|offsetof|" \
            "_Static_assert|_Alignof|__attribute__|memset)$|_C$"
    while (chosen != "" && (getline line <chosen) > 0) {
        split(line, field, "\t")
        id_of[field[2], field[3]] = field[1]
    }
}
FNR == 1 { finish(); begin(FILENAME) }
{ text[FNR] = $0; lines = FNR; tokens_of($0, FNR) }
END { finish() }

function begin(name) {
    file = name
    n = lines = comment = directive = 0
    split("", tok)
}
function tokens_of(line, number,    at, rest, c) {
    if (directive || (!comment && line ~ /^[ \t]*#/)) { directive = line ~ /\\$/; return }
    at = 1
    while (at <= length(line)) {
        rest = substr(line, at)
        if (comment) {
            c = index(rest, "*/")
            if (c == 0) return
            comment = 0
            at += c + 1
        } else if (match(rest, /^[ \t]+/)) at += RLENGTH
        else if (rest ~ /^\/\*/) { comment = 1; at += 2 }
        else if (rest ~ /^\/\//) return
        else {
            if (match(rest, /^"([^"\\]|\\.)*"/) || match(rest, /^'([^'\\]|\\.)*'/) ||
                match(rest, /^[A-Za-z_][A-Za-z_0-9]*/) || match(rest, /^[0-9][0-9A-Za-z_.]*/) ||
                match(rest, /^(<<=|>>=|\.\.\.|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*\/%&|^]=)/) ||
                match(rest, /^./)) {
                n++
                tok[n] = substr(rest, 1, RLENGTH)
                row[n] = number
                col[n] = at
                at += RLENGTH
            }
        }
    }
}
# Return true if the operator at token `i` has a blank on both sides: the style of a binary one.
function binary(i,    line) {
    line = text[row[i]]
    return (col[i] == 1 || substr(line, col[i] - 1, 1) == " ") &&
        (col[i] + length(tok[i]) > length(line) || substr(line, col[i] + length(tok[i]), 1) == " ")
}
function closing(i,    depth) { # token of the bracket that closes the one at `i`
    for (depth = 0; i <= n; i++) {
        if (tok[i] ~ /^[[({]$/) depth++
        else if (tok[i] ~ /^[])}]$/ && --depth == 0) return i
    }
    return n
}
function stops(i, least) { # an operand ends before an operator that binds at most as `least`
    return tok[i] ~ /^[,;?:{}]$/ || tok[i] in assigns || tok[i] in word ||
        (tok[i] in order && binary(i) && order[tok[i]] <= least)
}
function left_end(i, least,    depth) {
    for (i--; i > 0; i--) {
        if (tok[i] ~ /^[])}]$/) depth++
        else if (tok[i] ~ /^[[({]$/) { if (depth == 0) break; depth-- }
        else if (depth == 0 && stops(i, least)) break
    }
    return i + 1
}
function right_end(i, least,    depth) {
    for (i++; i <= n; i++) {
        if (tok[i] ~ /^[[({]$/) depth++
        else if (tok[i] ~ /^[])}]$/) { if (depth == 0) break; depth-- }
        else if (depth == 0 && stops(i, least)) break
    }
    return i - 1
}
function joined(from, to,    s, i) {
    for (i = from; i <= to; i++) s = s (i > from ? " " : "") tok[i]
    return s
}

# Note a place: tokens `from` to `to` become `before` ID `middle`, the old text, `after`.
function place(from, to, kind, was, becomes, before, middle, after,    id, i) {
    if (from > to) return
    number++
    if (chosen == "") {
        printf "%s:%d\t%d\t%s\t%s\t%s -> %s\n", file, row[from], number, name, kind, was, becomes
        return
    }
    if (!((file, number) in id_of)) return
    id = id_of[file, number]
    for (i = 1; i <= edits; i++)
        if (from <= edit_to[i] && edit_from[i] <= to) { print id; return }
    edits++
    edit_from[edits] = from
    edit_to[edits] = to
    head[edits] = before id middle
    tail[edits] = after
}
function choice(from, to, kind, was, becomes, text_of) {
    place(from, to, kind, was, becomes, "(mutation_is(", ") ? (" text_of ") : (", "))")
}
function operator(i,    t, l, r) {
    t = tok[i]
    l = left_end(i, order[t] - 1)
    r = right_end(i, order[t])
    if (l >= i || r <= i) return
    # The whole condition of an if: its branches change places already.
    if (t ~ /^[!=]=$/ && tok[l - 1] == "(" && tok[l - 2] == "if" && tok[r + 1] == ")") return
    choice(l, r, "operator", joined(l, r), joined(l, i - 1) " " other[t] " " joined(i + 1, r),
        joined(l, i - 1) " " other[t] " " joined(i + 1, r))
}
function constant(i,    t) {
    t = tok[i]
    if (t == "true" || t == "false")
        choice(i, i, "constant", t, t == "true" ? "false" : "true", t == "true" ? "false" : "true")
    else if (t ~ /^1[uUlL]*$/) place(i, i, "constant", t, "0", "(!mutation_is(", ") * ", ")")
    else place(i, i, "constant", t, t " + 1", "(mutation_is(", ") + ", ")")
}
function swap(from, to) {
    choice(from, to, "swapped", joined(from, to), "!(" joined(from, to) ")", "!(" joined(from, to) ")")
}
function statement(i,    e, j, call) { # begins at token `i`
    if (tok[i] == "static" || tok[i] == "enum" || tok[i] == "_Static_assert") {
        for (; i <= n && tok[i] != ";"; i++) if (tok[i] ~ /^[[({]$/) i = closing(i)
        skip = i
        return
    }
    if (tok[i] in word || tok[i] !~ /^([A-Za-z_(*]|[A-Za-z_][A-Za-z_0-9]*)/ || tok[i] ~ quiet) return
    for (e = i; e <= n && tok[e] != ";"; e++) {
        if (tok[e] ~ /^[{}]$/ || tok[e] in word) return
        if (tok[e] ~ /^[[(]$/) e = closing(e)
        else if (tok[e] in assigns || tok[e] == "++" || tok[e] == "--") { call = 1; break }
    }
    # A declaration has two words, or a word and a `*`, side by side at its beginning.
    for (j = i; j < e; j++) {
        if (tok[j] ~ /^[[(]$/) j = closing(j)
        if (j > i && tok[j] ~ /^[A-Za-z_]/ && tok[j - 1] ~ /^[A-Za-z_0-9]*[A-Za-z_]$/) return
        if (j > i && tok[j] == "*" && tok[j - 1] ~ /^[A-Za-z_]/) return
    }
    if (tok[i] == "(" && tok[i + 1] == "void" && tok[e - 1] != ")") return
    if (!call && tok[e - 1] != ")") return
    for (; e <= n && tok[e] != ";"; e++) if (tok[e] ~ /^[[({]$/) e = closing(e)
    if (e > n || e == i) return
    place(i, e, "dropped", joined(i, e), "(nothing)", "{ if (!mutation_is(", ")) { ", " } }")
}

function finish(    i, depth, inside, t, was) {
    number = edits = skip = 0
    name = ""
    if (file == "") return
    for (i = 1; i <= n; i++) {
        t = tok[i]
        if (!inside) {
            # At the outermost level: the name of a function, and the `{` that follows its `)`.
            if (depth == 0 && t == "(" && tok[i - 1] ~ /^[a-z]/ && name == "") name = tok[i - 1]
            if (depth == 0 && (t == ";" || t == "=")) name = t == ";" ? "" : name
            if (t == "{" && depth == 0 && tok[i - 1] == ")") {
                inside = depth = 1
                statement(i + 1)
            } else if (t ~ /^[{(]$/) depth++
            else if (t ~ /^[})]$/) { depth--; if (depth == 0 && t == "}") name = "" }
            continue
        }
        if (t == "{") depth++
        else if (t == "}" && --depth == 0) { inside = 0; name = ""; continue }
        if (i <= skip) continue
        if (t == "case") { while (tok[i] != ":") i++; statement(i + 1); continue }
        if (tok[i + 1] == "(" && t ~ quiet) { i = closing(i + 1); continue }
        if (t == "[" && tok[i - 1] ~ /^[A-Za-z_]/ && tok[i - 2] ~ /^([A-Za-z_]+|\*)$/ &&
            !(tok[i - 2] in word)) { # the size of an array
            i = closing(i)
            continue
        }
        if (t == "if") swap(i + 2, closing(i + 1) - 1)
        if ((t == "if" || t == "for" || t == "while" || t == "switch") && tok[i + 1] == "(")
            body[closing(i + 1)] = 1
        if (t == "?") swap(left_end(i, 0), i - 1)
        if (t in other && binary(i)) operator(i)
        if (t ~ /^[0-9]/ || t == "true" || t == "false") constant(i)
        if (t ~ /^[{};]$/ || t == "else" || t == "do" || i in body) {
            if (t != ";" || !within(i)) statement(i + 1)
        }
    }
    if (chosen != "") write()
    split("", body)
}
function within(i,    depth) { # a `;` between the brackets of a for
    for (i--; i > 0 && tok[i] !~ /^[;{}]$/; i--) {
        if (tok[i] == ")") depth++
        else if (tok[i] == "(" && --depth < 0) return 1
    }
    return i > 0 && tok[i] == ";" ? within_for(i) : 0
}
function within_for(i,    depth) { # the second `;` of a for
    for (i--; i > 0 && tok[i] !~ /^[;{}]$/; i--) {
        if (tok[i] == ")") depth++
        else if (tok[i] == "(" && --depth < 0) return tok[i - 1] == "for"
    }
    return 0
}
function write(    i, j, x, line, path, e) {
    path = to "/" file
    for (i = 1; i <= edits; i++) {
        put(row[edit_from[i]], col[edit_from[i]], head[i])
        e = edit_to[i]
        put(row[e], col[e] + length(tok[e]), tail[i])
    }
    for (i = 1; i <= lines; i++) print put_into(i) >path
    close(path)
    split("", at_line)
    split("", put_at)
    split("", put_text)
}
function put(line, column, words) {
    at_line[line]++
    put_at[line, at_line[line]] = column
    put_text[line, at_line[line]] = words
}
function put_into(line,    s, k, best, last) { # from the right: columns stay valid
    s = text[line]
    for (last = 1e9; at_line[line] > 0; at_line[line]--) {
        best = 0
        for (k = 1; (line, k) in put_at; k++)
            if (put_at[line, k] >= 0 && (!best || put_at[line, k] > put_at[line, best])) best = k
        s = substr(s, 1, put_at[line, best] - 1) put_text[line, best] substr(s, put_at[line, best])
        put_at[line, best] = -1
    }
    return s
}
