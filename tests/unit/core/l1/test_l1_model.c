/* SPDX-License-Identifier: MIT
 *
 * Aim:    a store answers like a map that may forget, and it reports everything it forgets: a live
 *         key hits unless the left hook reported its end. Each end is reported once, with its cause
 *         and its bytes. Below the budget no entry ends.
 * Method: random operations of all kinds (every put option, get, peek, inspect, version, delete,
 *         touch, incr, pin, scan, death of a generation, tags, vetoes, resize, entry bound, policy,
 *         tick, clock jumps) against arrays indexed by key number, on a virtual clock with a
 *         lagging coarse reading. Eight configurations, 10^7 operations together (T_SCALE
 *         multiplies); l1_audit after each phase.
 * Limits: without a listener and with evictions a miss is always allowed. */
#include "tests/support/l1_kit.h"

enum { ROWS = 10, NAMESPACES = 4, PINS = 12, TAGS = 8, OWNERS = 1 << 16, KEY_MOST = 9000 };

typedef struct entry { /* what the map knows of one key under one generation */
    int64_t deadline_ms, last_use_ms, born_ms, counter;

    uint64_t seq, version, l2_addr;
    uint64_t stamp, end_stamp; /* last stamp of a change, and of its eviction */
    uint32_t idle_ms, stale_ms, user_flags, len, tag, tag_life;
    uint8_t kind, fails, cost;
    bool present, born_exact, is_counter, tagged;
} entry;

typedef struct row {
    entry *e;
    uint32_t generation;
    uint64_t present; /* entries that have not ended */
} row;

typedef struct held { /* a pin */
    l1_pin_ref ref;
    uint64_t id;
    unsigned char *copy;
} held;

typedef struct config {
    const char *name;
    uint64_t budget;
    l1_config l1;
    uint32_t keys, max_len, big_len, big_one_in;
    bool left;    /* a listener exists */
    bool fits;    /* no entry may end for lack of room */
    bool changes; /* budget, bound and policy change */
    bool vetoes;
    bool long_keys; /* some are too long for the log */
} config;

static struct model {
    kit k;
    const config *cfg;
    kit_rng r;
    row rows[ROWS];
    unsigned namespace[NAMESPACES]; /* row of each namespace */
    uint8_t row_of[OWNERS];   /* row + 1 */
    bool alive[OWNERS];
    uint32_t next_generation;
    int tag_state[TAGS];      /* 2 is permanent: a later entry uses the next life */
    uint32_t tag_life[TAGS];
    held pin[PINS];
    uint64_t seq, stamp, ops, hits, lookups, space;
    unsigned char *buf, *value;
    uint8_t *seen;
    /* the current operation */
    struct {
        bool active, deleting, vetoed, may_fail;
        uint32_t generation;
        uint64_t id;
        /* ends: reported ends of this key; evicted: for lack of room */
        unsigned commits, ends, evicted;
        uint64_t stamp;
    } now;
} m;

/* ---- the judgement of the map ---------------------------------------------------------------- */
static int64_t expires(const entry *e)
{
    int64_t at = e->deadline_ms;
    if (e->idle_ms != 0) { at = BASE_MIN(at, base_add_sat(e->last_use_ms, e->idle_ms)); }
    return at;
}
static int64_t keep_until(const entry *e)
{
    return e->stale_ms == 0 ? expires(e) : base_add_sat(BASE_MAX(expires(e), 0), e->stale_ms);
}
static bool reached(int64_t at) { return at != BASE_NEVER_MS && at <= kit_now(&m.k); }
/* A plain get answers: a value or "known to be absent". */
static int tag_verdict(uint32_t tag, uint64_t life)
{
    return life < m.tag_life[tag] ? 2 : m.tag_state[tag];
}

static bool fresh(const entry *e)
{
    return e->present && !reached(expires(e)) &&
           (!e->tagged || tag_verdict(e->tag, e->tag_life) == 0);
}
static bool is_value(const entry *e) { return fresh(e) && e->kind == L1_VALUE; }

/* Accept another past time for a past deadline, except where a stale window counts from it. */
static bool deadline_is(const entry *e, int64_t told)
{
    if (told == e->deadline_ms) { return true; }
    return e->stale_ms == 0 && reached(e->deadline_ms) && e->deadline_ms < told &&
        told <= kit_now(&m.k);
}

static bool value_is(const entry *e, uint64_t id, const void *bytes, size_t len)
{
    if (len != e->len) { return false; }
    if (e->is_counter) { return memcmp(bytes, &e->counter, 8) == 0; }
    return kit_is(bytes, len, id, e->seq);
}

/* Return what a read answers, and whether it is stale. */
static cellar_err judged(const entry *e, unsigned flags, bool *stale)
{
    *stale = false;
    if (!e->present) { return CELLAR_MISS; }
    if (reached(expires(e))) {
        if ((flags & L1_STALE_OK) == 0 || reached(keep_until(e))) { return CELLAR_MISS; }
        *stale = true;
    }
    if (e->tagged) {
        int verdict = tag_verdict(e->tag, e->tag_life);
        if (verdict == 2 || (verdict == 1 && (flags & L1_STALE_OK) == 0)) { return CELLAR_MISS; }
        *stale = *stale || verdict == 1;
    }
    const bool unseen = e->kind == L1_ERROR && (flags & L1_SEE_ERRORS) == 0;
    if (e->kind != L1_VALUE) { return *stale || unseen ? CELLAR_MISS : CELLAR_ABSENT; }
    return *stale ? CELLAR_STALE : CELLAR_OK;
}

/* Return whether a miss may be an unreported eviction. */
static bool may_forget(void) { return !m.cfg->left && !m.cfg->fits; }

