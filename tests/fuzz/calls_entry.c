/* SPDX-License-Identifier: MIT
 *
 * calls_entry: rows of single entries: reads, writes, invalidations, scans, listeners.
 * See calls.h. */
#include "tests/fuzz/calls.h"

/* ---- Options of sets ------------------------------------------------------------------------- */

typedef struct calls_write {
    calls_key key;
    cellar_set_opts o;
    cellar_bytes tag[CALLS_TAGS];
    uint32_t tags;
    uint64_t number, version;
    calls_begun was;
    int64_t begin_ms;
    unsigned char *bytes;
    size_t len;
    bool spoilt;
} calls_write;

static uint32_t draw_tags(cellar_bytes *list, uint32_t *count)
{
    uint32_t mask = 0;
    *count = 0;
    for (unsigned i = 0; i < CALLS_TAGS && chance(20); i++) {
        const unsigned t = draw(CALLS_TAGS);
        if ((mask >> t & 1) == 0) {
            list[(*count)++] = (cellar_bytes){ calls_tags[t], strlen(calls_tags[t]) };
        }
        mask |= 1u << t;
    }
    return mask;
}

/* Draw options; conditions only where the call takes them. */
static void draw_set_opts(calls_write *w, bool conditions)
{
    cellar_set_opts *o = &w->o;
    *o = cellar_set_opts_default();
    w->tags = draw_tags(w->tag, &o->tag_count);
    o->tags = w->tag;
    MAYBE(o->ttl_ms, BAD_MS);
    if (chance(10)) { o->idle_ms = ONE_OF(BAD_MS); }
    if (chance(10)) { o->max_age_ms = ONE_OF(BAD_MS); }
    if (chance(20)) { o->stale_ms = ONE_OF(BAD_MS); }
    if (chance(10)) { o->ttl_class = (uint32_t)ONE_OF(0, 1, 2, 3, 17); }
    MAYBE(o->user_flags, 0, 7, UINT32_MAX);
    MAYBE(o->cost_us, 0, 1, 5000, UINT32_MAX);
    if (chance(15)) { o->jitter_pct = (uint32_t)ONE_OF(1, 50, 100, 101); }
    o->jitter_mode = (cellar_jitter)ONE_OF(0, 1, 2, 0, 1, 2, 0, 1, 3);
    if (chance(10)) { o->flags |= CELLAR_KEEP_OLD_VALUE; }
    if (chance(10)) { o->flags |= CELLAR_KEEP_TTL; }
    if (chance(5)) { o->flags |= CELLAR_NO_L2; }
    if (chance(5)) { o->flags |= CELLAR_DURABLE; }
    if (chance(1)) { o->flags |= (uint32_t)ONE_OF(0x200, 0x80000000); }
    if (conditions && chance(20)) {
        o->flags |= (uint32_t)ONE_OF(CELLAR_ONLY_IF_ABSENT, CELLAR_ONLY_IF_PRESENT,
                                     CELLAR_ONLY_IF_VERSION);
        if (chance(60)) { o->if_version = (uint64_t)ONE_OF(0, 1, 77); }
    }
    if (conditions && chance(20)) { o->new_version = &w->version; }
    w->spoilt = spoil(o, sizeof *o);
}

/* The latest deadline of an entry that was set with these options. */
static int64_t deadline_of(const cellar_set_opts *o)
{
    int64_t ttl = o->ttl_ms;
    if (ttl <= 0 || ttl == CELLAR_TTL_NONE || (o->flags & CELLAR_KEEP_TTL) != 0) {
        return INT64_MAX;
    }
    ttl = atomic_load(&world.policies) ? 2 * ttl : ttl + ttl * (int64_t)o->jitter_pct / 100;
    return atomic_load(&calls.now_ms) + ttl + 1;
}

/* The earliest end of an entry that was set with these options at `now`. */
static int64_t least_end_of(const calls_key *k, const cellar_set_opts *o, int64_t now)
{
    int64_t ms = atomic_load(&world.space[k->space].least_ms);
    if (o != NULL) {
        if ((o->flags & CELLAR_KEEP_TTL) != 0) { return 0; }
        if (o->ttl_ms > 0) { ms = ms < o->ttl_ms ? ms : o->ttl_ms; }
        if (o->idle_ms > 0) { ms = ms < o->idle_ms ? ms : o->idle_ms; }
        if (o->max_age_ms > 0) { ms = ms < o->max_age_ms ? ms : o->max_age_ms; }
        if (o->ttl_class != 0) { ms = ms < 1000 ? ms : 1000; }
        if (o->jitter_pct != 0) { ms = ms / 100 * (100 - (int64_t)o->jitter_pct); }
    }
    return ms < INT64_MAX - now ? now + ms : INT64_MAX;
}

