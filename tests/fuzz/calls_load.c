/* SPDX-License-Identifier: MIT
 *
 * calls_load: rows of loads: one key, many, leases, warm, memoized functions, answers of language
 * models, vectors. See calls.h. */
#include "tests/fuzz/calls.h"

static unsigned calls_space_numbers[CALLS_SPACES] = { 0, 1, 2, 3, 4 }; /* ctx of loaders */

/* Find the key of a loader. Return false for a key outside of the model. */
static bool key_of_loader(calls_key *k, const void *bytes, size_t len, const void *ctx)
{
    char text[4] = "";
    unsigned index = 0;
    memcpy(text, bytes, len < 3 ? len : 3);
    if (sscanf(text, "k%2u", &index) != 1 || index >= CALLS_KEYS) { return false; }
    calls_name_key(k, *(const unsigned *)ctx, index);
    return k->len == len;
}

static void free_block(void *block, void *ctx) { (void)ctx; free(block); }

/* The old value is confirmed: its deadline moves, and soft deletes of its tags are forgotten. */
static void slot_confirmed(const calls_key *k)
{
    atomic_store(&slot_of(k)->until, INT64_MAX);
    for (unsigned i = 0; i < CALLS_TAGS; i++) { atomic_store(&slot_of(k)->soft[i], 0); }
}

/* Set options of a result. Return whether it has other tags than the old value. */
static bool set_result_options(cellar_load *load, uint32_t *tags)
{
    cellar_bytes list[CALLS_TAGS];
    uint32_t count = 0;
    const uint32_t mask = draw_tags(list, &count);
    cellar_set_opts o = { .struct_size = sizeof o, .tags = list, .tag_count = count };
    const bool set = chance(40) && plain(CALL(cellar_load_opts_set)(load, &o)) == CELLAR_OK;
    *tags = set ? mask : 0;
    o = cellar_set_opts_default();
    if (chance(20)) { o.ttl_ms = ONE_OF(BAD_MS); }
    if (chance(10)) { o.stale_ms = ONE_OF(BAD_MS); }
    if (chance(10)) { o.cost_us = draw(100000); }
    if (chance(10)) { o.user_flags = draw(9); }
    if (chance(10)) { o.flags |= CELLAR_NEGATIVE; }
    if (chance(5)) { o.flags |= CELLAR_NO_STORE; }
    if (chance(2)) { o.flags |= 1u << draw(12); }
    plain(CALL(cellar_load_opts_set)(load, &o));
    return set;
}

/* Confirm the old value. Its bytes name its tags, so it has to keep them. */
static cellar_err confirm(cellar_load *load, const calls_key *k, const calls_value *old,
                          bool tagged)
{
    cellar_bytes list[CALLS_TAGS];
    uint32_t count = 0;
    for (unsigned i = 0; i < CALLS_TAGS; i++) {
        if ((old->tags >> i & 1) != 0) {
            list[count++] = (cellar_bytes){ calls_tags[i], strlen(calls_tags[i]) };
        }
    }
    cellar_set_opts o = { .struct_size = sizeof o, .tags = list, .tag_count = tagged ? count : 0 };
    const cellar_err err = CALL(cellar_load_opts_set)(load, &o);
    if (err != CELLAR_OK) { return err; }
    slot_confirmed(k);
    return CALL(cellar_load_not_modified)(load);
}

