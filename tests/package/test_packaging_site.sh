#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    dist/doc has README, guide and contracts as pages that need no server: each public name has
#         its place in one page, each link of each page its end, and nothing comes from elsewhere.
# Method: all pages as one text, and a copy of it with a planted fault that each check must find;
#         another awk must write the same bytes; node, if there is one, asks the search; a browser
#         shows each page in three widths and searches.
. tests/support/t.sh

export LC_ALL=C # bytes are faster to compare
doc=dist/doc site=$t_tmp/site.html
# All pages in one text, without what each repeats: a link is `#PLACE`, the contents are those of the
# first page and the present page of each other one. Behind them the words of the search.
join_pages() {
    same='/^<!DOCTYPE/,/^<details id="fold">/d; s/ href="index\.html"/ href="#cellar"/g; s/ href="[^"#]*\.html#/ href="#/g
        s/ href="\(bench\|src\)-\([a-z]*\)\.html"/ href="#\1\/\2"/g; s/ href="\([^"#]*\)\.html"/ href="#\1"/g'
    $MAKE -s man && sed "$same" $doc/index.html >"$site" || return 1
    # shellcheck disable=SC2046
    sed "$same; /^<li class=\"page\">/{/aria-current/!d}; /^<\/li>\$/d" $(ls $doc/*.html | grep -v /index) >>"$site"
    sed -n '/^const also={/,/^}/p' $doc/search.js >>"$site"
}
ids() { grep -o ' id="[^"]*"' "$1" | sed 's/ id="\(.*\)"/\1/' | grep -vx index | sort; }
indexed() { # the places that the contents name
    sed -n '/<ul id="index">/,/<\/nav>/p' "$1" | grep -o '<a href="#[^"]*"' | sed 's/.*#\(.*\)"/\1/' | sort
}
calls_are_indexed() { # PAGE
    sed -n 's/^\(cellar_[a-z0-9_]*\) .*/\1/p' src/tools/symbols.txt | sort >"$t_tmp/calls"
    indexed "$1" | comm -13 - "$t_tmp/calls" >"$t_tmp/lost"
    cat "$t_tmp/lost"
    [ -s "$t_tmp/calls" ] && [ ! -s "$t_tmp/lost" ]
}
indexes() { # PAGE PLACE...: each one is in the index
    page=$1
    shift
    printf '%s\n' "$@" | sort >"$t_tmp/places"
    indexed "$page" | comm -13 - "$t_tmp/places" >"$t_tmp/lost"
    cat "$t_tmp/lost"
    [ ! -s "$t_tmp/lost" ]
}
pages_are_indexed() {
    indexes "$1" cellar headers guide load invalidate disk event-loop life cpp objects limits production settings when-not debug moving work kit port remote security changes contributing calls leave_wait.c cellar.h \
        cellar_remote.h results bench bench/replay bench/adapters fairness paper src tests
}
links_of_pages_lead_somewhere() { # each link of the pages of users to a file: text would be a dead end
    grep -oh ' href="#[^"]*"' "$1" | sed 's/ href="#\(.*\)"/\1/' | sort -u >"$t_tmp/led"
    for f in README.md include/*.md; do
        grep -o '](\.*[a-z/][^)#]*\.[a-z]*[)#]' "$f" | sed 's/^](//; s/.$//; s/\.svg$//' | grep -v '^https*:'
    done | sed 's|/README\.md$||; s|.*/\(tests/examples/\)|\1|; s|^\.\./||; s|\.md$||' | sort -u >"$t_tmp/named"
    while read -r to; do
        case $to in
        bench/README) to=bench ;; ..) to=cellar ;; include/README | include | README.md | README) to=headers ;;
        bench/reads | life) continue ;; src/cli | src | tests) ;; LICENSE) ;;
        *) to=$(printf '%s' "${to##*/}" | tr 'A-Z' 'a-z') ;;
        esac
        grep -qxF "$to" "$t_tmp/led" || { echo "dead: $to"; return 1; }
    done <"$t_tmp/named"
    sed -n 's/.*<code><a href="#cellar_namespace_config\.idle_ms">n\.idle_ms<.*/found/p' "$1" | grep -q found || return 1
    [ "$(grep -c '<main>$' "$1")" -eq "$(grep -c '^<p class="turn"><a ' "$1")" ] && [ "$(grep -c . "$t_tmp/named")" -gt 50 ] && grep -q '<a href="#cellar_open">cellar_open</a>(&amp;' "$1"
}
rows_have_places() { # fields, constants and codes have places; contracts lead to them
    for place in cellar_config.memory_bytes cellar_arg.as.i64 cellar_set_opts.tag_count CELLAR_E_BUSY CELLAR_OPT_IDLE_MS CELLAR_LOAD_NO_WAIT \
        CELLAR_CAUSE_EVICTED; do
        grep -q "^<tr id=\"$place\">" "$1" || { echo "no place: $place"; return 1; }
    done
    sed -n '/<section id="cellar_err"/,/<\/section>/p' "$1" | tee "$t_tmp/one" | grep -q 'CELLAR_E_BUSY = -6</code></td><td>In use' &&
        grep -q 'CELLAR_DROPPED = 12.*Returned by <a href="#cellar_close">' "$t_tmp/one" &&
        grep -q 'id="cellar_config_default"' "$1" && grep -q '<a href="#cellar_l2.h-close">CLOSE</a>\.</dd>' "$1" &&
            ! grep -q 'CELLAR_CODE_ENUM' "$1" && ! grep -q '>type-cellar<' "$1" &&
        sed -n '/<section id="cellar_get"/,/<\/section>/p' "$1" | grep -q '^<dt><a href="#CELLAR_E_BUFFER">CELLAR_E_BUFFER</a></dt><dd>[A-Z]' &&
        sed -n '/<section id="cellar_l2.h-written"/,/<\/section>/p' "$1" | grep -q '<a href="#cellar_l2_config.min_ttl_ms">min_ttl_ms</a>' &&
        sed -n '/<section id="cellar_config"/,/<\/section>/p' "$1" |
        grep -q '<a href="#cellar_admin.h-key-policies">KEY POLICIES</a> in <a href="#cellar_admin.h">'
}
names_have_a_place() { # each type, constant, option and field of the headers; types by a place of their own
    sed -n 's/^} \(cellar_[a-z0-9_]*\);.*/\1/p; s/^typedef struct \(cellar[a-z0-9_]*\) .*;.*/\1/p' include/cellar*.h |
        sort -u >"$t_tmp/types"
    sed -n 's/^static inline .*[ *]\(cellar_[a-z0-9_]*[a-z0-9]\)(.*/\1/p; s/^#define \(CELLAR_[A-Z0-9_]*\)(.*/\1/p' include/cellar*.h |
        grep -vE '_default$|^CELLAR_(ZERO|SIZEOF_FIELD|PACKED|STRUCT|[A-Z]*_ENUM)$' >"$t_tmp/inlines"
    [ "$(grep -c '' "$t_tmp/inlines")" -gt 40 ] && sort -u -o "$t_tmp/types" "$t_tmp/types" "$t_tmp/inlines"
    ids "$1" | sed 's/^type-//' | sort -u | comm -13 - "$t_tmp/types" >"$t_tmp/lost"
    sed -n 's/^#define \(CELLAR_[A-Z0-9_]*[A-Z0-9]\)[ (].*/\1/p; s/^ *\(CELLAR_[A-Z0-9_]*\) =.*/\1/p
        s/^    [a-z].*[ *]\([a-z][a-z0-9_]*\);.*/\1/p' include/cellar*.h | grep -vE '^CELLAR_(API|ZERO|SIZEOF_FIELD|PACKED|STRUCT|[A-Z]*_ENUM)$' |
        sort -u >"$t_tmp/names"
    sed 's/<[^>]*>//g' "$1" | grep -oE '[A-Za-z_][A-Za-z0-9_]*' | sort -u | comm -13 - "$t_tmp/names" >>"$t_tmp/lost"
    cat "$t_tmp/lost"
    [ "$(grep -c '' "$t_tmp/types")" -gt 150 ] && [ "$(grep -c '' "$t_tmp/names")" -gt 1000 ] && [ ! -s "$t_tmp/lost" ]
}
texts_are_whole() { # continued lines, lists of words, codes, contracts of types, versions
    ! grep -n '^tters have' "$1" && ! grep -q '<dt>Since</dt><dd>0\.[12]\.' "$1" && grep -q '^Letters have no case' "$1" &&
        sed -n '/<section id="cellar_tick"/,/<\/section>/p' "$1" | grep -q '<dt>a lock table</dt><dd>reports' &&
        sed -n '/<section id="cellar_remote.h-writes"/,/<\/section>/p' "$1" | grep -q '<dt>.*E_SPACE</a></dt><dd>' &&
        sed -n '/<section id="cellar_tier.h"/,/<\/section>/p' "$1" | grep -q '^t.ctx = my_namespace;  t.attached' &&
        sed -n '/<section id="cellar_task_submit"/,/<\/section>/p' "$1" | grep -c '^<dt><a href="#CELLAR_\|^<dt>payload</dt><dd>payload_len' | grep -qx 12 &&
        ! sed -n '/<section id="cellar.h-restrictions"/,/<\/section>/p' "$1" | grep '<p>' &&
        sed -n '/<section id="cellar_remote.h-deaths"/,/<\/section>/p' "$1" | grep -q '<dt>stop, cut link</dt>' &&
        ! grep -n '<a href="#cellar_remote.h-[a-z]*">\(OK\|MISS\|DEFERRED\)<' "$1" &&
        sed -n '/<section id="cellar_l2_cipher"/,/<\/section>/p' "$1" | grep -q '<dt>Threads</dt><dd>Runs inside any call'
}
essays_have_a_place() {
    indexes "$1" cellar_load.h-loads cellar_load.h-stale-values cellar_l2.h-kill cellar_l2.h-power-cut cellar.h-restrictions \
        cellar_entry.h-pins cellar_remote.h-offline &&
        grep -q '[Ss]ee <a href="#cellar_load.h-stale-values">STALE VALUES</a>' "$1" &&
        grep -q '<a href="#cellar_load.h">cellar_load.h</a>, <a href="#cellar_load.h-loads">LOADS</a>' "$1"
}
comments_are_shown() { # the first 40 letters and digits of each block comment that is not of the make of headers
    { sed 's/<[^>]*>//g; s/&[a-z]*;//g' "$1" | tr -cd 'A-Za-z0-9'; echo; } >"$t_tmp/text"
    awk 'FNR == NR { text = $0; next }
        got != "" && !on { # the comment before this line
            seen++
            if (!/^typedef char|^#define CELLAR_(PACKED|STRUCT|ZERO)\(|[a-z]_\(/ && !index(text, substr(got, 1, 40))) {
                print "lost: " FILENAME ":" FNR ": " got
                lost++
            }
            got = ""
        }
        /^\/\*/ && !/^\/\* ----/ { on = 1; whole = 0 }
        on {
            line = $0
            if (line ~ /^ \* (in|out|returns|owns|thread|cost|example|since):/) whole = 1
            if (line !~ /SPDX/ && !whole) { gsub(/[^A-Za-z0-9]/, "", line); got = got line }
            on = !/\*\//
        }
        END { exit lost > 0 || seen < 500 }' "$t_tmp/text" include/cellar*.h
}
wrapper_is_there() { # each class of cellar.hpp has a place, each of its public functions is in the text; methods lead to C calls
    for class in $(sed -n '/^namespace detail/,/^} .*namespace detail/d; s/^class \([a-z]*\).*/\1/p' include/cellar.hpp); do
        grep -q "<section id=\"cellarpp-$class\">" "$1" || { echo "no place: $class"; return 1; }
    done
    sed -n '/^namespace detail/,/^} .*namespace detail/d; s/^public:/+/p; s/^private:/-/p; /^    [a-zA-Z]/p' include/cellar.hpp |
        awk '/^[-+]/ { on = /^[+]/ } on && match($0, /[a-z_]+\(/) { print substr($0, RSTART, RLENGTH) }' | sort -u >"$t_tmp/members"
    sed -n '/id="cellarpp-error"/,/<\/main>/p' "$1" | grep -oE '[a-z_]+\(' | sort -u | comm -13 - "$t_tmp/members" >"$t_tmp/lost"
    for member in handle-get handle-handle error-code held-operators objects-lease_acquire locks-acquire; do
        grep -q "<section id=\"cellarpp-$member\"><h2 class=\"name\">" "$1" && grep -q "<td><code><a href=\"#cellarpp-$member\">" "$1" || { echo "no place: $member"; return 1; }
    done
    sed -n 's/.*<section id="cellarpp-.*<h2 class="name">\(.*\)<\/h2>.*/twice: \1/p' "$1" | sort | uniq -d >>"$t_tmp/lost"
    sed -n '/id="cellarpp-handle-get_or_load"/,/<\/section>/p' "$1" | grep -q '^<p>C calls: <a href="#cellar_get_or_load">' || return 1
    cat "$t_tmp/lost"
    [ "$(grep -c . "$t_tmp/members")" -gt 30 ] && [ ! -s "$t_tmp/lost" ]
}
words_are_found() { # each word of people has its place; fields and essays stand in the text
    sed -n '/^const also={/,/^}/s/^"\([^"]*\)":.*/\1/p' "$1" | sort >"$t_tmp/also"
    printf '%s\n' stampede 'thundering herd' dogpile prefork persist 'thread safe' 'memory leak' sendfile lru ttl expire redis \
        'size limit' fork leak slow crash valgrind c++ python install docker | sort | comm -23 - "$t_tmp/also" >"$t_tmp/lost"
    { sed -n 's/^[^#:]*: //p' src/tools/words.txt
        sed -n '/^| you look for/,/^$/s/^| \([^|]*[^| ]\) *|.*/\1/p' include/README.md | sed '1,2d' | tr -d '`' | tr 'A-Z' 'a-z'
    } | sed 's/, /\n/g' | sort >"$t_tmp/given"
    comm -23 "$t_tmp/given" "$t_tmp/also" >>"$t_tmp/lost"
    sed 's/[-_]/ /g' "$t_tmp/given" | sort | uniq -d >>"$t_tmp/lost" # one place for a word, in one of both lists
    [ "$(grep -c '' "$t_tmp/given")" -gt 250 ] || echo "few words" >>"$t_tmp/lost"
    printf '%s\n' stale-while-revalidate mean_entry_bytes 'power cut' cellar_load_no_wait 'report a vulnerability' | sort >"$t_tmp/words"
    tr 'A-Z' 'a-z' <"$1" | sed 's/<[^>]*>//g' | grep -oFf "$t_tmp/words" | sort -u | comm -13 - "$t_tmp/words" >>"$t_tmp/lost"
    cat "$t_tmp/lost"
    [ ! -s "$t_tmp/lost" ]
}
contracts_lead_on() { # refusals of all calls, types, neighbours, programs that use a call; lists are shown once
    sed -n '/<section id="cellar_get_or_load"/,/<\/section>/p' "$1" >"$t_tmp/one"
    sed -n '/<section id="CELLAR_CODES"/,/<\/section>/p' "$1" >"$t_tmp/codes"
    grep -q '^    <a href="#type-cellar">cellar</a> \*c,$' "$t_tmp/one" && grep -q '<section id="type-cellar">' "$1" &&
        grep -q '<a href="#cellar.h-refusals">refusals of all calls</a>' "$t_tmp/one" &&
        grep -q '<dt>See also</dt><dd>.*<a href="#cellar_result_free">' "$t_tmp/one" &&
        grep -q '^<p>Used in: <a href="#[a-z_]*\.c">' "$t_tmp/one" &&
        grep -q '<a href="#cellar_err">' "$t_tmp/codes" && ! grep '<tr>' "$t_tmp/codes" && ! grep -n '<h4' "$1"
}
contents_say_what_for() { # a purpose beside each header and program; the sections of a header in groups
    sed -n '/<ul id="index">/,/<\/nav>/p' "$1" >"$t_tmp/index"
    grep -E '^<li class="page"><a href="#[a-z_]*\.(h|hpp|c|cc|py)"' "$t_tmp/index" | grep -v '<small>[^<]* [^<]*</small>$' >"$t_tmp/lost"
    cat "$t_tmp/lost"
    [ ! -s "$t_tmp/lost" ] && [ "$(grep -c '<small>' "$t_tmp/index")" -gt 45 ] &&
        sed -n '/#cellar_load.h" aria-current/,/aria-current/p' "$t_tmp/index" | sed -n 's/.*class="kind">\([A-Z][a-z]*\).*/\1/p' | tr '\n' ' ' |
        grep -qx 'Rules Calls Types Constants ' && ! grep -n '<b>[^<]*`' "$1"
}
programs_are_led() { # the table of the programs, then they in its order; headers and tests stand in groups behind
    sed '/<ul id="index">/d; /<\/nav>/q' "$1" | sed -n 's/.*<summary>\(.*\)<\/summary>.*/= \1/p; s/.*<li class="page"><a href="#\([^"]*\)".*/\1/p' >"$t_tmp/index"
    { echo programs; sed -n 's/^| \[\([^]]*\.[a-z]*\)\].*/\1/p' tests/examples/README.md; } >"$t_tmp/given"
    sed -n '/^= Programs$/,/^= Headers of programs$/p' "$t_tmp/index" | grep -v '^=\|\.py$' | diff "$t_tmp/given" - || return 1
    sed -n '/^= Headers of programs$/,/^= Reference$\|^= Core headers$/p' "$t_tmp/index" | grep -v '^=' >"$t_tmp/lost"
    ls tests/examples | grep '\.h$' | diff - "$t_tmp/lost" && sed -n '/^= Project$/,$p' "$t_tmp/index" | grep -qx leave_wait.c &&
        grep -q '<a href="#programs">Programs</a>' "$1" && grep -q '<td><a href="#django_tasks.py">python</a></td>' "$1"
}
programs_are_prose() { # the first comment of a program as text and commands, its code, its output
    sed -n '/<section id="sessions.c">/,/<\/section>/p' "$1" >"$t_tmp/one"
    for text in '^<p>Keep the sessions of a web site .*</p>$' '^<p>The browser .* use HMAC-SHA-256 with a secret\.</p>$' \
        '^<pre>cc -O2 .*sessions\.c .*-pthread' '^<p>.*, after <code>make dist</code>:</p>$' \
        '^<h2>Code</h2>' '^#include &lt;err.h&gt;$' '<i>/\* MISS \*/</i>$' '<u>"%s"</u>' '^<h2>Output</h2><pre class="out">a page for ada$' '^log in again$'; do
        grep -q "$text" "$t_tmp/one" || { echo "not shown: $text"; return 1; }
    done
    ! grep -n 'SPDX\|^ \*\|\*/$' "$t_tmp/one" && sed -n '/<section id="open_files.c">/,/<\/section>/p' "$1" | grep -q '^<li>No path leads out' &&
        sed -n '/<section id="django_tasks.py">/,/<\/section>/p' "$1" | grep -q '<i> # quoted: no ' &&
        [ "$(grep -c '^<h2>Output</h2>' "$1")" -eq "$(find tests/examples -name '*.txt' | grep -c .)" ]
}
pages_are_whole() { # DIR: a title, a description, one first heading; each link's end; each place in one page; weights
    grep -oE '<title>[^<]*|<meta name="description" content="[^"]*|<main>|<h1|aria-current="page"| (id|href)="[^"]*"' "$1"/*.html |
        sed "s|^$1/||" >"$t_tmp/parts"
    (cd "$1" && wc -c -- *.html) | awk -v pages="$t_tmp/pages" 'FNR == NR && $2 != "total" { bytes[$2] = $1; next }
        FNR == NR { next }
        { at = index($0, ":"); file = substr($0, 1, at - 1); part = substr($0, at + 1) }
        part ~ /^<title>./ { if (title[part]++) print "twice: " $0; kinds[file] = kinds[file] "t" }
        part ~ /^<meta .*content="[^"]/ { kinds[file] = kinds[file] "d" }
        part ~ /^<main|^<h1|^aria/ { kinds[file] = kinds[file] substr(part, 2, 1) }
        part ~ /^ id=/ {
            id = substr(part, 6, length(part) - 6)
            if (id ~ /^(skip|nav|home|find|close|note|found|fold|index)$/) next
            if (id in place) print "twice: " id " in " place[id] " and " file
            place[id] = file
        }
        part ~ /^ href=/ { link[++links] = substr(part, 8, length(part) - 8); from[links] = file }
        END {
            for (file in bytes) {
                if (kinds[file] != "tdrmh") print "parts: " file " " kinds[file]
                if (bytes[file] > (file == "index.html" ? 65536 : 262144)) print "weight: " file " " bytes[file]
            }
            for (i = 1; i <= links; i++) {
                to = link[i]
                if (to ~ /^(site\.css|data:,)$/) continue
                at = index(to, "#")
                file = at == 1 ? from[i] : at ? substr(to, 1, at - 1) : to
                if (!(file in bytes) || at && place[substr(to, at + 1)] != file) print "dead: " to " in " from[i]
            }
            if (links < 9999) print "links: " links
        }' - "$t_tmp/parts" >"$t_tmp/lost"
    cat "$t_tmp/lost"
    [ ! -s "$t_tmp/lost" ]
}
spoiled_pages_are_refused() {
    bad=$t_tmp/bad
    mkdir -p "$bad" && cp $doc/*.html "$bad" && sed -i 's/ id="cellar_load.h-loads"//' "$bad/cellar_load.h.html" &&
        sed -i 's|"life.html|"x.html|' "$bad/guide.html" && sed -i 's/content="[^"]*">/content="">/' "$bad/limits.html" &&
        sed -i 's/ id="kit"/ id="port"/' "$bad/kit.html" && sed -i 's|<title>[^<]*|<title>|' "$bad/work.html" &&
        sed -i 's|<title>[^<]*|<title>Changes - cellar|' "$bad/cpp.html" && head -c 262144 /dev/zero | tr '\0' ' ' >>"$bad/debug.html"
    ! pages_are_whole "$bad" >"$t_tmp/said" || return 1
    for fault in 'dead: #cellar_load.h-loads in cellar_load.h.html' 'dead: cellar_load.h.html#cellar_load.h-loads in headers.html' \
        'dead: x.html in guide.html' 'parts: limits.html ' 'twice: port in ' 'parts: work.html ' 'twice: cpp.html:<title>' 'weight: debug.html '; do
        grep -qF "$fault" "$t_tmp/said" || { echo "not found: $fault"; return 1; }
    done
}
nothing_is_loaded() { # FILE...: but the style and the scripts beside the page
    ! sed 's|<link rel="icon" href="data:,"><link rel="stylesheet" href="site.css">||; s|<script src="site.js"></script>||' "$@" |
        grep -niE '<(link|img|iframe|object|embed|base|form|audio|video|source)[ >]|<script [^>]*src|@import|url\(|srcset=' &&
        ! grep -nE '(href|src|action)="?(https?:)?//' "$@" && ! grep -nE 'fetch\(|XMLHttpRequest|import\(|src: .([^s]|s[^e])' $doc/site.js
}
finds() { # CHECK SED [NAME...]: the check refuses a text with this change, and the change is one; it names these
    sed "$2" "$site" >"$t_tmp/bad.html"
    ! cmp -s "$site" "$t_tmp/bad.html" && ! "$1" "$t_tmp/bad.html" >"$t_tmp/said" || return 1
    shift 2
    for name in "$@"; do grep -qxF "$name" "$t_tmp/said" || { echo "not named: $name"; return 1; }; done
}
faults_are_found() {
    finds calls_are_indexed 's/^<li>\(.*\)#cellar_get"/\1/' && finds pages_are_indexed 's/href="#moving"/x/' &&
        finds links_of_pages_lead_somewhere 's/#prefork.c/#x/' && finds rows_have_places 's/ id="CELLAR_E_BUSY"//' &&
        finds names_have_a_place 's/ id="\(cellar_stats\|cellar_verdict_ok\|CELLAR_MEMOIZE\)"//; s/retry_max_ms/x/g' \
            cellar_stats cellar_verdict_ok CELLAR_MEMOIZE retry_max_ms &&
        finds essays_have_a_place 's/#cellar_load.h-loads"/#x"/' && finds words_are_found 's/dogpile/x/; s/^"lru":.*//' dogpile lru &&
        finds contracts_lead_on 's/^<p>Used in: .*//' && finds contents_say_what_for 's|<small>.*</small>||' &&
        finds comments_are_shown 's/They count units of cost/x/' &&
        finds texts_are_whole 's/<dt>a lock table/<p>a lock table/' &&
        finds wrapper_is_there 's/^<p>C calls: .*//' && finds wrapper_is_there 's/#cellarpp-held-operators/#x/' &&
        finds programs_are_led 's|<li class="page"><a href="#old_rates.c"|<li class="page"><a href="#x"|' &&
        finds programs_are_led 's|<a href="#programs">Programs</a>|Programs|' &&
        finds programs_are_prose 's|<h2>Output</h2>||' && finds programs_are_prose 's|<i>||' && finds programs_are_prose 's|^<p>The browser|<p> * The browser|' &&
        finds columns_are_cells 's|<h2>KEYS</h2>|<p>a    b|' &&
        finds nothing_is_loaded 's|<main>|<link rel="stylesheet" href="https://example.org/x.css">|' &&
        finds nothing_is_loaded 's|href="#guide"|href="https://example.org/"|' &&
        finds nothing_is_loaded 's|</main>|<script src="x.js">|' &&
        finds each_row_has_a_meaning 's|</code></td><td>[^<]*</td></tr>|</code></td><td></td></tr>|'
}
each_row_has_a_meaning() { # of the tables of fields and constants
    grep -q '<table class="rows">' "$1" && ! grep -n '</code></td><td></td></tr>' "$1"
}
columns_are_cells() { # outside of code no blanks hold texts apart; tables have heads
    grep -q '<tr><th[^>]*>OPTION</th><th[^>]*>0</th>' "$1" && grep -q '^<tr><td></td><td>REDIS_HOST</td><td></td><td>' "$1" &&
        awk '/<section id="cellar[a-z_0-9]*\.h">/ { on = 1 } /<\/main>/ { on = 0 } /<pre/ { code = 1 } on { seen++ }
            on && !code && /[^ ]   +[^ ]/ { print; lost = 1 } /<\/pre>/ { code = 0 } END { exit lost || seen < 9999 }' "$1"
}
same_with() { # AWK
    sources=$(ls include/cellar*.h)
    for awk in awk "$1"; do
        to=$t_tmp/$(basename "$(readlink -f "$(command -v "${awk%% *}")")")
        [ "$awk" = awk ] && first=$to
        [ -s "$to/search.js" ] && continue # the form of a program is made once
        mkdir -p "$to" "$t_tmp/out"
        # shellcheck disable=SC2086
        $awk -v out="$t_tmp/out" -v mode=html -v symbols=src/tools/symbols.txt -v version=0 \
            -f src/tools/apidoc.awk -f src/tools/mdoc.awk $sources &&
            $awk -v version=0 -v out="$to" -v calls="$t_tmp/out/calls.html" -v words=src/tools/words.txt -f src/tools/site.awk \
                part=Guide README.md include/*.md "$t_tmp/out/calls.html" part=Programs tests/examples/README.md tests/examples/*.c tests/examples/*.cc tests/examples/python/django_tasks.py part=Project bench/*.md || return 1
    done
    [ -s "$to/search.js" ] && diff -r "$first" "$to"
}
write_questions() { # what `search` must find, for a browser and for node: `first` has what it does not
    cat <<'H' >"$t_tmp/questions.js"
const first = []
rows = readRows()
const lost = (words, n) => { for (const [w, id] of Object.entries(words)) if (!search(w).list.slice(0, n).some(to => n > 1 ? to.id === id : to.id.startsWith(id))) first.push(w) }
// The first result; near misses, other forms of a word, texts of errors, what users ask.
lost({ mean_entry_bytes: 'cellar_l2_config.mean_entry_bytes', get: 'cellar_get', cellar_get_or_lo: 'cellar_get_or_load', cellar_get_or_laod: 'cellar_get_or_load', cellar_opne: 'cellar_open',
    celar_get: 'cellar_get', CELLAR_E_INVALID: 'CELLAR_E_INVAL', 'thunderng herd': 'cellar_load.h-loads', namespaces: 'cellar_namespace', loaders: 'cellar_loader',
    evictions: 'cellar_eviction', expired: 'cellar_load.h-times-to-live', thunderng: 'cellar_load.h-loads', 'performance tuning': 'guide-the-hit-ratio-is-low', 'number of keys': 'cellar_stats', 'rate limiting': 'cellar_limiter_check',
    'rate-limit': 'cellar_limiter_check', 'thread_safe': 'cellar.h-restrictions', 'write-back': 'cellar_write', 'memory_bytes must be at least': 'cellar_config.memory_bytes',
    'cellar_open: memory_bytes must be at least 1 MiB (got 4096)': 'cellar_', 'the loader set no result': 'CELLAR_E_NO_RESULT', 'tuning.stripes must be a power of two': 'cellar_tuning_config.stripes', timeout: 'cellar_load_opts.hard_timeout_ms',
    errno: 'cellar_last_error', 'error code': 'cellar_last_error', metrics: 'cellar_metrics_write', 'pub sub': 'cellar_bus', 'max memory': 'cellar_config.memory_bytes',
    value: 'cellar_value_', name: 'cellar_namespace', 'cellar_get()': 'cellar_get',
    'how do I delete all keys': 'cellar_clear', 'drop all entries': 'cellar_clear', 'who frees the value': 'cellar.h-conventions', 'expires in seconds': 'cellar_set_opts.ttl_ms',
    'negative caching ttl': 'cellar_config.negative_ttl_ms', 'how large can a key be': 'CELLAR_KEY_MAX', 'maximum value size': 'cellar_tuning_config.max_value_bytes', 'longest value': 'cellar_tuning_config.max_value_bytes',
    'value too large': 'CELLAR_E_TOOBIG', 'circuit braker': 'cellar_breaker.h', 'thundring herd of loaders': 'cellar_load.h-loads', ratelimiter: 'cellar_limiter_check', serialisation: 'typed_values.cc',
    listners: 'cellar_listener', '-16': 'CELLAR_E_ABI', 'error -7': 'CELLAR_E_LIMIT', 'cellar_set returned -4': 'CELLAR_E_TOOBIG', ttl_ms: 'cellar_set_opts.ttl_ms', retry: 'cellar_load_opts.retry',
    struct_size: 'cellar_namespace_config.struct_size', changes: 'changes',
    'handle::get': 'cellarpp-handle-get', cellar_get_with: 'cellar_get_with', foreach: 'cellar_scan', 'get many keys at once': 'cellar_get_many', 'bulk insert': 'cellar_set_many', 'thread pool': 'cellar_task.h',
    'how do I disable the cache': 'cellar_admin.h-disabled', 'change memory limit at runtime': 'CELLAR_OPT_MEMORY_BYTES', 'lock timeout': 'cellar_lock_opts.wait_timeout_ms', 'clear namespace': 'cellar_clear',
    'without threads': 'cellar_host_config.no_threads', 'weak ref': 'cellar_object.h', 'are keys case sensitive': 'cellar.h-conventions', 'Cache.getIfPresent': 'cellar_get', computeIfAbsent: 'cellar_get_or_load', 'build a key from parts': 'cellar_kit.h-keys-from-parts',
    put_if_absent: 'CELLAR_ONLY_IF_ABSENT', memcached_get: 'cellar_get', insert_or_assign: 'cellar_set', 'is cellar_set slow if the lock is taken': 'cellar_', 'renew the lock of a job': 'cellar_lock',
    'cellar_set returned CELLAR_DROPPED': 'CELLAR_DROPPED', 'rows that cover a sceptic': 'cellar', 'fatal error: cellar.h: No such file or directory': 'cellar-drop-it-in', 'cellar_load_value: value must not be NULL': 'cellar_load_value',
    'expire listener callback': 'cellar_listener_add', 'graceful shutdown': 'production', 'persist across restart': 'disk', 'memory usage per entry': 'guide-questions', 'ttl 0 means': 'cellar.h-times',
    'negaitve ttl': 'cellar_config.negative_ttl_ms', 'row cache': 'load', 'kill -9': 'cellar_l2.h-kill', burst: 'limits', 'freed once': 'objects', 'page several rows': 'invalidate',
    'when not to use': 'when-not', login: 'login.c', versioning: 'headers-stability', 'power loss': 'cellar_l2.h-power-cut', 'clear everything': 'cellar_clear', log: 'watch-log-lines', ban_ns: 'cellar_rule.ban_ns',
    'limiter shared by workers': 'shared_limit.c', 'database triggers': 'triggers.c', 'command line tool': 'word_counts.c', 'memoize a function': 'cellar_memo.h' }, 1)
lost({ memory_bytes: 'cellar_config.memory_bytes', cellar_load_opts: 'cellar_load_opts', 'POWER CUT': 'cellar_l2.h-power-cut', CELLAR_E_BUSY: 'CELLAR_E_BUSY',
    e_busy: 'CELLAR_E_BUSY', 'how to iterate': 'cellar_scan', 'page several rows': 'invalidate', semaphore: 'limits', 'how to delete the': 'cellar_delete' }, 3)
const all = rows
rows = all.map(row => ({ ...row, text: '', sum: '' })) // words of users come before all that texts can give: 3.5 and more
lost(also, 3)
rows = all
H
}
questions_are_answered() { # by the search alone: the scripts of the site up to what shows its results
    write_questions && {
        echo "globalThis.document = { getElementById: () => ({}) }; globalThis.location = { pathname: '/' }"
        sed '/^find.hidden = false/,$d' $doc/site.js
        cat $doc/search.js "$t_tmp/questions.js"
        echo 'console.log(first.join() || "found")'
    } >"$t_tmp/node.js"
    node "$t_tmp/node.js" >"$t_tmp/answers" && cat "$t_tmp/answers" && [ "$(cat "$t_tmp/answers")" = found ]
}
works_in_a_browser() { # the scripts leave in the title what they see; a window has 500 px at least, a frame has any
    mkdir -p "$t_tmp/site" && cp $doc/*.html $doc/*.css $doc/*.js "$t_tmp/site"
    write_questions && cp "$t_tmp/questions.js" "$t_tmp/site"
    { cat $doc/index.html; cat <<'H'; } >"$t_tmp/site/search.html"
<script src="search.js"></script>
<script src="questions.js"></script>
<script>
const type = w => { find.value = w; find.oninput(); return [...found.children].map(li => (li.firstChild.hash || '').slice(1)) }
const loads = rows.find(row => row.id === 'cellar_load.h-loads')
if (rank(loads, ask('stamp')) < 4 || rank(loads, ask('thundering')) !== 3) first.push('part of a word')
if (rows.some(row => /^(bench|src|results)$/.test(row.id) && row.tier < 2)) first.push('project before core')
if (rows.some(row => row.id === 'LICENSE' && row.text.length > 20)) first.push('license in full text')
if (search('negaitve ttl').mended !== 'negative ttl') first.push('a wrong letter beside a known word')
if (type('keys')[0] === 'cellar_remote.h-keys') first.push('guest is first')
if (type('persist').slice(0, 5).some(id => /^(bench|src|tests|results|cellar_resp)/.test(id))) first.push('guest before core')
if (type('cellar_opne') && !get('note').textContent.startsWith('Did you mean cellar_open?')) first.push('near miss is silent')
if (!document.querySelector('td[data-h]') || !document.querySelector('#cellar .at')) first.push('made by the script')
if (type('arm').some(id => id.includes('warm'))) first.push('arm in warm')
if (['read the value of', 'deletes an entry'].some(w => type(w).includes('calls'))) first.push('a list of everything is found')
if (search('memory').list.map(row => row.tier === 2).reduce((n, is, i, all) => n + (is && all[i + 1] === false), 0)) first.push('project before pages')
const more = type('struct_size').length
found.lastElementChild.click()
if (more !== 51 || found.children.length !== 101 || get('close').hidden) first.push('more')
find.onchange()
if (location.search !== '?q=struct_size') first.push('address')
get('close').click()
if (find.value || location.search || !get('close').hidden) first.push('close')
type('cellar_get')
const press = (key, target) => get('nav').onkeydown({ key, target, preventDefault() {} })
press('ArrowDown', find)
press('ArrowDown', document.activeElement)
if (document.activeElement !== found.children[1].firstChild) first.push('ArrowDown')
press('Escape', document.activeElement)
if (find.value || found.children.length) first.push('Escape')
const said = type('Retry-After').length > 0 && get('note').textContent.includes('result')
const none = type('xyzzyplugh').length + (get('note').textContent.startsWith('No result') ? 'said' : 'silent')
type('')
document.title = [first.length ? first : 'found', said, none].join(' ')
</script>
H
    sed 's|<head>|&<script>Object.defineProperty(navigator, "clipboard", { value: undefined })</script>|' $doc/sessions.c.html >"$t_tmp/site/plain.html"
    {   echo "<title></title><script src='check.js'></script><body onload='setTimeout(check, 3000)'>"
        for f in $doc/*.html; do echo "<iframe class=page src='${f##*/}'></iframe>"; done
        echo "<iframe id=search src='search.html' style='width:1200px'></iframe><iframe id=asked src='life.html?q=dogpile'></iframe>"
        echo "<iframe id=plain src='plain.html'></iframe><iframe id=bright src='sessions.c.html'></iframe><iframe id=dim src='sessions.c.html' style='color-scheme:dark'></iframe>"
        echo "<iframe id=moved src='index.html#CELLAR_E_BUSY'></iframe><iframe id=dark src='index.html' style='color-scheme:dark'></iframe>"
        echo "<iframe id=deep src='cellar_load.h.html#cellar_load_opts.hard_timeout_ms'></iframe><style>iframe{width:360px;height:800px;border:0}</style>"
    } >"$t_tmp/site/check.html"
    cat >"$t_tmp/site/check.js" <<'H'
