# SPDX-License-Identifier: MIT
#
# language: report text for people that breaks the rules of .github/CONTRIBUTING.md,
# by file and line.
#
# USE      awk -f src/tools/language.awk FILE...     findings on stdout; exit 1 when there are any
# READS    .c .h .cc: comments and string literals      .md: prose outside code fences
#          .sh .awk .mk Makefile: comments
# RULES    word       a word or phrase of the lists below, in text. Text in double quotes or
#                     backquotes is a quotation and passes; identifiers are never text.
#          function   src/ and include/: the comment directly above a function begins with an
#                     imperative verb. `name: verb ...` is judged by the word after the colon.
#          paragraph  include/: at most 8 comment lines without an empty line, a section word
#                     (a contract's `in:`, capitals, a label with two blanks behind it) or code.
#          essay      the first comment of a file has at most 25 lines below the SPDX line and
#                     that of a guest, 40 when
#                     a line begins with PROTOCOL or FORMAT.
# LIMITS   The lists hold only words that are wrong in every place; a reader finds the rest. The
#          function rule knows words that are no imperative, not all verbs.

function report(line, what) { printf "%s:%d: %s\n", file, line, what; findings++ }

function words(text, set,    n, i, list) {
    n = split(text, list, " ")
    for (i = 1; i <= n; i++) set[list[i]] = 1
}

# Add "for ever" and its like, each to the list of its first word.
function phrases(text,    n, i, list, first) {
    n = split(text, list, /, */)
    for (i = 1; i <= n; i++) {
        first = list[i]
        sub(/ .*/, "", first)
        phrases_of[first] = phrases_of[first] "," list[i]
    }
}

BEGIN {
    words("who whoever whom whomever whose nobody somebody someone anybody anyone everybody " \
          "everyone anew lest shall dearer limbo", forbidden)
    phrases("for ever, is to be, are to be, was to be, were to be, for want of, in want of, " \
            "what is there, let go of, lets go of")
    words("a an the it its he his they them their this that these those what which each " \
          "every any all some none no nothing one both such same other another others our " \
          "ours we us you your everything something anything much many more most less " \
          "least few fewer two three four five six seven eight nine ten first second third " \
          "last next half twice once again about above after against along among around as " \
          "at before behind below beneath beside between beyond but by despite down during " \
          "except for from in inside into like near of off on onto out outside over past " \
          "per since than through till to toward under until up upon versus via with " \
          "within without and or nor so yet because if when whenever while where wherever " \
          "whether unless though although how why not never always only also even just " \
          "still already now then there here ever else too very true false new old own " \
          "valid uniform whole full left right am are be been being can could did do does " \
          "had has have is may might must should was were will would entry entries " \
          "namespace stripe tombstone budget quota limiter generation loader leader waiter " \
          "token reader writer byte length capacity error", no_verb)
    words("key value bucket segment lease rule fence thread number hit position address name " \
          "time room code result lock record size count index limit length zero empty", noun_too)
    words("need feed embed shed seed exceed proceed speed bleed heed bring ping ring string " \
          "swing focus bias alias", verb)
    section = "^ ?(in|out|returns|owns|thread|cost|example|since):( |$)"
}

