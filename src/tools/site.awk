# SPDX-License-Identifier: MIT
#
# site: makes one page each of README, guides, programs and headers, and the index of their search.
#
# USE        awk -f src/tools/site.awk -v version=V -v out=dist/doc -v calls=dist/doc/calls.html
#                -v words=src/tools/words.txt part=Start README.md include/guide.md part=Reference
#                dist/doc/calls.html part=Programs tests/examples/README.md tests/examples/sessions.c ..
#            part=GROUP: the group of the files behind it in the contents
#            calls: sections that apidoc.awk writes (mode=html); each begins with a line
#            <section id="PLACE"><h2 or h3>NAME; the section of a header begins a page
#            words: what users type into the search, and the places that answer; the table of the
#            section "Words" of include/README.md has more of them
# WRITES     out/PAGE.html for each page, index.html for the README; out/search.js. The pages load
#            site.css and site.js beside them.
# PICTURE    file -> page; heading -> <section> with an id; both -> contents: each page has one line,
#            the present one also its sections. An id is in one page only: a link to `#ID` gets the
#            file of the page that has it.
# SEARCH     search.js has the words (`also`) and lines of text (`places`), a kind in column 1:
#            > FILE TITLE TIER QUIET  page    # ID NAME  section    = first paragraph of the section
#            + ID CODE MEANING  field    @ ID  other name in the section    blank: text of the section
# READS      Markdown: headings, paragraphs, lists of one level, tables, blocks of code; `code`,
#            **bold**, links, pictures of SVG, which are copied into the page. Of a program the first
#            comment is prose, the rest is code, and NAME.txt beside it is its output.
# LINKS      to a page, a heading, a program or a header of the site. Other links are text: a page
#            loads its style and its scripts, and leads nowhere else.

function escape(text)
{
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    gsub(/>/, "\\&gt;", text)
    return text
}

function slug(text)
{
    text = tolower(text)
    gsub(/[^a-z0-9 _-]/, "", text)
    gsub(/ /, "-", text)
    return text
}

