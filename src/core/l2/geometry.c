/* SPDX-License-Identifier: MIT
 *
 * geometry: how many segments and objects a size has room for, and the memory that they need.
 *
 * INVARIANTS All files together never exceed l2_bytes; the number of places follows from that.
 * LOCKING    None: pure functions of a configuration and a SUPER.
 * LIMITS     Estimates of memory are right within some KiB. */
#include "l2/geometry.h"

#include "l2/admission.h"
#include "l2/index.h"
#include "l2/index_snapshot.h"
#include "l2/recovery.h"
#include "l2/stall.h"
#include "l2/tombstone_filter.h"

BASE_SIZE_BEGIN

#define L2_AVG_BYTES 1024u
#define L2_AVG_MOST 65536u /* of a record: longer values have parts */
#define L2_OBJECTS_ROUND 8192u /* bytes: buckets and lines are rounded up */
#define L2_AVG_LEAST 512u /* without a setting, while the index takes 1/16 of the budget */

/* ---- places ---- */

/* Return the bytes of the tables that do not depend on the number of objects. */
static uint64_t l2_tables_beside(const l2_config *c, const l2_super *s, uint64_t nseg)
{
    const uint64_t row = sizeof(l2_seg) + sizeof(uint32_t);
    return l2_tombstone_locks_in(c->memory_bytes) * sizeof(l2_tombstone_lock) +
           l2_owed_bytes(c->memory_bytes) + nseg * row + (uint64_t)s->nstage * s->seg_bytes;
}

/* Return the objects for which all tables together take a quarter of the budget. */
static uint64_t l2_objects_most(const l2_config *c, const l2_super *s, uint64_t nseg)
{
    if (c->seg_count != 0) { return c->memory_bytes / 4 / 10; } /* chosen by a test */
    const uint64_t seen = l2_seen_in(c->memory_bytes, UINT64_MAX) * sizeof(uint64_t);
    const uint64_t beside = l2_tables_beside(c, s, nseg) + seen + L2_OBJECTS_ROUND;
    const uint64_t share = c->memory_bytes / 4;
    return share > beside ? (share - beside) * 10 / 103 : 0; /* 73/8 + 64/56 bytes per object */
}

/* Return the objects that the tables of `bytes` of segments are made for. */
static uint64_t l2_objects_in(const l2_config *c, const l2_super *s, uint64_t bytes)
{
    const uint64_t most = l2_objects_most(c, s, bytes / s->seg_bytes);
    uint64_t objects = bytes / (c->avg_object_bytes != 0 ? c->avg_object_bytes : L2_AVG_BYTES);
    if (c->avg_object_bytes == 0) {
        objects = BASE_MAX(objects, BASE_MIN(bytes / L2_AVG_LEAST, c->memory_bytes / 16 / 10));
    }
    const uint64_t least = c->seg_count == 0 ? bytes / L2_AVG_MOST : 0; /* else chosen by a test */
    return BASE_MAX(base_clamp(objects, 64, BASE_MAX(most, 64)), least);
}

CELLAR_PRIVATE uint64_t l2_data_room(const l2_super *s, uint64_t bytes)
{
    const uint64_t rest = L2_REST_WORST + (uint64_t)s->nstage * s->seg_bytes;
    return bytes > rest ? (bytes - rest) / s->seg_bytes * s->seg_bytes : 0;
}

CELLAR_PRIVATE uint64_t l2_snap_kept(const l2_config *c, const l2_super *s, uint64_t bytes)
{
    const uint64_t room = l2_data_room(s, bytes);
    return l2_snap_room(l2_objects_in(c, s, room), room / s->seg_bytes);
}

CELLAR_PRIVATE uint64_t l2_places_in(const l2_config *c, const l2_super *s, uint64_t bytes)
{
    const uint64_t room = l2_data_room(s, bytes), snap = l2_snap_kept(c, s, bytes);
    return room > snap ? (room - snap) / s->seg_bytes : 0;
}

