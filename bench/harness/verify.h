/* SPDX-License-Identifier: MIT
 *
 * verify: the keys and values that every subject stores, and the check of each hit.
 *
 * FORMAT     key    16 bytes: mix64(id + 1), then id, both little-endian; 8 bytes: id alone
 *            value  bytes 0..7 id; 8..len-2 are 0x5A; last byte = low byte of id. Stamped at both
 *            ends, so that a torn copy, a foreign value and a wrong length are all seen.
 * INVARIANTS the value of an id never changes, so concurrent writers of one key agree: a difference
 *            is always a mistake of the subject.
 * LIMITS     values of 8 bytes or more; ids below 2^31. */
#ifndef BENCH_HARNESS_VERIFY_H
#define BENCH_HARNESS_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VERIFY_KEY_MAX 16
#define VERIFY_FILL 0x5A

/* Bijective; the finaliser of splitmix64. */
static inline uint64_t verify_mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static inline void verify_make_key(unsigned char key[VERIFY_KEY_MAX], uint64_t id, size_t key_len)
{
    if (key_len == 16) {
        const uint64_t words[2] = { verify_mix64(id + 1), id };
        memcpy(key, words, 16);
    } else {
        memcpy(key, &id, 8);
    }
}

/* Stamp a buffer that verify_fill prepared. */
static inline void verify_stamp(unsigned char *value, size_t len, uint64_t id)
{
    memcpy(value, &id, 8);
    value[len - 1] = (unsigned char)id;
}

static inline bool verify_value(const unsigned char *value, size_t len, uint64_t id,
                                size_t want_len)
{
    uint64_t head;
    memcpy(&head, value, 8);
    uint64_t want = id;
    if (want_len == 8) {
        want = (id & ~(UINT64_C(0xFF) << 56)) | (id & 0xFF) << 56;
    }
    return len == want_len && head == want && value[len - 1] == (unsigned char)id;
}

/* Remove the stamp of a shorter value: every byte that a stamp may have changed. */
void verify_fill(unsigned char *value, size_t cap);

/* Check every byte of a value, for tests and for suites that are not timed. */
bool verify_value_full(const unsigned char *value, size_t len, uint64_t id);

#endif