function check() {
    const bad = [], of = id => document.getElementById(id), inside = id => of(id).contentDocument
    const look = (frame, what, list) => { if (list.length) bad.push(frame.getAttribute('src') + ': ' + what) }
    for (const frame of document.querySelectorAll('.page')) {
        const page = frame.contentDocument, all = (css, wrong) => [...page.querySelectorAll(css)].filter(wrong), get = id => page.getElementById(id)
        if (page.characterSet !== 'UTF-8' || get('find').hidden || get('fold').open) bad.push(frame.src)
        look(frame, 'a high head', get('nav').offsetHeight > 56 ? [1] : [])
        look(frame, 'keys do not scroll', all('pre, .wide', box => box.scrollWidth > box.clientWidth && box.tabIndex < 0))
        look(frame, 'a cut picture', all('span.wide', box => box.scrollWidth > box.clientWidth && frame.contentWindow.getComputedStyle(box).overflowX !== 'auto'))
        look(frame, 'colours outside of code', all('main :is(i, u)', part => !part.closest('pre')))
        look(frame, 'a small picture', all('.wide>svg', svg => svg.clientWidth < 560))
        look(frame, 'roles', all('th', th => th.scope !== 'col' || th.getAttribute('role') !== 'columnheader'))
        for (const width of [360, 700, 1200]) {
            frame.style.width = width + 'px'
            look(frame, 'wider than ' + width, page.documentElement.scrollWidth > width ? [1] : [])
        }
    }
    const copies = id => inside(id).querySelectorAll('.copy').length, light = rgb => rgb.map(v => v / 255).map(v => v > .04 ? ((v + .055) / 1.055) ** 2.4 : v / 12.92)
        .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], .05)
    if (copies('plain') !== 0 || copies('bright') !== 3) bad.push('copies ' + copies('bright'))
    for (const id of ['bright', 'dim']) { // a copy of the text, and soft colours that can be read
        const css = (part, what) => light(of(id).contentWindow.getComputedStyle(inside(id).querySelector(part))[what].match(/\d+/g).slice(0, 3).map(Number))
        for (const part of ['pre i', 'pre u', 'pre a']) {
            const both = [css(part, 'color'), css('pre', 'backgroundColor')].sort((a, b) => b - a)
            if (both[0] / both[1] < 4.5) bad.push(id + ' ' + part)
        }
    }
    const wide = id => inside('search').getElementById(id).getBoundingClientRect().width
    if (wide('find') !== wide('fold')) bad.push('the field is narrow')
    if (!inside('search').getElementById('fold').open) bad.push('folded')
    if (inside('asked').querySelector('#found a').hash !== '#cellar_load.h-loads') bad.push('?q=')
    if (inside('moved').location.pathname.replace(/.*\//, '') !== 'cellar.h.html') bad.push('old address')
    if (Math.abs(inside('deep').getElementById('cellar_load_opts.hard_timeout_ms').getBoundingClientRect().top) > 80) bad.push('deep link')
    for (const [id, back] of [['dark', 'rgb(21, 23, 26)'], ['search', 'rgb(255, 255, 255)']]) {
        const page = inside(id), style = css => of(id).contentWindow.getComputedStyle(page.querySelector(css))
        if (style('body').backgroundColor !== back || style('svg text').fill !== style('body').color || style('svg rect').fill !== 'none') bad.push(back)
    }
    document.title = [document.querySelectorAll('.page').length, inside('search').title, ...bad].join(' ')
}
H
    timeout 120 chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$t_tmp/profile" \
        --window-size=1280,800 --allow-file-access-from-files --blink-settings=preferredColorScheme=1 --virtual-time-budget=9999 \
        --dump-dom "file://$t_tmp/site/check.html" 2>/dev/null | sed -n 's/.*<title>\([^<]*\)<.*/\1/p' | head -n 1 >"$t_tmp/title"
    cat "$t_tmp/title"
    [ "$(cat "$t_tmp/title")" = "$(find $doc -maxdepth 1 -name '*.html' | grep -c .) found true 0said" ]
}