static cellar_err load_one(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    calls_key k;
    if (!key_of_loader(&k, key, key_len, ctx)) {
        return plain(CALL(cellar_load_value)(load, "words of a text", 15));
    }
    const uint64_t number = load_number(&k);
    TRACE("loader %u/%u number %" PRIu64, k.space, k.index, number);
    const size_t len = draw_len();
    uint32_t tags = 0;
    cellar_load_info i = cellar_load_info_default();
    void *to = NULL;
    MUST(CALL(cellar_load_info_get)(load, &i) == CELLAR_OK && i.time_left_ms >= 0);
    const bool has_old = i.has_stale != 0;
    calls_value was = { 0, 0, 0, 0, 0, 0, 0 };
    if (has_old) { was = calls_parse(&k, i.stale_value, i.stale_len, "stale value"); }
    calls_back();
    if (has_old) { (void)calls_parse(&k, i.stale_value, i.stale_len, "stale value, later"); }
    const bool tagged = set_result_options(load, &tags);
    cellar_err err = CELLAR_OK;
    switch (draw(15)) {
    case 0: err = CALL(cellar_load_absent)(load); break;
    case 1: err = CALL(cellar_load_fail)(load, 503, ONE_OF(BAD_MS), draw(2)); break;
    case 2: err = CELLAR_E_IO; break;
    case 3: break; /* no result */
    case 4:
        err = has_old ? confirm(load, &k, &was, tagged) : CALL(cellar_load_not_modified)(load);
        break;
    case 5: {
        cellar_buf *b = CALL(cellar_load_buf)(load);
        if (b == NULL || CALL(cellar_buf_resize)(b, len, &to) != CELLAR_OK) {
            return CELLAR_E_NOMEM;
        }
        calls_fill(&k, number, true, tags, to, len);
        break;
    }
    case 6:
        to = malloc(len);
        MUST(to != NULL);
        calls_fill(&k, number, true, tags, to, len);
        err = CALL(cellar_load_take)(load, to, len, free_block, NULL);
        break;
    default:
        to = malloc(len);
        MUST(to != NULL);
        calls_fill(&k, number, true, tags, to, len);
        err = CALL(cellar_load_value)(load, to, len);
        if (chance(3)) { err = CALL(cellar_load_value)(load, to, len); }
        free(to);
    }
    return plain(err) < 0 && chance(50) ? err : CELLAR_OK;
}

static cellar_err load_many(cellar_load *load, const cellar_bytes *keys, size_t count, void *ctx)
{
    uint64_t *number = malloc((count + 1) * sizeof *number);
    calls_key k;
    uint32_t tags = 0;
    MUST(number != NULL);
    for (size_t i = 0; i < count; i++) {
        number[i] = key_of_loader(&k, keys[i].data, keys[i].len, ctx) ? load_number(&k) : 0;
    }
    calls_back();
    (void)set_result_options(load, &tags);
    for (size_t i = 0; i < count; i++) {
        const size_t len = draw_len();
        if (!key_of_loader(&k, keys[i].data, keys[i].len, ctx)) { continue; }
        plain(CALL(cellar_load_select)(load, i));
        switch (draw(10)) {
        case 0: plain(CALL(cellar_load_absent)(load)); break;
        case 1: plain(CALL(cellar_load_fail)(load, 7, 0, 0)); break;
        case 2: break;
        default: {
            void *to = malloc(len);
            MUST(to != NULL);
            calls_fill(&k, number[i], true, tags, to, len);
            plain(CALL(cellar_load_value)(load, to, len));
            if (chance(3)) { plain(CALL(cellar_load_value)(load, to, len)); }
            free(to);
        }
        }
    }
    free(number);
    return chance(90) ? CELLAR_OK : CELLAR_E_IO;
}

/* ---- Options of loads ------------------------------------------------------------------------ */

static const unsigned char calls_trace_bytes[CELLAR_LOAD_TRACE_BYTES] = "trace";

static void *retain_ctx(void *ctx) { return ctx; }
static void release_ctx(void *ctx) { (void)ctx; }

/* Options that a namespace may have as well: none in `flags`. */
static cellar_load_opts draw_load_opts_of_namespace(void)
{
    cellar_load_opts o = cellar_load_opts_default();
    MAYBE(o.error_ttl_ms, 0, 0, 1000, 60000);
    MAYBE(o.error_ttl_max_ms, 0, 1000, 60000, 86400000);
    MAYBE(o.retry_throttle_ms, 0, 1, 1000);
    MAYBE(o.hard_timeout_ms, 0, 50, 1000, 30000);
    MAYBE(o.wait_timeout_ms, 0, 50, 1000);
    if (chance(30)) { o.soft_timeout_ms = ONE_OF(0, 1, CELLAR_TTL_NONE); }
    MAYBE(o.jitter_pct, 0, 1, 100, CELLAR_OFF);
    MAYBE(o.join_retries, 0, 1, 8, CELLAR_OFF);
    MAYBE(o.leader_retries, 0, 1, 15, CELLAR_OFF);
    if (chance(30)) { o.eager_refresh_pct = (uint32_t)ONE_OF(1, 50, 99, CELLAR_OFF); }
    else if (chance(30)) { o.xfetch_beta_x100 = (uint32_t)ONE_OF(1, 100, 100000, CELLAR_OFF); }
    return o;
}