static bool write_begin(calls_write *w, bool conditions, bool options)
{
    if (!draw_key(&w->key, true)) { return false; }
    draw_set_opts(w, conditions);
    if (!options) { w->tags = 0, w->spoilt = false; }
    w->len = draw_len();
    w->bytes = malloc(w->len);
    MUST(w->bytes != NULL);
    w->number = slot_number(&w->key);
    calls_fill(&w->key, w->number, false, w->tags, w->bytes, w->len);
    slot_of(&w->key)->busy = true;
    atomic_store(&slot_of(&w->key)->due.tags, UINT32_MAX);
    w->was = due_begin(&w->key);
    w->begin_ms = atomic_load(&calls.now_ms);
    return true;
}
static void write_end(calls_write *w, cellar_err err, const cellar_set_opts *o)
{
    refused(w->spoilt, err);
    slot_set_ended(&w->key, err, w->number, o != NULL ? deadline_of(o) : INT64_MAX,
                   o != NULL && (o->flags & (CELLAR_KEEP_OLD_VALUE | CELLAR_ONLY_IF_ABSENT |
                                             CELLAR_ONLY_IF_PRESENT | CELLAR_ONLY_IF_VERSION))
                       != 0);
    if (err == CELLAR_OK) {
        due_stored(&w->key, w->number, &w->was, w->tags, least_end_of(&w->key, o, w->begin_ms),
                   o != NULL && (o->flags & CELLAR_NO_L2) != 0);
        due_promised(&w->key, w->number, o != NULL && (o->flags & CELLAR_DURABLE) != 0);
    }
    slot_of(&w->key)->busy = false;
    free(w->bytes);
}

/* ---- Reads ----------------------------------------------------------------------------------- */

static void read_key(calls_look l)
{
    cellar *c = space_of(&l.key);
    unsigned char *buf = calls_buffer();
    const size_t cap = (size_t)ONE_OF(CALLS_BUFFER, CALLS_BUFFER, CALLS_BUFFER, 100, 0);
    size_t len = 0;
    void *block = NULL;
    const void *key = l.key.bytes;
    cellar_err err = CELLAR_OK;
    switch (draw(7)) {
    case 0:
        err = told(c, CALL(cellar_get)(c, key, l.key.len, buf, cap, &len));
        if (err == CELLAR_OK) { look_judge(&l, buf, len, true, "get"); }
        break;
    case 1: {
        cellar_get_opts o = cellar_get_opts_default();
        cellar_entry_info info = cellar_entry_info_default();
        if (chance(50)) { o.info = &info; }
        o.flags = (uint32_t)draw(16);
        if (chance(2)) { o.flags = 16; }
        const bool bad = o.flags == 16 || spoil(&o, sizeof o);
        err = told(c, CALL(cellar_get_with)(c, key, l.key.len, &o, buf, cap, &len));
        if (bad) { MUST(err < 0); }
        if (calls.disk && (o.flags & CELLAR_GET_MEMORY) != 0) { l.due = 0; }
        if (err == CELLAR_OK || err == CELLAR_STALE) {
            look_judge(&l, buf, len, err == CELLAR_OK, "get_with");
            if (o.info != NULL) { MUST(info.value_len == len && info.kind == CELLAR_KIND_VALUE); }
        }
        if (err == CELLAR_STALE) { MUST((o.flags & CELLAR_GET_ALLOW_STALE) != 0); }
        break;
    }
    case 2:
        err = told(c, CALL(cellar_get_alloc)(c, key, l.key.len, &block, &len));
        if (err == CELLAR_OK) {
            MUST(((unsigned char *)block)[len] == 0);
            look_judge(&l, block, len, true, "get_alloc");
        } else {
            MUST(block == NULL && len == 0);
        }
        CALL(cellar_free)(block);
        break;
    case 3: {
        cellar_pinned p;
        err = told(c, CALL(cellar_pin)(c, key, l.key.len, &p));
        if (calls.disk) { l.due = 0; } /* memory may have no room for an entry on disk */
        if (err == CELLAR_OK) {
            look_judge(&l, p.value, p.value_len, true, "pin");
            const calls_value before = calls_parse(&l.key, p.value, p.value_len, "pin");
            calls_back();
            MUST(calls_parse(&l.key, p.value, p.value_len, "kept pin").number == before.number);
        } else {
            MUST(p.value == NULL);
        }
        CALL(cellar_unpin)(&p);
        CALL(cellar_unpin)(&p);
        break;
    }
    case 5: {
        const uint64_t from = draw(4) == 0 ? draw(CALLS_BUFFER) : 0;
        err = told(c, CALL(cellar_get_range)(c, key, l.key.len, from, buf, cap, &len));
        MUST(err == CELLAR_OK || len == 0);
        if (err == CELLAR_OK && from == 0 && len <= cap) {
            look_judge(&l, buf, len, true, "get_range");
        }
        break;
    }
    case 4:
        err = told(c, CALL(cellar_contains)(c, key, l.key.len));
        MUST(err == CELLAR_OK || err == CELLAR_MISS || err < 0);
        break;
    default: {
        cellar_entry_info info = cellar_entry_info_default();
        err = told(c, CALL(cellar_entry_info_get)(c, key, l.key.len,
                                                  chance(50) ? CELLAR_GET_WANT_VERSION : 0, &info));
        if (err == CELLAR_OK) {
            MUST(info.kind == CELLAR_KIND_VALUE && info.value_len >= CALLS_HEAD);
        }
    }
    }
    look_found(&l, err, "read");
}