t_case site_is_written join_pages
t_case every_call_is_in_the_index calls_are_indexed "$site"
t_case every_page_is_in_the_index pages_are_indexed "$site"
t_case every_public_name_has_a_place names_have_a_place "$site"
t_case texts_are_whole texts_are_whole "$site"
t_case every_essay_has_a_place essays_have_a_place "$site"
t_case every_comment_of_a_header_is_shown comments_are_shown "$site"
t_case wrapper_in_cxx_has_its_places wrapper_is_there "$site"
t_case fields_and_codes_have_places rows_have_places "$site"
t_case links_of_pages_lead_somewhere links_of_pages_lead_somewhere "$site"
t_case words_of_people_are_found words_are_found "$site"
t_case contracts_lead_to_types_refusals_and_programs contracts_lead_on "$site"
t_case contents_say_what_pages_are_for contents_say_what_for "$site"
t_case programs_follow_their_table programs_are_led "$site"
t_case programs_are_prose_code_and_output programs_are_prose "$site"
t_case pages_are_whole pages_are_whole $doc
t_case spoiled_pages_are_refused spoiled_pages_are_refused
refuses() { # MODE HEADER CHANGE MESSAGE: of the generator, of a header with the change
    sed "$3" "include/$2" >"$t_tmp/$2"
    # shellcheck disable=SC2046
    ! awk -f src/tools/apidoc.awk -f src/tools/mdoc.awk -v mode="$1" -v out="$t_tmp" $(ls include/cellar*.h | grep -v "/$2$") "$t_tmp/$2" 2>"$t_tmp/said" >&2 &&
        grep -q "$4" "$t_tmp/said"
}
t_case see_without_an_end_is_refused refuses check cellar_load.h 's/see FAILURES/see NO SUCH TITLE/' 'no title "see NO'
t_case title_that_runs_into_text_is_refused refuses check cellar_task.h 's/^ \* LOSS    Tasks/ * LOSS tasks/' 'two blanks behind a title: LOSS'
t_case title_without_an_empty_line_is_refused refuses html cellar_admin.h '/^ \* VALUES/i\ * text' 'an empty line before a title.*VALUES'
t_case indent_behind_a_title_is_refused refuses html cellar_admin.h '/^ \* VALUES/a\ *    text' 'no indent behind it: VALUES'
t_case parameters_of_another_call_are_refused refuses check cellar_admin.h '/^CELLAR_API cellar_err cellar_option_get/,$!s/^ \* in:      c: any handle of the store; for NAMESPACE options the namespace$/ * in:      as cellar_option_set/' 'no .int64_t value., as cellar_option_set has'
marks_are_not_shown() { # of programs that write lines into a page
    grep -q '<!-- ' README.md && ! grep -n '&lt;!--' "$1"
}
t_case marks_of_generators_are_not_shown marks_are_not_shown "$site"
t_case columns_of_headers_are_cells columns_are_cells "$site"
t_case each_field_and_constant_has_a_meaning each_row_has_a_meaning "$site"
t_case nothing_is_loaded_from_elsewhere nothing_is_loaded $doc/*.html $doc/site.css
t_case planted_faults_are_found faults_are_found
for a in mawk gawk 'busybox awk'; do
    if t_have "${a%% *}"; then t_case "same_site_with_$a" same_with "$a"
    else t_skip "same_site_with_$a" "no ${a%% *}"; fi
done
if t_have node; then t_case questions_lead_to_their_places_first questions_are_answered
else t_skip questions_lead_to_their_places_first "no node"; fi
if t_have chromium; then t_case search_and_layout_work_in_a_browser works_in_a_browser
else t_skip search_and_layout_work_in_a_browser "no chromium"; fi
t_end packaging_site