/* Mark the copy of an entry on disk as out of date. */
static void changed_on_disk(entry *e)
{
    if (e->l2_addr != 0) { e->l2_addr = L1_ADDR_LATER | (e->l2_addr & L1_ADDR_MARK); }
}
static void ended(row *r, entry *e) { e->present = false; r->present--; }

static entry *at(uint32_t generation, uint64_t id)
{
    return m.row_of[generation] != 0 && id < m.cfg->keys ? &m.rows[m.row_of[generation] - 1].e[id]
                                                         : NULL;
}

static uint32_t key_len_of(uint64_t id)
{
    static const uint32_t length[8] = {16, 16, 17, 24, 16, 40, 254, 300};
    /* With any value, with short ones only, and never in the log. */
    static const uint32_t longer[4] = {2000, 8100, KEY_MOST, 300};
    return m.cfg->long_keys && (id & 7) == 7 ? longer[id >> 3 & 3] : length[id & 7];
}

static const l1_key *key_of(kit_key *out, unsigned char text[KEY_MOST], uint32_t generation,
                            uint64_t id)
{
    const uint32_t len = key_len_of(id);
    (void)kit_key_of(&m.k, out, generation, id);
    memcpy(text, out->text, 16);
    memset(text + 16, 'x', len - 16);
    return kit_key_bytes(&m.k, out, generation, text, len);
}

/* ---- hooks ----------------------------------------------------------------------------------- */
static bool on_commit(void *ctx, uint64_t hash, uint32_t generation, const void *key,
                      size_t key_len, l1_change change, uint64_t *stamp)
{
    (void)ctx;
    (void)hash;
    uint64_t id = kit_id_of(key, key_len);
    entry *e = at(generation, id);
    T_EQ_U64(key_len, key_len_of(id));
    *stamp = ++m.stamp;
    if (e == NULL) { return T_CHECK(e != NULL); }
    if (change == L1_CHANGE_EVICT || change == L1_CHANGE_EXPIRE || change == L1_CHANGE_UNTAG) {
        e->end_stamp = *stamp;
        return true;
    }
    e->stamp = *stamp;
    T_CHECK(m.now.active && m.now.id == id && m.now.generation == generation);
    m.now.commits++;
    m.now.stamp = *stamp;
    if (m.cfg->vetoes && change != L1_CHANGE_DEL && change != L1_CHANGE_TOUCH &&
        kit_one_in(&m.r, 40)) {
        m.now.vetoed = true;
        return false;
    }
    return true;
}

static void on_left(void *ctx, const l1_left *what)
{
    (void)ctx;
    uint64_t id = kit_id_of(what->key, what->key_len);
    entry *e = at(what->generation, id);
    T_EQ_U64(what->key_len, key_len_of(id));
    if (!T_CHECK(e != NULL)) { return; }
    row *r = &m.rows[m.row_of[what->generation] - 1];
    const bool own = m.now.active && m.now.id == id && m.now.generation == what->generation;
    if (!T_CHECK(e->present)) { return; } /* ended twice, or never present */
    T_CHECK(value_is(e, id, what->value, what->value_len));
    T_CHECK(deadline_is(e, what->deadline_ms));
    T_EQ_I64(what->stale_ms, e->stale_ms);
    T_EQ_U64(what->idle_ms, e->idle_ms);
    T_EQ_U64(what->user_flags, e->user_flags);
    T_EQ_U64(what->kind, e->kind);
    T_EQ_U64(what->cost, e->cost);
    T_EQ_U64(what->l2_addr, e->l2_addr);
    T_EQ_U64(what->version, e->version);
    T_EQ_U64(what->tag_count, e->tagged ? 1 : 0);
    const bool by_call = what->cause == L1_LEFT_REPLACED || what->cause == L1_LEFT_DELETED;
    T_CHECK(what->stamp == e->stamp || (!by_call && what->stamp == e->end_stamp));
    switch (what->cause) {
    case L1_LEFT_CAPACITY:
        T_CHECK(!m.cfg->fits && m.alive[what->generation]);
        T_CHECK(!reached(keep_until(e)));
        break;
    case L1_LEFT_EXPIRED: T_CHECK(own ? !fresh(e) : reached(keep_until(e))); break;
    case L1_LEFT_REPLACED: T_CHECK(own && !m.now.deleting && fresh(e)); break;
    case L1_LEFT_DELETED: T_CHECK(own && (m.now.deleting || m.now.may_fail) && fresh(e)); break;
    case L1_LEFT_CLEARED: T_CHECK(!m.alive[what->generation]); break;
    case L1_LEFT_TAG: T_CHECK(what->tag_count != 0 && !fresh(e)); break;
    }
    if (own) { m.now.ends++; }
    if (own && what->cause == L1_LEFT_CAPACITY) { m.now.evicted++; }
    ended(r, e);
}

static bool on_alive(void *ctx, uint32_t generation) { (void)ctx; return m.alive[generation]; }

static int on_tags(void *ctx, uint64_t born, const void *fps, uint32_t count)
{
    (void)ctx;
    uint64_t fp;
    T_EQ_U64(count, 1);
    memcpy(&fp, fps, 8);
    T_CHECK(born >= 77 && born - 77 <= m.tag_life[fp % TAGS]);
    return tag_verdict(fp % TAGS, born - 77);
}

static void turn_tag(uint64_t tag)
{
    const int before = m.tag_state[tag];
    m.tag_state[tag] = (int)kit_below(&m.r, 3);
    if (before == 2) { m.tag_life[tag]++; }
}

static void begin(uint32_t generation, uint64_t id)
{
    memset(&m.now, 0, sizeof m.now);
    m.now.active = true;
    m.now.generation = generation;
    m.now.id = id;
}