static void row_read(void)
{
    calls_look l;
    if (look_begin(&l)) { read_key(l); }
}

/* A load that runs no loader is a read. */
static void read_loaded(calls_look l)
{
    cellar *c = space_of(&l.key);
    cellar_result r = cellar_result_default();
    cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_ONLY_IF_CACHED };
    const cellar_err err = told(c, CALL(cellar_get_or_load)(c, l.key.bytes, l.key.len, &o, NULL,
                                                            NULL, &r));
    if (err == CELLAR_OK) { look_judge(&l, r.value, r.value_len, true, "cached load"); }
    look_found(&l, err, "cached load");
    CALL(cellar_result_free)(&r);
}

/* Read keys that have a due value. */
static void row_read_due(void)
{
    unsigned reads = 1 + draw(3);
    const unsigned first = draw(CALLS_SPACES * CALLS_KEYS);
    for (unsigned i = 0; i < CALLS_SPACES * CALLS_KEYS && reads > 0; i++) {
        const unsigned at = (first + i) % (CALLS_SPACES * CALLS_KEYS);
        calls_look l;
        calls_name_key(&l.key, at / CALLS_KEYS, at % CALLS_KEYS);
        if (space_of(&l.key) == NULL || due_now(&l.key) == 0) { continue; }
        look_begin_at(&l);
        if (chance(25)) { read_loaded(l); } else { read_key(l); }
        reads--;
    }
}

static void row_get_many(void)
{
    calls_look l[12];
    cellar_get_item item[12];
    const unsigned n = draw(13), space = draw(CALLS_SPACES);
    unsigned char *buf = malloc(12 * 4000);
    MUST(buf != NULL);
    cellar *c = atomic_load(&world.space[space].c);
    for (unsigned i = 0; i < n; i++) {
        calls_name_key(&l[i].key, space, draw(CALLS_KEYS));
        look_begin_at(&l[i]);
        item[i] = (cellar_get_item){ l[i].key.bytes, l[i].key.len, buf + i * 4000u,
                                     (size_t)ONE_OF(4000, 4000, 0, 50), 0, CELLAR_OK, 0 };
    }
    size_t hits = 0, ok = 0;
    if (c != NULL && told(c, CALL(cellar_get_many)(c, item, n, &hits)) == CELLAR_OK) {
        for (unsigned i = 0; i < n; i++) {
            look_found(&l[i], plain(item[i].status), "get_many");
            if (item[i].status != CELLAR_OK) { continue; }
            ok++;
            look_judge(&l[i], item[i].buf, item[i].value_len, true, "get_many");
        }
        MUST(ok == hits);
    }
    free(buf);
}

static bool take_scanned(const cellar_scan_entry *e, void *ctx)
{
    calls_look *l = ctx; /* of all keys of the namespace */
    calls_back();
    unsigned index = 0;
    if (e->value == NULL || e->kind != CELLAR_KIND_VALUE || e->value_len < CALLS_HEAD ||
        sscanf((const char *)e->key, "k%2u", &index) != 1 || index >= CALLS_KEYS) {
        return true;
    }
    MUST(l[index].key.len == e->key_len && memcmp(l[index].key.bytes, e->key, e->key_len) == 0);
    look_judge(&l[index], e->value, e->value_len, false, "scan");
    return !chance(5);
}

