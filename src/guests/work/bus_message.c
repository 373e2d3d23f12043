/* SPDX-License-Identifier: MIT
 *
 * bus_message: make a message of a publication, link it, and note its copies.
 *
 * INVARIANTS A message is one block: header, copies, headers, body, then the texts. The headers and
 *            their texts are next to each other: name, 0, value, 0.
 * LOCKING    bus_types.h. A message is made without the lock. */
#include <string.h>

#include "base/opts.h"
#include "work/bus_message.h"

BASE_SIZE_BEGIN

/* Check the key of a publication: words, or the name of a queue. */
static cellar_err bus_publication_key(bus_publication *l)
{
    if (l->o.direct == 0) {
        const cellar_err err = bus_words_of(l->key, &l->words);
        l->key_len = l->words.len;
        return err;
    }
    l->key_len = l->key != NULL ? strnlen(l->key, CELLAR_NAME_MAX + 1) : 0;
    return l->key_len != 0 && l->key_len <= CELLAR_NAME_MAX ? CELLAR_OK : CELLAR_E_INVAL;
}

CELLAR_PRIVATE cellar_err bus_publication_opts(const cellar_bus *b, bus_publication *l,
                                               const cellar_bus_publish_opts *o)
{
    l->o = cellar_bus_publish_opts_default();
    cellar_err err = o != NULL ? base_opts_in(&l->o, sizeof l->o, o) : CELLAR_OK;
    if (err == CELLAR_OK) { err = bus_publication_key(l); }
    if (err != CELLAR_OK) { return err; }
    if (l->o.expires_ms < 0 || l->o.priority > CELLAR_BUS_PRIORITY_MAX ||
        l->o.header_count > CELLAR_BUS_HEADERS_MAX ||
        (l->o.headers == NULL && l->o.header_count != 0) || l->o.direct > 1 ||
        l->o.reserved0 != 0) {
        return CELLAR_E_INVAL;
    }
    const size_t most = (size_t)b->max_message_bytes;
    if (l->body_len > most) { return CELLAR_E_TOOBIG; }
    l->bytes = l->body_len + l->key_len + 1;
    for (uint32_t i = 0; i < l->o.header_count && l->bytes <= most; i++) {
        const cellar_bus_header *h = &l->o.headers[i];
        if (h->name == NULL || h->value == NULL) { return CELLAR_E_INVAL; }
        l->bytes += strnlen(h->name, most) + strnlen(h->value, most) + 2;
    }
    return l->bytes <= most ? CELLAR_OK : CELLAR_E_TOOBIG;
}

/* Copy a text to *to and move *to behind it. */
static const char *bus_text(char **to, const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = memcpy(*to, text, bytes);
    *to += bytes;
    return copy;
}

CELLAR_PRIVATE bus_message *bus_message_make(cellar_bus *b, const bus_publication *l, int64_t now)
{
    const size_t body_at = (size_t)base_round_up(sizeof(bus_message) +
                                                 l->copy_count * sizeof(bus_copy) +
                                                 l->o.header_count * sizeof(cellar_bus_header),
                                                 16);
    const size_t block_bytes = body_at + l->bytes + (l->from != NULL ? strlen(l->from) + 1 : 0);
    bus_message *m = base_alloc(&b->obj.account, BASE_MOD_STORE, block_bytes, NULL);
    if (m == NULL) { return NULL; }
    cellar_bus_header *headers = (cellar_bus_header *)(void *)&m->copy[l->copy_count];
    unsigned char *body = (unsigned char *)m + body_at;
    char *to = (char *)body + l->body_len;
    m->block_bytes = block_bytes;
    m->copy_count = l->copy_count;
    m->bytes = l->bytes;
    m->published_ms = now;
    m->expires_ms = l->o.expires_ms != 0 ? base_add_sat(now, l->o.expires_ms) : BASE_NEVER_MS;
    m->hash = base_hash(&b->hash_key, 0, l->key, l->key_len);
    m->key = bus_text(&to, l->key);
    m->body = body;
    m->body_len = l->body_len;
    if (l->body_len != 0) { memcpy(body, l->body, l->body_len); }
    m->headers = headers;
    m->header_count = l->o.header_count;
    for (uint32_t i = 0; i < l->o.header_count; i++) {
        headers[i].name = bus_text(&to, l->o.headers[i].name);
        headers[i].value = bus_text(&to, l->o.headers[i].value);
    }
    m->priority = l->o.priority;
    memcpy(m->trace, l->o.trace, sizeof m->trace);
    for (uint32_t i = 0; i < m->copy_count; i++) {
        m->copy[i].of = m;
        m->copy[i].number = i;
    }
    if (l->from != NULL) { m->copy[0].from = bus_text(&to, l->from); }
    return m;
}

CELLAR_PRIVATE void bus_message_link(cellar_bus *b, bus_message *m, bus_message *at)
{
    if (b->messages == NULL) {
        b->messages = m->next = m->prev = m;
        return;
    }
    if (at == NULL) { at = b->messages; }
    while (at != b->messages && at->prev->id <= m->id) { at = at->prev; }
    while (at->id > m->id && at->next != b->messages) { at = at->next; }
    const bool newest = at == b->messages && at->id <= m->id;
    if (at->id > m->id) { at = at->next; } /* older than all: beside the newest, in the ring */
    m->next = at;
    m->prev = at->prev;
    m->prev->next = m;
    at->prev = m;
    if (newest) { b->messages = m; }
}

CELLAR_PRIVATE void bus_note_push(cellar_bus *b, bus_copy *c)
{
    switch (c->note) {
    case BUS_NOTE_NONE:
        c->note = BUS_NOTE_NOTED;
        c->noted = b->noted;
        b->noted = c;
        c->of->refs++;
        break;
    case BUS_NOTE_WRITING: c->note = BUS_NOTE_AGAIN; break;
    case BUS_NOTE_NOTED:
    case BUS_NOTE_AGAIN: break;
    }
}

BASE_SIZE_END
