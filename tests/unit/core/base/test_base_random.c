/* SPDX-License-Identifier: MIT
 *
 * Aim:    the generator is the published one, bounded numbers are unbiased, kernel bytes differ;
 *         in a test program secrets come from the seed.
 * Method: first outputs against the published recurrence, written a second time; counts per value;
 *         extreme bounds. */
#define getrandom seeded_getrandom
#include "tests/support/t.h"
#undef getrandom

#include <sys/resource.h>

#include "base/hash.h"
#include "base/num.h"
#include "base/random.h"

static int refusing; /* error of each getrandom, EINTR of the next one; 0: none */
ssize_t getrandom(void *to, size_t len, unsigned flags);
ssize_t getrandom(void *to, size_t len, unsigned flags)
{
    if (refusing == 0) { return seeded_getrandom(to, len, flags); }
    errno = refusing;
    refusing = refusing == EINTR ? 0 : refusing;
    return -1;
}

static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

T_CASE(next_is_xoroshiro128plusplus)
{
    base_rng r = { { 1, 2 } };
    uint64_t s0 = 1, s1 = 2;
    T_EQ_U64(base_rng_next(&r), 393217); /* rotl(3, 17) + 1, by hand */
    for (int i = 0; i < 1000; i++) {
        uint64_t x = s0 ^ s1; /* one step of the published form */
        s0 = rotl(s0, 49) ^ x ^ (x << 21);
        s1 = rotl(x, 28);
        T_EQ_U64(r.s[0], s0);
        if (!T_EQ_U64(base_rng_next(&r), rotl(s0 + s1, 17) + s0)) { return; }
    }
}

T_CASE(equal_seeds_repeat_others_do_not)
{
    base_rng a, b, c;
    base_rng_seed(&a, 7);
    base_rng_seed(&b, 7);
    base_rng_seed(&c, 8);
    T_CHECK(a.s[0] != 0 || a.s[1] != 0);
    T_EQ_U64(base_rng_next(&a), base_rng_next(&b));
    T_CHECK(base_rng_next(&a) != base_rng_next(&c));
    base_rng_seed(&a, 0); /* must not yield the all-zero state */
    T_CHECK(a.s[0] != 0 || a.s[1] != 0);
}

T_CASE(below_is_in_range_and_unbiased)
{
    base_rng r;
    base_rng_seed(&r, t_seed());
    static const uint64_t bounds[] = { 1, 2, 3, 10, 1000003, UINT64_C(1) << 63,
                                       (UINT64_C(1) << 63) + 1, UINT64_MAX };
    for (size_t b = 0; b < sizeof bounds / sizeof bounds[0]; b++) {
        for (int i = 0; i < 1000; i++) { T_CHECK(base_rng_below(&r, bounds[b]) < bounds[b]); }
    }
    uint64_t count[7] = { 0 };
    for (int i = 0; i < 700000; i++) { count[base_rng_below(&r, 7)]++; }
    for (int i = 0; i < 7; i++) { T_CHECK(count[i] > 98000 && count[i] < 102000); }
    uint64_t upper = 0; /* with a bound just over half, a biased method prefers the lower third */
    for (int i = 0; i < 100000; i++) {
        upper += base_rng_below(&r, UINT64_C(3) << 62) >= UINT64_C(1) << 63;
    }
    T_CHECK(upper > 32300 && upper < 34400);
}

T_CASE(kernel_bytes_fill_the_buffer)
{
    unsigned char a[600], b[600];
    memset(a, 0, sizeof a);
    T_CHECK(base_random_bytes(a, sizeof a));
    T_CHECK(base_random_bytes(b, sizeof b));
    T_CHECK(memcmp(a, b, sizeof a) != 0);
    size_t zeros = 0;
    for (size_t i = 0; i < sizeof a; i++) { zeros += a[i] == 0; }
    T_CHECK(zeros < 30);
    T_CHECK(base_random_bytes(a, 0));
}

