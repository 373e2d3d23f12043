/* SPDX-License-Identifier: MIT
 *
 * random: bytes from the kernel for secrets, and a small fast generator for everything else.
 *
 * LIMITS     The output of the generator predicts its future: it is never used for secrets.
 * SOURCE     Blackman and Vigna 2018, xoroshiro128++; Lemire 2019, bounded numbers by
 *            multiplication; Steele et al. 2014, splitmix64 for seeding. Own code. */
#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/num.h"

#if BASE_SIM
#include "base/sim_hooks.h"

CELLAR_PRIVATE bool base_random_bytes(void *out, size_t len)
{
    unsigned char *p = out;
    for (size_t i = 0; i < len; i++) { p[i] = (unsigned char)base_sim_random(); }
    return true;
}

#else

BASE_SIZE_BEGIN

static bool base_random_device(unsigned char *out, size_t len)
{
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0) { return false; }
    size_t got = 0;
    while (got < len) {
        ssize_t n = read(fd, out + got, len - got);
        if (n > 0) {
            got += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            break;
        }
    }
    (void)close(fd);
    return got == len;
}

static bool base_random_kernel(unsigned char *p, size_t len)
{
    size_t got = 0;
    while (got < len) {
        ssize_t n = getrandom(p + got, len - got, 0);
        if (n > 0) {
            got += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            return base_random_device(p + got, len - got); /* old kernel or sandbox */
        }
    }
    return true;
}

/* Call getrandom with cancellation off: it is a cancellation point, and the first call of a thread
 * holds a lock here. */
CELLAR_PRIVATE bool base_random_bytes(void *out, size_t len)
{
    int state;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    const bool ok = base_random_kernel(out, len);
    (void)pthread_setcancelstate(state, &state);
    return ok;
}

BASE_SIZE_END

#endif

static uint64_t base_rng_split(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Seed the generator. Both words come from a bijection of different inputs, so they are never both
 * zero, the only state to avoid. */
CELLAR_PRIVATE void base_rng_seed(base_rng *r, uint64_t seed)
{
    r->s[0] = base_rng_split(&seed);
    r->s[1] = base_rng_split(&seed);
}

CELLAR_PRIVATE uint64_t base_rng_next(base_rng *r)
{
    uint64_t a = r->s[0], b = r->s[1];
    uint64_t out = base_rotl(a + b, 17) + a;
    b ^= a;
    r->s[0] = base_rotl(a, 49) ^ b ^ (b << 21);
    r->s[1] = base_rotl(b, 28);
    return out;
}

CELLAR_PRIVATE uint64_t base_rng_below(base_rng *r, uint64_t n)
{
    BASE_ASSERT(n >= 1);
    uint64_t high = base_rng_next(r), low = n;
    base_hash_mul(&low, &high); /* low half, high half of n * random */
    if (BASE_UNLIKELY(low < n)) {
        uint64_t reject = (0 - n) % n;
        while (low < reject) {
            high = base_rng_next(r);
            low = n;
            base_hash_mul(&low, &high);
        }
    }
    return high;
}