/* ---- operations ------------------------------------------------------------------------------ */
typedef struct pick { /* one key of one namespace */
    row *r;
    entry *e;
    uint64_t id;
    kit_key key;
    unsigned char text[KEY_MOST];
    const l1_key *k;
} pick;

static void choose(pick *p)
{
    p->r = &m.rows[m.namespace[kit_below(&m.r, NAMESPACES)]];
    uint64_t n = m.cfg->keys;
    p->id = kit_one_in(&m.r, 2) ? kit_below(&m.r, BASE_MAX(n / 10, 1)) : kit_below(&m.r, n);
    p->e = &p->r->e[p->id];
    p->k = key_of(&p->key, p->text, p->r->generation, p->id);
}

static int64_t some_deadline(void)
{
    int64_t now = kit_now(&m.k);
    switch (kit_below(&m.r, 20)) {
    case 0: return now + (int64_t)kit_below(&m.r, 3);
    case 1: case 2: return now + (int64_t)kit_below(&m.r, 60);
    case 3: case 4: return now + (int64_t)kit_below(&m.r, 5000);
    case 5: return now + INT64_C(3600000);
    case 6: return now + INT32_MAX - 2 + (int64_t)kit_below(&m.r, 5);
    case 7: return now + (int64_t)UINT32_MAX - 3 + (int64_t)kit_below(&m.r, 6);
    case 8: return INT64_MAX - 1 - (int64_t)kit_below(&m.r, 3);
    case 9: return kit_one_in(&m.r, 2) ? now - 5 : 0;
    default: return BASE_NEVER_MS;
    }
}

static uint32_t some_len(void)
{
    if (m.cfg->big_one_in != 0 && kit_one_in(&m.r, m.cfg->big_one_in)) {
        return (uint32_t)kit_below(&m.r, m.cfg->big_len);
    }
    uint64_t most = kit_one_in(&m.r, 4) ? m.cfg->max_len : BASE_MIN(m.cfg->max_len, 64u);
    return (uint32_t)kit_below(&m.r, most + 1);
}

static void some_options(const entry *e, l1_put_spec *s)
{
    kit_rng *r = &m.r;
    s->deadline_ms = some_deadline();
    s->change = kit_one_in(r, 30) ? L1_CHANGE_BACKFILL : kit_one_in(r, 30) ? L1_CHANGE_PUBLISH
        : L1_CHANGE_SET;
    if (kit_one_in(r, 12)) { s->idle_ms = 1 + (int64_t)kit_below(r, 300); }
    if (kit_one_in(r, 12)) { s->stale_ms = 1 + (int64_t)kit_below(r, 300); }
    if (kit_one_in(r, 500)) { s->idle_ms = UINT32_MAX; }
    if (kit_one_in(r, 10)) { s->user_flags = (uint32_t)kit_next(r) | 1u; }
    if (kit_one_in(r, 16)) { s->kind = kit_one_in(r, 2) ? L1_NEGATIVE : L1_ERROR; }
    if (kit_one_in(r, 30)) { s->cost = (uint8_t)kit_below(r, 256); }
    if (kit_one_in(r, 30)) { s->l2_addr = kit_next(r); }
    if (kit_one_in(r, 30)) { s->loader_code = 5; }
    if (kit_one_in(r, 8)) { s->flags |= L1_WANT_VERSION; }
    if (kit_one_in(r, 16)) { s->flags |= L1_WANT_BORN; }
    if (kit_one_in(r, 8)) { s->flags |= L1_KEEP_OLD; }
    if (kit_one_in(r, 10)) { s->flags |= L1_KEEP_TTL; }
    if (may_forget()) {
        s->flags &= ~L1_KEEP_TTL;
        return;
    }
    if (kit_one_in(r, 12)) { s->flags |= L1_IF_ABSENT; }
    if (kit_one_in(r, 12)) { s->flags |= L1_IF_PRESENT; }
    if (s->change != L1_CHANGE_BACKFILL && kit_one_in(r, 16)) { /* its until_ms has that place */
        s->flags |= L1_IF_VERSION;
        s->if_version = e->version != 0 && kit_one_in(r, 2) ? e->version : kit_below(r, 50);
    }
}

static cellar_err condition(const entry *e, const l1_put_spec *s, bool same)
{
    const bool present = is_value(e);
    if ((s->flags & L1_IF_ABSENT) != 0 && present) { return CELLAR_EXISTS; }
    if ((s->flags & L1_IF_PRESENT) != 0 && !present) { return CELLAR_MISS; }
    if ((s->flags & L1_IF_VERSION) != 0 &&
        (!present || e->version == 0 || e->version != s->if_version)) {
        return CELLAR_CONFLICT;
    }
    return (s->flags & L1_IF_SAME) != 0 && !(present && same) ? CELLAR_CONFLICT : CELLAR_OK;
}

static void store(pick *p, const l1_put_spec *s, const entry *before)
{
    entry *e = p->e;
    /* The eviction for room may have removed the old entry: then there are no times to keep. */
    const bool keep = (s->flags & L1_KEEP_TTL) != 0 && s->replaced;
    const bool windows = keep && s->kind == (uint8_t)L1_VALUE; /* only values keep them */
    const bool none = keep && !windows;
    if (e->present) { ended(p->r, e); } /* no listener */
    uint64_t stamp = e->stamp;
    *e = (entry){.deadline_ms = keep ? before->deadline_ms : s->deadline_ms,
                 .last_use_ms = kit_now(&m.k), .born_ms = kit_now(&m.k),
                 .version = s->version,
                 .l2_addr = s->l2_addr, .user_flags = s->user_flags,
                 .idle_ms = windows ? before->idle_ms : none ? 0 : (uint32_t)s->idle_ms,
                 .stale_ms = windows ? before->stale_ms : none ? 0 : (uint32_t)s->stale_ms,
                 .len = (uint32_t)s->value_len, .kind = s->kind, .cost = s->cost, .seq = m.seq,
                 .tagged = s->tag_count != 0, .present = true, .stamp = stamp};
    if (e->tagged) {
        e->tag = (uint32_t)(s->tag_fps[0] % TAGS);
        e->tag_life = (uint32_t)(s->tag_born - 77);
    }
    e->born_exact = (s->flags & L1_WANT_BORN) != 0 || e->idle_ms != 0 || e->stale_ms != 0;
    p->r->present++;
}