static cellar_load_opts draw_load_opts(void)
{
    cellar_load_opts o = draw_load_opts_of_namespace();
    MAYBE(o.ttl_ms, SOME_MS);
    MAYBE(o.negative_ttl_ms, SOME_MS);
    MAYBE(o.stale_ms, 0, 1000, 60000);
    MAYBE(o.fallback_ttl_ms, 0, 1, 5000);
    for (unsigned i = 0; i < 12; i++) {
        if (chance(7)) { o.flags |= 1u << i; }
    }
    if (chance(2)) { o.ttl_ms = -1; }
    if (chance(1)) { o.jitter_pct = 101; }
    if (chance(1)) { o.flags |= 0x1000; }
    if (chance(30)) { o.trace = calls_trace_bytes; }
    switch (draw(4)) {
    case 0: o.flags |= CELLAR_LOAD_CTX_STATIC; break;
    case 1: o.ctx_bytes = sizeof(unsigned); break;
    case 2: o.ctx_retain = retain_ctx; o.ctx_release = release_ctx; break;
    default: break;
    }
    return o;
}

static void draw_fallbacks(cellar_load_opts *o, unsigned *ctx)
{
    for (unsigned i = 0; i < CELLAR_FALLBACKS_MAX && chance(30); i++) {
        o->fallback[i] = (cellar_fallback){ load_one, ctx };
    }
}

/* With one thread no call waits for another load: the virtual clock stands still. */
static void never_wait(cellar_load_opts *o, bool leased)
{
    if (calls_exact() || (leased && chance(30))) {
        o->flags |= CELLAR_LOAD_NO_WAIT;
    }
}

static void load_judge(const calls_look *l, cellar_err err, const cellar_result *r)
{
    if (err != CELLAR_OK && err != CELLAR_STALE) { return; }
    switch (r->source) {
    case CELLAR_SOURCE_LOADED: case CELLAR_SOURCE_FALLBACK: case CELLAR_SOURCE_DEFAULT: {
        const calls_value v = calls_parse(&l->key, r->value, r->value_len, "load");
        (void)v;
        break;
    }
    case CELLAR_SOURCE_L1: case CELLAR_SOURCE_L2:
        look_judge(l, r->value, r->value_len, err == CELLAR_OK, "load hit");
        break;
    default: look_judge(l, r->value, r->value_len, false, "load of another call");
    }
}

static void row_load(void)
{
    calls_look l;
    if (!look_begin(&l)) { return; }
    cellar *c = space_of(&l.key);
    cellar_load_opts o = draw_load_opts();
    cellar_result r = cellar_result_default();
    unsigned char own[200], given[CALLS_HEAD + 60];
    cellar_bytes fixed = { given, sizeof given };
    unsigned *ctx = &calls_space_numbers[l.key.space];
    draw_fallbacks(&o, ctx);
    if (chance(20)) {
        calls_fill(&l.key, slot_number(&l.key), true, CALLS_DEFAULT, given, sizeof given);
        o.default_value = &fixed;
    }
    never_wait(&o, slot_of(&l.key)->leased != 0);
    if (chance(50)) { r.buf = own, r.buf_cap = sizeof own; }
    const bool bad = spoil(&o, sizeof o);
    const bool none = !bad && !calls_exact() && chance(10);
    TRACE("load %u/%u, least %" PRIu64, l.key.space, l.key.index, l.least[0]);
    const cellar_err err = told(c, CALL(cellar_get_or_load)(c, l.key.bytes, l.key.len,
                                                            none ? NULL : &o, load_one, ctx, &r));
    refused(bad, err);
    load_judge(&l, err, &r);
    if (err == CELLAR_OK && (r.flags & CELLAR_RESULT_PINNED) != 0) {
        calls_back();
        (void)calls_parse(&l.key, r.value, r.value_len, "pinned result");
    }
    CALL(cellar_result_free)(&r);
}

