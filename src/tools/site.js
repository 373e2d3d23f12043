// SPDX-License-Identifier: MIT
// The search and the mark of the present place, for site.awk. `also`: words of users and their places.
const get = id => document.getElementById(id), find = get('find'), fold = get('fold'), found = get('found')
const wide = matchMedia('(min-width:60em)').matches
let rows
// A row of the search for each section, field and constant.
function readRows() {
    return [...document.querySelectorAll('main [id]')].map(at => {
        const field = at.tagName === 'TR', head = at.closest('section').firstElementChild
        const name = field ? at.id : head.textContent.replace(/#$/, ''), page = at.closest('article').querySelector('h1,h2')
        const about = field ? at.lastElementChild : at.querySelector('p')
        const guest = at.closest('article').querySelector('p').textContent.trim().startsWith('guest:') ||
            /^(src|bench|tests|results|fairness|contributing|changes)/.test(at.closest('article').querySelector('section').id)
        return { id: at.id, name, field, guest, low: name.toLowerCase(), page: page.textContent.replace(/#$/, ''),
            about: about ? about.textContent.trim() : '', text: at.textContent.toLowerCase() }
    })
}
// Words without the small ones, and whether each begins a word of a text.
const tidy = text => text.split(/\s+/).filter((w, i, all) => all.length === 1 || !/^(how|to|do|i|a|an|the)$/.test(w)).join(' ')
const begin = words => words.map(w => new RegExp('(^|[^a-z0-9])' + w.replace(/[^a-z0-9_ ]/g, '\\$&')))
// The smaller, the better; 99: not found. A name counts with and without "cellar_", a field without its struct.
function rank(row, query, words) {
    const names = [row.low, row.low.replace(row.field && row.low.includes('.') ? /^.*\./ : /^cellar_/, '')]
    const said = Object.keys(also).filter(w => also[w] === row.id).map(tidy)
    if (names.includes(query)) return row.field && row.low !== query ? 2.5 : 0
    if (said.includes(query)) return 1
    if (names.some(n => n.startsWith(query))) return 2
    if (query.length > 2 && said.some(w => w.startsWith(query + ' '))) return 3
    if (words.every(w => w.test(row.low))) return 4
    if (words.every(w => w.test(row.about.toLowerCase()))) return 5
    return words.every(w => w.test(row.text)) ? 6 : 99
}
// Fields come behind calls and headings, guests and pages of the project behind the core.
function search(text) {
    const query = tidy(text.trim().toLowerCase()), words = begin(query.split(' '))
    rows = rows || readRows()
    return query === '' ? [] : rows.map(row => ({ row, rank: rank(row, query, words) })).filter(r => r.rank < 9)
        .map(r => ({ row: r.row, rank: r.rank, place: r.rank + (r.rank > 1 && r.rank !== 2.5 ? 3 * r.row.field + r.row.guest / 2 : 0) }))
        .sort((a, b) => a.place - b.place || a.row.field - b.row.field || a.row.guest - b.row.guest ||
            (a.rank < 5 ? a.row.name.length - b.row.name.length : 0)).map(r => r.row)
}
find.hidden = false
find.oninput = () => {
    const list = search(find.value), shown = list.slice(0, 50), empty = find.value.trim() === ''
    found.replaceChildren(...shown.map(row => {
        const li = document.createElement('li'), a = document.createElement('a'), small = document.createElement('small')
        a.href = '#' + row.id
        a.textContent = row.name
        small.textContent = (row.page === row.name ? '' : row.page + ': ') + (row.about.length > 90 ? row.about.slice(0, 90).replace(/\s+\S*$/, ' ..') : row.about)
        li.append(a, small)
        return li
    }))
    get('note').textContent = empty ? '' : list.length === 0 ?
        'No result for "' + find.value.trim() + '". Try one word, or the beginning of a name.' :
        list.length > 50 ? '50 of ' + list.length + ' results' : list.length + (list.length > 1 ? ' results' : ' result')
    fold.hidden = !empty
}
const close = () => { find.value = ''; find.oninput() }
find.onkeydown = e => {
    const first = found.querySelector('a')
    if (e.key === 'Enter' && first) first.click()
    if (e.key === 'Escape') close()
}
document.addEventListener('keydown', e => {
    if (e.key !== '/' || e.target === find || e.ctrlKey || e.metaKey || e.altKey) return
    e.preventDefault()
    find.focus()
})
found.onclick = e => { if (e.target.closest('a')) setTimeout(close) }
get('index').onclick = e => { if (!wide && e.target.tagName === 'A') setTimeout(() => { fold.open = false }) }
const version = document.title
function entitle() {
    const at = get(decodeURIComponent(location.hash.slice(1))), near = at && at.closest('section')
    document.title = (near ? near.firstElementChild.textContent.replace(/#$/, '') + ' - ' : '') + version
}
addEventListener('hashchange', entitle)
entitle()
fold.open = wide
const links = new Map([...document.querySelectorAll('#index a')].map(a => [a.hash.slice(1), a]))
const watch = new IntersectionObserver(seen => {
    const at = seen.filter(s => s.isIntersecting)[0], a = at && links.get(at.target.id)
    if (!a) return
    for (const old of document.querySelectorAll('[aria-current]')) old.removeAttribute('aria-current')
    a.setAttribute('aria-current', 'location')
    const list = a.closest('#index details')
    if (list) list.open = true
    if (wide) a.scrollIntoView({ block: 'nearest' })
}, { rootMargin: '0px 0px -85% 0px' })
for (const s of document.querySelectorAll('section')) watch.observe(s)
