/* SPDX-License-Identifier: MIT
 *
 * task_slab: memory of tasks: slots, bodies, rare parts, groups; ids and keys.
 *
 * PICTURE    chunk[index / TASK_CHUNK][index % TASK_CHUNK] -> 64 bytes -> body, rare parts
 *            id = submit wall_ms 48 | epoch 16 | index 32 | generation 32
 * INVARIANTS A slot has state TASK_FREE exactly while it is in the chain of free slots. An id of
 *            another generation, epoch or time finds nothing. Ids of `id_in` are in a table.
 * LIMITS     queue_cap + dead_cap slots, and as many as calls of cellar_task_wait keep.
 * SEE ALSO   task_types.h */
#include "work/task.h"

BASE_SIZE_BEGIN

/* ---- bodies ---- */

CELLAR_PRIVATE size_t task_body_bytes(const task_body *b)
{
    return sizeof *b + b->type_len + 1 + (b->free_fn == NULL ? b->len : 0);
}

CELLAR_PRIVATE task_body *task_body_make(cellar_pool *p, const void *data, size_t len,
                                         const char *type, cellar_payload_free_fn free_fn,
                                         void *free_ctx)
{
    const task_body head = { .len = len, .free_fn = free_fn,
                             .free_ctx = free_fn != NULL ? free_ctx : NULL,
                             .type_len = (uint16_t)strlen(type) };
    task_body *b = base_alloc_raw(&p->obj.account.hooks, task_body_bytes(&head));
    if (b == NULL) { return NULL; }
    memcpy(b, &head, sizeof head);
    base_store_rlx(&b->refs, 1u);
    union {
        const void *in;
        void *out;
    } taken = { .in = data };
    b->data = free_fn != NULL ? taken.out : b + 1;
    if (free_fn == NULL && len != 0) { memcpy(b->data, data, len); }
    memcpy((char *)(b + 1) + (free_fn == NULL ? len : 0), type, head.type_len + 1);
    return b;
}

CELLAR_PRIVATE void task_body_enter(cellar_pool *p, task_body *b)
{
    if (b->free_fn == NULL) { b->rows++; }
    if (b->free_fn == NULL && b->slots++ != 0) { return; }
    p->body_bytes += task_body_bytes(b);
}

CELLAR_PRIVATE bool task_body_leave(cellar_pool *p, task_body *b)
{
    if (b->free_fn == NULL && --b->slots != 0) { return false; }
    p->body_bytes -= task_body_bytes(b);
    return true;
}

CELLAR_PRIVATE void task_body_drop(cellar_pool *p, task_body *b, bool tell)
{
    if (b == NULL || base_sub_ar(&b->refs, 1u) != 1) { return; }
    const task_body head = { .len = b->len, .data = b->data, .free_fn = b->free_fn,
                             .free_ctx = b->free_ctx };
    base_free_raw(&p->obj.account.hooks, b, task_body_bytes(b));
    sync_assert_none();
    if (tell && head.free_fn != NULL) { head.free_fn(head.data, head.len, head.free_ctx); }
}

/* ---- rare parts, groups ---- */

CELLAR_PRIVATE task_ext *task_ext_make(cellar_pool *p, const char *key, const char *tag)
{
    const size_t key_len = key != NULL ? strlen(key) : 0, tag_len = tag != NULL ? strlen(tag) : 0;
    const size_t bytes = sizeof(task_ext) + key_len + tag_len + 2;
    task_ext *e = base_alloc(&p->obj.account, BASE_MOD_STORE, bytes, NULL);
    if (e == NULL) { return NULL; }
    e->expires_ms = e->key_until_ms = BASE_NEVER_MS;
    e->error = "";
    e->key_len = (uint16_t)key_len;
    e->tag_at = (uint16_t)(key_len + 1);
    if (key_len != 0) { memcpy(e->text, key, key_len); }
    if (tag_len != 0) { memcpy(e->text + e->tag_at, tag, tag_len); }
    return e;
}

CELLAR_PRIVATE char *task_room_make(cellar_pool *p, const char *text)
{
    char *room = base_alloc(&p->obj.account, BASE_MOD_STORE, TASK_TEXT_ROOM, NULL);
    if (room != NULL) { memcpy(room, text, strlen(text)); }
    return room;
}