static void row_load_many(void)
{
    calls_look l[10];
    cellar_result r[10];
    cellar_load_item item[10];
    const unsigned n = draw(11), space = draw(CALLS_SPACES);
    cellar *c = atomic_load(&world.space[space].c);
    if (c == NULL) { return; }
    for (unsigned i = 0; i < n; i++) {
        calls_name_key(&l[i].key, space, draw(CALLS_KEYS));
        look_begin_at(&l[i]);
        r[i] = cellar_result_default();
        item[i] = (cellar_load_item){ l[i].key.bytes, l[i].key.len, &r[i], CELLAR_OK, 0 };
    }
    cellar_load_opts o = draw_load_opts();
    draw_fallbacks(&o, &calls_space_numbers[space]);
    never_wait(&o, true);
    const bool bad = spoil(&o, sizeof o);
    const cellar_err err = told(c, CALL(cellar_get_or_load_many)(c, item, n, &o, load_many,
                                                                 &calls_space_numbers[space]));
    refused(bad && n != 0, err);
    for (unsigned i = 0; i < n; i++) {
        if (err == CELLAR_OK) { load_judge(&l[i], plain(item[i].status), &r[i]); }
        CALL(cellar_result_free)(&r[i]);
    }
}

/* ---- Leases ---------------------------------------------------------------------------------- */

typedef struct calls_lease {
    calls_key key;
    cellar *c;
    cellar_lease lease;
    uint64_t number; /* of its value; 0: the place is free */
    bool ticket;
} calls_lease;

static _Thread_local calls_lease calls_leases[6];

static void subscribed(void *ctx) { (void)ctx; }

static void lease_end(calls_lease *x)
{
    if (!x->ticket) { slot_of(&x->key)->leased--; }
    x->number = 0;
}

static void row_lease_acquire(void)
{
    calls_look l;
    calls_lease *x = &calls_leases[draw(6)];
    if (x->number != 0 || !look_begin(&l)) { return; }
    cellar *c = space_of(&l.key);
    cellar_load_opts o = draw_load_opts();
    const cellar_subscriber subscriber = { subscribed, NULL };
    cellar_result r = cellar_result_default();
    cellar_lease lease = { { 0, 0 } };
    unsigned char given[CALLS_HEAD + 60];
    cellar_bytes fixed = { given, sizeof given };
    o.flags &= ~(CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE | CELLAR_LOAD_NO_JOIN);
    draw_fallbacks(&o, &calls_space_numbers[l.key.space]);
    if (chance(20)) {
        calls_fill(&l.key, slot_number(&l.key), true, CALLS_DEFAULT, given, sizeof given);
        o.default_value = &fixed;
    }
    const bool bad = spoil(&o, sizeof o);
    const cellar_err err = told(c, CALL(cellar_lease_acquire)(c, l.key.bytes, l.key.len, &o,
                                                              chance(50) ? &subscriber : NULL,
                                                              &lease, &r));
    refused(bad, err);
    load_judge(&l, err, &r);
    CALL(cellar_result_free)(&r);
    if (lease.opaque[0] == 0 && lease.opaque[1] == 0) {
        MUST(err != CELLAR_LEASED);
        return;
    }
    MUST(err == CELLAR_LEASED || err == CELLAR_PENDING || err == CELLAR_OK || err == CELLAR_STALE);
    if (x->number != 0) { /* a callback took the place */
        (void)told(c, err == CELLAR_PENDING ? CALL(cellar_lease_unsubscribe)(c, &lease)
                                            : CALL(cellar_lease_release)(c, &lease, 0));
        return;
    }
    *x = (calls_lease){ l.key, c, lease, slot_number(&l.key), err == CELLAR_PENDING };
    TRACE("lease %u/%u: %s", l.key.space, l.key.index, cellar_code_name(err));
    if (!x->ticket) { slot_of(&l.key)->leased++; }
}

static void lease_settle(calls_lease *x)
{
    if (x->number == 0) { return; }
    calls_write w; /* for its options */
    calls_lease it = *x;
    lease_end(x);
    if (it.ticket) {
        (void)told(it.c, CALL(cellar_lease_unsubscribe)(it.c, &it.lease));
        return;
    }
    if (chance(30)) {
        (void)told(it.c, CALL(cellar_lease_release)(it.c, &it.lease, chance(50) ? 0 : 9));
        return;
    }
    draw_set_opts(&w, false);
    w.o.flags &= ~(CELLAR_DURABLE | CELLAR_KEEP_TTL);
    const size_t len = draw_len();
    void *bytes = malloc(len);
    MUST(bytes != NULL);
    calls_fill(&it.key, it.number, true, w.tags, bytes, len);
    const cellar_err err =
        told(it.c, CALL(cellar_lease_fulfill)(it.c, &it.lease, bytes, len, &w.o));
    free(bytes);
    if (err < 0 && err != CELLAR_E_LEASE &&
        (it.lease.opaque[0] | it.lease.opaque[1]) != 0) { /* refused arguments */
        (void)told(it.c, CALL(cellar_lease_release)(it.c, &it.lease, 0));
    }
}