static void row_scan(void)
{
    const unsigned space = draw(CALLS_SPACES);
    cellar *c = atomic_load(&world.space[space].c);
    calls_look *l = malloc(CALLS_KEYS * sizeof *l);
    MUST(l != NULL);
    for (unsigned i = 0; i < CALLS_KEYS; i++) {
        calls_name_key(&l[i].key, space, i);
        look_begin_at(&l[i]);
    }
    uint64_t cursor = 0, place = 0;
    cellar_scan_opts o = cellar_scan_opts_default();
    const bool with = chance(80);
    if (chance(50)) { o.pattern = "k*", o.pattern_len = 2; }
    MAYBE(o.bucket_count, 0, 1, 1000);
    if (chance(60)) { o.flags = CELLAR_SCAN_DISK; }
    if (chance(50) && o.flags != 0) { o.place = &place; }
    if (chance(2)) { o.flags |= 64; }
    if (with) { (void)spoil(&o, sizeof o); }
    for (unsigned rounds = 0; c != NULL && rounds < 40; rounds++) {
        const cellar_err err =
            told(c, CALL(cellar_scan)(c, &cursor, with ? &o : NULL, take_scanned, l));
        if (cursor == 0 || err != CELLAR_OK) { break; }
    }
    free(l);
}

/* ---- Writes ---------------------------------------------------------------------------------- */

/* Write the value of `w` into reserved memory. A set takes a long one without a copy. */
static void write_reserve(calls_write *w, cellar_pinned *p)
{
    if (chance(30)) { w->len = CALLS_LONG + draw(CALLS_LONG); }
    cellar *c = space_of(&w->key);
    const cellar_err err = told(c, CALL(cellar_reserve)(c, w->len, p));
    if (err != CELLAR_OK) {
        MUST(p->value == NULL);
        w->len = CALLS_HEAD;
    }
    void *to = err == CELLAR_OK ? (void *)(uintptr_t)p->value : w->bytes;
    MUST(err != CELLAR_OK || p->value_len == w->len);
    calls_fill(&w->key, w->number, false, w->tags, to, w->len);
}

static void row_set(void)
{
    calls_write w;
    cellar_pinned p = { NULL, 0, { 0, 0, 0, 0 } };
    const bool options = chance(80);
    if (!write_begin(&w, true, options)) { return; }
    cellar *c = space_of(&w.key);
    const cellar_set_opts *o = options ? &w.o : NULL;
    if (chance(10)) { write_reserve(&w, &p); }
    const void *bytes = p.value != NULL ? p.value : w.bytes;
    const cellar_err err = told(c, CALL(cellar_set)(c, w.key.bytes, w.key.len, bytes, w.len, o));
    MUST(calls_parse(&w.key, bytes, w.len, "kept reserve").number == w.number);
    CALL(cellar_unpin)(&p);
    write_end(&w, err, o);
}

/* Set keys to values that stay. */
static void row_fill(void)
{
    cellar_set_opts o = cellar_set_opts_default();
    if (chance(30)) { o.flags = CELLAR_DURABLE; }
    for (unsigned i = world.strict ? draw(CALLS_KEYS) : 0; i > 0; i--) {
        calls_write w;
        if (!write_begin(&w, false, false)) { continue; }
        cellar *c = space_of(&w.key);
        write_end(&w, told(c, CALL(cellar_set)(c, w.key.bytes, w.key.len, w.bytes, w.len, &o)), &o);
    }
}

static void row_set_negative(void)
{
    calls_write w;
    if (!write_begin(&w, true, true)) { return; }
    cellar *c = space_of(&w.key);
    w.o.flags |= CELLAR_NEGATIVE;
    const bool conditions = (w.o.flags & 7) != 0;
    const cellar_err err = told(c, CALL(cellar_set)(c, w.key.bytes, w.key.len, NULL, 0, &w.o));
    refused(w.spoilt, err);
    slot_refuse(slot_of(&w.key), w.number);
    const bool failed = err < 0 && !did_nothing(err) && err != CELLAR_E_BUSY && !conditions &&
                        (w.o.flags & CELLAR_KEEP_OLD_VALUE) == 0;
    if ((err == CELLAR_OK || failed) && w.key.space != CALLS_BEHIND) {
        slot_older_end(slot_of(&w.key), w.number);
    }
    slot_of(&w.key)->busy = false;
    free(w.bytes);
}