CELLAR_PRIVATE void task_room_free(cellar_pool *p, char *room)
{
    base_free(&p->obj.account, BASE_MOD_STORE, room, TASK_TEXT_ROOM);
}

CELLAR_PRIVATE void task_ext_free(cellar_pool *p, task_ext *e)
{
    if (e == NULL) { return; }
    task_room_free(p, e->room);
    const size_t bytes = sizeof *e + e->tag_at + strlen(e->text + e->tag_at) + 1;
    base_free(&p->obj.account, BASE_MOD_STORE, e, bytes);
}

static size_t task_group_bytes(uint32_t members)
{
    return sizeof(task_group) + members * sizeof(task_body *) +
           ((size_t)members + 63) / 64 * sizeof(uint64_t);
}

CELLAR_PRIVATE task_group *task_group_make(cellar_pool *p, uint32_t members,
                                           cellar_task_run_on run_on)
{
    task_group *g = base_alloc(&p->obj.account, BASE_MOD_STORE, task_group_bytes(members), NULL);
    if (g == NULL) { return NULL; }
    g->count = g->left = members;
    g->run_on = run_on;
    g->done = (uint64_t *)(void *)&g->result[members];
    return g;
}

CELLAR_PRIVATE void task_group_free(cellar_pool *p, task_group *g)
{
    for (uint32_t i = 0; i < g->count; i++) { task_body_drop(p, g->result[i], true); }
    base_free(&p->obj.account, BASE_MOD_STORE, g, task_group_bytes(g->count));
}

CELLAR_PRIVATE void task_group_unref(task_group *g, task_after *a)
{
    if (g == NULL || --g->refs != 0) { return; }
    g->next = a->group;
    a->group = g;
}

CELLAR_PRIVATE void task_ext_leave(task_ext *e, task_after *a)
{
    task_group_unref(e->member_of, a);
    task_group_unref(e->before, a);
    for (task_group *g = e->after, *next; g != NULL; g = next) {
        next = g->after;
        task_group_unref(g, a);
    }
    e->next = a->ext;
    a->ext = e;
}

/* ---- slots ---- */

/* Make room on the board of a journal for one more chunk. False: the disk is full. */
static SYNC_HOLDS(QUEUE) bool task_board_grow(cellar_pool *p)
{
    return p->journal == NULL || p->journal->board == NULL ||
           journal_board_reserve(p->journal->board, (p->chunk_count + 1) * TASK_CHUNK) == CELLAR_OK;
}

CELLAR_PRIVATE bool task_slab_reserve(cellar_pool *p, uint32_t n)
{
    while (p->free_count < n) {
        if (p->chunk_count == p->chunk_max) { return false; }
        sync_drop(QUEUE, &p->lock);
        const size_t bytes = TASK_CHUNK * sizeof(task), row_bytes = TASK_CHUNK * sizeof(task_row);
        task *fresh = base_alloc(&p->obj.account, BASE_MOD_STORE, bytes, NULL);
        task_row *rows = p->journal != NULL
                             ? base_alloc(&p->obj.account, BASE_MOD_STORE, row_bytes, NULL) : NULL;
        const bool made = fresh != NULL && (p->journal == NULL || rows != NULL);
        sync_take(QUEUE, &p->lock);
        /* Other calls may have filled it meanwhile. */
        const bool used = made && p->chunk_count < p->chunk_max && task_board_grow(p);
        if (!used) {
            const bool full = p->chunk_count == p->chunk_max;
            sync_drop(QUEUE, &p->lock);
            base_free(&p->obj.account, BASE_MOD_STORE, fresh, bytes);
            base_free(&p->obj.account, BASE_MOD_STORE, rows, row_bytes);
            sync_take(QUEUE, &p->lock);
            if (!made || !full) { return false; }
            continue;
        }
        const uint32_t first = p->chunk_count * TASK_CHUNK;
        if (rows != NULL) { p->journal->row[p->chunk_count] = rows; }
        p->chunk[p->chunk_count++] = fresh;
        for (uint32_t i = TASK_CHUNK; i-- > 0;) {
            fresh[i].index = first + i;
            fresh[i].gen = 1;
            fresh[i].timer.next = p->free != NULL ? &p->free->timer : NULL;
            p->free = &fresh[i];
        }
        p->free_count += TASK_CHUNK;
    }
    return true;
}