/* Check a set that failed for lack of room or for its size. */
static void failed_set(pick *p, const l1_put_spec *s, const entry *before, bool same,
                       cellar_err err)
{
    m.space += err == CELLAR_E_SPACE;
    if (err == CELLAR_E_TOOBIG) { T_CHECK(s->value_len > m.cfg->budget / 8); }
    T_CHECK(condition(before, s, same) == CELLAR_OK || m.now.ends != 0);
    if ((s->flags & L1_KEEP_OLD) != 0 && may_forget()) { return; }
    if ((s->flags & L1_KEEP_OLD) == 0) {
        if (!m.cfg->left && p->e->present) { ended(p->r, p->e); }
        T_CHECK(!p->e->present);
    }
}

static void do_put(void)
{
    pick p;
    choose(&p);
    l1_put_spec s = {.value = m.value};
    l1_info info;
    uint64_t fp = kit_below(&m.r, TAGS) + TAGS * kit_below(&m.r, 1000);
    bool same = true;
    some_options(p.e, &s);
    if (kit_one_in(&m.r, 30)) {
        s.tag_fps = &fp;
        s.tag_count = 1;
        s.tag_born = 77 + m.tag_life[fp % TAGS];
    }
    s.value_len = kit_one_in(&m.r, 2) && p.e->present ? p.e->len : some_len();
    if (s.kind != L1_VALUE) { s.value_len = 0; } /* as in the cache; else they exceed their share */
    if (!may_forget() && kit_one_in(&m.r, 16)) {
        static unsigned char bytes[1024];
        if (l1_inspect(m.k.c, p.k, bytes, sizeof bytes, &info, L1_PEEK) == CELLAR_OK) {
            s.flags |= L1_IF_SAME;
            s.change = L1_CHANGE_UPDATE;
            s.same = &info;
            s.same_bytes = bytes;
            same = !(info.value_len != 0 && kit_one_in(&m.r, 3));
            if (!same) { bytes[kit_below(&m.r, info.value_len)] ^= 1; }
        }
    }
    kit_fill(m.value, s.value_len, p.id, ++m.seq);
    const entry before = *p.e;
    begin(p.r->generation, p.id);
    m.now.may_fail = true;
    cellar_err err = l1_put(m.k.c, p.k, &s);
    cellar_err want = condition(&before, &s, same);
    if (err == CELLAR_OK) {
        T_CHECK(want == CELLAR_OK || m.now.ends != 0);
        T_EQ_U64(m.now.commits, 1);
        T_EQ_U64(s.stamp, m.now.stamp);
        T_CHECK((s.version != 0) == ((s.flags & L1_WANT_VERSION) != 0));
        T_CHECK(!s.replaced || is_value(&before));
        if (m.cfg->left) { T_EQ_U64(m.now.ends, before.present ? 1 : 0); }
        if (m.cfg->fits) { T_EQ_U64(s.replaced, is_value(&before)); }
        store(&p, &s, &before);
    } else if (err < 0) {
        failed_set(&p, &s, &before, same, err);
    } else if (m.now.vetoed) {
        T_EQ_I64(err, CELLAR_CONFLICT);
        T_CHECK(p.e->present == before.present || m.now.ends != 0);
    } else {
        T_CHECK(err == want || m.now.ends != 0);
        T_EQ_U64(m.now.commits, 0);
    }
}

static void check_info(const pick *p, const l1_info *i)
{
    const entry *e = p->e;
    T_EQ_U64(i->value_len, e->len);
    T_CHECK(deadline_is(e, i->deadline_ms));
    if (i->deadline_ms == e->deadline_ms) { T_EQ_I64(i->expires_ms, expires(e)); }
    T_EQ_I64(i->idle_ms, e->idle_ms);
    T_EQ_I64(i->stale_ms, e->stale_ms);
    T_EQ_U64(i->user_flags, e->user_flags);
    T_EQ_U64(i->kind, e->kind);
    T_EQ_U64(i->cost, e->cost);
    T_EQ_U64(i->l2_addr, e->l2_addr);
    T_EQ_U64(i->generation, p->r->generation);
    T_EQ_U64(i->tag_count, e->tagged);
    T_EQ_U64(i->version, e->version);
    T_EQ_U64(i->born_exact, e->born_exact);
    if (e->born_exact) { T_EQ_I64(i->born_ms, e->born_ms); }
    T_CHECK(i->uses <= 3);
}