static void row_set_many(void)
{
    calls_write w[8];
    cellar_set_item item[8];
    unsigned n = 0;
    const unsigned most = draw(9);
    cellar *c = NULL;
    for (unsigned i = 0; i < most; i++) {
        if (!write_begin(&w[n], false, false)) { continue; }
        if (n != 0 && w[n].key.space != w[0].key.space) {
            write_end(&w[n], CELLAR_MISS, NULL);
            continue;
        }
        item[n] =
            (cellar_set_item){ w[n].key.bytes, w[n].key.len, w[n].bytes, w[n].len, CELLAR_OK, 0 };
        n++;
    }
    if (n == 0) { return; }
    c = space_of(&w[0].key);
    cellar_set_opts o = cellar_set_opts_default();
    MAYBE(o.ttl_ms, BAD_MS);
    const bool bad = spoil(&o, sizeof o);
    size_t stored = 0, ok = 0;
    const cellar_err err = told(c, CALL(cellar_set_many)(c, item, n, &o, &stored));
    refused(bad, err);
    for (unsigned i = 0; i < n; i++) {
        ok += err == CELLAR_OK && item[i].status == CELLAR_OK;
        write_end(&w[i], err == CELLAR_OK ? plain(item[i].status) : err, &o);
    }
    if (err == CELLAR_OK) { MUST(ok == stored); }
}

static void row_delete(void)
{
    calls_key k;
    if (!draw_key(&k, true)) { return; }
    cellar *c = space_of(&k);
    slot_of(&k)->busy = true;
    if (chance(60)) {
        const uint64_t number = slot_number(&k);
        slot_delete_ended(&k, told(c, CALL(cellar_delete)(c, k.bytes, k.len)), number);
    } else {
        calls_look l;
        l.key = k;
        look_begin_at(&l);
        const uint64_t number = slot_number(&k);
        cellar_delete_opts o = cellar_delete_opts_default();
        void *old = NULL;
        size_t old_len = 0;
        if (chance(70)) { o.old_value = &old, o.old_value_len = &old_len; }
        if (chance(30)) { o.if_version = (uint64_t)ONE_OF(1, 99); }
        (void)spoil(&o, sizeof o);
        const cellar_err err = told(c, CALL(cellar_delete_with)(c, k.bytes, k.len, &o));
        if (err == CELLAR_OK && old != NULL) {
            look_judge(&l, old, old_len, true, "delete_with");
        }
        if (!(err == CELLAR_MISS && o.if_version != 0)) { slot_delete_ended(&k, err, number); }
        CALL(cellar_free)(old);
    }
    slot_of(&k)->busy = false;
}

static void row_delete_many(void)
{
    calls_key k[8];
    cellar_delete_item item[8];
    uint64_t number[8];
    unsigned n = 0;
    for (unsigned i = draw(9); i > 0; i--) {
        if (!draw_key(&k[n], true) || (n != 0 && k[n].space != k[0].space)) { continue; }
        slot_of(&k[n])->busy = true;
        number[n] = slot_number(&k[n]);
        item[n] = (cellar_delete_item){ k[n].bytes, k[n].len, CELLAR_OK, 0 };
        n++;
    }
    if (n == 0) { return; }
    cellar *c = space_of(&k[0]);
    size_t deleted = 0;
    const cellar_err err = told(c, CALL(cellar_delete_many)(c, item, n, &deleted));
    for (unsigned i = 0; i < n; i++) {
        slot_delete_ended(&k[i], err == CELLAR_OK ? plain(item[i].status) : err, number[i]);
        slot_of(&k[i])->busy = false;
    }
}

typedef struct calls_update {
    calls_key key;
    calls_look look;
    uint32_t tags;
    uint64_t number; /* of the last round; 0: it did not run */
} calls_update;

static cellar_err compute(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    calls_update *u = ctx;
    calls_slot *s = slot_of(&u->key);
    if (u->number != 0) { slot_refuse(s, u->number); }
    s->busy = false;
    look_begin_at(&u->look);
    if (old != NULL) { (void)calls_parse(&u->key, old, old_len, "update"); }
    calls_back();
    s->busy = true;
    const cellar_err answer =
        (cellar_err)ONE_OF(CELLAR_OK, CELLAR_OK, CELLAR_OK, CELLAR_OK, CELLAR_REMOVED,
                                              CELLAR_E_CANCELLED);
    const size_t len = draw_len();
    void *to = NULL;
    u->number = slot_number(&u->key);
    if (CALL(cellar_buf_append)(out, "x", 1) == CELLAR_OK &&
        CALL(cellar_buf_resize)(out, len, &to) == CELLAR_OK) {
        calls_fill(&u->key, u->number, false, u->tags, to, len);
    }
    return answer;
}

