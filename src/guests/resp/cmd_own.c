/* SPDX-License-Identifier: MIT
 *
 * cmd_own: CELLAR.WHY TOPK NAMESPACES META TAGDEL BUMP METRICS POLICY.
 *
 * INVARIANTS Each is the public call of the same name, on the namespace of the selected database.
 *            METRICS and TAGDEL: on its store; of database 0 that may be the shared one.
 *            Answers are maps: flat arrays for a client of RESP2.
 * LOCKING    None. */
#include "base/num.h"
#include "cellar_admin.h"
#include "cellar_invalidate.h"
#include "cellar_kit.h"
#include "cellar_observe.h"
#include "resp/data.h"
#include "resp/track.h"

#include <stdio.h>
#include <string.h>

BASE_SIZE_BEGIN

#define RESP_TOPK_MAX 64

/* Send a time, -1 for one without limit. */
static void resp_pair_ms(resp_client *c, const char *name, int64_t ms)
{
    resp_pair_int(c, name, ms == CELLAR_TTL_NONE ? -1 : ms);
}

/* ---- One key --------------------------------------------------------------------------------- */

static const char *resp_why_name(cellar_why_answer a)
{
    switch (a) {
    case CELLAR_WHY_UNKNOWN: return "unknown";
    case CELLAR_WHY_LIVE: return "live";
    case CELLAR_WHY_STALE: return "stale";
    case CELLAR_WHY_NEGATIVE: return "negative";
    case CELLAR_WHY_ERROR: return "error";
    case CELLAR_WHY_LOADING: return "loading";
    case CELLAR_WHY_GONE: return "gone";
    case CELLAR_WHY_NOT_IN_SOURCE: return "not in source";
    }
    return "unknown";
}

RESP_CALL(resp_cmd_why)
{
    (void)argc;
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    cellar_reason why = cellar_reason_default();
    const cellar_err err = cellar_why(ns, argv[1].data, argv[1].len, &why);
    if (err != CELLAR_OK) {
        resp_fail(c, err);
        return;
    }
    resp_map(c, 7);
    resp_pair_text(c, "answer", resp_why_name(why.answer));
    resp_pair_text(c, "cause",
                   why.answer == CELLAR_WHY_GONE ? cellar_cause_name(why.cause) : "");
    resp_pair_int(c, "ago_ms", why.ago_ms);
    resp_pair_int(c, "age_ms", why.age_ms);
    resp_pair_int(c, "ttl_ms", why.ttl_ms);
    resp_pair_int(c, "hits", (int64_t)why.hits);
    resp_bulk_text(c, "by");
    resp_bulk(c, why.by, BASE_MIN(why.by_len, CELLAR_WHY_BY_MAX));
}

static const char *resp_kind_name(cellar_err err, cellar_kind kind)
{
    if (err == CELLAR_STALE) { return "stale"; }
    switch (kind) {
    case CELLAR_KIND_VALUE: return "value";
    case CELLAR_KIND_NEGATIVE: return "absent";
    case CELLAR_KIND_ERROR: return "error";
    case CELLAR_KIND_OBJECT: return "object";
    }
    return "value";
}

/* Read a counter of cellar_increment: a value of exactly 8 bytes that is no decimal text. */
static bool resp_counter(cellar *ns, cellar_bytes key, const cellar_entry_info *info, int64_t *n)
{
    unsigned char bytes[8];
    size_t len = 0;
    cellar_get_opts o = cellar_get_opts_default();
    o.flags = CELLAR_GET_PEEK;
    int64_t decimal;
    if (info->value_len != sizeof bytes ||
        cellar_get_with(ns, key.data, key.len, &o, bytes, sizeof bytes, &len) != CELLAR_OK ||
        len != sizeof bytes || resp_to_int(&(cellar_bytes){ bytes, len }, &decimal)) {
        return false;
    }
    memcpy(n, bytes, sizeof bytes); /* little-endian, as every machine that builds the library */
    return true;
}