static void do_get(void)
{
    pick p;
    choose(&p);
    unsigned flags = (kit_one_in(&m.r, 6) ? L1_PEEK : 0) | (kit_one_in(&m.r, 4) ? L1_STALE_OK : 0);
    if (kit_one_in(&m.r, 2)) { flags |= L1_SEE_ERRORS; }
    size_t cap = kit_one_in(&m.r, 8) ? kit_below(&m.r, 40)
        : BASE_MAX(m.cfg->max_len, m.cfg->big_len);
    const bool only_size = kit_one_in(&m.r, 16), info_too = kit_one_in(&m.r, 4);
    void *buf = only_size ? NULL : m.buf;
    if (only_size) { cap = 0; }
    bool stale;
    cellar_err want = judged(p.e, flags, &stale), got;
    const bool hit = want == CELLAR_OK || want == CELLAR_STALE;
    size_t len = 0;
    l1_info info;
    if (info_too) {
        got = l1_inspect(m.k.c, p.k, buf, cap, &info, flags);
        len = info.value_len;
        if (hit && buf != NULL && p.e->len > cap) { want = CELLAR_E_BUFFER; }
    } else {
        got = l1_get(m.k.c, p.k, buf, cap, &len, flags);
        if (hit && p.e->len > cap) { want = CELLAR_E_BUFFER; }
    }
    m.lookups += want != CELLAR_MISS;
    m.hits += got != CELLAR_MISS;
    if (got == CELLAR_MISS && want != CELLAR_MISS && may_forget()) {
        ended(p.r, p.e);
        return;
    }
    T_EQ_I64(got, want);
    if (got != want || !hit) { return; }
    T_EQ_U64(len, p.e->len);
    if (got != CELLAR_E_BUFFER && buf != NULL) { T_CHECK(value_is(p.e, p.id, buf, len)); }
    if ((flags & L1_PEEK) == 0 && !stale && p.e->idle_ms != 0) { p.e->last_use_ms = kit_now(&m.k); }
    if (info_too) {
        if (p.e->idle_ms != 0) { info.expires_ms = expires(p.e); } /* as before this use */
        T_EQ_U64(info.stale, stale);
        check_info(&p, &info);
    }
}

static void do_del(void)
{
    pick p;
    choose(&p);
    const bool was_value = is_value(p.e), was = p.e->present;
    uint64_t stamp = 0;
    begin(p.r->generation, p.id);
    m.now.deleting = true;
    cellar_err err = l1_del(m.k.c, p.k, &stamp);
    T_EQ_U64(m.now.commits, 1);
    T_EQ_U64(stamp, m.now.stamp);
    if (!may_forget()) { T_EQ_I64(err, was_value ? CELLAR_OK : CELLAR_MISS); }
    if (m.cfg->left) { T_EQ_U64(m.now.ends, was); } else if (was) { ended(p.r, p.e); }
    T_CHECK(!p.e->present);
}

/* Return whether a change found no live entry because it was evicted, or no room. */
static bool had_no_room(pick *p, cellar_err got, cellar_err want)
{
    const bool gone = got == CELLAR_MISS && want != CELLAR_MISS &&
                      (may_forget() || m.now.ends != 0);
    if (gone && p->e->present) { ended(p->r, p->e); }
    m.space += got == CELLAR_E_SPACE;
    return gone || got == CELLAR_E_SPACE;
}

static void do_touch(void)
{
    pick p;
    choose(&p);
    int64_t deadline = some_deadline();
    int64_t idle = kit_one_in(&m.r, 2) ? -1 : kit_one_in(&m.r, 2) ? 0
        : 1 + (int64_t)kit_below(&m.r, 300);
    cellar_err want = !fresh(p.e) ? CELLAR_MISS : p.e->kind != L1_VALUE ? CELLAR_ABSENT : CELLAR_OK;
    uint64_t stamp = 0;
    begin(p.r->generation, p.id);
    cellar_err got = l1_touch(m.k.c, p.k, deadline, idle, &stamp);
    if (had_no_room(&p, got, want)) { return; }
    T_EQ_I64(got, want);
    T_EQ_U64(m.now.commits, got == CELLAR_OK);
    if (got != CELLAR_OK) { return; }
    T_EQ_U64(stamp, m.now.stamp);
    /* With an idle time the deadline is the greatest age: it never moves away. */
    if (p.e->idle_ms != 0 && idle != 0) { deadline = BASE_MIN(deadline, p.e->deadline_ms); }
    p.e->deadline_ms = deadline;
    changed_on_disk(p.e);
    if (idle >= 0) { p.e->idle_ms = (uint32_t)idle; }
    if (p.e->idle_ms != 0) { p.e->last_use_ms = kit_now(&m.k); }
    if (idle > 0 && !p.e->born_exact) { /* a new idle time adds a birth time */
        p.e->born_exact = true;
        p.e->born_ms = kit_now(&m.k);
    }
    l1_info info;
    bool stale;
    if (judged(p.e, 0, &stale) == CELLAR_OK &&
        l1_inspect(m.k.c, p.k, NULL, 0, &info, L1_PEEK) == CELLAR_OK) {
        check_info(&p, &info);
    }
}

static void do_version(void)
{
    pick p;
    choose(&p);
    bool stale;
    cellar_err want = judged(p.e, 0, &stale);
    uint64_t version = 0;
    begin(p.r->generation, p.id);
    cellar_err got = l1_version(m.k.c, p.k, &version);
    if (had_no_room(&p, got, want)) { return; }
    T_EQ_I64(got, want);
    if (got != CELLAR_OK) { return; }
    T_CHECK(version != 0);
    if (p.e->version != 0) { T_EQ_U64(version, p.e->version); }
    if (p.e->version == 0) { changed_on_disk(p.e); }
    p.e->version = version;
}

