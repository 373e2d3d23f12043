# SPDX-License-Identifier: MIT
#
# cppdoc: sections of the site for the C++ wrapper: the head essay, each class with a table of its
# members, each member with its comments, its declarations and the C calls that it makes.
#
# USE        awk -f src/tools/cppdoc.awk include/cellar.hpp >>dist/doc/calls.html
# READS      the form of cellar.hpp: classes and functions begin in column 1, members in column 5,
#            their bodies stand between braces of that column or on the line of the declaration.
# PLACES     cellarpp-CLASS, cellarpp-CLASS-MEMBER; overloads share one, and constructors share
#            cellarpp-CLASS-CLASS with the destructor. A struct is one section. site.awk links C names.
# LEAVES OUT namespace detail, private members, copies that are deleted.

function escape(text)
{
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    gsub(/>/, "\\&gt;", text)
    return text
}
# A comment as one paragraph, without its marks.
function prose(text)
{
    gsub(/\n *\*/, " ", text)
    gsub(/\/\*|\*\/|\n/, "", text)
    gsub(/  +/, " ", text)
    gsub(/^ | $/, "", text)
    return text
}
function sentence(text) # the first one
{
    text = prose(text)
    sub(/\. .*$/, ".", text)
    return text
}
# Begin the section of a class; a specialization has a number in its place. A comment with columns is code.
function begin(name, what,    id)
{
    id = name
    sub(/<.*$/, "", id)
    if (free != "") section(free, "cellarpp::" free)
    free = ""
    print "<section id=\"cellarpp-" id (seen[id]++ ? "-" seen[id] : "") "\"><h3>cellarpp::" escape(name) "</h3>"
    printf "<p>%s</p><pre class=\"call\">", escape(comment ~ /\*   / ? sentence(comment) : prose(comment))
    printf "%s%s", comment ~ /\*   / ? escape(comment) : "", escape(what)
    comment = text = whole = ""
}
# The name of a member from its declaration.
function name_of(text)
{
    gsub(/(^|\n)(template <.*>\n|template <[^<>]*> )/, "", text)
    if (text ~ /operator/) return "operators"
    if (match(text, /[a-z_]+\(/)) return substr(text, RSTART, RLENGTH - 1)
    sub(/ = .*$/, "", text)
    sub(/^.*[ *:]/, "", text)
    return text
}
# Keep a member for the end of its class: its text, unless it is private, and its body for its C calls.
function declare(    name)
{
    sub(/[ \n]*: [a-z_:]+[({].*$/, "", text)
    sub(/ *\{.*$/, "", text)
    sub(/[ \n]+$/, "", text)
    name = name_of(text)
    if (text == "" || text ~ /= delete|operator=|^(friend|static_assert)/) name = ""
    if (record && name) printf "%s    %s;\n", escape(comment), escape(text)
    else if (text ~ /^using /) members[++count] = name
    else if (name && !public) helper[name]
    else if (name) {
        if (!(name in about)) about[members[++count] = name] = sentence(comment)
        shown[name] = shown[name] "<p>" escape(prose(comment)) "</p><pre class=\"call\">" escape(text) ";</pre>\n"
    }
    if (name) code[name] = code[name] whole
    comment = text = whole = ""
}
# The C calls of a body that are not listed yet.
function calls_of(text,    out, name)
{
    while (match(text, /cellar_[a-z0-9_]+\([^)]/)) {
        name = substr(text, RSTART, RLENGTH - 2)
        text = substr(text, RSTART + RLENGTH)
        if (!(name in listed)) out = out ", " name
        listed[name]
    }
    return out
}
# Print a member, with the C calls of its body and of the private functions that it names.
function section(name, head,    id, h, calls)
{
    split("", listed)
    calls = calls_of(code[name])
    for (h in helper) if (!(h in shown) && code[name] ~ "(^|[^a-z_:])" h "[(<]") calls = calls calls_of(code[h])
    id = head
    gsub(/::/, "-", id)
    sub(/^cellarpp-|^/, "cellarpp-", id)
    print "<section id=\"" id "\"><h3>" head "</h3>\n" shown[name] (calls == "" ? "" : "<p>C calls: " substr(calls, 3) ".</p>")
    print "</section>"
}
function end_class(    i, name)
{
    print "</pre><table class=\"rows\"><tr><th>Member</th><th>Meaning</th></tr>"
    for (i = 1; i <= count; i++) {
        name = members[i]
        print "<tr><td><code><a href=\"#cellarpp-" (name in shown ? class : "handle") "-" name "\">" name "</a></code></td><td>" \
              (name in shown ? escape(about[name]) : "As handle::" name ".") "</td></tr>"
    }
    print "</table></section>"
    for (i = 1; i <= count; i++) if (members[i] in shown) section(members[i], class "::" members[i])
    count = split("", members) + split("", about) + split("", shown) + split("", code) + split("", helper)
}
/^ \* cellar\.hpp|^ \* [A-Z]|^ \*  |^ \*$/ && !begun { sub(/ \*\/$/, ""); essay = essay substr($0, 3) "\n"; next }
/^#ifndef CELLAR_HPP/ {
    begun = 1
    print "<section id=\"cellar.hpp\"><h2>cellar.hpp</h2><p>C++17 wrapper: handles close themselves, values have types.\n</p><pre>"
    printf "%s</pre></section>\n", escape(essay)
}
!begun || /^namespace cellarpp/ { next }
/^namespace detail/ { hidden = 1 }
/^} \/\/ namespace detail/ { hidden = 0; comment = ""; next }
hidden || /^#|^\/\* ----/ { next }
/^ *\/\*/ { comment = "" }
/^ *\/\*/, /\*\/$/ { comment = comment $0 "\n"; next }
/^(template <[^>]*(> )?.*> )?(class|struct) [a-z_]+.* \{$/ {
    class = $0
    sub(/^.*(class|struct) /, "", class)
    record = $0 ~ /struct /
    sub(record ? " [{]$" : "[ :<].*$", "", class)
    sub(/std::enable_if_t<detail::is_plain<T>>/, "is_plain<T>", class)
    inside = 1
    public = record
    begin(class, record ? $0 "\n" : substr($0, 1, length($0) - 2) ";")
    next
}
/^template <.*> struct [a-z]+;$/ {
    class = $0
    gsub(/^.*struct |;$/, "", class)
    begin(class, $0)
    print "</pre></section>"
    next
}
/^};/ {
    if (record) print "};</pre></section>"
    else end_class()
    inside = 0
    next
}
/^inline / { # a function outside of classes
    free = name_of($0)
    shown[free] = shown[free] "<p>" escape(prose(comment)) "</p><pre class=\"call\">" escape(substr($0, 8)) ";</pre>\n"
}
!inside { if (free) code[free] = code[free] $0; next }
/^public:/ { public = 1; next }
/^private:/ { public = 0; next }
$0 == "" { comment = text = whole = ""; next }
{ whole = whole $0 "\n" }
/^    \{$/ { body = 1; next }
/^    \}$/ { body = 0; declare(); next }
body { next }
match($0, /; +\/\*/) { # a field with its comment
    comment = substr($0, RSTART + 1)
    text = substr($0, 5, RSTART - 5)
    while ($0 !~ /\*\/$/ && (getline line) > 0) comment = comment "\n" ($0 = line)
    declare()
    next
}
{ text = text (text == "" ? "" : "\n") substr($0, 5) }
/;$|\}$/ { sub(/;$/, "", text); declare() }
