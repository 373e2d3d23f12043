/* SPDX-License-Identifier: MIT
 *
 * write_through: write to the source, then to the cache.
 *
 * INVARIANTS Refused arguments write nothing. After a failed writer, a failed set and a thread that
 *            ended inside the writer the cache has no value of the key.
 * NOT HERE   order between two writers of one key: they hold a keyed lock. */
#include "cellar_warm.h"

#include "base/opts.h"
#include "base/sync.h"
#include "base/user_callback.h"
#include "cellar_bloom.h"
#include "cellar_entry.h"

BASE_SIZE_BEGIN

typedef struct write_through_call {
    cellar *c;
    const void *key;
    size_t key_len;
    const void *value;
    size_t value_len;
    cellar_writer_fn fn;
    void *ctx;
    cellar_err err; /* result of the writer */
} write_through_call;

static void write_through_body(void *arg)
{
    write_through_call *w = arg;
    sync_assert_none();
    w->err = w->fn(w->key, w->key_len, w->value, w->value_len, w->ctx);
}

/* Delete the key after the thread ended inside the writer, which may have succeeded. */
static void write_through_left(void *arg)
{
    const write_through_call *w = arg;
    (void)cellar_bloom_add(w->c, w->key, w->key_len);
    (void)cellar_delete(w->c, w->key, w->key_len);
}

/* Check the options before the source is written, by a set of no item. */
static cellar_err write_through_check(cellar *c, const cellar_set_opts *o)
{
    const uint32_t banned = CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_PRESENT |
                            CELLAR_ONLY_IF_VERSION | CELLAR_NEGATIVE;
    cellar_set_opts full = cellar_set_opts_default();
    if (o != NULL && base_opts_in(&full, sizeof full, o) == CELLAR_OK) {
        if ((full.flags & banned) != 0) { return CELLAR_E_INVAL; }
        full.new_version = NULL; /* a set of many items has none */
        o = &full;
    }
    return cellar_set_many(c, NULL, 0, o, NULL);
}

CELLAR_API cellar_err cellar_write_through(cellar *c, const void *key, size_t key_len,
                                           const void *value, size_t value_len,
                                           const cellar_set_opts *o, cellar_writer_fn fn, void *ctx)
{
    if (c == NULL || fn == NULL || key == NULL || key_len == 0 || key_len > CELLAR_KEY_MAX ||
        (value == NULL && value_len != 0)) {
        return CELLAR_E_INVAL;
    }
    cellar_err err = write_through_check(c, o);
    if (err != CELLAR_OK) { return err; }
    write_through_call w = { c, key, key_len, value, value_len, fn, ctx, CELLAR_OK };
    const int cancel = base_cancel_off();
    base_run_callback(write_through_body, write_through_left, &w, cancel);
    base_cancel_set(cancel);
    err = w.err;
    /* The source may have the key now, whatever the writer returned. */
    (void)cellar_bloom_add(c, key, key_len);
    if (err == CELLAR_OK) { err = cellar_set(c, key, key_len, value, value_len, o); }
    if (err != CELLAR_OK) { (void)cellar_delete(c, key, key_len); }
    return err;
}

BASE_SIZE_END