static void do_incr(void)
{
    pick p;
    choose(&p);
    const bool only_present = kit_one_in(&m.r, 3);
    int64_t delta = (int64_t)kit_below(&m.r, 2001) - 1000, init = (int64_t)kit_below(&m.r, 100);
    if (kit_one_in(&m.r, 20)) { delta = kit_one_in(&m.r, 2) ? INT64_MAX : INT64_MIN; }
    l1_put_spec s = {.deadline_ms = some_deadline(), .change = L1_CHANGE_INCR};
    l1_info seen;
    if (may_forget() && fresh(p.e) &&
        l1_inspect(m.k.c, p.k, NULL, 0, &seen, L1_PEEK | L1_SEE_ERRORS) == CELLAR_MISS) {
        ended(p.r, p.e);
    }
    const entry before = *p.e;
    if (before.tagged || before.l2_addr != 0) { return; }
    int64_t start = 0, sum = 0, got_sum = 0;
    bool value = is_value(&before);
    if (value && before.len == 8) {
        if (before.is_counter) { start = before.counter; } else {
            unsigned char bytes[8];
            kit_fill(bytes, 8, p.id, before.seq);
            memcpy(&start, bytes, 8);
        }
    }
    if (!value) { start = init; }
    const bool over = __builtin_add_overflow(start, delta, &sum);
    if (over) { sum = delta < 0 ? INT64_MIN : INT64_MAX; }
    cellar_err want = over ? CELLAR_E_RANGE : CELLAR_OK;
    if (value && before.len != 8) { want = CELLAR_E_TYPE; }
    if (!value && only_present) { want = CELLAR_MISS; }
    uint64_t stamp = 0;
    begin(p.r->generation, p.id);
    cellar_err got = l1_incr(m.k.c, p.k, delta, init, &s, only_present, &got_sum, &stamp);
    if (got == CELLAR_E_SPACE) {
        m.space++;
        if (!p.e->present) { return; }
        if (may_forget()) { ended(p.r, p.e); }
        return;
    }
    if (m.now.vetoed && got == CELLAR_CONFLICT) { return; }
    /* the append evicted the old entry: it starts over, or not */
    if (m.now.evicted != 0 && value) {
        value = false;
        sum = init + delta;
        want = only_present ? CELLAR_MISS : CELLAR_OK;
        if (got == CELLAR_E_RANGE) { return; }
    }
    if (got == CELLAR_CONFLICT || got == CELLAR_E_BUSY) {
        T_CHECK(m.now.vetoed);
        return;
    }
    T_EQ_I64(got, want);
    if (got != CELLAR_OK && got != CELLAR_E_RANGE) { return; }
    T_EQ_I64(got_sum, sum);
    T_EQ_U64(stamp, m.now.stamp);
    l1_info info;
    cellar_err there = l1_inspect(m.k.c, p.k, NULL, 0, &info, L1_PEEK | L1_SEE_ERRORS);
    if (!p.e->present) { p.r->present++; }
    uint64_t last_stamp = p.e->stamp;
    *p.e = before;
    p.e->stamp = last_stamp;
    p.e->present = true;
    if (!value) {
        *p.e = (entry){.deadline_ms = s.deadline_ms, .present = true, .stamp = last_stamp};
    }
    p.e->len = 8;
    p.e->is_counter = true;
    p.e->counter = sum;
    p.e->version = 0;
    if (p.e->idle_ms != 0) { p.e->last_use_ms = kit_now(&m.k); }
    if (there == CELLAR_OK) { /* these depend on whether the write was in place */
        p.e->version = info.version;
        p.e->born_exact = info.born_exact;
        p.e->born_ms = info.born_ms;
        if (before.version != 0 && value) { T_CHECK(info.version > before.version); }
        check_info(&p, &info);
    } else {
        T_CHECK(reached(p.e->deadline_ms));
    }
}

static void check_pin(const held *h)
{
    if (h->ref.value_len != 0) { T_EQ_MEM(h->ref.value, h->copy, h->ref.value_len); }
}

static void drop_pin(held *h)
{
    check_pin(h);
    l1_unpin(m.k.c, &h->ref);
    T_EQ_U64(h->ref.slot, UINT32_MAX);
    free(h->copy);
    h->copy = NULL;
}

static void do_pin(void)
{
    held *h = &m.pin[kit_below(&m.r, PINS)];
    if (h->copy != NULL) {
        drop_pin(h);
        return;
    }
    pick p;
    choose(&p);
    bool stale;
    unsigned flags = kit_one_in(&m.r, 4) ? L1_PEEK : 0;
    cellar_err want = judged(p.e, flags, &stale), got = kit_pin(m.k.c, p.k, &h->ref, flags);
    if (got == CELLAR_MISS && want != CELLAR_MISS && may_forget()) {
        ended(p.r, p.e);
        return;
    }
    T_EQ_I64(got, want);
    if (got != CELLAR_OK) { return; }
    T_CHECK(value_is(p.e, p.id, h->ref.value, h->ref.value_len));
    T_EQ_I64(h->ref.deadline_ms, p.e->deadline_ms);
    T_EQ_U64(h->ref.user_flags, p.e->user_flags);
    if ((flags & L1_PEEK) == 0 && p.e->idle_ms != 0) { p.e->last_use_ms = kit_now(&m.k); }
    h->copy = malloc(h->ref.value_len + 1);
    T_REQUIRE(h->copy != NULL);
    memcpy(h->copy, h->ref.value, h->ref.value_len);
}

/* ---- scan, maintenance, changes -------------------------------------------------------------- */
static bool on_seen(void *ctx, const l1_seen *s)
{
    pick *p = ctx;
    p->id = kit_id_of(s->key, s->key_len);
    if (!T_CHECK(p->id < m.cfg->keys)) { return false; }
    p->e = &p->r->e[p->id];
    T_CHECK(fresh(p->e));
    T_EQ_U64(m.seen[p->id], 0); /* no entry moves between these steps */
    m.seen[p->id] = 1;
    if (s->value != NULL) { T_CHECK(value_is(p->e, p->id, s->value, s->value_len)); }
    check_info(p, &s->info);
    return true;
}