static void row_lease_settle(void) { lease_settle(&calls_leases[draw(6)]); }

static void leases_end(void)
{
    calls_me->depth += 3; /* no callback acquires another one */
    for (unsigned i = 0; i < 6; i++) { lease_settle(&calls_leases[i]); }
    calls_me->depth -= 3;
}

/* ---- Warm ------------------------------------------------------------------------------------ */

typedef struct calls_listing {
    calls_key key;
    unsigned space, at, count;
} calls_listing;

static cellar_err next_key(cellar_bytes *key, void *ctx)
{
    calls_listing *l = ctx;
    if (l->at == l->count) { return CELLAR_MISS; }
    calls_name_key(&l->key, l->space, l->at++ % CALLS_KEYS);
    *key = (cellar_bytes){ l->key.bytes, l->key.len };
    calls_back();
    return CELLAR_OK;
}

static void row_warm(void)
{
    cellar_warm_opts o = cellar_warm_opts_default();
    cellar_warm_report report = cellar_warm_report_default();
    cellar_load_opts load = draw_load_opts();
    const unsigned space = draw(CALLS_SPACES);
    cellar *c = atomic_load(&world.space[space].c);
    calls_listing list = { .space = space, .count = draw(20) };
    const cellar_bytes keys[3] = { { "k01", 3 }, { "k02", 3 }, { "k12", 3 } };
    if (c == NULL) { return; }
    if (chance(50)) {
        o.next = next_key, o.next_ctx = &list;
    } else {
        o.keys = keys, o.key_count = draw(4);
    }
    never_wait(&load, true);
    load.flags &= ~(uint32_t)CELLAR_LOAD_ONLY_IF_CACHED;
    o.load = &load;
    if (chance(50)) { o.loader = load_one; } else { o.loader_many = load_many; }
    o.loader_ctx = &calls_space_numbers[space];
    MAYBE(o.timeout_ms, 0, 1, 60000);
    o.threads = calls_exact() ? 0 : draw(3);
    if (o.loader_many != NULL) { MAYBE(o.batch_keys, 0, 1, 7, 4096, 4097); }
    MAYBE(o.max_failure_pct, 0, 1, 100);
    MAYBE(o.max_used_pct, 0, 1, 100);
    (void)spoil(&o, sizeof o);
    if (plain(CALL(cellar_warm)(c, &o, &report)) == CELLAR_OK) { /* its own refusals have no text */
        MUST(report.keys == report.hits + report.loaded + report.absent + report.failed +
                                report.skipped);
    }
}

/* ---- Functions of their arguments ------------------------------------------------------------ */

static cellar_err memoized(cellar_load *load, const cellar_arg *args, size_t count, void *ctx)
{
    (void)ctx;
    uint64_t x = calls_mix(args[0].as.u64 + count);
    calls_back();
    return chance(90) ? plain(CALL(cellar_load_value)(load, &x, sizeof x)) : CELLAR_E_IO;
}