static void row_update(void)
{
    calls_write w;
    if (!write_begin(&w, false, true)) { return; }
    cellar *c = space_of(&w.key);
    calls_slot *s = slot_of(&w.key);
    slot_refuse(s, w.number);
    calls_update u = { w.key, { .key = w.key }, w.tags, 0 };
    w.o.flags |= w.tags != 0 || chance(50) ? CELLAR_REPLACE : 0;
    /* Tags of the old value may stay: they only end the value earlier. */
    if (chance(20)) { w.o.flags |= CELLAR_ONLY_IF_PRESENT; }
    const cellar_err err =
        told(c, CALL(cellar_update)(c, w.key.bytes, w.key.len, &w.o, compute, &u));
    refused(w.spoilt, err);
    if (u.number == 0) {
        MUST(err != CELLAR_OK);
    } else if (err == CELLAR_OK) {
        slot_stored(s, u.number, w.o.ttl_ms > 0 ? deadline_of(&w.o) : INT64_MAX);
    } else if (err == CELLAR_REMOVED) {
        slot_older_end(s, u.number);
        slot_refuse(s, u.number);
    } else if (err == CELLAR_E_IO && w.key.space != CALLS_BEHIND) {
        slot_older_end(s, u.number); /* done in memory: stored or removed */
    } else if (err != CELLAR_E_BUSY && err != CELLAR_E_IO) {
        slot_refuse(s, u.number);
    }
    s->busy = false;
    free(w.bytes);
}

static void row_touch(void)
{
    calls_key k;
    if (!draw_key(&k, true)) { return; }
    cellar *c = space_of(&k);
    const int64_t ttl = ONE_OF(BAD_MS);
    calls_slot *s = slot_of(&k);
    const uint64_t due = due_now(&k), touched = atomic_load(&s->due.touched);
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = ttl };
    const int64_t end = least_end_of(&k, &o, atomic_load(&calls.now_ms));
    if (end < s->due.end_ms) { s->due.end_ms = end; }
    atomic_store(&s->due.sure, 0); /* the disk may lose its copy until the entry leaves memory */
    atomic_store(&s->due.disk, false);
    const cellar_err err = told(c, CALL(cellar_touch)(c, k.bytes, k.len, ttl));
    if (err == CELLAR_MISS && !calls.disk) { due_missed(&k, due, touched, "touch"); } /* as pin */
    if (err == CELLAR_OK || err == CELLAR_E_IO) {
        const int64_t until = ttl <= 0 || ttl == CELLAR_TTL_NONE
                                  ? INT64_MAX
                                  : atomic_load(&calls.now_ms) +
                                        (atomic_load(&world.policies) ? 2 : 1) * ttl + 1;
        if (until > atomic_load(&s->until)) { atomic_store(&s->until, until); }
        if (calls_exact() && err == CELLAR_OK && due != 0 && due_now(&k) == due) {
            s->deadline[due % CALLS_DEADLINES] = until; /* it replaces the TTL of the set */
            atomic_store(&s->until, 0);
        }
    }
}

static void row_increment(void)
{
    const unsigned mine = calls_actor_of_thread()->number;
    if (mine >= calls.threads) { return; }
    const unsigned space = draw(CALLS_SPACES);
    const unsigned index = draw(CALLS_COUNTERS / calls.threads) * calls.threads + mine;
    calls_space *x = &world.space[space];
    cellar *c = atomic_load(&x->c);
    char key[16];
    const size_t len = (size_t)snprintf(key, sizeof key, "n%u", index);
    if (c == NULL) { return; }
    const int64_t delta = ONE_OF(0, 1, -1, 1000), init = ONE_OF(0, 5, -7);
    cellar_set_opts o = cellar_set_opts_default();
    o.flags = chance(20) ? CELLAR_ONLY_IF_PRESENT : 0;
    int64_t now = 0;
    calls_owned *it = &x->counter[index];
    const calls_owned was = own_begin(it);
    cellar_err err = CELLAR_OK;
    switch (draw(6)) {
    case 0:
        (void)told(c, CALL(cellar_delete)(c, key, len));
        it->known = false;
        return;
    case 1:
        now = 42;
        err = plain(CALL(cellar_set_i64)(c, key, len, now, NULL));
        break;
    default:
        o.ttl_ms = ONE_OF(SOME_MS);
        err = told(c, CALL(cellar_increment)(c, key, len, delta, init, &o, &now));
        MUST(err != CELLAR_E_TYPE);
        if (err == CELLAR_OK && was.known && own_alone(it, &was) && now != was.is.i64 + delta &&
            (now != init + delta || o.flags != 0)) {
            calls_fault("increment of %s in namespace %u: "
                        "%" PRId64 " after %" PRId64 " and %" PRId64,
                        key, space, now, was.is.i64, delta);
        }
    }
    it->is.i64 = now;
    it->known = err == CELLAR_OK && own_alone(it, &was);
}