/* A kernel or a sandbox without the call. */
T_CASE(bytes_come_from_the_device_where_the_call_is_refused)
{
    static const int errors[] = { EINTR, EPERM, ENOSYS };
    unsigned char bytes[64], zero[64] = { 0 };
    struct rlimit was, none;
    for (int i = 0; i < 3; i++) {
        memset(bytes, 0, sizeof bytes);
        refusing = errors[i];
        T_CHECK(base_random_bytes(bytes, sizeof bytes) && memcmp(bytes, zero, sizeof bytes) != 0);
        T_EQ_I64(refusing, i != 0 ? errors[i] : 0); /* it was asked */
    }
    T_REQUIRE(getrlimit(RLIMIT_NOFILE, &was) == 0);
    none = was, none.rlim_cur = 0;
    T_REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    T_CHECK(!base_random_bytes(bytes, sizeof bytes)); /* no descriptor is left */
    T_REQUIRE(setrlimit(RLIMIT_NOFILE, &was) == 0);
    refusing = 0;
}

/* t.h tells secrets from ids by the length that the library requests. */
T_CASE(secrets_come_from_the_seed_and_ids_do_not)
{
    unsigned char one[32], two[32], again[32], id[2][16];
    const uint64_t drawn = atomic_load(&t_.drawn[1]), seed = t_.seed;
    T_CHECK(base_random_bytes(one, 32) && base_random_bytes(two, 32));
    T_CHECK(memcmp(one, two, 32) != 0);
    atomic_store(&t_.drawn[1], drawn);
    T_CHECK(base_random_bytes(id[0], 16) && base_random_bytes(again, 32));
    T_EQ_MEM(again, one, 32);
    atomic_store(&t_.drawn[1], drawn);
    t_.seed = seed + 1;
    T_CHECK(base_random_bytes(id[1], 16) && base_random_bytes(again, 32));
    t_.seed = seed;
    T_CHECK(memcmp(again, one, 32) != 0);
    T_CHECK(memcmp(id[0], id[1], 16) != 0);
}

T_CASE(arithmetic_saturates_and_rounds)
{
    size_t n;
    T_CHECK(!base_size_add(SIZE_MAX, 1, &n));
    T_CHECK(base_size_add(SIZE_MAX - 1, 1, &n) && n == SIZE_MAX);
    T_EQ_I64(base_add_sat(INT64_MAX, 1), BASE_NEVER_MS);
    T_EQ_I64(base_add_sat(INT64_MAX - 1, 1), INT64_MAX);
    T_EQ_I64(base_add_sat(-5, 3), -2);
    T_EQ_U64(base_round_up(0, 8), 0);
    T_EQ_U64(base_round_up(9, 8), 16);
    T_EQ_U64(base_pow2_ceil(0), 1);
    T_EQ_U64(base_pow2_ceil(5), 8);
    T_EQ_U64(base_pow2_ceil(8), 8);
    T_EQ_U64(base_pow2_floor(0), 1);
    T_EQ_U64(base_pow2_floor(9), 8);
    T_EQ_U64(base_log2_floor(UINT64_MAX), 63);
    T_EQ_U64(base_clamp(5, 6, 7), 6);
    T_EQ_U64(base_clamp(9, 6, 7), 7);
    uint64_t lo = UINT64_MAX, hi = UINT64_MAX;
    base_hash_mul(&lo, &hi);
    T_EQ_U64(lo, 1);
    T_EQ_U64(hi, UINT64_MAX - 1);
}

T_CASE(mix_is_a_bijection_on_samples)
{
    T_EQ_U64(base_mix64(0), 0);
    base_rng r;
    base_rng_seed(&r, t_seed());
    for (int i = 0; i < 1000; i++) { /* undone step by step */
        uint64_t x = base_rng_next(&r), y = base_mix64(x);
        const uint64_t inverse = UINT64_C(0xcfee444d8b59a89b);
        y ^= y >> 32;
        y *= inverse;
        y ^= y >> 32;
        y *= inverse;
        y ^= y >> 32;
        if (!T_EQ_U64(y, x)) { return; }
    }
}

T_MAIN("base_random")