static void row_memoize(void)
{
    cellar *c = atomic_load(&world.space[draw(CALLS_BEHIND)].c);
    CELLAR_ARGS(args, (uint64_t)draw(4), "text", 2.5);
    cellar_result r = cellar_result_default();
    unsigned char key[400];
    size_t len = 0, count = 0;
    uint32_t version = 0;
    cellar_bytes name;
    cellar_arg back[3];
    const unsigned n = 1 + draw(3);
    if (plain(CALL(cellar_memo_key)("f", n, args, n, key, (size_t)ONE_OF(400, 0, 8), &len)) ==
        CELLAR_OK && len <= 400 && chance(50)) {
        const cellar_err err =
            plain(CALL(cellar_memo_parse)(key, len, &name, &version, back, 3, &count));
        if (err == CELLAR_OK) {
            MUST(version == n && count == n && back[0].as.u64 == args[0].as.u64);
        }
    }
    if (c == NULL) { return; }
    cellar_load_opts o = draw_load_opts();
    o.ctx_bytes = 0, o.ctx_retain = NULL, o.ctx_release = NULL;
    never_wait(&o, false);
    const cellar_err err = plain(CALL(cellar_memoize)(c, "f", n, args, n, &o, memoized, NULL, &r));
    const uint64_t want = calls_mix(args[0].as.u64 + n);
    if (err == CELLAR_OK) { MUST(r.value_len == 8 && memcmp(r.value, &want, 8) == 0); }
    CALL(cellar_result_free)(&r);
}

static cellar_err answer(cellar_load *load, const cellar_llm_request *req, void *ctx)
{
    (void)ctx;
    cellar_llm_usage u = { .struct_size = sizeof u, .complete = chance(80), .tokens_out = 7 };
    calls_back();
    if (chance(5)) { return plain(CALL(cellar_load_value)(load, "not an answer", 13)); }
    return plain(CALL(cellar_llm_set_answer)(load, (const char *)req->prompt.data, req->prompt.len,
                                             &u));
}

static cellar_llm *calls_llm;
static cellar_embeddings *calls_embeddings;

static void row_llm(void)
{
    cellar_llm_request q = cellar_llm_request_default();
    cellar_result r = cellar_result_default();
    const cellar_llm_param param = { "temperature", CELLAR_ARG(0.0) };
    char key[CELLAR_KEY_BUILT_MAX];
    size_t len = 0;
    q.model = (cellar_bytes){ "m", 1 };
    q.prompt = (cellar_bytes){ "prompt 0123", (size_t)(7 + draw(4)) };
    MAYBE(q.flags, CELLAR_LLM_SHARED, CELLAR_LLM_SHARED, 0, 2);
    MAYBE(q.bucket, 0, 1, 2);
    if (chance(50)) { q.params = &param, q.param_count = 1; }
    if (chance(60)) { q.tenant = (cellar_bytes){ "secret", 6 }; }
    (void)spoil(&q, sizeof q);
    plain(CALL(cellar_llm_key)(&q, key, (size_t)ONE_OF(0, 10, CELLAR_KEY_BUILT_MAX), &len));
    if (calls_llm == NULL) { return; }
    cellar_llm_answer a = { .struct_size = sizeof a, .result = &r };
    if (plain(CALL(cellar_llm_get_or_call)(calls_llm, &q, answer, NULL, &a)) == CELLAR_OK) {
        MUST(a.text_len == q.prompt.len && memcmp(a.text, q.prompt.data, a.text_len) == 0);
    }
    CALL(cellar_result_free)(&r);
    cellar_llm_stats stats = cellar_llm_stats_default();
    plain(CALL(cellar_llm_stats_get)(calls_llm, &stats));
}

static float number_of_text(cellar_bytes text, unsigned i)
{
    return (float)(((const unsigned char *)text.data)[text.len - 1] + i);
}

static cellar_err make_vectors(cellar_embeddings_call *call, const cellar_bytes *texts,
                               size_t count,
                               void *ctx)
{
    (void)ctx;
    calls_back();
    for (size_t i = 0; i < count; i++) {
        float v[4];
        for (unsigned j = 0; j < 4; j++) { v[j] = number_of_text(texts[i], j); }
        if (chance(90)) { plain(CALL(cellar_embeddings_set)(call, i, v, chance(97) ? 4 : 3)); }
    }
    return chance(95) ? CELLAR_OK : CELLAR_E_IO;
}

static void row_embeddings(void)
{
    cellar_bytes texts[5];
    float out[20];
    cellar_err status[5];
    const char letters[] = "abcdefgh";
    const size_t n = 1 + draw(5);
    if (calls_embeddings == NULL) { return; }
    for (size_t i = 0; i < n; i++) { texts[i] = (cellar_bytes){ letters, 1 + draw(8) }; }
    if (plain(CALL(cellar_embeddings_get_many)(calls_embeddings, texts, n, make_vectors, NULL, out,
                                               status)) != CELLAR_OK) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (plain(status[i]) != CELLAR_OK) { continue; }
        for (unsigned j = 0; j < 4; j++) { MUST(out[i * 4 + j] == number_of_text(texts[i], j)); }
    }
}

