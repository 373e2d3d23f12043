// SPDX-License-Identifier: MIT
// The search and the mark of the present place, for site.awk. `also`: words of users and their places.
const get = id => document.getElementById(id), find = get('find'), fold = get('fold'), found = get('found')
const wide = matchMedia('(min-width:60em)').matches
const head = section => section.firstElementChild.textContent
let rows
// One form of names, texts and questions: "Rate-limiting of\na_key" is "rate limiting of a key".
const plain = text => text.toLowerCase().replace(/["'`()?]/g, '').replace(/[-_\s]+/g, ' ').trim()
// Words without the small ones; a word without its ending, which begins its other forms, and what they share.
const tidy = text => plain(text).split(' ').filter((w, i, all) => all.length === 1 || !/^(how|to|do|does|i|it|a|an|the|my|of|for|in|is|with|can|what|use)$/.test(w)).join(' ')
const stem = w => w.replace(/(..[a-z]{2})(?:ing|ations?|ions?|ed)$/, '$1').replace(/(.[a-z])ies$/, '$1').replace(/(s|x|ch|sh)es$/, '$1').replace(/(..[a-rt-z])s$/, '$1')
const root = text => text.split(' ').map(w => stem(w).replace(/(...)[ey]$/, '$1')).join(' ')
// Whether each word begins a word of a text.
const begin = words => words.map(w => new RegExp('(^|[^a-z0-9])' + stem(w).replace(/[^a-z0-9 ]/g, '\\$&')))
// A row of the search for each section, field and constant. `tier`: 0 reference, 1 guests and programs, 2 project.
function readRows() {
    const said = {}
    for (const w in also) (said[also[w]] = said[also[w]] || []).push(tidy(w))
    return [...document.querySelectorAll('main [id]')].map(at => {
        const field = at.tagName === 'TR', article = at.closest('article'), first = article.querySelector('section').id
        const name = field ? at.id : head(at.closest('section')), low = plain(name)
        const about = field ? at.lastElementChild : at.querySelector('p')
        const tier = /^(src|bench|tests|results|fairness|contributing|changes|LICENSE)/.test(first) ? 2 :
            /\.(c|cc|py)$/.test(first) || article.querySelector('p').textContent.trim().startsWith('guest:') ? 1 : /^(cellar[a-z_0-9]*\.h|calls)/.test(first) ? 0 : .3
        const part = low.replace(field && low.includes('.') ? /^.*\./ : /^cellar /, ''), words = said[at.id] || []
        return { id: at.id, name, field, tier, low, part, said: words, roots: [...words, ...field ? [] : [part]].map(root),
            page: head(article.querySelector('section')), about: about ? about.textContent.trim() : '',
            sum: plain(about ? about.textContent : ''), text: plain(at.textContent) }
    })
}
// A question: without small words, as a phrase of several words, and names in it, as texts of errors have them.
function ask(text) {
    const query = tidy(text), phrase = plain(text)
    return { query, same: root(query), words: begin(query.split(' ')), phrase: phrase.includes(' ') ? phrase : '\n',
        named: (text.match(/[a-z]\w*([_.]\w+)+/gi) || []).flatMap(name => [name, 'cellar_' + name.replace('.', '_config.'), name.replace(/^.*\./, '')]).map(plain) }
}
// The smaller, the better; 99: not found. A name counts with and without "cellar_", a field without its struct.
function rank(row, { query, same, words, phrase, named }) {
    if (row.low === query || !row.field && row.part === query) return row.low.startsWith('cellar ') || row.tier === 0 ? 0 : row.tier < 1 ? 1.1 : 2.2
    if (row.said.includes(query)) return 1
    if (row.roots.includes(same)) return row.tier < 1 ? 1.2 : 2.2
    if (row.low.startsWith(query) || !row.field && row.part.startsWith(query)) return 2
    if (row.part === query) return row.tier ? 4 : 2.5
    if (query.length > 2 && row.said.some(w => w.startsWith(query + ' '))) return 3
    if (named.includes(row.low)) return 3.3
    if (named.includes(row.part)) return 3.4
    if (row.low.includes(phrase) || row.sum.includes(phrase)) return 3.6
    if (row.text.includes(phrase)) return 3.8
    if (words.every(w => w.test(row.low))) return 4 + row.field * .9
    if (words.every(w => w.test(row.sum))) return 5.1 + row.field * .9
    return words.every(w => w.test(row.text)) ? 6.2 + row.field * .9 : 99
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
// Rows with a name or word at most two edits away, one edit for a short question.
function near(query) {
    const most = query.length < 6 ? 1 : 2
    return query.length < 4 ? [] : rows.map(row => ({ row, rank: Math.min(...[row.low, row.part, ...row.said, ...row.said.map(w => w.split(' ')[0])].map(w => edits(query, w, most))) }))
        .filter(r => r.rank <= most).sort((a, b) => a.rank - b.rank || a.row.tier - b.row.tier || a.row.field - b.row.field).slice(0, 5).map(r => r.row)
}
// The rows of a question, best first; guests, programs and the project behind the core. `guess`: rows of
// words like those that were typed, if none has the words themselves in its name, synonym or as a phrase.
function search(text) {
    const asked = ask(text)
    rows = rows || readRows()
    if (asked.query === '') return { list: [], guess: [] }
    const found = rows.map(row => ({ row, rank: rank(row, asked) })).filter(r => r.rank < 99)
        .map(r => ({ ...r, place: r.rank < 2 ? r.rank : r.rank + 2.5 * r.row.tier }))
        .sort((a, b) => a.place - b.place || a.row.field - b.row.field || a.row.tier - b.row.tier ||
            (a.rank < 5 ? a.row.name.length - b.row.name.length : 0))
    const guess = found.some(r => r.rank < 5) ? [] : near(asked.query), each = asked.query.split(' ')
    // No row has all words: those that have some in name, synonym or first sentence.
    if (found.length + guess.length === 0 && each.length > 1) {
        const some = each.map(w => rows.filter(row => rank(row, ask(w)) < 4.5)).flat()
        return { list: [...new Set(some)].sort((a, b) => some.filter(r => r === b).length - some.filter(r => r === a).length), guess }
    }
    return { list: [...guess, ...found.map(r => r.row).filter(row => !guess.includes(row))], guess }
}
find.hidden = false
find.oninput = () => {
    const { list, guess } = search(find.value), shown = list.slice(0, 50), empty = find.value.trim() === ''
    found.replaceChildren(...shown.map(row => {
        const li = document.createElement('li'), a = document.createElement('a'), small = document.createElement('small')
        a.href = '#' + row.id
        a.textContent = row.name
        small.textContent = [row.page === row.name ? '' : row.page, row.about.length > 90 ? row.about.slice(0, 90).replace(/\s+\S*$/, ' ..') : row.about]
            .filter(Boolean).join(': ')
        li.append(a, small)
        return li
    }))
    get('note').textContent = empty ? '' : list.length === 0 ?
        'No result for "' + find.value.trim() + '". Try one word, or the beginning of a name.' :
        (guess.length ? 'Did you mean ' + guess[0].name + '? ' : '') +
        (list.length > 50 ? '50 of ' + list.length + ' results' : list.length + (list.length > 1 ? ' results' : ' result'))
    fold.hidden = !empty
}
const close = () => { find.value = ''; find.oninput() }
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
found.onclick = e => { if (e.target.closest('a')) setTimeout(close) }
get('index').onclick = e => { if (!wide && e.target.tagName === 'A') setTimeout(() => { fold.open = false }) }
// A link to each section, behind its heading.
for (const s of document.querySelectorAll('main section')) {
    const a = document.createElement('a')
    a.className = 'at'
    a.href = '#' + s.id
    a.setAttribute('aria-label', 'Link to ' + head(s))
    s.firstElementChild.append(a)
}
// The names of columns, which a narrow window shows before each cell.
for (const table of document.querySelectorAll('table')) {
    const names = [...table.rows[0].cells].map(cell => cell.textContent)
    for (const row of table.rows) [...row.cells].forEach((cell, i) => { if (i > 0 && names[i]) cell.dataset.h = names[i] })
}
const version = document.title
// Name the present place in the title and the skip link; let keys scroll what is wider than its box.
function arrive() {
    const at = get(decodeURIComponent(location.hash.slice(1))), near = at && at.closest('section')
    document.title = (near ? head(near) + ' - ' : '') + version
    get('skip').href = '#' + (near || document.querySelector('section')).id
    for (const box of document.querySelectorAll('pre, .wide')) if (box.scrollWidth > box.clientWidth) box.tabIndex = 0
}
addEventListener('hashchange', arrive)
arrive()
fold.open = wide
const links = new Map([...document.querySelectorAll('#index a')].map(a => [a.hash.slice(1), a]))
const watch = new IntersectionObserver(seen => {
    const at = seen.filter(s => s.isIntersecting)[0], a = at && links.get(at.target.id)
    if (!a) return
    for (const old of document.querySelectorAll('[aria-current]')) old.removeAttribute('aria-current')
    a.setAttribute('aria-current', 'location')
    const list = a.closest('#index details') || a.parentNode.querySelector('details')
    if (list) list.open = true
    if (wide) a.scrollIntoView({ block: 'nearest' })
}, { rootMargin: '0px 0px -85% 0px' })
for (const s of document.querySelectorAll('main section')) watch.observe(s)
