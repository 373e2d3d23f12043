#!/bin/sh
# SPDX-License-Identifier: MIT
#
# page: turns the dashboard into a C array.
#
# USE        sh src/tools/page.sh src/guests/resp/dashboard.html >build/made/resp/page.h     (the build does it)
# WALK       leave out indents, empty lines, notes of // and blanks -> SHA-256 of style and script
#            into the policy -> numbers of bytes, for a string of C has at most 4,095 characters
# LIMITS     ASCII alone; no text of the script goes over several lines or has an escaped quote,
#            no regular expression has a blank
set -eu
LC_ALL=C
export LC_ALL
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

awk '
/^<style>/ { style = 1 } /^<\/style>/ { style = 0 }
{ sub(/^ +/, ""); sub(/ +\/\/ .*$/, "") }
/^\/\/ / || $0 == "" { next }
function tight(line,    i, c, out, quote, before) { # no blanks but in texts and between words
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        if (quote != "") {
            if (c == quote) quote = ""
        } else if (index("\047\"`", c)) {
            quote = c
        } else if (c == " " && (before !~ /[A-Za-z0-9_$]/ || substr(line, i + 1, 1) !~ /[A-Za-z0-9_$]/)) {
            continue
        }
        out = out c
        before = c
    }
    return out
}
/^<script>/ { script = 1 } /^<\/script>/ { script = 0 }
script { $0 = tight($0) }
style { gsub(/: /, ":"); gsub(/ *[{] */, "{"); gsub(/;? *[}] */, "}"); gsub(/; */, ";"); gsub(/, /, ",") }
{ print }' "$1" >"$tmp/page"

digest() { # ELEMENT: SHA-256 of its content in base64
    sed -n "/^<$1>\$/,/^<\\/$1>\$/p" "$tmp/page" | sed '1d;$d' >"$tmp/content"
    # The content begins with the newline behind the tag.
    { echo; cat "$tmp/content"; } | sha256sum | awk '{
        digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        for (i = 1; i <= 64; i++) {
            n = index("0123456789abcdef", substr($1, i, 1)) - 1
            bits = bits sprintf("%d%d%d%d", n >= 8, n % 8 >= 4, n % 4 >= 2, n % 2)
        }
        for (bits = bits "00"; bits != ""; bits = substr(bits, 7)) {
            n = 0
            for (i = 1; i <= 6; i++) n = n * 2 + substr(bits, i, 1)
            printf "%s", substr(digits, n + 1, 1)
        }
        print "="
    }'
}
if LC_ALL=C grep -q '[^ -~]' "$tmp/page"; then
    echo "page: $1 has a byte that is no ASCII; write it as \\uXXXX" >&2
    exit 1
fi
style=$(digest style) script=$(digest script)
sed "s|@style@|$style|; s|@script@|$script|" "$tmp/page" >"$tmp/done"

cat <<'H'
/* SPDX-License-Identifier: MIT
 *
 * page: the dashboard as bytes. Made from dashboard.html: change that file. */
#ifndef RESP_PAGE_H
#define RESP_PAGE_H

H
sed -n 's/.*http-equiv="Content-Security-Policy" content="\([^"]*\)".*/\1/p' "$tmp/done" |
    awk '{ gsub(/; /, "; \" \\\n    \""); print "#define RESP_PAGE_POLICY \\\n    \"" $0 "\"\n" }'
echo 'static const char resp_page[] = {'
od -An -v -tu1 -w24 "$tmp/done" | awk '{ gsub(/^ +/, ""); gsub(/ +/, ","); print "    " $0 "," }'
printf '};\n\n#endif\n'