CELLAR_PRIVATE task *task_slot_take(cellar_pool *p, task_name *n)
{
    task *t = p->free;
    BASE_ASSERT(t != NULL && t->state == TASK_FREE);
    p->free = (task *)(void *)t->timer.next; /* its first field */
    p->free_count--;
    t->timer = (wheel_timer){ .next = NULL };
    t->name = n->number;
    n->slots++;
    return t;
}

CELLAR_PRIVATE void task_slot_free(cellar_pool *p, task *t)
{
    BASE_ASSERT(t->waiters == 0);
    task_name *n = p->names[t->name];
    if (--n->slots == 0 && n->removed) { task_name_leave(p, n); }
    const uint32_t gen = t->gen + 1;
    *t = (task){ .index = t->index, .gen = gen != 0 ? gen : 1,
                 .timer.next = p->free != NULL ? &p->free->timer : NULL };
    p->free = t;
    p->free_count++;
}

CELLAR_PRIVATE task *task_slot_at(cellar_pool *p, uint64_t index)
{
    if (index / TASK_CHUNK >= p->chunk_count) { return NULL; }
    task *t = &p->chunk[index / TASK_CHUNK][index % TASK_CHUNK];
    return t->state != TASK_FREE ? t : NULL;
}

/* ---- names, ids and keys ---- */

CELLAR_PRIVATE task_name *task_name_find(cellar_pool *p, const char *name)
{
    /* Most submits have the name of the one before. */
    if (p->recent != NULL && strcmp(p->recent->name, name) == 0) { return p->recent; }
    const size_t len = strlen(name);
    task_name *n = BASE_TABLE_FIND(hh, p->by_name, name, len, task_hash(p, name, len));
    if (n != NULL) { p->recent = n; }
    return n;
}

CELLAR_PRIVATE bool task_name_enter(cellar_pool *p, task_name *n, size_t len)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    BASE_TABLE_ADD(hh, p->by_name, n->name, len, task_hash(p, n->name, len), n);
    if (n->hh.tbl == NULL) { return false; }
    if (n == p->gone) { /* it has a number */
        p->gone = n->gone;
        return true;
    }
    BASE_ASSERT(p->name_count < p->name_max);
    n->number = (uint16_t)p->name_count;
    p->names[p->name_count++] = n;
    return true;
}

CELLAR_PRIVATE void task_name_leave(cellar_pool *p, task_name *n)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    if (!n->removed || n->slots != 0) { return; }
    n->removed = false;
    BASE_TABLE_REMOVE(hh, p->by_name, n);
    p->recent = NULL;
    for (uint32_t k = 0; k < STATS_TASK_COUNT; k++) {
        p->count[k] += n->count[k];
        n->count[k] = 0;
    }
    if (n->counted != NULL) { --*n->counted; }
    n->counted = NULL;
    n->gone = p->gone;
    p->gone = n;
}

CELLAR_PRIVATE unsigned task_hash(const cellar_pool *p, const void *bytes, size_t len)
{
    return (unsigned)base_hash(&p->hash, 0, bytes, len);
}

CELLAR_PRIVATE cellar_task_id task_id_of(const cellar_pool *p, const task *t)
{
    if (t->ext != NULL && t->ext->has_id) { return t->ext->id; }
    return (cellar_task_id){ (uint64_t)t->body->wall_ms << 16 | p->epoch,
                             (uint64_t)t->index << 32 | t->gen };
}

/* Return the task of an id in the table; NULL: none. */
static task *task_find_tabled(cellar_pool *p, cellar_task_id id) SYNC_HOLDS(QUEUE)
{
    if (p->by_id == NULL) { return NULL; }
    const task_ext *e =
        BASE_TABLE_FIND(by_id, p->by_id, &id, sizeof id, task_hash(p, &id, sizeof id));
    return e != NULL ? e->of : NULL;
}

CELLAR_PRIVATE task *task_find_any(cellar_pool *p, cellar_task_id id)
{
    task *t = task_find_tabled(p, id);
    return t != NULL ? t : task_find(p, id);
}