RESP_CALL(resp_cmd_meta)
{
    (void)argc;
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    cellar_entry_info i = cellar_entry_info_default();
    const cellar_err err = cellar_entry_info_get(ns, argv[1].data, argv[1].len, 0, &i);
    if (err == CELLAR_MISS) {
        resp_null(c);
        return;
    }
    if (err < 0) {
        resp_fail(c, err);
        return;
    }
    int64_t counter = 0;
    const bool counts = err == CELLAR_OK && resp_counter(ns, argv[1], &i, &counter);
    resp_map(c, counts ? 12 : 11);
    resp_pair_text(c, "kind", resp_kind_name(err, i.kind));
    resp_pair_text(c, "tier", i.tier == CELLAR_TIER_L2 ? "disk" : "memory");
    resp_pair_int(c, "value_len", (int64_t)i.value_len);
    resp_pair_ms(c, "ttl_left_ms", i.ttl_left_ms);
    resp_pair_int(c, "stale_left_ms", i.stale_left_ms);
    resp_pair_int(c, "idle_ms", i.idle_ms);
    resp_pair_ms(c, "age_ms", i.age_ms);
    resp_pair_int(c, "hits", (int64_t)i.hits);
    resp_pair_int(c, "user_flags", (int64_t)i.user_flags);
    resp_pair_int(c, "cost_us", (int64_t)i.cost_us);
    resp_bulk_text(c, "tagged");
    resp_bool(c, (i.flags & CELLAR_INFO_TAGGED) != 0);
    if (counts) { resp_pair_int(c, "counter", counter); }
}

/* ---- Figures --------------------------------------------------------------------------------- */

RESP_CALL(resp_cmd_topk)
{
    int64_t most = 10;
    if (argc > 2) {
        resp_wrong_arity(c, "cellar.topk");
        return;
    }
    if (argc == 2 && !resp_need_int(c, &argv[1], &most)) { return; }
    if (most < 1 || most > RESP_TOPK_MAX) {
        resp_error(c, "ERR the number of keys must be 1..%d", RESP_TOPK_MAX);
        return;
    }
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    cellar_hot_key key[RESP_TOPK_MAX];
    size_t count = 0;
    const cellar_err err =
        cellar_hot_keys(ns, CELLAR_SCOPE_NAMESPACE, key, (size_t)most, &count);
    if (err != CELLAR_OK) {
        resp_fail(c, err);
        return;
    }
    resp_array(c, count);
    for (size_t i = 0; i < count; i++) {
        resp_map(c, 3);
        resp_bulk_text(c, "key");
        resp_bulk(c, key[i].key, BASE_MIN(key[i].key_len, CELLAR_HOT_KEY_BYTES));
        resp_bulk_text(c, "gets_per_s");
        resp_double(c, key[i].gets_per_s);
        resp_bulk_text(c, "share");
        resp_double(c, key[i].share);
    }
}

/* Send the databases that are open. The port knows no other namespaces. */
typedef struct resp_namespaces { /* the answer to CELLAR.NAMESPACES */
    resp_client *c;
    uint64_t count, left; /* maps in the array; those that are not written yet */
} resp_namespaces;

static bool resp_count_namespace(const char *name, const cellar_stats *st, void *ctx)
{
    (void)name, (void)st;
    ((resp_namespaces *)ctx)->count++;
    return true;
}

static bool resp_put_namespace(const char *name, const cellar_stats *st, void *ctx)
{
    resp_namespaces *n = ctx;
    resp_client *c = n->c;
    int64_t db = -1; /* no command of the port reaches it */
    if (n->left == 0) { return false; }
    n->left--;
    for (uint32_t i = 0; i < RESP_DBS; i++) {
        if (strcmp(c->of->db[i].name, name) == 0) { db = (int64_t)i; }
    }
    resp_map(c, 8);
    resp_pair_int(c, "db", db);
    resp_pair_text(c, "name", name);
    resp_pair_int(c, "entries", (int64_t)st->namespace_entries);
    resp_pair_int(c, "gets", (int64_t)st->gets);
    resp_pair_int(c, "hits", (int64_t)(st->gets - st->misses));
    resp_pair_int(c, "sets", (int64_t)st->sets);
    resp_pair_int(c, "loads", (int64_t)st->loads);
    resp_pair_int(c, "evicted", (int64_t)st->ended[CELLAR_CAUSE_EVICTED]);
    return true;
}