static cellar_err write_to_source(const void *key, size_t key_len, const void *value,
                                  size_t value_len, void *ctx)
{
    (void)key, (void)key_len, (void)value, (void)value_len;
    calls_back();
    return *(cellar_err *)ctx;
}

static void row_write_through(void)
{
    calls_write w;
    if (!write_begin(&w, false, true)) { return; }
    cellar *c = space_of(&w.key);
    cellar_err answer = chance(80) ? CELLAR_OK : CELLAR_E_IO;
    const cellar_err err = told(c, CALL(cellar_write_through)(c, w.key.bytes, w.key.len, w.bytes,
                                                              w.len, &w.o, write_to_source,
                                                                  &answer));
    if (answer != CELLAR_OK && err == answer) {
        slot_refuse(slot_of(&w.key), w.number); /* the key is deleted */
        /* The code of the delete is not known: a write-behind without memory for it still has an
         * older write. */
        slot_delete_ended(&w.key, CELLAR_E_IO, w.number);
        w.spoilt = false;
        slot_of(&w.key)->busy = false;
        free(w.bytes);
        return;
    }
    write_end(&w, err, &w.o);
}

/* ---- Short texts: keys without a model ------------------------------------------------------- */

static void row_text(void)
{
    cellar *c = atomic_load(&world.space[draw(CALLS_SPACES)].c);
    const char *const keys[] = { "text0", "text1", "" };
    const char *key = keys[chance(3) ? 2 : draw(2)];
    char buf[16];
    if (c == NULL) { return; }
    if (chance(50)) {
        (void)told(c, CALL(cellar_set_str)(c, key, chance(50) ? "" : "words of a text",
                                           ONE_OF(BAD_MS)));
    } else {
        const size_t cap = (size_t)ONE_OF(16, 16, 5, 1);
        const cellar_err err = told(c, CALL(cellar_get_str)(c, key, buf, cap));
        MUST(strlen(buf) < cap && (err == CELLAR_OK || buf[0] == '\0'));
        if (err == CELLAR_OK) { MUST(strcmp(buf, "") == 0 || strcmp(buf, "words of a text") == 0); }
    }
}

/* ---- Invalidations --------------------------------------------------------------------------- */

static bool ended_all(cellar_err err) { return err == CELLAR_OK || err == CELLAR_E_IO; }

static void row_delete_by_tag(void)
{
    const unsigned t = draw(CALLS_TAGS);
    const cellar_tag_mode mode = chance(70) ? CELLAR_TAG_HARD : CELLAR_TAG_SOFT;
    static _Thread_local calls_kill x;
    /* A tag without memory for its record ends all tagged entries. */
    const uint32_t mask = atomic_load(&calls.fail_alloc) != 0 ? UINT32_MAX : 1u << t;
    kill_begin(&x, CALLS_SPACES, mask);
    const calls_kill mine = x; /* nested calls use the same memory */
    const cellar_err err = told(world.store, CALL(cellar_delete_by_tag)(
                                                 world.store, calls_tags[t], strlen(calls_tags[t]),
                                                     mode));
    kill_end(CALLS_SPACES, mask);
    if (ended_all(err)) { kill_tag(&mine, t, mode == CELLAR_TAG_SOFT); }
}

static const char *const calls_patterns[] = { "k*", "k1?", "k05", "*", "zz*", "k[0-4]*" };

static bool pattern_has(unsigned which, unsigned index)
{
    const bool is_long = index % 8 == 7;
    return which == 0 || which == 3 || (which == 1 && index / 10 == 1 && !is_long) ||
           (which == 2 && index == 5) || which == 5;
}

static void pattern_due(unsigned which, unsigned space)
{
    for (unsigned i = 0; i < CALLS_KEYS; i++) {
        if (pattern_has(which, i)) { due_touch(&world.space[space].slot[i]); }
    }
}

static void row_delete_by_pattern(void)
{
    const unsigned which = draw(6), space = draw(CALLS_SPACES);
    cellar *c = atomic_load(&world.space[space].c);
    uint64_t deleted = 0;
    calls_kill x;
    if (c == NULL) { return; }
    kill_begin(&x, CALLS_BEHIND, 0);
    pattern_due(which, space);
    const cellar_err err = told(c, CALL(cellar_delete_by_pattern)(
                                       c, calls_patterns[which], strlen(calls_patterns[which]), &deleted));
    pattern_due(which, space);
    kill_end(CALLS_BEHIND, 0);
    if (!ended_all(err)) { return; }
    for (unsigned i = 0; i < CALLS_KEYS; i++) {
        if (pattern_has(which, i)) { kill_key(&x, space, i); }
    }
}