CELLAR_PRIVATE uint64_t l2_places_beside(const l2_config *c, const l2_super *s, uint64_t bytes,
                                         uint64_t images)
{
    const uint64_t rest = L2_REST_WORST + (uint64_t)s->nstage * s->seg_bytes + images +
                          l2_snap_kept(c, s, bytes);
    const uint64_t most = bytes + s->seg_bytes;
    return BASE_MIN(most > rest ? (most - rest) / s->seg_bytes : 0, l2_places_in(c, s, bytes));
}

static uint32_t l2_seg_bytes_for(const l2_config *c)
{
    if (c->seg_bytes != 0) { return c->seg_bytes; }
    uint64_t seg = (uint64_t)512 << 10;
    if (c->bytes >= (uint64_t)32 << 20) { seg = (uint64_t)1 << 20; }
    if (c->bytes >= (uint64_t)128 << 20) { seg = (uint64_t)4 << 20; }
    if (c->bytes >= (uint64_t)1 << 30) { seg = (uint64_t)8 << 20; }
    const uint64_t most = base_pow2_floor(BASE_MAX(c->memory_bytes / 16, (uint64_t)64 << 10));
    return (uint32_t)BASE_MIN(seg, most);
}

CELLAR_PRIVATE cellar_err l2_geometry(const l2_config *c, l2_super *s)
{
    s->seg_bytes = l2_seg_bytes_for(c);
    s->nstage = c->stage_count != 0 ? c->stage_count : 4;
    while (c->stage_count == 0 && s->nstage > 2 &&
           (uint64_t)s->nstage * s->seg_bytes > c->memory_bytes / 8) {
        s->nstage--;
    }
    const uint64_t rest = L2_REST_WORST + (uint64_t)s->nstage * s->seg_bytes;
    if (c->seg_count == 0 && (c->bytes < L2_BYTES_MIN || c->bytes < rest)) {
        return CELLAR_E_INVAL;
    }
    const uint64_t nseg = c->seg_count != 0 ? c->seg_count : l2_places_in(c, s, c->bytes);
    if (nseg < L2_SEGS_MIN || nseg > UINT32_MAX / 2) { return CELLAR_E_INVAL; }
    s->nseg = (uint32_t)nseg;
    s->granule = 8;
    while (s->granule < 64 && nseg * s->seg_bytes / s->granule > L2_ADDR_MAX) { s->granule *= 2; }
    if (nseg * s->seg_bytes / s->granule > L2_ADDR_MAX) { return CELLAR_E_INVAL; }
    s->l2_bytes = c->bytes;
    return CELLAR_OK;
}

/* ---- memory ---- */

CELLAR_PRIVATE uint64_t l2_objects_for(const l2_config *c, const l2_super *s)
{
    const uint64_t wanted = c->seg_count == 0 ? l2_data_room(s, c->bytes) : 0;
    return l2_objects_in(c, s, BASE_MAX((uint64_t)s->nseg * s->seg_bytes, wanted));
}

CELLAR_PRIVATE uint64_t l2_tables_bytes(const l2_config *c, const l2_super *s)
{
    const uint64_t objects = l2_objects_for(c, s);
    const uint64_t index = (uint64_t)l2_index_buckets(objects) * L2_SHARDS * L2_WAYS;
    const uint64_t words = index + l2_seen_in(c->memory_bytes, objects);
    return words * sizeof(uint64_t) + l2_lines_in(objects) * sizeof(l2_filter_line) +
           l2_tables_beside(c, s, s->nseg);
}

/* Return true if the tables fit into c->memory_bytes together with memory and the rest of a store,
 * or with recovery during an open. README.md has the measured share. */
static bool l2_fits(const l2_config *c, const l2_super *s)
{
    const uint64_t beside = BASE_MAX(c->memory_bytes / 24, l2_recover_bytes(s));
    return l2_tables_bytes(c, s) + beside + ((uint64_t)128 << 10) <= c->memory_bytes;
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
        if (l2_fits(&c, &s)) { break; }
    } while (c.memory_bytes < (uint64_t)1 << 50);
    return c.memory_bytes;
}

BASE_SIZE_END