RESP_CALL(resp_cmd_namespaces)
{
    (void)argv, (void)argc;
    resp_namespaces n = { .c = c };
    (void)cellar_namespace_list(c->of->store, resp_count_namespace, &n);
    n.left = n.count;
    resp_array(c, n.count);
    (void)cellar_namespace_list(c->of->store, resp_put_namespace, &n);
    while (n.left-- > 0) { resp_null(c); } /* dropped between the two lists */
}

#ifdef CELLAR_OMIT_TEXT
RESP_CALL(resp_cmd_metrics)
{
    (void)argv, (void)argc;
    resp_error(c, "ERR the library was built without texts");
}
#else
RESP_CALL(resp_cmd_metrics)
{
    (void)argv, (void)argc;
    cellar *const store = resp_is_shared(c) ? c->of->shared.store : c->of->store;
    size_t len = 0;
    cellar_err err = cellar_metrics_write(store, NULL, 0, &len);
    while (err == CELLAR_E_BUFFER) { /* again if a number grew meanwhile */
        const size_t cap = len + 256;
        char *room = resp_bulk_reserve(c, cap);
        err = room != NULL ? cellar_metrics_write(store, room, cap, &len) : CELLAR_E_NOMEM;
        if (err == CELLAR_OK) { resp_bulk_commit(c, len); }
    }
    if (err != CELLAR_OK) { resp_fail(c, err); }
}
#endif

/* ---- Changes --------------------------------------------------------------------------------- */

RESP_CALL(resp_cmd_tagdel)
{
    if (argc > 3 || (argc == 3 && !resp_is(&argv[2], "soft"))) {
        resp_syntax(c);
        return;
    }
    const cellar_tag_mode mode = argc == 3 ? CELLAR_TAG_SOFT : CELLAR_TAG_HARD;
    if (argv[1].len == 0 || argv[1].len > CELLAR_TAG_MAX) {
        resp_error(c, "ERR a tag has 1..%u bytes", CELLAR_TAG_MAX);
        return;
    }
    cellar *const store = resp_is_shared(c) ? c->of->shared.store : c->of->store;
    const cellar_err err = cellar_delete_by_tag(store, argv[1].data, argv[1].len, mode);
    if (resp_is_shared(c)) { resp_changed_all(c->of); }
    if (err != CELLAR_OK) { resp_fail(c, err); } else { resp_ok(c); }
}

RESP_CALL(resp_cmd_bump)
{
    (void)argv, (void)argc;
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    uint32_t version = 0;
    const cellar_err err = cellar_version_set(ns, 0, &version);
    if (resp_is_shared(c)) { resp_changed_all(c->of); }
    if (err != CELLAR_OK) { resp_fail(c, err); } else { resp_int(c, (int64_t)version); }
}

/* Keep the first note. */
static void resp_policy_note(const cellar_settings_note *note, void *ctx)
{
    char *text = ctx;
    if (text[0] == '\0') { (void)snprintf(text, 512, "%s", note->text); }
}

/* Load the policy file again. */
RESP_CALL(resp_cmd_policy)
{
    if (argc != 2 || !resp_is(&argv[1], "reload")) {
        resp_syntax(c);
        return;
    }
    char note[512] = "";
    if (c->of->policy_file[0] == '\0') {
        resp_error(c, "ERR the port was opened without a policy file");
        return;
    }
    const cellar_err err = cellar_policy_reload(c->of->store, c->of->policy_file,
                                                resp_policy_note, note);
    if (err == CELLAR_OK) {
        resp_ok(c);
    } else if (note[0] != '\0') {
        resp_error(c, "ERR the present rules stay: %s", note);
    } else {
        resp_error(c, "ERR the present rules stay: code %d", (int)err);
    }
}

BASE_SIZE_END