static void row_clear(void)
{
    const unsigned space = draw(CALLS_SPACES);
    cellar *c = atomic_load(&world.space[space].c);
    calls_kill x;
    uint32_t version = 0;
    cellar_err err = CELLAR_MISS;
    if (c == NULL || (world.strict && chance(70))) { return; }
    kill_begin(&x, space, 0);
    const unsigned how = world.strict && chance(80) ? 2 : draw(4);
    if (how < 2) { atomic_store(&world.space[space].versioned, true); }
    switch (how) {
    case 0: err = told(c, CALL(cellar_version_set)(c, 0, &version)); break;
    case 1: err =
        told(c, CALL(cellar_version_set)(c, (uint32_t)ONE_OF(1, 2, 3, 0, UINT32_MAX - 5), NULL));
        break;
    default: err = told(c, CALL(cellar_clear)(c));
    }
    kill_end(space, 0);
    if (ended_all(err)) { kill_space(&x, space); }
}

/* ---- Listeners ------------------------------------------------------------------------------- */

static void hear(const cellar_event *e, void *ctx)
{
    (void)ctx;
    MUST(strcmp(CALL(cellar_cause_name)(e->cause), "?") != 0);
    calls_key k;
    unsigned index = 0;
    if (e->key_len >= 3 && sscanf((const char *)e->key, "k%2u", &index) == 1 &&
        index < CALLS_KEYS &&
        e->kind == CELLAR_KIND_VALUE && e->value_len >= CALLS_HEAD) {
        calls_value v;
        memcpy(&v, e->value, CALLS_HEAD);
        if (v.space < CALLS_SPACES) {
            calls_name_key(&k, v.space, index);
            (void)calls_parse(&k, e->value, e->value_len, "event");
        }
    }
    calls_back();
}

/* An entry left memory for room: its value is due no more, unless the disk takes it. */
static void hear_room(const cellar_event *e, void *ctx)
{
    unsigned index = 0;
    (void)ctx;
    if (e->key_len < 3 || sscanf((const char *)e->key, "k%2u", &index) != 1 ||
        index >= CALLS_KEYS) {
        return;
    }
    for (unsigned i = 0; i < CALLS_SPACES; i++) {
        calls_due *d = &world.space[i].slot[index].due;
        const bool same = e->ns != NULL && e->ns == atomic_load(&world.space[i].c);
        const bool taken = e->cause == CELLAR_CAUSE_EVICTED && e->kind == CELLAR_KIND_VALUE &&
                           world.writes && world.strict && !d->memory_only &&
                           !world.space[i].slot[index].busy &&
                           !world.space[i].memory_only &&
                           d->end_ms - CALLS_OFF_MS > atomic_load(&calls.now_ms);
        if (same && e->cause == CELLAR_CAUSE_EVICTED && atomic_load(&d->sure) != 0) {
            continue; /* the disk has it */
        }
        if (same && taken && !due_refused()) {
            d->left_step = atomic_load(&calls.step);
            atomic_store(&d->disk, true);
        } else if (same || e->ns == NULL) {
            due_touch(&world.space[i].slot[index]);
        }
    }
}

static _Atomic uint64_t calls_listeners[4];

static void row_listen(void)
{
    const unsigned at = draw(4);
    cellar *c = atomic_load(&world.space[draw(CALLS_SPACES)].c);
    /* A listener may wait for a thread of the library: that one must not wait for the listener. */
    if (calls_actor_of_thread()->number == CALLS_THREADS) { return; }
    uint64_t id = atomic_exchange(&calls_listeners[at], 0);
    if (id != 0) { (void)told(world.store, CALL(cellar_listener_remove)(world.store, id)); }
    if (c == NULL || chance(50)) { return; }
    if (told(c, CALL(cellar_listener_add)(c, (uint32_t)ONE_OF(0, CELLAR_CAUSE_BIT(EVICTED), 0x1fe),
                                          hear, NULL, &id)) == CELLAR_OK) {
        uint64_t none = 0;
        if (!atomic_compare_exchange_strong(&calls_listeners[at], &none, id)) {
            (void)told(world.store, CALL(cellar_listener_remove)(world.store, id));
        }
    }
}

static void row_explain(void)
{
    calls_key k;
    cellar_reason r = cellar_reason_default();
    if (!draw_key(&k, false)) { return; }
    (void)spoil(&r, sizeof r);
    (void)told(space_of(&k), CALL(cellar_why)(space_of(&k), k.bytes, k.len, &r));
}