# The name of a page: "guide" of include/guide.md, "headers" of include/README.md, "bench/peers" of
# its README, the file of a program. "": no page.
function page_of(path,    i)
{
    if (path ~ /^include\/cellar[a-z_0-9]*\.h(pp)?$/) return substr(path, 9)
    sub(/\/$/, "", path)
    for (i = 1; i < ARGC && ARGV[i] != path && ARGV[i] != path "/README.md"; i++) { }
    if (i == ARGC && path ~ /^tests\/examples\//) for (i = 1; i < ARGC && index(ARGV[i], path "/") != 1; i++) { }
    if (i == ARGC) return ""
    path = ARGV[i]
    if (path == "README.md") return "cellar"
    if (path == "tests/examples/README.md") return "programs"
    if (path == "include/README.md") return "headers"
    if (sub(/\/README\.md$/, "", path)) return path
    sub(/^.*\//, "", path)
    return sub(/\.md$/, "", path) ? tolower(path) : path
}

# The file of the page with this id.
function file_of(id)
{
    if (id == "cellar") return "index.html"
    gsub(/\//, "-", id)
    return id ".html"
}

# The path from the root of what the present page calls `path`.
function from_root(path)
{
    path = folder path
    while (sub(/[^\/.]+\/\.\.\/|\.[a-z]+\/\.\.\//, "", path)) { }
    return path
}

# The place that a link of the present page names, or "" if it is not in the site.
function place(to,    at, path, anchor)
{
    at = index(to, "#")
    path = at ? substr(to, 1, at - 1) : to
    anchor = at ? "-" substr(to, at + 1) : ""
    path = path == "" ? page : page_of(from_root(path))
    return path == "" ? "" : "#" path anchor
}

# The place of a field that a text names: of the struct that its prefix stands for in the guide and
# in settings, or of the only struct that has it.
function field_place(text,    part, to)
{
    if (split(text, part, ".") == 1) return text in only ? only[text] : ""
    to = part[1] ~ /^(n|root)$/ ? "cellar_namespace_config" : part[1] == "l" ? "cellar_load_opts" : \
         part[1] ~ /^(cfg|config)$/ ? "cellar_config" : "cellar_" part[1] "_config"
    to = to "." part[2]
    return to in call ? to : ""
}

# Code, with links to the calls, types, constants and headers that it names.
function linked(text,    out, name, to)
{
    while (match(text, /(cellar|CELLAR)_[A-Za-z0-9_]+(\.[a-z_0-9]+)?|cellar\.h(pp)?/)) {
        name = substr(text, RSTART, RLENGTH)
        out = out substr(text, 1, RSTART - 1)
        text = substr(text, RSTART + RLENGTH)
        if (!(name in call) && match(name, /\./)) {
            text = substr(name, RSTART) text
            name = substr(name, 1, RSTART - 1)
        }
        to = name
        if (!(to in call)) sub(/_default$/, "", to)
        if (is_program && group_of[to] == group[2] && !((to, page) in shown) && ++uses[to] <= 5) {
            shown[to, page] = 1
            used[to] = used[to] (uses[to] > 1 ? ", " : "") "<a href=\"#" page "\">" page "</a>"
        }
        out = out (to in call ? "<a href=\"#" to "\">" name "</a>" : name)
    }
    return out text
}

# A line of code with its comments as <i>, its strings as <u>; links stay. `remark`: what begins a
# comment of one line. `in_comment`: what ends the open one.
function tinted(text,    out, part, skip, at)
{
    while (text != "") {
        if (in_comment) {
            at = index(substr(text, skip + 1), in_comment)
            part = at ? substr(text, 1, skip + at + length(in_comment) - 1) : text
            if (at) in_comment = ""
            out = out "<i>" part "</i>"
            text = substr(text, length(part) + 1)
            skip = 0
            continue
        }
        if (!match(text, remark == "#" ? hash_parts : c_parts)) break
        part = substr(text, RSTART, RLENGTH)
        out = out substr(text, 1, RSTART - 1)
        text = substr(text, RSTART)
        if (part ~ /^ ?(\/\/|#)/) return out "<i>" text "</i>"
        skip = part ~ /^(\/\*|""")$/ ? length(part) : 0
        if (skip) { in_comment = part == "/*" ? "*/" : part; continue }
        out = out (part ~ /^"/ ? "<u>" part "</u>" : part)
        text = substr(text, length(part) + 1)
    }
    return out text
}

function code(text,    to)
{
    to = text ~ /^[a-z0-9]+[_.][a-z0-9_]+$/ ? field_place(text) : ""
    return "<code>" (to != "" ? "<a href=\"#" to "\">" text "</a>" : linked(text)) "</code>"
}

# One paragraph: code, pictures, links, bold.
function inline(text) { return marked(escape(text)) }

function marked(text,    out, at, label, to)
{
    while (match(text, /`[^`]+`|!?\[[^]]*\]\([^)]*\)|\*\*[^*]+\*\*/)) {
        out = out substr(text, 1, RSTART - 1)
        label = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        if (label ~ /^`/) { out = out code(substr(label, 2, length(label) - 2)); continue }
        if (label ~ /^\*/) { out = out "<b>" marked(substr(label, 3, length(label) - 4)) "</b>"; continue }
        at = index(label, "](")
        to = substr(label, at + 2, length(label) - at - 2)
        if (label ~ /^!/) { out = out picture(to, substr(label, 3, at - 3)); continue }
        label = substr(label, 2, at - 2)
        to = place(to)
        out = out (to == "" ? label : "<a href=\"" to "\">" label "</a>")
        if (!match(text, /^, [A-Z][A-Z ]*[A-Z]/)) continue
        label = substr(text, 3, RLENGTH - 2) # the essay of that header
        to = substr(to, 2) "-" slug(label)
        if (!(to in call)) continue
        out = out ", <a href=\"#" to "\">" label "</a>"
        text = substr(text, length(label) + 3)
    }
    return out text
}

function picture(path, alt,    line, out)
{
    path = folder path
    while ((getline line < path) > 0) out = out line "\n"
    close(path)
    sub(/ xmlns="[^"]*"/, " role=\"img\" aria-label=\"" alt "\"", out)
    return "<span class=\"wide\">" out "</span>"
}

# A paragraph of the first comment of a program: code, and links to what it names.
function prose(text,    part, n, i, out)
{
    n = split(escape(text), part, "`")
    for (i = 1; i <= n; i++) out = out (i % 2 ? linked(part[i]) : code(part[i]))
    return out
}

# Read a line of the first comment of a program: paragraphs, lists, commands.
function head_line(text)
{
    if (text == "") { if (kind == "p" || open == "pre") close_block(); else flush(); return }
    if (text ~ /^ *- /) {
        flush()
        open_block("ul")
        kind = "li"
        sub(/^ *- /, "", text)
        para = text
    } else if (text ~ /^    / && (para == "" || open != "ul")) {
        text = linked(escape(substr(text, 5)))
        if (open == "pre") add(text)
        else { close_block(); open = "pre"; add("<pre>" text) }
    } else {
        if (open != "" && open != "ul" || open == "ul" && para == "") close_block()
        sub(/^ +/, "", text)
        if (para == "") kind = "p"
        para = para (para == "" ? "" : " ") text
    }
}

# Begin the code of a file that is no page of Markdown.
function open_code()
{
    close_block()
    if (is_head) add("<h2>Code</h2>")
    add("<p><code>" FILENAME "</code></p><pre>")
    is_head = in_comment = ""
    remark = FILENAME ~ /\.py$/ ? "#" : "//"
}

# End the code of a program; its output stands beside it in NAME.txt.
function close_code(path,    line, n)
{
    add("</pre>")
    if (!sub(/\.[a-z]*$/, ".txt", path)) return
    while ((getline line < path) > 0) add((n++ ? "" : "<h2>Output</h2><pre class=\"out\">") escape(line))
    close(path)
    if (n) add("</pre>")
}

# Lines and index entries are kept one by one: some awks copy a text that grows at each step.
function add(text) { body[++lines] = text }

# Add a place to the contents; it may begin a page.
function entry(id, name, is_page)
{
    ids[id] = 1
    place_name[++entries] = name
    place_id[entries] = id
    if (!is_page) return
    page_at[++pages] = entries
    part_of[pages] = part
    first_line[pages] = lines + 1
}

function close_section()
{
    close_block()
    if (FNR == 1 && is_program) close_code(program)
    is_program = FILENAME !~ /\.(md|html)$/
    program = FILENAME
    if (in_section) add("</section>")
    in_section = 0
}

# End the paragraph, list item or table that is open.
function flush()
{
    if (para != "") add((kind == "p" ? "<p>" : "<li>") (is_head ? prose(para) : inline(para)) (kind == "p" ? "</p>" : "</li>"))
    para = ""
}

# A text without marks of code and bold.
function plain(text)
{
    gsub(/[`*]/, "", text)
    return text
}

function close_block()
{
    flush()
    if (open == "table") add("</table></div>")
    else if (open != "") add("</" open ">")
    open = ""
}

function open_block(name)
{
    if (open == name) return
    close_block()
    open = name
    add(name == "table" ? "<div class=\"wide\"><table>" : "<" name ">")
}

function heading(level, text,    id)
{
    close_block()
    id = level == 1 ? page : page "-" slug(text)
    if (in_section) add("</section>")
    entry(id, escape(plain(text)), level == 1)
    add("<section id=\"" id "\"><h" level ">" inline(text) "</h" level ">")
    in_section = 1
}

BEGIN {
    split("Rules|Calls|Types|Constants and macros", group, "|") # of the sections of a header
    while (calls != "" && (getline line < calls) > 0) {
        if (match(line, /^<section id="[^"]*">/)) {
            name = substr(line, 14, RLENGTH - 15)
            call[name] = 1
            group_of[name] = name ~ /\.h-/ ? group[1] : name ~ /^CELLAR/ ? group[4] : name ~ /^(cellar_[a-z0-9_]*|type-.*)$/ ? group[3] : ""
        } else if (group_of[name] == group[3] && line ~ /^<pre class="call">|^<p>.*\. See <a .*\.<\/p>$/) group_of[name] = group[2]
        if (!match(line, /^<tr id="[^"]*">/)) continue
        id = substr(line, 9, RLENGTH - 10)
        call[id] = 1
        if (!sub(/^.*\./, "", id)) continue
        if (id in only) only[id] = ""
        else only[id] = substr(line, 9, RLENGTH - 10)
    }
    text = "<[^>]*>|\"(\\\\.|<[^>]*>|[^\"\\\\<])*\""
    c_parts = "/[*]|(^| )// |'(\\\\.|&[a-z]+;|[^'\\\\])'|" text
    hash_parts = "(^| )# |\"\"\"|" text
}

FNR == 1 {
    close_section()
    folder = FILENAME
    sub(/[^\/]*$/, "", folder)
    page = page_of(FILENAME)
    if (is_program) {
        heading(1, page)
        is_head = /SPDX/
        if (is_head) next
        open_code()
    }
}
FILENAME == calls {
    if (match($0, /^<section id="[^"]*">/)) {
        id = substr($0, 14, RLENGTH - 15)
        name = $0
        sub(/<\/h[23]>.*$/, "", name)
        gsub(/<[^>]*>/, "", name)
        about_line = id ~ /^cellar[a-z_0-9]*\.h(pp)?$/
        if (about_line) part = id ~ /^cellar(_(entry|load|invalidate|l2|observe))?\.h$/ ? "Core headers" : \
                               id == "cellar.hpp" ? "C++ header" : "More headers"
        about = ""
        entry(id, name, about_line || id == "calls")
        gsub(/h2>/, "h1>")
        gsub(/h3>/, "h2>")
        if (id !~ /\.h/) sub(/<h2>/, "<h2 class=\"name\">")
    } else if (match($0, /^<tr id="[^"]*">/)) ids[substr($0, 9, RLENGTH - 10)] = 1
    if (id ~ /^cellar(\.h)?pp/ && !/^<section/) $0 = linked($0)
    if (about_line) header_about($0)
    gsub(/<th>/, "<th scope=\"col\">")
    if (/<pre/) { fenced = 1; remark = "//"; in_comment = "" }
    if (fenced) $0 = tinted($0)
    if (/<\/pre>/) fenced = 0
    if (sub(/^<table>$/, "<div class=\"wide\"><table>")) table_end = "</table></div>"
    else if (sub(/^<\/table>$/, table_end == "" ? "</table>" : table_end)) table_end = ""
    add($0)
    if ($0 == "</section>" && group_of[id] == group[2]) end_of[lines] = id
    next
}
is_head {
    text = $0
    is_end = sub(/ *\*\/$|"""$/, "", text) && FNR > 2 || /^""".*"""$/
    sub(/^"""/, "", text)
    sub(/^ \* ?/, "", text)
    if (!(pages in purpose) && para == "" && sub(/^[a-z_0-9 ]*: /, "", text)) text = toupper(substr(text, 1, 1)) substr(text, 2)
    head_line(text)
    if (!(pages in purpose) && match(para, /[.;]( |$)/)) purpose[pages] = escape(substr(para, 1, RSTART - 1))
    if (is_end) open_code()
    next
}
is_program {
    text = linked(escape($0))
    if (/^#include "[a-z_]+\.h"/ && page_of(folder substr($2, 2, length($2) - 2)) != "") {
        gsub(/"/, "", $2)
        text = "#include \"<a href=\"#" page_of(folder $2) "\">" $2 "</a>\""
    }
    add(page == "LICENSE" ? text : tinted(text))
    next
}
/^```/ {
    close_block()
    fenced = !fenced
    in_comment = ""
    remark = /sh|yaml/ ? "#" : "//"
    is_code = /[a-z]/
    if (fenced) pre = "<pre>"; else add(pre "</pre>")
    next
}
fenced { text = linked(escape($0)); add(pre (is_code ? tinted(text) : text)); pre = ""; next }
/^<!-- .* -->$/ { next } # a mark for a program that writes the lines behind it
/^#+ / { match($0, /^#+/); heading(RLENGTH, substr($0, RLENGTH + 2)); next }
/^\|[-:| ]+\|$/ { next }
/^\|/ {
    cell = open == "table" ? "td" : "th"
    open_block("table")
    n = split(substr($0, 3), column, / *\| */) - 1
    row = ""
    for (i = 1; i <= n; i++) {
        row = row "<" cell (cell == "th" ? " scope=\"col\"" : "") ">" inline(column[i]) "</" cell ">"
    }
    add("<tr>" row "</tr>")
    if (cell == "td" && place_id[entries] == "headers-words") {
        row_words[++word_rows] = tolower(plain(column[1]))
        row_to[word_rows] = word_place(row)
    }
    next
}
/^([-*] |[0-9]+\. )/ {
    flush()
    open_block($0 ~ /^[-*]/ ? "ul" : "ol")
    kind = "li"
    para = substr($0, index($0, " ") + 1)
    next
}
$0 == "" { if (kind == "p" || open == "table") close_block(); else flush(); next }
/^ / && open != "" { sub(/^ +/, ""); para = para " " $0; next }
{
    if (kind != "p" || open != "") close_block()
    kind = "p"
    para = para (para == "" ? "" : " ") $0
}

# Print the contents for page `now`: its own group and the first ones are open.
function contents(now,    n, id)
{
    for (n = 1; n <= pages; n++) {
        if (part_of[n] != part_of[n - 1]) {
            print (n > 1 ? "</ul></details></li>\n" : "") "<li><details" \
                  (part_of[n] == part_of[now] || part_of[n] ~ /^(Start|Topics|Operation)$/ ? " open" : "") \
                  "><summary>" part_of[n] "</summary><ul>" > file
        }
        id = place_id[page_at[n]]
        print "<li class=\"page\"><a href=\"" file_of(id) "\"" (n == now ? " aria-current=\"page\"" : "") ">" \
              place_name[page_at[n]] "</a>" (n in purpose ? "<small>" purpose[n] "</small>" : "") > file
        if (n == now) sections(page_at[n], n < pages ? page_at[n + 1] - 1 : entries)
        print "</li>" > file
    }
    print "</ul></details></li>" > file
}

# Print the places behind `first` up to `last` for the contents; those of a header in groups.
function sections(first, last,    g, i, head)
{
    if (first < last) print "<ul>" > file
    for (g = 0; g <= 4; g++) {
        head = "<li class=\"kind\">" (g ? group[g] : "On this page") "</li>\n"
        for (i = first; i++ < last; ) {
            if (group_of[place_id[i]] != group[g]) continue
            print head "<li><a href=\"#" place_id[i] "\">" place_name[i] "</a></li>" > file
            head = ""
        }
    }
    if (first < last) print "</ul>" > file
}

# The purpose of a header in the contents: the first sentence of its essay.
function header_about(text)
{
    sub(/^<section.*<\/h1>/, "", text)
    gsub(/<[^>]*>/, "", text)
    if (text ~ /^guest: /) { part = part_of[pages] = "Guest headers"; return }
    about = about (about == "" ? "" : " ") text
    if (!match(about, /\.( |$)/)) return
    purpose[pages] = substr(about, 1, RSTART - 1)
    sub(/^[a-z_0-9]*: /, "", purpose[pages])
    about_line = 0
}

function step(n, class)
{
    if (n < 1 || n > pages) return ""
    return "<a class=\"" class "\" href=\"" file_of(place_id[page_at[n]]) "\">" place_name[page_at[n]] "</a>"
}

# The text of a line of HTML.
function bare(text)
{
    gsub(/<\/?([dt][dhlrt]|li|p|br|ul|ol|table)[^>]*>/, " ", text)
    gsub(/<[^>]*>/, "", text)
    gsub(/&lt;/, "<", text)
    gsub(/&gt;/, ">", text)
    gsub(/&quot;/, "\"", text)
    gsub(/&amp;/, "\\&", text)
    gsub(/[ \t]+/, " ", text)
    gsub(/^ | $/, "", text)
    return text
}

# Print a line of the index of the search, as a line of a text of JavaScript.
function place_line(text)
{
    gsub(/[\\`$]/, "\\\\&", text)
    print text > search
}

# The smaller, the earlier a page is found: reference, guide, C++, guests and programs, project.
function tier(n)
{
    if (part_of[n] == "Project") return 2
    if (part_of[n] ~ /^(Programs|Headers of programs|Guest headers)$/) return 1
    if (part_of[n] == "C++ header") return .5
    return place_id[page_at[n]] ~ /^(cellar[a-z_0-9]*\.h|calls)$/ ? 0 : .3
}

# Write the search's lines of page `n`. Of pages that name everything only the titles are found.
function index_page(n,    i, id, at, text, name, said, quiet)
{
    id = place_id[page_at[n]]
    quiet = id ~ /^(calls|changes|results|LICENSE)$/
    place_line(">" file_of(id) "\t" bare(place_name[page_at[n]]) "\t" tier(n) "\t" quiet)
    for (i = first_line[n]; i < first_line[n + 1]; i++) {
        text = body[i]
        if (match(text, /^<section id="[^"]*">/)) {
            id = substr(text, 14, RLENGTH - 15)
            name = text
            sub(/<\/h[1-6]>.*$/, "", name)
            name = bare(name)
            place_line("#" id (name == id ? "" : "\t" name))
            sub(/^.*<\/h[1-6]>/, "", text)
            said = 0
        } else if (match(text, /^<tr id="[^"]*">/)) {
            at = index(text, "</td><td>")
            place_line("+" substr(text, 9, RLENGTH - 10) "\t" bare(substr(text, RLENGTH + 1, at - RLENGTH - 1)) "\t" bare(substr(text, at)))
            continue
        } else if (match(text, /<(span|pre class="call") id="[^"-]*">/)) {
            id = substr(text, RSTART, RLENGTH - 2)
            sub(/^.* id="/, "", id)
            place_line("@" id)
        }
        if (!said && (at = index(text, "<p>"))) {
            said = 1
            text = substr(text, at + 3)
        }
        if (said == 1) {
            at = index(text, "</p>")
            name = bare(at ? substr(text, 1, at - 1) : text)
            if (name != "") place_line("=" name)
            if (!at) continue
            said = 2
            text = substr(text, at + 4)
        }
        text = quiet ? "" : bare(text)
        if (text ~ /[A-Za-z0-9]/) place_line(" " text)
    }
}

# The first sentence of page `n`, as the value of an attribute.
function sentence(n,    i, text)
{
    text = n in purpose ? purpose[n] : ""
    for (i = first_line[n]; text == "" && i < first_line[n + 1]; i++) {
        if (body[i] !~ /^<p>/ || body[i] ~ /^<p><span/) continue
        text = body[i]
        while (text !~ /<\/p>/ && i < lines) text = text " " body[++i]
        sub(/<\/p>.*$/, "", text)
        text = escape(bare(text))
        if (match(text, /\.( |$)/)) text = substr(text, 1, RSTART - 1)
    }
    gsub(/"/, "\\&quot;", text)
    return text
}

# A line of page `n` with the files of its links.
function led(text, n,    out, id)
{
    while (match(text, /<a href="#[^"]*"/)) {
        id = substr(text, RSTART + 10, RLENGTH - 11)
        out = out substr(text, 1, RSTART + 8) (page_with[id] == n ? "#" id : \
              place_file[page_with[id]] (page_with[id] && place_id[page_at[page_with[id]]] == id ? "" : "#" id)) "\""
        text = substr(text, RSTART + RLENGTH)
    }
    return out text
}

# Print "word":"place" for each word of a list, if the place is in this site.
function alias(list, to,    i, n, word)
{
    if (!(to in ids)) return
    n = split(list, word, /, */)
    for (i = 1; i <= n; i++) print "\"" word[i] "\":\"" to "\"," > search
}

# The place that a row of the table "Words" names: its first link, or the essay behind it.
function word_place(html,    to)
{
    if (!match(html, /href="#[^"]*"(>[^<]*<\/a>, <a href="#[^"]*\.h-[^"]*")?/)) return ""
    to = substr(html, RSTART, RLENGTH - 1)
    sub(/^.*#/, "", to)
    return to
}

function write_page(n,    i, id, title)
{
    id = place_id[page_at[n]]
    file = out "/" file_of(id)
    title = n > 1 ? place_name[page_at[n]] " - cellar" : "cellar " version
    print "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">" > file
    print "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">" > file
    print "<title>" title "</title><meta name=\"description\" content=\"" sentence(n) "\">" > file
    print "<link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"site.css\"></head><body>" > file
    print "<a id=\"skip\" href=\"#" id "\">Skip to the text</a><nav id=\"nav\" aria-label=\"Search and contents\">" > file
    print "<a id=\"home\" href=\"index.html\">cellar <small>" version "</small></a>" \
          "<input id=\"find\" type=\"search\" placeholder=\"Search\" aria-label=\"Search\" aria-controls=\"found\" hidden>" \
          "<button id=\"close\" aria-label=\"Close the results\" hidden>&times;</button>" > file
    print "<p id=\"note\" aria-live=\"polite\"></p><ul id=\"found\" aria-label=\"Results\"></ul>" > file
    print "<details id=\"fold\"><summary>Contents</summary><script>fold.open=matchMedia('(min-width:60em)').matches</script>" > file
    print "<ul id=\"index\">" > file
    contents(n)
    print "</ul></details></nav><main>" > file
    for (i = first_line[n]; i < first_line[n + 1]; i++) {
        if ((i in end_of) && end_of[i] in used) print led("<p>Used in: " used[end_of[i]] ".</p>", n) > file
        print led(body[i], n) > file
    }
    print "<p class=\"turn\">" step(n - 1, "before") step(n + 1, "next") "</p></main>" > file
    print "<script src=\"site.js\"></script></body></html>" > file
    close(file)
}

END {
    FNR = 1
    close_section()
    first_line[pages + 1] = lines + 1
    search = out "/search.js"
    print "const also={" > search
    for (i = 1; i <= word_rows; i++) alias(row_words[i], row_to[i])
    while (words != "" && (getline line < words) > 0) {
        if (line !~ /^#/ && (at = index(line, ": "))) alias(substr(line, at + 2), substr(line, 1, at - 1))
    }
    print "}\nconst places=`" > search
    for (n = 1; n <= pages; n++) {
        place_file[n] = file_of(place_id[page_at[n]])
        index_page(n)
        for (i = first_line[n]; i < first_line[n + 1]; i++) {
            line = body[i]
            while (match(line, /<[a-z]+( class="[a-z]*")? id="[^"]*"/)) {
                text = substr(line, RSTART, RLENGTH - 1)
                line = substr(line, RSTART + RLENGTH)
                sub(/^.* id="/, "", text)
                page_with[text] = n
            }
        }
    }
    print "`" > search
    for (n = 1; n <= pages; n++) write_page(n)
}