CELLAR_PRIVATE task *task_find(cellar_pool *p, cellar_task_id id)
{
    task *tabled = task_find_tabled(p, id);
    if (tabled != NULL) { return tabled->state != TASK_FREE ? tabled : NULL; }
    task *t = task_slot_at(p, id.lo >> 32);
    if (t == NULL || t->gen != (uint32_t)id.lo || (t->ext != NULL && t->ext->has_id)) {
        return NULL;
    }
    return task_id_of(p, t).hi == id.hi ? t : NULL;
}

CELLAR_PRIVATE task *task_find_key(cellar_pool *p, const char *key, size_t len)
{
    const task_ext *e = BASE_TABLE_FIND(by_key, p->by_key, key, len, task_hash(p, key, len));
    return e != NULL ? e->of : NULL;
}

CELLAR_PRIVATE bool task_key_add(cellar_pool *p, task_ext *e)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    BASE_TABLE_ADD(by_key, p->by_key, e->text, e->key_len, task_hash(p, e->text, e->key_len), e);
    e->has_key = e->by_key.tbl != NULL;
    return e->has_key;
}

CELLAR_PRIVATE void task_key_drop(cellar_pool *p, task_ext *e)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    if (!e->has_key) { return; }
    BASE_TABLE_REMOVE(by_key, p->by_key, e);
    e->has_key = false;
}

CELLAR_PRIVATE task_throttle *task_throttle_make(cellar_pool *p, const char *key, size_t len)
{
    task_throttle *h = base_alloc(&p->obj.account, BASE_MOD_STORE, sizeof *h + len, NULL);
    if (h == NULL) { return NULL; }
    h->key_len = (uint32_t)len;
    memcpy(h->key, key, len);
    return h;
}

CELLAR_PRIVATE void task_throttle_free(cellar_pool *p, task_throttle *h)
{
    if (h != NULL) { base_free(&p->obj.account, BASE_MOD_STORE, h, sizeof *h + h->key_len); }
}

CELLAR_PRIVATE task_throttle *task_throttle_find(cellar_pool *p, const char *key, size_t len)
{
    return BASE_TABLE_FIND(hh, p->by_throttle, key, len, task_hash(p, key, len));
}

CELLAR_PRIVATE bool task_throttle_add(cellar_pool *p, task_throttle *h)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    BASE_TABLE_ADD(hh, p->by_throttle, h->key, h->key_len, task_hash(p, h->key, h->key_len), h);
    if (h->hh.tbl == NULL) { return false; }
    wheel_ring_add(&p->throttles, &h->link);
    p->throttle_count++;
    return true;
}

CELLAR_PRIVATE void task_throttle_sweep(cellar_pool *p, int64_t now_ms, uint32_t count,
                                        task_after *a)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    for (count = BASE_MIN(count, p->throttle_count); count > 0; count--) {
        task_throttle *h = (task_throttle *)(void *)p->throttles.next; /* its first field */
        wheel_ring_remove(&h->link);
        if (h->until_ms > now_ms) {
            wheel_ring_add(&p->throttles, &h->link);
            continue;
        }
        BASE_TABLE_REMOVE(hh, p->by_throttle, h);
        p->throttle_count--;
        h->link.next = a->throttle != NULL ? &a->throttle->link : NULL;
        a->throttle = h;
    }
}

CELLAR_PRIVATE void task_id_drop(cellar_pool *p, task_ext *e)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    if (!e->has_id) { return; }
    BASE_TABLE_REMOVE(by_id, p->by_id, e);
    e->has_id = false;
    ++*task_ids_left(p, e->id);
}

CELLAR_PRIVATE bool task_tables_add(cellar_pool *p, task_ext *e)
{
    BASE_TABLE_CHARGE(&p->obj.account, BASE_MOD_STORE);
    if (e->key_len != 0 && !task_key_add(p, e)) { return false; }
    if (e->id.hi == 0 && e->id.lo == 0) { return true; }
    BASE_TABLE_ADD(by_id, p->by_id, &e->id, sizeof e->id, task_hash(p, &e->id, sizeof e->id), e);
    e->has_id = e->by_id.tbl != NULL;
    if (!e->has_id) { task_key_drop(p, e); }
    return e->has_id;
}

BASE_SIZE_END