static void do_scan(void)
{
    pick p;
    uint64_t cursor = 0;
    p.r = &m.rows[m.namespace[kit_below(&m.r, NAMESPACES)]];
    memset(m.seen, 0, m.cfg->keys);
    const bool values = kit_one_in(&m.r, 2);
    do {
        T_EQ_I64(
            l1_scan(m.k.c, &cursor, 1 + kit_below(&m.r, 50), p.r->generation, values, on_seen, &p),
            CELLAR_OK);
    } while (cursor != 0);
    for (uint64_t id = 0; id < m.cfg->keys; id++) {
        if (m.seen[id] == 0 && fresh(&p.r->e[id]) && p.r->e[id].kind != L1_ERROR) {
            if (may_forget()) { ended(p.r, &p.r->e[id]); } else { T_CHECK(m.seen[id] != 0); }
        }
    }
}

static void do_generation_death(void)
{
    unsigned namespace = (unsigned)kit_below(&m.r, NAMESPACES), next = 0;
    row *old = &m.rows[m.namespace[namespace]];
    m.now.active = false;
    m.alive[old->generation] = false;
    l1_generation_died(m.k.c, 1, UINT32_MAX);
    for (unsigned i = 0; i < NAMESPACES; i++) {
        T_CHECK(i == namespace || m.namespace[i] != m.namespace[namespace]);
    }
    for (unsigned round = 0; round < 2; round++) {
        for (next = 0; next < ROWS; next++) {
            row *r = &m.rows[next];
            bool current = false;
            for (unsigned i = 0; i < NAMESPACES; i++) {
                current = current || m.namespace[i] == next;
            }
            if (!current && r->present == 0) { break; }
        }
        if (next < ROWS) { break; }
        (void)l1_tick(m.k.c, UINT64_MAX); /* no row left: every dead entry must be reported now */
        for (unsigned i = 0; i < ROWS && !m.cfg->left; i++) {
            for (uint64_t id = 0; id < m.cfg->keys && !m.alive[m.rows[i].generation]; id++) {
                m.rows[i].e[id].present = false;
            }
            if (!m.alive[m.rows[i].generation]) { m.rows[i].present = 0; }
        }
    }
    T_REQUIRE(next < ROWS && m.next_generation < OWNERS);
    row *r = &m.rows[next];
    m.row_of[r->generation] = 0;
    r->generation = m.next_generation++;
    m.row_of[r->generation] = (uint8_t)(next + 1);
    m.alive[r->generation] = true;
    memset(r->e, 0, m.cfg->keys * sizeof *r->e);
    m.namespace[namespace] = next;
}

static void do_time(void)
{
    switch (kit_below(&m.r, 60)) {
    case 0: kit_forward(&m.k, (int64_t)kit_below(&m.r, 100)); break;
    case 1: kit_forward(&m.k, (int64_t)kit_below(&m.r, 2000)); break;
    case 2:
        if (kit_one_in(&m.r, 200)) {
            kit_forward(&m.k, INT64_C(86400000) * (int64_t)kit_below(&m.r, 70));
        }
        break;
    default: kit_forward(&m.k, 1); break;
    }
    atomic_store(&m.k.clock.lag_ms, (int64_t)kit_below(&m.r, 11));
}

static bool pins_held(void)
{
    for (unsigned i = 0; i < PINS; i++) {
        if (m.pin[i].copy != NULL) { return true; }
    }
    return false;
}

static void do_resize(void)
{
    const uint64_t b = m.cfg->budget;
    uint64_t to = b / 2 + kit_below(&m.r, b);
    m.now.active = false;
    cellar_err err = l1_resize(m.k.c, to);
    T_CHECK(err == CELLAR_OK || (err == CELLAR_E_SPACE && pins_held()));
    if (err == CELLAR_OK) {
        T_CHECK(kit_used(&m.k) <= to);
    } else {
        T_EQ_I64(l1_resize(m.k.c, 2 * b), CELLAR_OK);
    }
}

static void do_bound(void)
{
    uint64_t max = kit_one_in(&m.r, 3) ? 0 : 1 + kit_below(&m.r, m.cfg->keys);
    m.now.active = false;
    T_EQ_I64(l1_set_max_entries(m.k.c, max), CELLAR_OK);
    if (max != 0) { T_CHECK(kit_stats(&m.k).entries <= max); }
}

static uint64_t all_present(void)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < ROWS; i++) { n += m.rows[i].present; }
    return n;
}

static void phase(void)
{
    m.now.active = false;
    kit_audit(&m.k);
    l1_stats s = kit_stats(&m.k);
    if (m.cfg->left) {
        T_EQ_U64(s.entries, all_present());
    } else {
        T_CHECK(s.entries <= all_present());
    }
    T_CHECK(kit_used(&m.k) <= base_load_rlx(&m.k.account.limit));
    for (unsigned i = 0; i < PINS; i++) {
        if (m.pin[i].copy != NULL) { check_pin(&m.pin[i]); }
    }
}

static void one_operation(void)
{
    uint64_t what = kit_below(&m.r, 10000);
    if (what < 3200) { do_get(); }
    else if (what < 6000) { do_put(); }
    else if (what < 6600) { do_del(); }
    else if (what < 7200) { do_touch(); }
    else if (what < 7500) { do_version(); }
    else if (what < 8200) { do_incr(); }
    else if (what < 8900) { do_pin(); }
    else if (what < 9970) { do_time(); }
    else if (what < 9990) { (void)l1_tick(m.k.c, kit_one_in(&m.r, 2) ? 0 : UINT64_MAX); }
    else if (what < 9993) { turn_tag(kit_below(&m.r, TAGS)); }
    else if (what < 9994) { do_scan(); }
    else if (what < 9995) { if (kit_one_in(&m.r, 4)) { do_generation_death(); } }
    else if (what < 9996 && m.cfg->changes) { do_resize(); }
    else if (what < 9997 && m.cfg->changes) { do_bound(); }
    else if (m.cfg->changes) { l1_set_policy(m.k.c, (l1_policy)kit_below(&m.r, 3)); }
    m.now.active = false;
    m.ops++;
}