/* ---- Damaged values -------------------------------------------------------------------------- */

/* A value of two equal numbers; else it is damaged. */
static void row_damaged(void)
{
    cellar *c = atomic_load(&world.space[1].c);
    const uint64_t o[2] = { 3, chance(60) ? 3 : 9 };
    const char *key = chance(50) ? "object0" : "object1";
    uint64_t got[2];
    size_t len = 0;
    if (c == NULL) { return; }
    if (chance(33)) {
        (void)told(c, CALL(cellar_set)(c, key, 7, o, sizeof o, NULL));
    } else if (told(c, CALL(cellar_get)(c, key, 7, got, sizeof got, &len)) == CELLAR_OK &&
               (len != sizeof got || got[0] != got[1])) {
        (void)told(c, CALL(cellar_value_damaged)(c, key, 7, got, len));
    }
}

/* ---- Objects --------------------------------------------------------------------------------- */

typedef struct calls_thing {
    _Atomic uint64_t alive; /* 1 until free_fn */
    size_t charge;
} calls_thing;

static _Atomic int64_t calls_things; /* not yet freed */

static calls_thing *new_thing(void)
{
    calls_thing *t = malloc(sizeof *t);
    MUST(t != NULL);
    atomic_fetch_add(&calls_things, 1);
    atomic_store(&t->alive, 1);
    t->charge = (size_t)ONE_OF(0, 100, 5000, 60000);
    return t;
}

static void drop_thing(calls_thing *t)
{
    atomic_fetch_sub(&calls_things, 1);
    free(t);
}

static void free_thing(void *object, size_t charge, cellar_cause why, void *ctx)
{
    calls_thing *t = object;
    (void)ctx;
    MUST(charge == t->charge && (unsigned)why < CELLAR_CAUSE_COUNT);
    MUST(atomic_exchange(&t->alive, 0) == 1);
    drop_thing(t);
}

static cellar_err load_thing(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    calls_thing *t = new_thing();
    return plain(CALL(cellar_load_object)(load, t, t->charge));
}

/* Use the objects of a namespace that the row opens: each is alive while it is held. */
static void thing_calls(cellar *v)
{
    cellar_load_opts lo = cellar_load_opts_default();
    cellar_held h = { 0 }, more = { 0 };
    cellar_lease lease = { { 0 } };
    calls_thing *t = new_thing();
    const char *key = chance(50) ? "thing0" : "thing1";
    never_wait(&lo, false);
    if (told(v, CALL(cellar_object_set)(v, key, 6, t, t->charge, NULL)) != CELLAR_OK) {
        drop_thing(t);
    }
    if (chance(50)) { (void)CALL(cellar_object_acquire)(v, key, 6, &h); }
    if (h.object == NULL) {
        (void)told(v, CALL(cellar_object_get_or_load)(v, key, 6, &lo, load_thing, NULL, &h));
    }
    if (chance(30)) { (void)CALL(cellar_delete)(v, key, 6); }
    if (h.object != NULL) {
        if (CALL(cellar_object_retain)(&h, &more) == CELLAR_OK) { MUST(more.object == h.object); }
        CALL(cellar_object_release)(&h);
    }
    if (more.object != NULL) { MUST(atomic_load(&((calls_thing *)more.object)->alive) == 1); }
    CALL(cellar_object_release)(&more);
    const cellar_err err =
        told(v, CALL(cellar_object_lease_acquire)(v, "leased", 6, &lo, NULL, &lease, &h));
    if (err == CELLAR_LEASED) {
        t = new_thing();
        if (CALL(cellar_object_lease_fulfill)(v, &lease, t, t->charge, NULL) < 0) {
            drop_thing(t);
        }
    }
    CALL(cellar_object_release)(&h);
}

static void row_thing(void)
{
    cellar *c = atomic_load(&world.space[0].c), *v = NULL;
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_thing };
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    if (c == NULL) { return; }
    if (told(c, CALL(cellar_namespace_open)(c, "things", &o, &v)) != CELLAR_OK) { return; }
    thing_calls(v);
    (void)CALL(cellar_namespace_close)(v);
}
