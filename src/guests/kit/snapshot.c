/* SPDX-License-Identifier: MIT
 *
 * snapshot: the snapshots of a limiter as entries of a namespace.
 *
 * PICTURE    "head" -> slot 0 or 1, number of pieces     {slot, number} -> a piece, as it was given
 *            save: pieces into the slot that the head does not name, then the head
 * INVARIANTS The pieces that the head names change only after a later save has replaced the head.
 *            A save that ends early therefore leaves the snapshot before it.
 * DAMAGE     A piece that is missing fails the read. A piece of another save, or with other bytes,
 *            breaks the sum at the end of the stream. The limiter refuses both and starts empty.
 * LOCKING    None: a limiter reads in its open, and saves by one thread at a time. */
#include "cellar_kit.h"

#ifndef CELLAR_OMIT_LIMIT

#include "base/mem.h"
#include "base/num.h"
#include "base/opts.h"
#include "cellar_l2.h"
#include "cellar_observe.h"

#include <string.h>

BASE_SIZE_BEGIN

#define KIT_SNAPSHOT_PIECE 4096u /* cellar_snapshot_write_fn gets no longer one */

typedef struct kit_snapshot_head {
    char magic[8];
    uint32_t slot, pieces;
} kit_snapshot_head;

static const kit_snapshot_head kit_snapshot_none = { "CELLSNP1", 0, 0 };

struct cellar_limiter_snapshot {
    cellar *ns;
    kit_snapshot_head head; /* of the snapshot that is read or written */
    bool reading, writing;  /* one has begun */
    uint32_t next;          /* piece to read */
    size_t at, have;        /* bytes of `piece` that were read; its length */
    unsigned char piece[KIT_SNAPSHOT_PIECE];
};

static bool kit_snapshot_set(const cellar_limiter_snapshot *p, const void *key, size_t key_len,
                             const void *value, size_t len)
{
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_KEEP_OLD_VALUE,
                          .ttl_ms = CELLAR_TTL_NONE };
    return cellar_set(p->ns, key, key_len, value, len, &o) == CELLAR_OK;
}

static cellar_err kit_snapshot_head_seen(const void *head, size_t len, cellar_buf *out, void *place)
{
    cellar_limiter_snapshot *p = place;
    (void)out;
    if (len != sizeof p->head) { return CELLAR_E_CORRUPT; }
    memcpy(&p->head, head, len);
    const bool fine = p->head.slot < 2 &&
                      memcmp(p->head.magic, kit_snapshot_none.magic, sizeof p->head.magic) == 0;
    return fine ? CELLAR_EXISTS : CELLAR_E_CORRUPT;
}

/* Find the head. A miss may be one that the disk does not read now: a change would wait for it.
 * EXISTS, MISS (no snapshot), DISABLED, E_CORRUPT (something else), or the failure. */
static cellar_err kit_snapshot_head_get(cellar_limiter_snapshot *p)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_PRESENT };
    kit_snapshot_head head;
    size_t len;
    cellar_err err = cellar_get(p->ns, "head", 4, &head, sizeof head, &len);
    if (err == CELLAR_OK) { return kit_snapshot_head_seen(&head, len, NULL, p); }
    if (err == CELLAR_ABSENT || err == CELLAR_E_BUFFER) { return CELLAR_E_CORRUPT; }
    if (err != CELLAR_MISS) { return err; }
    err = cellar_update(p->ns, "head", 4, &o, kit_snapshot_head_seen, p);
    return err == CELLAR_E_UNSUPPORTED ? CELLAR_MISS : err; /* a shared tier without conditions */
}

static int kit_snapshot_write(const void *bytes, size_t len, bool last, void *ctx)
{
    cellar_limiter_snapshot *p = ctx;
    if (!p->writing) {
        const cellar_err err = kit_snapshot_head_get(p);
        if (err < 0 && err != CELLAR_E_CORRUPT) { return 1; }
        const uint32_t slot = err == CELLAR_EXISTS ? p->head.slot ^ 1u : 0;
        p->head = kit_snapshot_none;
        p->head.slot = slot;
    }
    const uint32_t key[2] = { p->head.slot, p->head.pieces++ };
    bool fine = kit_snapshot_set(p, key, sizeof key, bytes, len);
    if (fine && last) { fine = kit_snapshot_set(p, "head", 4, &p->head, sizeof p->head); }
    p->writing = fine && !last;
    return fine ? 0 : 1;
}

static int kit_snapshot_read(void *buf, size_t buf_cap, size_t *len, void *ctx)
{
    cellar_limiter_snapshot *p = ctx;
    *len = 0;
    if (!p->reading) {
        const cellar_err err = kit_snapshot_head_get(p);
        if (err != CELLAR_EXISTS) { return err < 0; }
        p->reading = true;
    }
    if (p->at == p->have) {
        const uint32_t key[2] = { p->head.slot, p->next };
        if (p->next == p->head.pieces) { return 0; }
        p->at = p->have = 0;
        if (cellar_get(p->ns, key, sizeof key, p->piece, sizeof p->piece, &p->have) !=
            CELLAR_OK) {
            return 1;
        }
        p->next++;
    }
    *len = BASE_MIN(buf_cap, p->have - p->at);
    memcpy(buf, p->piece + p->at, *len);
    p->at += *len;
    return 0;
}

CELLAR_API cellar_err cellar_limiter_snapshot_open(cellar *c, const char *name,
                                                   cellar_limiter_config *cfg,
                                                   cellar_limiter_snapshot **out)
{
    if (out != NULL) { *out = NULL; }
    if (c == NULL || name == NULL || cfg == NULL || out == NULL) { return CELLAR_E_INVAL; }
    size_t size;
    cellar_err err = base_opts_size(cfg, &size);
    if (err != CELLAR_OK) { return err; }
    if (size < sizeof *cfg) { return CELLAR_E_ABI; }
    if (cfg->snapshot_path != NULL || cfg->snapshot_write != NULL || cfg->snapshot_read != NULL) {
        return CELLAR_E_INVAL;
    }
    cellar_limiter_snapshot *p = base_alloc_raw(NULL, sizeof *p);
    if (p == NULL) { return CELLAR_E_NOMEM; }
    memset(p, 0, sizeof *p);
    cellar_namespace_config o = { .struct_size = sizeof o, .l2_write = CELLAR_L2_WRITE_THROUGH };
    cellar_stats s = cellar_stats_default();
    if (cellar_stats_get(c, CELLAR_SCOPE_STORE, &s) == CELLAR_OK && s.l2_memory_bytes == 0) {
        o.l2_write = CELLAR_L2_WRITE_DEFAULT; /* the store has no disk */
    }
    err = cellar_namespace_open(c, name, &o, &p->ns);
    if (err != CELLAR_OK) {
        base_free_raw(NULL, p, sizeof *p);
        return err;
    }
    cfg->snapshot_write = kit_snapshot_write;
    cfg->snapshot_read = kit_snapshot_read;
    cfg->snapshot_ctx = p;
    *out = p;
    return CELLAR_OK;
}

CELLAR_API void cellar_limiter_snapshot_close(cellar_limiter_snapshot *p)
{
    if (p == NULL) { return; }
    (void)cellar_namespace_close(p->ns);
    base_free_raw(NULL, p, sizeof *p);
}

BASE_SIZE_END
#endif
