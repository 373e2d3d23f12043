# SPDX-License-Identifier: MIT
#
# code: what is left of a line of C without comments and strings; for floors.awk and figures.awk.

# Return `line` without comments and without the contents of strings and character constants.
# `in_comment` is true between the lines of a block comment; the caller clears it for each file.
# Most lines hold no comment and no string: they are returned as they are.
function strip_comments(line,    out, i, c, two, quote) {
    if (in_comment) { if (index(line, "*/") == 0) return "" }
    else if (line !~ /["'\/]/) return line
    out = ""
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        two = substr(line, i, 2)
        if (in_comment) {
            if (two == "*/") { in_comment = 0; i++ }
        } else if (two == "/*") {
            in_comment = 1
            i++
            out = out " "
        } else if (two == "//") {
            break
        } else if (c == "\"" || c == "'") {
            quote = c
            out = out c
            for (i++; i <= length(line); i++) {
                c = substr(line, i, 1)
                if (c == "\\") i++
                else if (c == quote) break
            }
            out = out quote
        } else {
            out = out c
        }
    }
    return out
}
