// SPDX-License-Identifier: MIT
// The search, and what the pages of site.awk show of the present place. search.js is loaded when a search begins; it has
// `also`, words of users and their places, and `places`, the text of all pages in the form that site.awk describes.
const get = id => document.getElementById(id), find = get('find'), fold = get('fold'), found = get('found')
const here = location.pathname.replace(/^.*\//, '') || 'index.html'
let rows, known, most = 50
// One form of names, texts and questions: "Rate-limiting of\na_key" is "rate limiting of a key".
const plain = text => text.toLowerCase().replace(/["'`()?]/g, '').replace(/[-_\s]+/g, ' ').trim()
// Words without the small ones; a word without its ending, which begins its other forms, and what they share.
const tidy = text => plain(text).split(' ').filter((w, i, all) => all.length === 1 || !/^(how|to|do|does|i|it|a|an|the|my|of|for|in|is|with|can|what|use|be|are|should|when|me|we|you|that|this|there|was|were|will|would|could|have|has|which|where)$/.test(w)).join(' ')
const stem = w => w.replace(/(..[a-z]{2})(?:ing|ations?|ions?|ed)$/, '$1').replace(/(.[a-z])ies$/, '$1').replace(/(s|x|ch|sh)es$/, '$1').replace(/(..[a-rt-z])s$/, '$1')
const root = text => text.split(' ').map(w => stem(w).replace(/^(maximum|larg|bigg|long)(est)?$/, 'max').replace(/(....)e$|(...)y$/, '$1$2')).join(' ')
// Words that a question may have beside a synonym of one word.
const idle = /^(key|valu|entr|all|cach|cellar|size|max|one|man|set|get|error|stor)$/
// Whether each word begins a word of a text.
const begin = words => words.map(stem).map(w => {
    const at = new RegExp('(^|[^a-z0-9])' + w.replace(/[^a-z0-9 ]/g, '\\$&'))
    return { test: text => text.includes(w) && at.test(text) }
})
// A row of the search for each section, field and constant.
function readRows() {
    const said = {}, list = []
    let page, section
    for (const w in also) (said[also[w]] = said[also[w]] || []).push(tidy(w))
    const row = (id, name, about, field) => list.push({ ...page, id, name, about, field: field !== undefined, head: id === page.first, words: field || '',
        code: section && section.id === 'cellar_err' && field ? (field.match(/= (-?\d+)/) || [])[1] : undefined })
    for (const line of places.trim().split('\n')) {
        const [a, b, c, d] = line.slice(1).split('\t')
        if (line[0] === '>') page = { file: a, page: b, tier: +c, quiet: d === '1', first: '' }
        else if (line[0] === '#') page.first = page.first || a, row(a, b || a, ''), section = list[list.length - 1]
        else if (line[0] === '=') section.about += (section.about && ' ') + a
        else if (line[0] === '@') row(a, a, '')
        else if (line[0] === '+') row(a, a, c, b), section.words += ' ' + b + ' ' + c
        else section.words += ' ' + a
    }
    return list.map(row => {
        const { id, name, field, first, quiet, about } = row, low = plain(name)
        const part = low.replace(field && low.includes('.') ? /^.*\./ : /^cellar(pp::| )/, ''), words = said[id] || []
        return { ...row, low, part, said: words, roots: [...words, ...field ? [] : [part]].map(root),
            sets: words.map(w => root(w).split(' ')), family: root((first.match(/^cellar_(?!entry|load|work|kit)([a-z]+)\.h$/) || [])[1] || '\n'),
            sum: quiet ? '' : plain(about), text: plain(quiet ? name : [field ? '' : name, about, row.words].join(' ')) }
    })
}
// Run `then` when the rows are there.
let coming
function ready(then) {
    if (rows) return then()
    coming = coming || new Promise((done, fail) => document.head.append(Object.assign(document.createElement('script'), { src: 'search.js', onload: done, onerror: fail })))
    coming.then(() => { rows = rows || readRows(); then() }, () => { get('note').textContent = 'search.js is missing beside this page.' })
}
// A question: without small words, as a phrase of several words, and names in it, as texts of errors have them.
function ask(text) {
    text = text.replace(/cellarpp::(?=\w+::)/g, '')
    const query = tidy(text), phrase = plain(text)
    const code = text.trim().match(/^(?:.*[\s:=(])?(-\d+)\)?$|^(?:error|err|code|error code) (\d+)$/i)
    return { query, families: root(tidy(text.replace(/\w*_\w*/g, ''))).split(' '), whole: plain(text), same: root(query), code: code ? code[1] || code[2] : '', words: begin(query.split(' ')), phrase: phrase.includes(' ') ? phrase : '\n',
        named: (text.match(/[a-z]\w*([_.]\w+)+/gi) || []).flatMap(name => [name, 'cellar_' + name.replace('.', '_config.'), name.replace(/^.*\./, '')]).map(plain) }
}
// The smaller, the better; 99: not found. A name counts with and without "cellar_", a field without its struct.
function rank(row, { query, families, whole, same, code, words, phrase, named }) {
    const kin = families.includes(row.family)
    if (row.code && row.code === code) return 1.1
    if (row.low === whole && row.tier === 0) return -1
    if (row.low === query || !row.field && row.part === query) return row.low.startsWith('cellar ') || row.tier === 0 ? 0 : row.tier < 1 ? 1 + row.tier / 2 : 2.2
    if (row.said.includes(query)) return 1
    if (query !== phrase && row.low.startsWith(phrase)) return 1.1 // a title whose small words were typed, too
    if (whole.startsWith(row.low + ':')) return 2.3
    if (row.roots.includes(same)) return row.tier < 1 ? 1.2 : 2.2
    if (row.low.startsWith(query) || !row.field && row.part.startsWith(query)) return 2
    if (row.part === query) return (row.tier ? 4 : 2.5) + !/(_opts|_config)\./.test(row.id) * .1
    if (row.field && row.tier === 0 && /_(opts|config)\./.test(row.id) && row.part.startsWith(query + ' ')) return 2.9
    const inside = within(row, same)
    if (inside < 3) return inside
    if (query.length > 2 && row.said.some(w => w.startsWith(query + ' '))) return 3
    if (named.includes(row.low)) return 3.3 - row.name.startsWith('CELLAR_') * .05
    if (named.includes(row.part)) return 3.4
    if (row.low.includes(phrase) || row.sum.includes(phrase)) return 3.6
    if (kin && row.head) return 3.7
    if (row.text.includes(phrase)) return 3.8 - kin * .15
    if (inside < 99) return inside
    if (words.every(w => w.test(row.low))) return 4 + row.field * .9
    if (words.every(w => w.test(row.sum))) return 5.1 + row.field * .9 - kin
    return words.every(w => w.test(row.text)) ? 6.2 + row.field * .9 - kin : 99
}
// A synonym whose words all stand in a question, the longest first; one word counts less beside other topics.
function within(row, same) {
    const asked = row.said.length ? same.split(' ') : []
    return Math.min(99, ...row.sets.filter(w => w.every(x => asked.includes(x))).map(w => w.length > 1 ? 3 - w.length / 10 : idle.test(w[0]) ? 5 : asked.every(x => x === w[0] || idle.test(x)) ? 2.95 : 4.3))
}
// The number of edits from one text to another, a swap of two letters is one; above `most`: any larger one.
function edits(a, b, most) {
    let old = [], now = [...Array(b.length + 1).keys()], older
    if (Math.abs(a.length - b.length) > most) return most + 1
    for (let i = 1; i <= a.length; i++) {
        older = old, old = now, now = [i]
        for (let j = 1; j <= b.length; j++) {
            now[j] = Math.min(old[j] + 1, now[j - 1] + 1, old[j - 1] + (a[i - 1] !== b[j - 1]))
            if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) now[j] = Math.min(now[j], older[j - 2] + 1)
        }
    }
    return now[b.length]
}
// Names, synonyms and their words, and the rows of each; `inside`: of a word inside a name or synonym.
function readKnown() {
    known = new Map()
    for (const row of rows) {
        const whole = [row.low, row.part, ...row.said].map(w => w.replace(/ /g, ''))
        for (const w of new Set([...whole, ...[row.low, ...row.said].flatMap(w => w.split(/[ .]/)).filter(w => w.length > 3)])) {
            if (!known.has(w)) known.set(w, [])
            known.get(w).push({ row, inside: !whole.includes(w) })
        }
    }
}
// What is known at most two edits away, one for a short question, best first: letters left out are likelier than
// letters too many, and the first letter is mostly right.
function near(query) {
    const flat = query.replace(/ /g, ''), most = flat.length < 6 ? 1 : 2
    if (!known) readKnown()
    return flat.length < 4 ? [] : [...known.keys()].map(word => ({ word, far: Math.min(edits(flat, word, most), edits(stem(flat), word, most)) })).filter(r => r.far <= most)
        .map(r => ({ ...r, far: r.far + (r.word[0] !== flat[0]) * .5 + (r.word.length < stem(flat).length) * .3 })).sort((a, b) => a.far - b.far)
}
function nearRows(query) {
    const all = near(query).flatMap(r => known.get(r.word).map(k => ({ row: k.row, far: r.far + k.inside * .2 })))
        .sort((a, b) => a.far - b.far || a.row.tier - b.row.tier || a.row.field - b.row.field)
    return [...new Set(all.map(r => r.row))].slice(0, 5)
}
// A question of several words with each unknown word as the nearest known one.
function mend(query) {
    return query.split(' ').map(w => rows.some(row => begin([w])[0].test(row.text)) ? w : (near(w)[0] || { word: w }).word).join(' ')
}
// The rows of a question, best first; guests, programs and the project behind the core. `guess`: rows of
// words like those that were typed, if none has them in its name or synonym, as a phrase, or as the one word in its text.
function search(text) {
    const asked = ask(text)
    if (asked.query === '') return { list: [], guess: [] }
    const each = asked.query.split(' '), found = rows.map(row => ({ row, rank: rank(row, asked) })).filter(r => r.rank < 99)
        .map(r => ({ ...r, place: r.rank < 2 || r.rank === 2.2 && r.row.name === r.row.page ? r.rank : r.rank + (r.row.tier === 2 ? 10 : (r.rank > 2.4 && r.rank < 2.75 ? .15 : 2.5) * r.row.tier) }))
        .sort((a, b) => a.place - b.place || a.row.field - b.row.field || a.row.tier - b.row.tier ||
            (a.rank < 5 && !a.row.field ? a.row.name.length - b.row.name.length : 0))
    const guess = found.some(r => r.rank < (each.length === 1 && r.row.tier < 2 ? 7 : 5)) ? [] : nearRows(asked.query)
    const split = text.replace(/([a-z])([A-Z])/g, '$1 $2').replace(/([A-Z])([A-Z][a-z])|(\w)\.(\w+ [A-Z])/g, '$1$3 $2$4') // Cache.getIfPresent
    if (split !== text && !found.some(r => r.rank < 4)) return search(split)
    const mended = guess.length === 0 && each.length > 1 && found.every(r => r.rank > 4) ? mend(asked.query) : asked.query
    if (mended !== asked.query) return { ...search(mended), mended }
    // No row has all words: those that have some in name, synonym or first sentence.
    if (found.length + guess.length === 0 && each.length > 1) {
        const some = new Map() // a word that few rows have counts more
        for (const list of each.map(ask).map(one => rows.map(row => ({ row, rank: rank(row, one) })).filter(r => r.rank < 5.2)))
            for (const { row, rank } of list) some.set(row, (some.get(row) || (row.tier === 2 ? -9 : -row.tier / 99)) + (rank < 3 ? 2 : 1) / list.length)
        return { list: [...some.keys()].sort((a, b) => some.get(b) - some.get(a)), guess }
    }
    return { list: [...guess, ...found.map(r => r.row).filter(row => !guess.includes(row))], guess }
}
find.hidden = false
function show() {
    const { list, guess, mended } = search(find.value), empty = find.value.trim() === '', more = document.createElement('button')
    found.replaceChildren(...list.slice(0, most).map(row => {
        const li = document.createElement('li'), a = document.createElement('a'), small = document.createElement('small')
        a.href = (row.file === here ? '' : row.file) + '#' + row.id
        a.textContent = row.name
        small.textContent = [row.page === row.name ? '' : row.page, row.about.length > 90 ? row.about.slice(0, 90).replace(/\s+\S*$/, ' ..') : row.about]
            .filter(Boolean).join(': ')
        li.append(a, small)
        return li
    }))
    more.textContent = 'More results'
    more.onclick = () => { most += 50; show(); found.children[most - 50].firstChild.focus() }
    if (list.length > most) found.append(more)
    get('note').textContent = empty ? '' : list.length === 0 ?
        'No result for "' + find.value.trim() + '". Try one word, or the beginning of a name.' :
        (mended || guess.length ? 'Did you mean ' + (mended || guess[0].name) + '? ' : '') +
        (list.length > most ? most + ' of ' + list.length + ' results' : list.length + (list.length > 1 ? ' results' : ' result'))
    fold.hidden = !empty
    get('close').hidden = empty
}
find.oninput = () => ready(() => { most = 50; show() })
find.onfocus = () => ready(() => {})
// The question stands in the address, so that Back shows its results again and a link can hold it.
function keep() {
    const q = find.value.trim()
    try { history.replaceState(null, '', (q ? '?q=' + encodeURIComponent(q) : location.pathname) + location.hash) } catch { /* a browser may refuse for a file */ }
}
find.onchange = keep
const close = () => { find.value = ''; show(); keep() }
get('close').onclick = () => { close(); find.focus() }
addEventListener('popstate', restore)
function restore() {
    const q = new URLSearchParams(location.search).get('q') || ''
    if (q !== find.value) { find.value = q; find.oninput() }
}
restore()
// Enter opens the first result, arrows go through the list, Escape ends the search.
get('nav').onkeydown = e => {
    const list = [...found.querySelectorAll('a')], to = list.indexOf(e.target) + (e.key === 'ArrowDown') - (e.key === 'ArrowUp')
    if (e.key === 'Escape') { close(); find.focus() }
    if (list.length === 0 || e.target !== find && !found.contains(e.target)) return
    if (e.key === 'Enter' && e.target === find) list[0].click()
    if (e.key !== 'ArrowDown' && e.key !== 'ArrowUp') return
    const next = list[to] || find
    e.preventDefault()
    next.focus()
}
document.addEventListener('keydown', e => {
    if (e.key !== '/' || e.target === find || e.ctrlKey || e.metaKey || e.altKey) return
    e.preventDefault()
    find.focus()
})
found.onclick = e => {
    const a = e.target.closest('a')
    if (a) keep()
    if (a && a.pathname === location.pathname) setTimeout(close)
}
get('index').onclick = e => { if (e.target.hash && !wide) setTimeout(() => { fold.open = false }) }
// A link to each section, behind its heading.
for (const s of document.querySelectorAll('main section')) {
    const a = document.createElement('a')
    a.className = 'at'
    a.href = '#' + s.id
    a.setAttribute('aria-label', 'Link to ' + s.firstElementChild.textContent)
    s.firstElementChild.append(a)
}
// The names of columns, which a narrow window shows before each cell.
for (const table of document.querySelectorAll('table')) {
    const names = [...table.rows[0].cells].map(cell => cell.textContent)
    table.setAttribute('role', 'table') // as blocks, they lose their roles
    for (const row of table.rows) {
        row.setAttribute('role', 'row')
        for (const [i, cell] of [...row.cells].entries()) {
            cell.setAttribute('role', cell.tagName === 'TH' ? 'columnheader' : 'cell')
            if (i > 0 && names[i] && (names.length > 2 || /^[^a-z]*$/i.test(cell.textContent))) cell.dataset.h = names[i]
        }
    }
}
// A button that copies a block of code, where the browser has a clipboard.
for (const pre of navigator.clipboard ? document.querySelectorAll('main pre:not(.call, .out)') : []) {
    const text = pre.textContent, button = document.createElement('button')
    if (/^#include \S+$/.test(text)) continue
    button.className = 'copy'
    button.textContent = 'Copy'
    button.onclick = () => navigator.clipboard.writeText(text).then(() => 'Copied', () => 'Not copied').then(said => {
        button.textContent = said
        setTimeout(() => { button.textContent = 'Copy' }, 2000)
    })
    pre.before(button)
}
// Keys scroll what is wider than its box.
for (const box of document.querySelectorAll('pre, .wide')) if (box.scrollWidth > box.clientWidth) box.tabIndex = 0
// A place of another page, which an address of the earlier site in one page names: go there.
function arrive() {
    const id = location.hash.slice(1)
    if (id && !get(id)) ready(() => { for (const row of rows) if (row.id === id && row.file !== here) return location.replace(row.file + '#' + id) })
}
addEventListener('hashchange', arrive)
arrive()
// Mark the section that is read in the contents.
const links = new Map([...document.querySelectorAll('#index [href^="#"]')].map(a => [a.hash.slice(1), a])), wide = matchMedia('(min-width:60em)').matches
const mark = a => { if (wide) a.scrollIntoView({ block: 'nearest' }) }
mark(document.querySelector('[aria-current]'))
const watch = new IntersectionObserver(seen => {
    const at = seen.find(s => s.isIntersecting), a = at && links.get(at.target.id)
    if (!a) return
    for (const old of document.querySelectorAll('[aria-current=location]')) old.removeAttribute('aria-current')
    a.setAttribute('aria-current', 'location')
    mark(a)
}, { rootMargin: '0px 0px -85% 0px' })
for (const s of document.querySelectorAll('main section')) watch.observe(s)
