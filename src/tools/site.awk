# SPDX-License-Identifier: MIT
#
# site: joins README, guide and contracts into one page that needs no server.
#
# USE        awk -f src/tools/site.awk -v version=V -v calls=dist/doc/calls.html
#                -v words=src/tools/words.txt README.md include/guide.md dist/doc/calls.html
#                tests/examples/sessions.c ..        writes the page on stdout
#            calls: sections that apidoc.awk writes (mode=html); each begins with a line
#            <section id="PLACE"><h2 or h3>NAME
#            words: what users type into the search, and the places that answer; the table of the
#            section "Words" of include/README.md has more of them
# PICTURE    file -> <article>; heading -> <section> with an id; both -> contents (lists that fold)
#            The article of the target of the address is shown alone, by CSS; `#all` shows all.
#            search: a script ranks sections, fields and constants: name, words, phrase, part of a
#            name, text; without a name, word or phrase it also tries names a letter or two away
# READS      Markdown: headings, paragraphs, lists of one level, tables, blocks of code; `code`,
#            **bold**, links, pictures of SVG, which are copied into the page. Files that do not end
#            in .md are shown word for word.
# LINKS      to a page, a heading, a program or a header of the site: inside the page. Other links are
#            text: the page loads nothing and leads nowhere else.

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
    if (path == "tests/examples") return first_program
    sub(/\/$/, "", path)
    for (i = 1; i < ARGC && ARGV[i] != path && ARGV[i] != path "/README.md"; i++) { }
    if (i == ARGC) return ""
    path = ARGV[i]
    if (path == "README.md") return "cellar"
    if (path == "include/README.md") return "headers"
    if (sub(/\/README\.md$/, "", path)) return path
    sub(/^.*\//, "", path)
    return sub(/\.md$/, "", path) ? tolower(path) : path
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

# Lines and index entries are kept one by one: some awks copy a text that grows at each step.
function add(text) { body[++lines] = text }

# Add a place to the contents; a page begins an article.
function entry(id, name, is_page)
{
    ids[id] = 1
    place_name[++entries] = name
    place_id[entries] = id
    if (!is_page) return
    page_at[++pages] = entries
    part_of[pages] = part
    if (pages > 1) add(turn())
    add("<article>")
}

# Mark the end of an article: END prints the links to its neighbours there.
function turn() { return "\001" pages - 1 }

function close_section()
{
    close_block()
    if (FNR == 1 && is_program) add("</pre>")
    is_program = FILENAME !~ /\.(md|html)$/
    if (in_section) add("</section>")
    in_section = 0
}

# End the paragraph, list item or table that is open.
function flush()
{
    if (para != "") add((kind == "p" ? "<p>" : "<li>") inline(para) (kind == "p" ? "</p>" : "</li>"))
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
    for (i = ARGC - 1; i > 0; i--) if (ARGV[i] ~ /^tests\/examples\//) first_program = ARGV[i]
    sub(/^.*\//, "", first_program)
}

FNR == 1 {
    close_section()
    folder = FILENAME
    sub(/[^\/]*$/, "", folder)
    page = page_of(FILENAME)
    part = FILENAME == calls ? "Reference" : folder ~ /^(include\/)?$/ && page != "LICENSE" ? "Guide" : \
           folder ~ /^tests\/examples\// ? "Programs" : "Project"
    if (FILENAME != calls && FILENAME !~ /\.md$/) {
        heading(1, page)
        add("<p><code>" FILENAME "</code></p><pre>")
        about = ""
        about_line = lines
    }
}
FILENAME == calls {
    if (match($0, /^<section id="[^"]*">/)) {
        id = substr($0, 14, RLENGTH - 15)
        name = $0
        sub(/<\/h[23]>.*$/, "", name)
        gsub(/<[^>]*>/, "", name)
        about_line = id ~ /^cellar[a-z_0-9]*\.h(pp)?$/
        if (about_line) part = id ~ /^cellar(_(entry|load|invalidate|l2|observe))?\.h$/ ? "Headers: core" : \
                               id == "cellar.hpp" ? "Header: C++" : "Headers: more"
        about = ""
        entry(id, name, about_line || id == "calls")
    } else if (match($0, /^<tr id="[^"]*">/)) ids[substr($0, 9, RLENGTH - 10)] = 1
    if (id ~ /^cellar(\.h)?pp/ && !/^<section/) $0 = linked($0)
    if (about_line) header_about($0)
    gsub(/<th>/, "<th scope=\"col\">")
    add($0)
    if ($0 == "</section>" && group_of[id] == group[2]) end_of[lines] = id
    next
}
FILENAME !~ /\.md$/ {
    if (about_line && (FNR > 2 || /^"""/)) {
        text = $0
        if (sub(/^( \* ?|""")/, "", text) && text !~ /^ *$|^  |\*\/$/) about = about " " text
        else {
            sub(/^ [a-z_0-9 ]*: /, "", about)
            sub(/^ /, "", about)
            if (match(about, /[.;]( |$)/)) purpose[pages] = escape(substr(about, 1, RSTART - 1))
            if (about != "") body[about_line] = "<p>" escape(about) "</p>" body[about_line]
            about_line = 0
        }
    }
    add(linked(escape($0)))
    next
}
/^```/ {
    close_block()
    fenced = !fenced
    if (fenced) pre = "<pre>"; else add(pre "</pre>")
    next
}
fenced { add(pre linked(escape($0))); pre = ""; next }
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
$0 == "" { if (kind == "p") close_block(); else flush(); next }
/^ / && open != "" { sub(/^ +/, ""); para = para " " $0; next }
{
    if (kind != "p" || open != "") close_block()
    kind = "p"
    para = para (para == "" ? "" : " ") $0
}

# Print page `n` and its parts for the contents; the first page of a group also prints the group.
function contents(n,    g, i, last, head)
{
    if (part_of[n] != part_of[n - 1]) print "<li class=\"group\">" part_of[n] "</li>"
    i = page_at[n]
    last = n < pages ? page_at[n + 1] - 1 : entries
    print "<li class=\"page\"><a href=\"#" place_id[i] "\">" place_name[i] "</a>" (n in purpose ? " <small>" purpose[n] "</small>" : "")
    if (last > i) print "<details><summary aria-label=\"Sections of " place_name[i] "\"></summary><ul>"
    for (g = 0; g <= 4; g++) {
        head = g ? "<li class=\"kind\">" group[g] "</li>\n" : ""
        for (i = page_at[n]; i++ < last; ) {
            if (group_of[place_id[i]] != group[g]) continue
            print head "<li><a href=\"#" place_id[i] "\">" place_name[i] "</a></li>"
            head = ""
        }
    }
    print (last > page_at[n] ? "</ul></details>" : "") "</li>"
}

# The purpose of a header in the contents: the first sentence of its essay.
function header_about(text)
{
    sub(/^<section.*<\/h2>/, "", text)
    gsub(/<[^>]*>/, "", text)
    if (text ~ /^guest: /) { part = part_of[pages] = "Headers: guests"; return }
    about = about (about == "" ? "" : " ") text
    if (!match(about, /\.( |$)/)) return
    purpose[pages] = substr(about, 1, RSTART - 1)
    sub(/^[a-z_0-9]*: /, "", purpose[pages])
    about_line = 0
}

function step(n, class)
{
    if (n < 1 || n > pages) return ""
    return "<a class=\"" class "\" href=\"#" place_id[page_at[n]] "\">" place_name[page_at[n]] "</a>"
}

# Print "word":"place" for each word of a list, if the place is in this site.
function alias(list, to,    i, n, word)
{
    if (!(to in ids)) return
    n = split(list, word, /, */)
    for (i = 1; i <= n; i++) print "\"" word[i] "\":\"" to "\","
}

# The place that a row of the table "Words" names: its first link, or the essay behind it.
function word_place(html,    to)
{
    if (!match(html, /href="#[^"]*"(>[^<]*<\/a>, <a href="#[^"]*\.h-[^"]*")?/)) return ""
    to = substr(html, RSTART, RLENGTH - 1)
    sub(/^.*#/, "", to)
    return to
}

END {
    FNR = 1
    close_section()
    print "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"
    print "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
    print "<title>cellar " version "</title><style>"
    print ":root{color-scheme:light dark;--text:#1c1c1c;--back:#fff;--pale:#f2f3f5;--line:#d0d4da;" \
          "--link:#0b57a4;--soft:#5a6068}"
    print "@media(prefers-color-scheme:dark){:root{--text:#e4e6e9;--back:#15171a;--pale:#22262b;" \
          "--line:#3b4148;--link:#7db7f5;--soft:#a3aab3}}"
    print "*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;margin:0;color:var(--text);" \
          "background:var(--back)}"
    print "a{color:var(--link)}main{max-width:56em;padding:0 1em 4em;overflow-wrap:break-word}"
    print "body:not(:target):not(:has(article :target)) article~article," \
          "body:has(article :target) article:not(:has(:target)){display:none}"
    print "pre,code{background:var(--pale);font-size:.9em}pre{padding:.6em;overflow-x:auto;font-size:.85em;" \
          "line-height:1.4}pre code{font-size:1em}.call{white-space:pre-wrap}"
    print "dt{margin-top:.4em;font-weight:bold}dd{margin-left:1.5em}section[id$=\".h\"] h3{font-size:1em;margin:1.2em 0 .4em}"
    print ".wide{display:block;overflow-x:auto;background:linear-gradient(270deg,var(--back) 40%,#0000) 100%/3em 100% no-repeat local," \
          "linear-gradient(270deg,var(--soft),#0000) 100%/.6em 100% no-repeat}table{border-collapse:collapse}th,td{border:1px solid var(--line);" \
          "padding:.3em .6em;text-align:left;vertical-align:top;overflow-wrap:normal}" \
          ".rows{width:100%}.rows td:first-child{width:45%}.rows code{overflow-wrap:anywhere}"
    print "svg{max-width:100%;height:auto}.wide>svg{min-width:40em}svg,svg text{fill:var(--text)}svg [fill=\"#ffffff\"]{fill:none}"
    print "section:target>:first-child,tr:target{background:var(--pale)}"
    print "@media(hover:hover){:not(:hover)>.at:not(:focus){opacity:0}}.at::before{content:\"#\"}.at{margin-left:.4em;color:var(--soft);font-weight:normal;text-decoration:none}"
    print ".turn{display:flex;flex-wrap:wrap;gap:1em;margin-top:3em;padding-top:1em;" \
          "border-top:1px solid var(--line)}.next{margin-left:auto}" \
          ".before::before{content:\"\\2190  \"}.next::after{content:\" \\2192\"}"
    print "html{scroll-padding-top:4em}nav{position:sticky;top:0;z-index:1;max-height:100vh;overflow:auto;display:flex;flex-wrap:wrap;" \
          "align-items:center;background:var(--back);padding:.3em 1em;border-bottom:1px solid var(--line);overflow-wrap:anywhere}" \
          "#find{flex:1;min-width:0;font:inherit;padding:.3em .4em;color:inherit;background:var(--pale);border:1px solid var(--soft)}" \
          "#fold{margin-left:1em}button{font:inherit;padding:.2em .6em;color:inherit;background:var(--pale);border:1px solid var(--soft)}#fold[open],#note,#found{flex-basis:100%;margin:0}#note,#found{order:1}"
    print "nav ul{list-style:none;padding:0;margin:.3em 0}nav ul ul{padding-left:.4em}nav li{margin:.25em 0}"
    print "summary{cursor:pointer}.page{position:relative;padding-left:1.5em}.page summary{position:absolute;left:0;top:0;width:1.5em}" \
          "small,#note,.kind{color:var(--soft);font-size:.85em}#found small{display:block}#found{max-height:60vh;overflow:auto}"
    print "#skip{position:fixed;left:-99em;z-index:2;padding:.4em;background:var(--back)}#skip:focus{left:1em;top:.4em}"
    print ".group{font-weight:bold;margin-top:.8em}[aria-current]{background:var(--pale);font-weight:bold}"
    print "@media(min-width:60em){html{scroll-padding-top:0}body{display:flex}nav{width:21em;flex:none;" \
          "height:100vh;display:block;border:0;border-right:1px solid var(--line)}#find{width:calc(100% - 2.2em)}#fold{margin:.4em 0}" \
          "#found{max-height:none}main{min-width:0;flex:1}}"
    print "@media(max-width:40em){table,tbody,tr,td{display:block;border:0}tr{border:1px solid var(--line)}" \
          "th{display:none}td:first-child,.rows td:first-child{font-weight:bold;width:auto}td:empty{display:none}" \
          "[data-h]::before{content:attr(data-h) \": \";color:var(--soft)}td,code{overflow-wrap:anywhere}" \
          "dd{margin-left:.8em}}"
    print "@media print{nav,.turn{display:none}}"
    print "</style></head><body id=\"all\"><a id=\"skip\" href=\"#" place_id[1] "\">Skip to the text</a>" \
          "<nav id=\"nav\" aria-label=\"Search and contents\"><input id=\"find\" type=\"search\" " \
          "placeholder=\"Search\" aria-label=\"Search\" aria-controls=\"found\" hidden>" \
          "<button id=\"close\" aria-label=\"Close the results\" hidden>&times;</button>"
    print "<p id=\"note\" aria-live=\"polite\"></p><ul id=\"found\" aria-label=\"Results\"></ul>"
    print "<details id=\"fold\"><summary>Contents</summary><ul id=\"index\">"
    for (i = 1; i <= pages; i++) contents(i)
    print "<li class=\"group\"><a href=\"#all\">All pages at once</a></li></ul></details></nav><main>"
    for (i = 1; i <= lines; i++) {
        if (body[i] ~ /^\001/) end_article(substr(body[i], 2) + 0)
        else {
            if ((i in end_of) && end_of[i] in used) print "<p>Used in: " used[end_of[i]] ".</p>"
            print body[i]
        }
    }
    end_article(pages)
    print "</main><script>"
    print "const also={"
    for (i = 1; i <= word_rows; i++) alias(row_words[i], row_to[i])
    while (words != "" && (getline line < words) > 0) {
        if (line !~ /^#/ && (at = index(line, ": "))) alias(substr(line, at + 2), substr(line, 1, at - 1))
    }
    print "}"
    while (script != "" && (getline line < script) > 0) if (line !~ /^ *\/\//) print line
    print "</script></body></html>"
}

function end_article(n)
{
    print "<p class=\"turn\">" step(n - 1, "before") step(n + 1, "next") "</p></article>"
}