# Check the words of one paragraph: `text` with newlines, from line `line` on.
function check_words(text, line,    inside, before, n, i, list, word, at, seq, line_of, p, tail) {
    before = ""
    while (match(text, /`[^`]*`|"[^"]*"/)) {
        inside = substr(text, RSTART, RLENGTH)
        before = before substr(text, 1, RSTART - 1)
        text = substr(text, RSTART + RLENGTH)
        gsub(/[^\n]+/, "", inside)
        before = before " | " inside
    }
    text = tolower(before text)
    gsub(/\n/, " \n ", text)
    gsub(/[.,;:()!?|]/, " | ", text)
    gsub(/'s /, " ", text)
    n = split(text, list, /[ \t]+/)
    at = 0
    for (i = 1; i <= n; i++) {
        if (list[i] == "\n") { line++; continue }
        word = list[i]
        gsub(/^[^a-z0-9_|]+|[^a-z0-9_|]+$/, "", word)
        if (word == "" || (word == "|" && (at == 0 || seq[at] == "|"))) continue
        seq[++at] = word
        line_of[at] = line
    }
    for (i = 1; i <= at; i++) {
        word = seq[i]
        if (word in forbidden) report(line_of[i], "word: `" word "`")
        if (!(word in phrases_of)) continue
        tail = word
        for (p = 1; p <= 3 && i + p <= at; p++) tail = tail " " seq[i + p]
        n = split(phrases_of[word], list, ",")
        for (p = 2; p <= n; p++) {
            if (index(tail " ", list[p] " ") == 1) report(line_of[i], "word: `" list[p] "`")
        }
    }
}

# Collect the text of a block line by line; an empty line ends a paragraph.
function add_text(text, line) {
    if (text ~ /^[ \t]*$/) { end_text(); return }
    if (para == "") { para = text; para_line = line; return }
    para = para "\n" text
}
function end_text() {
    if (para != "") check_words(para, para_line)
    para = ""
}

# ---- essays and paragraphs -----------------------------------------------------------------

# Take one line of a comment, without its marks. `first`: a comment begins here.
function comment_line(text, line, first) {
    add_text(text, line)
    if (first) { para_lines = 0; in_example = 0 }
    if (head == 1) {
        if (text ~ /SPDX-License-Identifier|^ *guest: /) {
            head_lines = head_seen = 0
        } else if (head_lines > 0 || text !~ /^[ \t]*$/) {
            if (++head_seen == 1) head_line = line
            if (text !~ /^[ \t]*$/) head_lines = head_seen
            if (text ~ /^[ \t]*(PROTOCOL|FORMAT)( |$)/) head_format = 1
        }
    }
    if (!public) return
    if (text ~ section) in_example = (text ~ /^ ?example:/)
    if (text ~ /^[ \t]*$/ || in_example || text ~ section || text ~ /[;{}]([ \t]|$)/ ||
        text ~ /^ *[A-Z][A-Z0-9_ ,]+(  |$)/ || text ~ /^ *[a-z][^ ]*( [a-z+]+)?  +[^ ]/ ||
        text ~ /^ *(-|\*|[0-9]+\.) /) {
        para_lines = 0
    }
    if (text ~ /^[ \t]*$/ || in_example) return
    if (++para_lines == 9) report(line, "paragraph: more than 8 lines")
}

function end_head() {
    if (head == 1 && head_lines > (head_format ? 40 : 25)) {
        report(head_line, "essay: " head_lines " lines, at most " (head_format ? 40 : 25))
    }
    if (head == 1 && head_lines > 0) head = 2
}

# ---- C -------------------------------------------------------------------------------------

function open_comment(line, alone) {
    in_comment = 1
    comment_alone = alone
    comment_text = ""
    comment_start = line
    fresh = 1
}
function more_comment(text, line) {
    sub(/^[ \t]*\*( |$)/, " ", text)
    comment_line(text, line, fresh)
    fresh = 0
    comment_text = comment_text " " text
}
function close_comment(line) {
    in_comment = 0
    end_text()
    end_head()
    above_line = comment_alone ? line : -1
    above_text = comment_text
    above_start = comment_start
}

function c_line(rest, line,    code, text) {
    code = ""
    if (!in_comment && rest ~ /^[ \t]*#[ \t]*include/) { code = rest; rest = "" }
    while (rest != "") {
        if (in_comment) {
            if (match(rest, /\*\//)) {
                more_comment(substr(rest, 1, RSTART - 1), line)
                match(rest, /\*\//)
                rest = substr(rest, RSTART + 2)
                close_comment(line)
            } else {
                more_comment(rest, line)
                return
            }
            continue
        }
        if (!match(rest, /["'\/]/)) { code = code rest; break }
        code = code substr(rest, 1, RSTART - 1)
        rest = substr(rest, RSTART)
        if (rest ~ /^\/\*/) {
            open_comment(line, code == "")
            rest = substr(rest, 3)
            if (rest == "") { more_comment("", line); return }
        } else if (rest ~ /^\/\//) {
            check_words(substr(rest, 3), line)
            rest = ""
        } else if (match(rest, /^"([^"\\]|\\.)*"/)) {
            text = substr(rest, 2, RLENGTH - 2)
            rest = substr(rest, RLENGTH + 1)
            code = code "\"\""
            gsub(/\\[nt]/, " ", text)
            gsub(/\\"/, "\"", text)
            if (text ~ / /) check_words(text, line)
        } else if (match(rest, /^'([^'\\]|\\.)*'/)) {
            rest = substr(rest, RLENGTH + 1)
            code = code "0"
        } else {
            code = code substr(rest, 1, 1)
            rest = substr(rest, 2)
        }
    }
    if (code ~ /^[ \t]*$/) return
    if (head == 1) head = 2
    if (declaration == "" && above_line == line - 1 && code ~ /^[A-Za-z_]/) declaration = code
    else if (declaration != "") declaration = declaration " " code
    if (declaration == "") return
    if (declaration ~ /[;{=]/ || code ~ /^[ \t]*#/) {
        name = in_tests ? "" : function_name(declaration)
        if (name != "") check_verb(above_text, above_start, name)
        declaration = ""
    }
}

# Return the name that a declaration gives to a function; empty when it declares something else.
function function_name(text,    before) {
    while (match(text, /__attribute__ *\(\([^()]*(\([^()]*\)[^()]*)*\)\)/)) {
        text = substr(text, 1, RSTART - 1) " " substr(text, RSTART + RLENGTH)
    }
    sub(/[;{=].*/, "", text)
    if (text ~ /^(typedef|enum|union|_Static_assert|#|else)/ || text !~ /\(/) return ""
    before = text
    sub(/\(.*/, "", before)
    if (before ~ /\[|=/ || text ~ /^[^(]*\( *\*/) return ""
    if (before !~ /[A-Za-z0-9_*][ *]+[a-z_][A-Za-z0-9_]*$/) return "" # a type and a name
    sub(/.*[ *]/, "", before)
    return before
}

function check_verb(text, line, name,    word) {
    sub(/^[ \t*]+/, "", text)
    if (text ~ /^(-|=)/) return # a line that opens a section
    if (index(text, name ": ") == 1) text = substr(text, length(name) + 3)
    word = text
    sub(/[ \t,.:;()].*/, "", word)
    if (word !~ /^[A-Za-z]+(-[a-z]+)*$/) {
        report(line, "function: begin with an imperative verb (not `" word "`)")
        return
    }
    text = tolower(substr(text, length(word) + 1))
    word = tolower(word)
    if (word in verb) return
    if (word in noun_too) { # "Size of x", not "Size the table"
        if (text !~ /^( (of|is|are|in|at|from)( |$)|[.,;:])/) return
    } else if (!(word in no_verb) && !(word in forbidden) &&
               word !~ /(^|[^s])s$|ed$|ing$|^[a-z]$/) {
        return
    }
    report(line, "function: begin with an imperative verb (not `" word "`)")
}

# ---- other files ---------------------------------------------------------------------------

function md_line(line) {
    if ($0 ~ /^[ \t]*(```|~~~)/) { fenced = !fenced; end_text(); return }
    if (fenced) return
    if ($0 ~ /^[ \t]*([-*|#]|[0-9]+\.)/) end_text()
    add_text($0, line)
}

# Comments of sh, awk and make. A `#` inside quotes or a word is none.
function hash_line(line,    before, quotes, text) {
    if ($0 ~ /^#!/) return
    if (match($0, /^[ \t]*#+/)) {
        text = substr($0, RLENGTH + 1)
        comment_line(text, line, !in_hash)
        in_hash = 1
        return
    }
    if (in_hash) { end_text(); end_head(); in_hash = 0 }
    if ($0 !~ /^[ \t]*$/ && head == 1) head = 2
    if (!match($0, /[ \t]# /)) return
    before = substr($0, 1, RSTART)
    text = substr($0, RSTART + 2)
    quotes = gsub(/["']/, "", before)
    if (quotes % 2 == 0) check_words(text, line)
}

function start_file() {
    end_text()
    end_head()
    in_comment = in_hash = fenced = 0
    declaration = ""
    above_line = -1
    head = 1
    head_lines = head_seen = head_format = 0
    file = FILENAME
    public = FILENAME ~ /(^|\/)include\/[^\/]*\.h$/
    in_tests = FILENAME !~ /(^|\/)(src|include)\//
    kind = FILENAME ~ /\.(c|h|cc)$/ ? "c" : FILENAME ~ /\.md$/ ? "md" : "hash"
    if (kind == "md") head = 2
}

FNR == 1 { start_file() }
kind == "c" { c_line($0, FNR); next }
kind == "md" { md_line(FNR); next }
{ hash_line(FNR) }

END {
    end_text()
    end_head()
    printf "language: %d findings\n", findings
    exit findings > 0
}
