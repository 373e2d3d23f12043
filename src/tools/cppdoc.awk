# SPDX-License-Identifier: MIT
#
# cppdoc: sections of the site for the C++ wrapper: the head essay, and of each class, struct and
# function the comments and declarations without their bodies.
#
# USE        awk -f src/tools/cppdoc.awk include/cellar.hpp >>dist/doc/calls.html
# READS      the form of cellar.hpp: classes and functions begin in column 1, members in column 5,
#            their bodies stand between braces of that column or on the line of the declaration.
# LEAVES OUT namespace detail, private members, copies that are deleted.

function escape(text)
{
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    gsub(/>/, "\\&gt;", text)
    return text
}
function section(id, name, about)
{
    print "<section id=\"" id "\"><h" (id == "cellar.hpp" ? 2 : 3) ">" escape(name) "</h" (id == "cellar.hpp" ? 2 : 3) "><p>" escape(about)
    print "</p><pre" (id == "cellar.hpp" ? "" : " class=\"call\"") ">"
}
# Begin the section of a class; a specialization has a number in its place.
function begin(name)
{
    section("cellarpp-" name (seen[name]++ ? "-" seen[name] : ""), "cellarpp::" name, sentence(comment))
}
# The first sentence of a comment, without its marks.
function sentence(text)
{
    gsub(/\n *\*/, " ", text)
    gsub(/\/\*|\*\/|\n/, "", text)
    gsub(/  +/, " ", text)
    sub(/^ /, "", text)
    sub(/\. .*$/, ".", text)
    return text
}
# Print a comment and the declaration that follows it, which may have several lines.
function declare()
{
    sub(/[ \n]*: [a-z_:]+[({].*$/, "", text)
    sub(/ *\{.*$/, "", text)
    sub(/[ \n]+$/, "", text)
    if (text !~ /= delete|operator=|^ *friend / && text != "") printf "%s%s;\n", escape(comment), escape(text)
    comment = text = ""
}
/^ \* cellar\.hpp|^ \* [A-Z]|^ \*  |^ \*$/ && !begun { essay = essay substr($0, 3) "\n"; next }
/^#ifndef CELLAR_HPP/ {
    begun = 1
    section("cellar.hpp", "cellar.hpp", "C++17 wrapper: handles close themselves, values have types.")
    printf "%s</pre></section>\n", escape(essay)
}
!begun || /^namespace cellarpp/ { next }
/^namespace detail/ { hidden = 1 }
/^} \/\/ namespace detail/ { hidden = 0; comment = ""; next }
hidden || /^#|^\/\* ----/ { next }
/^ *\/\*/ { comment = "" }
/^ *\/\*/, /\*\/$/ { comment = comment $0 "\n"; next }
/^template/ && !inside && !/ \{$|;$/ { before = before $0 "\n"; next }
/^(template <[^>]*(> )?.*> )?(class|struct) [a-z_]+.* \{$/ {
    name = $0
    sub(/^.*(class|struct) /, "", name)
    sub(/[ :<].*$/, "", name)
    inside = 1
    public = $0 ~ /struct/
    begin(name)
    printf "%s%s%s\n", escape(comment), escape(before), escape($0)
    comment = before = text = ""
    next
}
/^template <.*> struct [a-z]+;$/ {
    name = $0
    sub(/^.*struct /, "", name)
    sub(/;$/, "", name)
    begin(name)
    printf "%s%s</pre></section>\n", escape(comment), escape($0)
    comment = ""
    next
}
/^};/ { if (inside) print "};</pre></section>"; inside = 0; comment = before = ""; next }
!inside { comment = ""; if ($0 == "") before = ""; next }
/^public:/ { public = 1; next }
/^private:/ { public = 0; next }
!public || $0 == "" { if ($0 == "") comment = text = ""; next }
/^    \{$/ { body = 1; declare(); next }
/^    \}$/ { body = 0; next }
body { next }
/^    template <.*>$/ { text = text $0 "\n"; next }
{ text = text $0 }
/;$|\}$/ { sub(/;$/, "", text); declare(); next }
{ text = text "\n" }
