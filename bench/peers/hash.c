/* SPDX-License-Identifier: MIT
 *
 * hash: the library's keyed hash for peers in languages that cannot include its header. */
#include "base/hash.h"
#include "bench/harness/verify.h"
#include "bench/peers/peers.h"

#include <pthread.h>

static base_hash_key peers_key;
static pthread_once_t peers_once = PTHREAD_ONCE_INIT;

static void peers_hash_init(void)
{
    unsigned char secret[32];
    for (size_t i = 0; i < 4; i++) {
        const uint64_t word = verify_mix64(20240601 + i + 1);
        memcpy(secret + 8 * i, &word, 8);
    }
    base_hash_key_init(&peers_key, BASE_HASH_FOLD, secret);
}

void peers_hash_ready(void) { pthread_once(&peers_once, peers_hash_init); }

size_t peers_hash(const void *key, size_t len) { return base_hash(&peers_key, 0, key, len); }
