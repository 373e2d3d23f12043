/* SPDX-License-Identifier: MIT
 *
 * board: the n best members by score, as one value.
 *
 * FORMAT     u32 "CBD1", u32 count, u32 cap, u32 bytes; count x {f64 score, u32 offset, u16 length,
 *            u16 0}; the bytes of the members. Little-endian.
 *            Order: score falling, equal scores by the bytes of the member rising. The members
 *            stand in the order of their rows, without gaps.
 * INVARIANTS A value is written only if all its sums fit. Another value is E_TYPE, and stays. */
#include "cellar_kit.h"

#include "base/num.h"
#include "cellar_admin.h"
#include "kit/bytes.h"

#include <string.h>

BASE_SIZE_BEGIN

#define KIT_BOARD_MAGIC 0x31444243u /* "CBD1" */
#define KIT_BOARD_HEAD 16u
#define KIT_BOARD_ROW 16u

typedef struct kit_board { /* a value that was checked */
    const unsigned char *rows, *members;
    uint32_t count;
} kit_board;

static double kit_board_score(const kit_board *b, uint32_t i)
{
    const uint64_t bits = kit_r64(b->rows + (size_t)i * KIT_BOARD_ROW);
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static cellar_bytes kit_board_member(const kit_board *b, uint32_t i)
{
    const unsigned char *row = b->rows + (size_t)i * KIT_BOARD_ROW;
    return (cellar_bytes){ b->members + kit_r32(row + 8), kit_r16(row + 12) };
}

/* Return whether row a stands before row b. */
static int kit_board_order(double score_a, cellar_bytes a, double score_b, cellar_bytes b)
{
    if (score_a != score_b) { return score_a > score_b ? -1 : 1; }
    const int cmp = memcmp(a.data, b.data, BASE_MIN(a.len, b.len));
    return cmp != 0 ? cmp : (a.len > b.len) - (a.len < b.len);
}

/* Check a value in full. An empty value is an empty board. */
static bool kit_board_read(const void *value, size_t len, kit_board *out)
{
    const unsigned char *p = value;
    *out = (kit_board){ NULL, NULL, 0 };
    if (len == 0) { return true; }
    if (len < KIT_BOARD_HEAD || kit_r32(p) != KIT_BOARD_MAGIC) { return false; }
    const uint32_t count = kit_r32(p + 4), cap = kit_r32(p + 8), bytes = kit_r32(p + 12);
    const uint64_t rows = (uint64_t)count * KIT_BOARD_ROW;
    if (count > cap || cap > CELLAR_BOARD_MAX || KIT_BOARD_HEAD + rows + bytes != len) {
        return false;
    }
    *out = (kit_board){ p + KIT_BOARD_HEAD, p + KIT_BOARD_HEAD + rows, count };
    uint32_t sum = 0; /* bytes of the members before row i */
    for (uint32_t i = 0; i < count; i++) {
        const unsigned char *row = out->rows + (size_t)i * KIT_BOARD_ROW;
        const uint32_t at = kit_r32(row + 8), n = kit_r16(row + 12);
        const double score = kit_board_score(out, i);
        if (n == 0 || kit_r16(row + 14) != 0 || at != sum || n > bytes - at || score != score) {
            return false;
        }
        sum += n;
        if (i > 0 && kit_board_order(kit_board_score(out, i - 1), kit_board_member(out, i - 1),
                                     score, kit_board_member(out, i)) >= 0) {
            return false;
        }
    }
    return sum == bytes;
}

static uint32_t kit_board_find(const kit_board *b, cellar_bytes member)
{
    uint32_t i = 0;
    for (; i < b->count; i++) {
        const cellar_bytes m = kit_board_member(b, i);
        if (m.len == member.len && memcmp(m.data, member.data, m.len) == 0) { break; }
    }
    return i;
}

typedef enum kit_board_act { KIT_BOARD_PUT, KIT_BOARD_ADD, KIT_BOARD_REMOVE } kit_board_act;

typedef struct kit_board_change {
    kit_board_act act;
    cellar_bytes member;
    double score; /* new score, or what is added */
    uint32_t cap;
    bool dropped; /* out: the change put the member behind the last place */
    double now;   /* out: score of the member */
} kit_board_change;

typedef struct kit_board_writer {
    unsigned char *rows, *members;
    uint32_t count, bytes;
} kit_board_writer;

static void kit_board_write(kit_board_writer *w, double score, cellar_bytes member)
{
    unsigned char *row = w->rows + (size_t)w->count++ * KIT_BOARD_ROW;
    uint64_t bits;
    memcpy(&bits, &score, sizeof bits);
    kit_w64(row, bits);
    kit_w32(row + 8, w->bytes);
    kit_w16(row + 12, (uint16_t)member.len);
    kit_w16(row + 14, 0);
    memcpy(w->members + w->bytes, member.data, member.len);
    w->bytes += (uint32_t)member.len;
}

/* Write the first `count` rows of b without row `gone`, and the changed member at `place`. */
static cellar_err kit_board_build(const kit_board *b, const kit_board_change *ch, uint32_t gone,
                                  uint32_t place, uint32_t count, cellar_buf *out)
{
    size_t bytes = 0;
    for (uint32_t n = 0, i = 0; n < count; n++) {
        i += i == gone;
        bytes += n == place ? ch->member.len : kit_board_member(b, i).len;
        i += n != place;
    }
    void *p;
    const size_t rows = (size_t)count * KIT_BOARD_ROW;
    const cellar_err err = cellar_buf_resize(out, KIT_BOARD_HEAD + rows + bytes, &p);
    if (err != CELLAR_OK) { return err; }
    unsigned char *to = p;
    kit_w32(to, KIT_BOARD_MAGIC);
    kit_w32(to + 4, count);
    kit_w32(to + 8, ch->cap);
    kit_w32(to + 12, (uint32_t)bytes);
    kit_board_writer w = { to + KIT_BOARD_HEAD, to + KIT_BOARD_HEAD + rows, 0, 0 };
    for (uint32_t i = 0; w.count < count;) {
        i += i == gone;
        if (w.count == place) {
            kit_board_write(&w, ch->score, ch->member);
        } else {
            kit_board_write(&w, kit_board_score(b, i), kit_board_member(b, i));
            i++;
        }
    }
    return CELLAR_OK;
}

static cellar_err kit_board_update(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    kit_board_change *const arg = ctx;
    kit_board_change ch = *arg; /* a round may be lost: the next one needs the arguments */
    kit_board b;
    if (!kit_board_read(old, old_len, &b)) { return CELLAR_E_TYPE; }
    const uint32_t gone = kit_board_find(&b, ch.member);
    const bool there = gone < b.count;
    const uint32_t left = b.count - (there ? 1u : 0u);
    if (ch.act == KIT_BOARD_REMOVE) {
        if (!there) { return CELLAR_MISS; }
        if (left == 0) { return CELLAR_REMOVED; }
        ch.cap = kit_r32((const unsigned char *)old + 8);
        return kit_board_build(&b, &ch, gone, UINT32_MAX, left, out);
    }
    if (ch.act == KIT_BOARD_ADD && there) { ch.score += kit_board_score(&b, gone); }
    if (ch.score != ch.score) { return CELLAR_E_RANGE; } /* infinity less infinity */
    uint32_t place = 0;
    for (uint32_t i = 0; i < b.count; i++) {
        place += i != gone && kit_board_order(kit_board_score(&b, i), kit_board_member(&b, i),
                                              ch.score, ch.member) < 0;
    }
    const uint32_t count = BASE_MIN(left + 1, ch.cap);
    ch.dropped = place >= ch.cap;
    if (ch.dropped) { place = UINT32_MAX; }
    arg->dropped = ch.dropped;
    arg->now = ch.score;
    return kit_board_build(&b, &ch, gone, place, count, out);
}

static cellar_err kit_board_run(cellar *c, const void *key, size_t key_len,
                                const cellar_set_opts *o, kit_board_change *ch)
{
    if ((ch->member.data == NULL || ch->member.len == 0) || ch->member.len > UINT16_MAX ||
        ch->cap == 0 || ch->cap > CELLAR_BOARD_MAX || ch->score != ch->score) {
        return CELLAR_E_INVAL;
    }
    const uint32_t ruled = cellar_policy_max_items(c, key, key_len);
    if (ruled != 0) { ch->cap = BASE_MIN(ruled, CELLAR_BOARD_MAX); }
    const cellar_err err = cellar_update(c, key, key_len, o, kit_board_update, ch);
    return err == CELLAR_OK && ch->dropped ? CELLAR_DROPPED : err;
}

CELLAR_API cellar_err cellar_board_put(cellar *c, const void *key, size_t key_len,
                                       cellar_bytes member, double score, uint32_t cap,
                                       const cellar_set_opts *o)
{
    kit_board_change ch = { KIT_BOARD_PUT, member, score, cap, false, 0 };
    return kit_board_run(c, key, key_len, o, &ch);
}

CELLAR_API cellar_err cellar_board_add(cellar *c, const void *key, size_t key_len,
                                       cellar_bytes member, double delta, uint32_t cap,
                                       const cellar_set_opts *o, double *score)
{
    kit_board_change ch = { KIT_BOARD_ADD, member, delta, cap, false, 0 };
    const cellar_err err = kit_board_run(c, key, key_len, o, &ch);
    if (score != NULL) { *score = err == CELLAR_OK || err == CELLAR_DROPPED ? ch.now : 0; }
    return err;
}

CELLAR_API cellar_err cellar_board_remove(cellar *c, const void *key, size_t key_len,
                                          cellar_bytes member)
{
    kit_board_change ch = { KIT_BOARD_REMOVE, member, 0, 1, false, 0 };
    cellar_set_opts o = cellar_set_opts_default();
    o.flags = CELLAR_ONLY_IF_PRESENT | CELLAR_KEEP_TTL;
    const cellar_err err = kit_board_run(c, key, key_len, &o, &ch);
    return err == CELLAR_REMOVED ? CELLAR_OK : err;
}

/* ---- reads ---- */

/* Read a board. The caller frees *block. */
static cellar_err kit_board_load(cellar *c, const void *key, size_t key_len, kit_board *out,
                                 void **block)
{
    size_t len = 0;
    const cellar_err err = cellar_get_alloc(c, key, key_len, block, &len);
    if (err != CELLAR_OK) { return err; }
    if (kit_board_read(*block, len, out)) { return CELLAR_OK; }
    cellar_free(*block);
    *block = NULL;
    return CELLAR_E_TYPE;
}

CELLAR_API cellar_err cellar_board_top(cellar *c, const void *key, size_t key_len, uint32_t first,
                                       cellar_board_place *out, uint32_t out_cap, uint32_t *count,
                                       void **block)
{
    if (count != NULL) { *count = 0; }
    if (block != NULL) { *block = NULL; }
    if (count == NULL || block == NULL || (out == NULL && out_cap != 0)) { return CELLAR_E_INVAL; }
    kit_board b;
    const cellar_err err = kit_board_load(c, key, key_len, &b, block);
    if (err != CELLAR_OK) { return err; }
    for (uint32_t i = first; i < b.count && *count < out_cap; i++) {
        out[(*count)++] = (cellar_board_place){ kit_board_member(&b, i), kit_board_score(&b, i) };
    }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_board_rank(cellar *c, const void *key, size_t key_len,
                                        cellar_bytes member, uint32_t *rank, double *score)
{
    if (rank != NULL) { *rank = 0; }
    if (score != NULL) { *score = 0; }
    if (member.data == NULL || member.len == 0) { return CELLAR_E_INVAL; }
    kit_board b;
    void *block;
    cellar_err err = kit_board_load(c, key, key_len, &b, &block);
    if (err != CELLAR_OK) { return err; }
    const uint32_t i = kit_board_find(&b, member);
    if (i == b.count) {
        err = CELLAR_MISS;
    } else {
        if (rank != NULL) { *rank = i + 1; }
        if (score != NULL) { *score = kit_board_score(&b, i); }
    }
    cellar_free(block);
    return err;
}

BASE_SIZE_END
