/* SPDX-License-Identifier: MIT
 *
 * limit_audit: check the invariants of a limiter by counting everything again.
 *
 * LOCKING    none: no other call runs */
#ifndef TESTS_SUPPORT_LIMIT_AUDIT_H
#define TESTS_SUPPORT_LIMIT_AUDIT_H

#include "limit/slots.h"

static inline bool limit_audit_slot(cellar_limiter *l, uint32_t bucket, limit_slot *s,
                                    const char **why)
{
    const uint64_t f = base_load_rlx(&s->fp), w = base_load_rlx(&s->word);
    limit_place p;
    *why = "a word is BUSY";
    if (w == LIMIT_BUSY) { return false; }
    if (f == 0) { return true; }
    limit_place_of(l, f & ~(uint64_t)1, &p);
    *why = "a key is in a foreign bucket";
    if (p.bucket[0] != bucket && p.bucket[1] != bucket) { return false; }
    *why = "a key has two slots";
    uint32_t seen = 0;
    for (uint32_t i = 0; i < 2 * LIMIT_WAYS; i++) {
        if (i >= LIMIT_WAYS && p.bucket[1] == p.bucket[0]) { break; }
        const limit_slot *t = limit_slot_at(l, p.bucket[i / LIMIT_WAYS], i % LIMIT_WAYS);
        seen += (base_load_rlx(&t->fp) ^ (f & ~(uint64_t)1)) <= 1;
    }
    if (seen != 1) { return false; }
    for (uint32_t i = 0; i < l->words; i++) {
        const uint64_t word = base_load_rlx(limit_word_at(s, i));
        *why = "a word is BUSY";
        if (word == LIMIT_BUSY) { return false; }
        *why = "a word has another colour than its slot";
        if ((word & LIMIT_COLOUR) != (w & LIMIT_COLOUR)) { return false; }
        if (i == l->rule_count || l->algorithm[i] != CELLAR_RULE_SLIDING_LOG) { continue; }
        const limit_ring g = limit_ring_of(l, s, i);
        const uint64_t used = limit_ring_used(g, word >> 2);
        const uint64_t end = limit_ring_written(word >> 2) + g.size;
        *why = "the stamps of a log decrease";
        for (uint64_t j = 1; j < used; j++) {
            if (base_load_rlx(&g.cell[(end - j) % g.size]) <
                base_load_rlx(&g.cell[(end - 1 - j) % g.size])) {
                return false;
            }
        }
    }
    return true;
}

static inline bool limit_audit_permits(cellar_limiter *l, uint64_t *out, const char **why)
{
    for (uint32_t b = 0; l->conc >= 0 && b < l->regions * l->region_buckets; b++) {
        for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
            limit_slot *s = limit_slot_at(l, b, way);
            const uint64_t v = base_load_rlx(limit_word_at(s, (uint32_t)l->conc)) >> 2;
            const uint32_t last = (uint32_t)v;
            uint64_t n = 0;
            *why = "the ring of permits of a key and its count differ";
            for (uint32_t i = last; i != 0 && n <= limit_permits_out(v);) {
                n++;
                i = l->permit[i - 1].next;
                if (i == last) { break; }
            }
            if (n != limit_permits_out(v)) { return false; }
            *out += n;
        }
    }
    return true;
}

static inline bool limit_audit_side(cellar_limiter *l, const char **why)
{
    uint32_t used = 0, in_chains = 0, vacant = 0;
    for (uint32_t i = 0; i < l->over_max; i++) { used += l->over[i].fp != 0; }
    for (uint32_t c = 0; c < l->over_buckets; c++) {
        for (uint32_t i = l->over_chain[c]; i != 0 && in_chains <= l->over_max;) {
            in_chains++;
            i = l->over[i - 1].next;
        }
    }
    for (uint32_t i = l->over_free; i != 0 && vacant <= l->over_max;) {
        vacant++;
        i = l->over[i - 1].next;
    }
    *why = "overrides in use, in chains and counted differ";
    if (used != in_chains || used != base_load_rlx(&l->over_count) ||
        used + vacant != l->over_max) {
        return false;
    }
    *why = "users of a plan and keys with that plan differ";
    for (uint32_t p = 0; p < l->plan_max; p++) {
        uint32_t users = l->plan[p].users != 0 && l->plan[p].name[0] != '\0';
        for (uint32_t i = 0; i < l->over_max; i++) {
            users += l->over[i].fp != 0 && l->over[i].plan == p + 1;
        }
        if (users != l->plan[p].users) { return false; }
    }
    uint64_t out = 0;
    if (!limit_audit_permits(l, &out, why)) { return false; }
    *why = "permits in rings and counted differ";
    return out == l->permit_count;
}

/* Return whether all holds; else *why is the fault. */
static inline bool limit_audit(cellar_limiter *l, const char **why)
{
    for (uint32_t b = 0; b < l->regions * l->region_buckets; b++) {
        for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
            if (!limit_audit_slot(l, b, limit_slot_at(l, b, way), why)) { return false; }
        }
    }
    if (!limit_audit_side(l, why)) { return false; }
    *why = "";
    return true;
}

#endif
