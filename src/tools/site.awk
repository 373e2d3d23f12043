# SPDX-License-Identifier: MIT
#
# site: joins README, guide and contracts into one page that needs no server.
#
# USE        awk -f src/tools/site.awk -v version=V -v calls=dist/doc/calls.html README.md
#                include/README.md include/guide.md ..        writes the page on stdout
#            calls: sections that apidoc.awk writes (mode=html); each begins with a line
#            <section id="PLACE"><h3>NAME</h3><p>FIRST SENTENCE
# PICTURE    page of Markdown -> <section> for each heading, with an id -> index (a list of links)
#            search: a script hides the links of the sections that lack one of the words
# READS      headings, paragraphs, lists of one level, tables, blocks of code; `code`, **bold**, links,
#            pictures of SVG, which are copied into the page
# LINKS      to a page, a heading or a header of the site: inside the page. Other links are text: the
#            page loads nothing and leads nowhere else.

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

# The name of a page: "guide" of include/guide.md, "headers" of include/README.md. "": no page.
function page_of(path,    i)
{
    if (path ~ /^include\/cellar[a-z_0-9]*\.h(pp)?$/) return substr(path, 9)
    for (i = 1; i < ARGC && ARGV[i] != path; i++) { }
    if (i == ARGC) return ""
    if (path ~ /README\.md$/) return path == "README.md" ? "cellar" : "headers"
    sub(/^.*\//, "", path)
    return tolower(substr(path, 1, length(path) - 3))
}

# The path from the root of what the present page calls `path`.
function from_root(path)
{
    path = folder path
    while (sub(/[^\/.]+\/\.\.\/|\.[a-z]+\/\.\.\//, "", path)) { }
    return path == "include" ? "include/README.md" : path
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

function code(text)
{
    return text in call ? "<a href=\"#" text "\"><code>" text "</code></a>" : "<code>" text "</code>"
}

# One paragraph: code, pictures, links, bold.
function inline(text,    out, at, label, to)
{
    text = escape(text)
    while (match(text, /`[^`]+`|!?\[[^]]*\]\([^)]*\)|\*\*[^*]+\*\*/)) {
        out = out substr(text, 1, RSTART - 1)
        label = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        if (label ~ /^`/) { out = out code(substr(label, 2, length(label) - 2)); continue }
        if (label ~ /^\*/) { out = out "<b>" substr(label, 3, length(label) - 4) "</b>"; continue }
        at = index(label, "](")
        to = substr(label, at + 2, length(label) - at - 2)
        if (label ~ /^!/) { out = out picture(to); continue }
        label = substr(label, 2, at - 2)
        to = place(to)
        out = out (to == "" ? label : "<a href=\"" to "\">" label "</a>")
    }
    return out text
}

function picture(path,    line, out)
{
    path = folder path
    while ((getline line < path) > 0) out = out line "\n"
    close(path)
    sub(/ xmlns="[^"]*"/, "", out)
    return out
}

# Lines and index entries are kept one by one: some awks copy a text that grows at each step.
function add(text) { body[++lines] = text }

function entry(id, name, text, class)
{
    list[++entries] = "<li class=\"" class "\"><a href=\"#" id "\">" name "</a>" \
           (text == "" ? "" : " <small>" text "</small>") "</li>"
}

# End the paragraph, list item or table that is open.
function flush()
{
    if (para != "") add((kind == "p" ? "<p>" : "<li>") inline(para) (kind == "p" ? "</p>" : "</li>"))
    para = ""
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
    if (sections++) add("</section>")
    add("<section id=\"" id "\"><h" level ">" escape(text) "</h" level ">")
    entry(id, escape(text), "", level == 1 ? "page" : "part")
}

BEGIN {
    while ((getline line < calls) > 0) {
        if (match(line, /^<section id="[^"]*">/)) call[substr(line, 14, RLENGTH - 15)] = 1
        contract[++contracts] = line
    }
    for (i in call) if (i ~ /\.h(pp)?$/) delete call[i]
}

FNR == 1 { folder = FILENAME; sub(/[^\/]*$/, "", folder); page = page_of(FILENAME) }
/^```/ {
    close_block()
    fenced = !fenced
    if (fenced) pre = "<pre>"; else add(pre "</pre>")
    next
}
fenced { add(pre escape($0)); pre = ""; next }
/^<!-- .* -->$/ { next } # a mark for a program that writes the lines behind it
/^#+ / { match($0, /^#+/); heading(RLENGTH, substr($0, RLENGTH + 2)); next }
/^\|[-:| ]+\|$/ { next }
/^\|/ {
    cell = open == "table" ? "td" : "th"
    open_block("table")
    n = split(substr($0, 3), column, / *\| */) - 1
    row = ""
    for (i = 1; i <= n; i++) row = row "<" cell ">" inline(column[i]) "</" cell ">"
    add("<tr>" row "</tr>")
    next
}
/^(- |[0-9]+\. )/ {
    flush()
    open_block($0 ~ /^-/ ? "ul" : "ol")
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

END {
    close_block()
    add("</section>")
    for (i = 1; i <= contracts; i++) {
        if (match(contract[i], /^<section id="[^"]*">/)) {
            id = substr(contract[i], 14, RLENGTH - 15)
            text = name = contract[i]
            sub(/^.*<p>/, "", text)
            gsub(/<[^>]*>/, "", text)
            sub(/<\/h[23]>.*$/, "", name)
            gsub(/<[^>]*>/, "", name)
            entry(id, name, text, id ~ /\.h(pp)?$/ ? "page" : "part")
        }
        add(contract[i])
    }
    print "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"
    print "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
    print "<title>cellar " version "</title><style>"
    print ":root{color-scheme:light dark;--text:#1c1c1c;--back:#fff;--pale:#f2f3f5;--line:#d0d4da;--link:#0b57a4}"
    print "@media(prefers-color-scheme:dark){:root{--text:#e4e6e9;--back:#15171a;--pale:#22262b;--line:#3b4148;" \
          "--link:#7db7f5}}"
    print "*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;margin:0;color:var(--text);" \
          "background:var(--back)}"
    print "a{color:var(--link)}main{max-width:56em;padding:0 1em 4em;overflow-wrap:break-word}"
    print "pre,code{background:var(--pale);font-size:.9em}pre{padding:.6em;overflow-x:auto;font-size:.85em}" \
          ".call{white-space:pre-wrap}dt{margin-top:.4em}dd{margin-left:1.5em}"
    print ".wide{overflow-x:auto}table{border-collapse:collapse}th,td{border:1px solid var(--line);" \
          "padding:.3em .6em;text-align:left;vertical-align:top;overflow-wrap:normal}"
    print "svg{max-width:100%;height:auto}dt{font-weight:bold}section:target>:first-child{background:var(--pale)}"
    print "nav{padding:1em;border-bottom:1px solid var(--line)}nav input{width:100%;font:inherit;padding:.4em;" \
          "color:inherit;background:var(--pale);border:1px solid var(--line)}summary{margin-top:.6em;cursor:pointer}"
    print "nav ul{list-style:none;padding:0;margin:.5em 0;max-height:40vh;overflow:auto;overflow-wrap:anywhere}"
    print ".page{font-weight:bold;margin-top:.4em}.part{padding-left:1em}.part small{opacity:.75}"
    print "@media(min-width:60em){body{display:flex}nav{width:21em;flex:none;position:sticky;top:0;height:100vh;" \
          "border:0;border-right:1px solid var(--line)}nav ul{max-height:calc(100vh - 6em)}main{min-width:0}}"
    print "@media(max-width:40em){table,tr,td,th{display:block;border:0}tr{border:1px solid var(--line)}" \
          "td:first-child{font-weight:bold}code{overflow-wrap:anywhere}}"
    print "</style></head><body><nav><input id=\"find\" type=\"search\" placeholder=\"Search\" " \
          "aria-label=\"Search\"><details id=\"fold\" open><summary>Contents</summary><ul id=\"index\">"
    for (i = 1; i <= entries; i++) print list[i]
    print "</ul></details></nav><main>"
    for (i = 1; i <= lines; i++) print body[i]
    print "</main><script>"
    print "const find=document.getElementById('find'),fold=document.getElementById('fold')"
    print "const index=document.getElementById('index')"
    print "fold.open=matchMedia('(min-width:60em)').matches"
    print "const rows=[...document.querySelectorAll('#index li')].map(li=>{"
    print "const at=document.getElementById(li.firstChild.hash.slice(1))"
    print "return{li,text:(li.textContent+' '+at.textContent).toLowerCase(),name:li.firstChild.textContent}})"
    print "find.oninput=()=>{const words=find.value.toLowerCase().split(/\\s+/).filter(w=>w)"
    print "for(const r of rows)r.li.hidden=!words.every(w=>r.text.includes(w))"
    print "for(const r of rows)r.li.style.order=words.some(w=>r.name.toLowerCase().includes(w))?0:1"
    print "if(words.length)fold.open=true"
    print "index.style.display=words.length?'flex':''}"
    print "index.style.flexDirection='column'"
    print "</script></body></html>"
}
