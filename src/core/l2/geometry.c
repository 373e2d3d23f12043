/* SPDX-License-Identifier: MIT
 *
 * geometry: how many segments and entries a size has room for, and the memory that they need.
 *
 * INVARIANTS All files together exceed l2_bytes only while the size changes.
 *            A segment has 1 MiB at most below 16 GiB: so each size has 12 of them at least, and
 *            a change of the size keeps the size of segments.
 *            A store keeps the length of its longest record: buffers of each open have room for it.
 * LOCKING    None: pure functions of a configuration and a SUPER.
 * LIMITS     Estimates of memory are right within some KiB. */
#include "l2/geometry.h"

#include "l2/admission.h"
#include "l2/index.h"

BASE_SIZE_BEGIN

#define L2_AVG_BYTES 1024u
#define L2_AVG_MOST 65536u /* a long value has a record for each */
#define L2_AVG_LEAST 512u /* without a setting, while the index takes 1/16 of the budget */
#define L2_BUF_LEAST ((uint64_t)256 << 10)
#define L2_SMALL ((uint64_t)8 << 20) /* below, buffers leave the budget to the index */
#define L2_BUF_MOST ((uint64_t)1 << 20)
#define L2_SLOT_BYTES 12u
#define L2_REST_BYTES (4 * L2_PAGE) /* SUPER, LOCK */

static uint32_t l2_seg_bytes_for(const l2_config *c)
{
    if (c->seg_bytes != 0) { return c->seg_bytes; }
    uint64_t seg = (uint64_t)512 << 10;
    if (c->bytes >= (uint64_t)32 << 20) { seg = (uint64_t)1 << 20; }
    if (c->bytes >= (uint64_t)16 << 30) { seg = (uint64_t)4 << 20; }
    if (c->bytes >= (uint64_t)256 << 30) { seg = (uint64_t)8 << 20; }
    const uint64_t most = base_pow2_floor(BASE_MAX(c->memory_bytes / 16, (uint64_t)64 << 10));
    return (uint32_t)BASE_MIN(seg, most);
}

CELLAR_PRIVATE uint64_t l2_places_in(uint64_t bytes, uint32_t seg_bytes)
{
    return bytes > L2_REST_BYTES ? (bytes - L2_REST_BYTES) / seg_bytes : 0;
}

CELLAR_PRIVATE cellar_err l2_geometry(const l2_config *c, l2_super *s)
{
    s->seg_bytes = l2_seg_bytes_for(c);
    if (c->seg_count == 0 && c->bytes < L2_BYTES_MIN) { return CELLAR_E_INVAL; }
    const uint64_t nseg = c->seg_count != 0 ? BASE_MAX(c->seg_count, L2_SEGS_MIN)
                                            : l2_places_in(c->bytes, s->seg_bytes);
    if (nseg < L2_SEGS_MIN || nseg > UINT32_MAX / 2) { return CELLAR_E_INVAL; }
    s->nseg = (uint32_t)nseg;
    s->granule = 8;
    while (s->granule < 64 && nseg * s->seg_bytes / s->granule >> 36 != 0) { s->granule *= 2; }
    if (nseg * s->seg_bytes / s->granule >> 36 != 0) { return CELLAR_E_INVAL; }
    s->l2_bytes = c->bytes;
    s->room_max = 0;
    s->room_max = (uint32_t)base_clamp(s->seg_bytes / 2 - 2 * L2_PAGE, L2_PAGE,
                                       l2_buf_bytes(c, s) / 4);
    return CELLAR_OK;
}

CELLAR_PRIVATE size_t l2_buf_bytes(const l2_config *c, const l2_super *s)
{
    const uint64_t least = c->memory_bytes < L2_SMALL ? L2_BUF_LEAST / 2 : L2_BUF_LEAST;
    const uint64_t n = base_clamp(base_pow2_floor(c->memory_bytes / 64), least, L2_BUF_MOST);
    /* Once half is free each record fits: an open may have less memory than the one before. */
    return (size_t)BASE_MAX(BASE_MIN(n, (uint64_t)s->seg_bytes * 2),
                            (uint64_t)s->room_max * 2 + L2_PAGE);
}

CELLAR_PRIVATE size_t l2_work_bytes(const l2_config *c, const l2_super *s)
{
    return BASE_MAX((size_t)(c->memory_bytes < L2_SMALL ? 64 : 256) << 10,
                    (size_t)s->room_max + L2_PAGE);
}

CELLAR_PRIVATE size_t l2_rows_bytes(const l2_super *s)
{
    return (size_t)s->seg_bytes / L2_PAGE * L2_ROWS_A_PAGE * L2_ROW_BYTES;
}

/* Return the bytes of the tables that do not depend on the number of entries. */
static uint64_t l2_tables_beside(const l2_config *c, const l2_super *s)
{
    return l2_buf_bytes(c, s) + l2_rows_bytes(s) + L2_BOUNCE + l2_work_bytes(c, s) +
           l2_seen_in(c->memory_bytes, UINT64_MAX) * sizeof(uint64_t) + sizeof(l2);
}

CELLAR_PRIVATE uint64_t l2_words_for(const l2_config *c, const l2_super *s)
{
    /* At an open with another l2_bytes: of the greater size */
    const uint64_t asked = c->seg_count != 0 ? 0 : l2_places_in(c->bytes, s->seg_bytes);
    const uint64_t bytes = BASE_MAX(s->nseg, asked) * s->seg_bytes;
    const uint64_t beside = l2_tables_beside(c, s), share = c->memory_bytes / 4;
    /* A quarter of the share at least: the buffers are those of the open that made the store. */
    const uint64_t rest = BASE_MAX(share > beside ? share - beside : 0, share / 4);
    const uint64_t most = rest / (L2_SLOT_BYTES * 8) * 7;
    const uint64_t avg = c->avg_object_bytes != 0 ? c->avg_object_bytes : L2_AVG_BYTES;
    uint64_t words = bytes / BASE_MIN(avg, L2_AVG_MOST);
    if (c->avg_object_bytes == 0) {
        words = BASE_MAX(words, BASE_MIN(bytes / L2_AVG_LEAST,
                                         c->memory_bytes / 16 / L2_SLOT_BYTES));
    }
    return base_clamp(words, 64, BASE_MAX(most, 64));
}

CELLAR_PRIVATE uint64_t l2_tables_bytes(const l2_config *c, const l2_super *s)
{
    return l2_index_per(l2_words_for(c, s)) * L2_SHARDS * L2_SLOT_BYTES + l2_tables_beside(c, s);
}

CELLAR_PRIVATE uint64_t l2_memory_least(const l2_config *cfg, const l2_super *made)
{
    l2_config c = *cfg;
    do {
        c.memory_bytes += c.memory_bytes / 64;
        l2_super s = { .nseg = 0 };
        if (made != NULL) {
            s = *made;
        } else if (l2_geometry(&c, &s) != CELLAR_OK) {
            continue;
        }
        const uint64_t beside = BASE_MAX(c.memory_bytes / 24, l2_rows_bytes(&s));
        if (l2_tables_bytes(&c, &s) + beside + ((uint64_t)128 << 10) <= c.memory_bytes) { break; }
    } while (c.memory_bytes < (uint64_t)1 << 50);
    return c.memory_bytes;
}

BASE_SIZE_END