static void open_model(const config *cfg)
{
    memset(&m, 0, sizeof m);
    m.cfg = cfg;
    m.r.s = t_seed();
    m.next_generation = NAMESPACES;
    for (unsigned i = 0; i < ROWS; i++) {
        m.rows[i].e = calloc(cfg->keys, sizeof *m.rows[i].e);
        T_REQUIRE(m.rows[i].e != NULL);
        m.rows[i].generation = OWNERS - 1; /* no generation yet */
    }
    for (unsigned i = 0; i < NAMESPACES; i++) {
        m.namespace[i] = i;
        m.rows[i].generation = i;
        m.row_of[i] = (uint8_t)(i + 1);
        m.alive[i] = true;
    }
    size_t most = BASE_MAX(cfg->max_len, cfg->big_len) + 16u;
    m.buf = malloc(most);
    m.value = malloc(most);
    m.seen = malloc(cfg->keys);
    T_REQUIRE(m.buf != NULL && m.value != NULL && m.seen != NULL);
    l1_config l = cfg->l1;
    l.hooks =
        (l1_hooks){.commit = on_commit, .left = on_left, .generation_alive = on_alive,
                   .tags_valid = on_tags};
    kit_open(&m.k, cfg->budget, &l);
    atomic_store(&m.k.clock.lag_ms, 10);
    if (cfg->left) { l1_want_left(m.k.c, true); }
}

/* Delete everything: each end is reported, nothing stays. */
static void close_model(void)
{
    for (unsigned i = 0; i < PINS; i++) {
        if (m.pin[i].copy != NULL) { drop_pin(&m.pin[i]); }
    }
    for (unsigned v = 0; v < NAMESPACES; v++) {
        row *r = &m.rows[m.namespace[v]];
        for (uint64_t id = 0; id < m.cfg->keys; id++) {
            kit_key key;
            unsigned char text[KEY_MOST];
            begin(r->generation, id);
            m.now.deleting = true;
            (void)l1_del(m.k.c, key_of(&key, text, r->generation, id), NULL);
            if (!m.cfg->left && r->e[id].present) { ended(r, &r->e[id]); }
            T_CHECK(!r->e[id].present);
        }
    }
    m.now.active = false;
    (void)l1_tick(m.k.c, UINT64_MAX);
    l1_stats s = kit_stats(&m.k);
    T_EQ_U64(s.entries, 0);
    T_EQ_U64(s.big_blocks, 0);
    if (m.cfg->left) { T_EQ_U64(all_present(), 0); }
    kit_close(&m.k);
    for (unsigned i = 0; i < ROWS; i++) { free(m.rows[i].e); }
    free(m.buf);
    free(m.value);
    free(m.seen);
}

static void run(const config *cfg, uint64_t ops)
{
    open_model(cfg);
    const uint64_t want = kit_scale(ops), part = BASE_MAX(want / 24, 1000);
    while (m.ops < want && t_failed() == 0) {
        one_operation();
        if (m.ops % part == 0) { phase(); }
        if (t_audit_all()) { kit_audit(&m.k); }
    }
    if (t_failed() != 0) {
        printf("# %s: stopped after %" PRIu64 " operations\n", cfg->name, m.ops);
        T_REQUIRE(false);
    }
    const l1_stats s = kit_stats(&m.k);
    printf("# %s: %" PRIu64 " operations, %" PRIu64 " evicted, %" PRIu64 " expired, %" PRIu64
           " without room\n", cfg->name, m.ops, s.evicted, s.expired, m.space);
    if (cfg->fits) {
        T_EQ_U64(s.evicted, 0);
        T_EQ_U64(m.space, 0);
        T_EQ_U64(m.hits, m.lookups);
    }
    phase();
    close_model();
}

T_CASE(store_answers_like_the_map)
{
    static const struct { uint64_t ops; config c; } runs[] = {
        {2000000, {.name = "fits", .budget = KIT_MIB(64), .keys = 20000, .max_len = 900,
                   .left = true, .fits = true}},
        {1500000, {.name = "fits, no listener", .budget = KIT_MIB(64), .keys = 20000,
                   .max_len = 900, .big_len = 300000, .big_one_in = 4000, .fits = true,
                   .vetoes = true}},
        {1500000, {.name = "pressure", .budget = KIT_MIB(1), .keys = 4000, .max_len = 1500,
                   .left = true, .vetoes = true}},
        {1500000, {.name = "stripes", .budget = KIT_MIB(4), .keys = 16000, .max_len = 700,
                   .l1 = {.stripes = 8, .seg_bytes = 4096, .mean_entry_bytes = 64},
                   .left = true}},
        {1000000, {.name = "pressure, no listener", .budget = KIT_MIB(2), .keys = 8000,
                   .max_len = 1200}},
        {700000, {.name = "oversized", .budget = KIT_MIB(6), .keys = 3000, .max_len = 3000,
                  .big_len = 400000, .big_one_in = 30, .left = true, .vetoes = true,
                  .long_keys = true}},
        {800000, {.name = "entries", .budget = KIT_MIB(8), .keys = 3000, .max_len = 300,
                  .l1 = {.max_entries = 200, .policy = L1_LRU}, .left = true, .changes = true}},
        {1000000, {.name = "changes", .budget = KIT_MIB(3), .keys = 6000, .max_len = 900,
                   .big_len = 60000, .big_one_in = 300, .left = true, .changes = true}},
    };
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) { run(&runs[i].c, runs[i].ops); }
}

T_ONE_THREAD;
T_MAIN("l1_model")
