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
        return { id: at.id, name, field, low: name.toLowerCase(), page: page.textContent.replace(/#$/, ''),
            about: about ? about.textContent.trim() : '', text: at.textContent.toLowerCase() }
    })
}
// The smaller, the better; 9: not found. A name counts with and without "cellar_", a field without its struct.
function rank(row, query, words) {
    const names = [row.low, row.low.replace(row.field ? /^.*\./ : /^cellar_/, '')]
    if (names.includes(query)) return 0
    if (Object.keys(also).some(w => also[w] === row.id && w === query)) return 1
    if (names.some(n => n.startsWith(query))) return 2
    if (query.length > 2 && Object.keys(also).some(w => also[w] === row.id && w.startsWith(query))) return 3
    if (words.every(w => row.low.includes(w))) return 4
    if (words.every(w => row.about.toLowerCase().includes(w))) return 5
    return words.every(w => row.text.includes(w)) ? 6 : 9
}
function search(text) {
    const query = text.trim().toLowerCase(), words = query.split(/\s+/)
    rows = rows || readRows()
    return query === '' ? [] : rows.map(row => ({ row, rank: rank(row, query, words) }))
        .filter(r => r.rank < 9).sort((a, b) => a.rank - b.rank || a.row.field - b.row.field ||
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
