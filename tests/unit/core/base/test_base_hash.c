/* SPDX-License-Identifier: MIT
 *
 * Aim:    keyed hashes have the same bits on every machine, depend on every byte, on length, salt
 *         and key, and never read outside the key.
 * Method: vectors of an independent program (SipHash-1-3 of key + salt agrees with CPython's hash
 *         of bytes); flips of each bit; keys that end at the end of a mapping. */
#include "tests/support/t.h"

#include <sys/mman.h>

#include "base/hash.h"
#include "base/random.h"

static base_hash_key fold, sip;

static void make_keys(void)
{
    unsigned char secret[32];
    for (int i = 0; i < 32; i++) { secret[i] = (unsigned char)(i * 7 + 1); }
    base_hash_key_init(&fold, BASE_HASH_FOLD, secret);
    base_hash_key_init(&sip, BASE_HASH_SIP13, secret);
}

static const struct {
    size_t len;
    uint32_t salt;
    uint64_t fold, sip;
} vectors[] = { /* key byte i = i * 131 + 17, secret byte i = i * 7 + 1 */
    { 0, 0x0u, UINT64_C(0x60cd8e5883aa2f1e), UINT64_C(0x53fe88dd1188d1b0) },
    { 0, 0x1u, UINT64_C(0x47f231f6c059ece6), UINT64_C(0xb0b8b22d006029ff) },
    { 0, 0xffffffffu, UINT64_C(0x62b27600751110eb), UINT64_C(0x873ecd0b1cd3d223) },
    { 1, 0x0u, UINT64_C(0x578e4f0d507a4f60), UINT64_C(0x1058ce971195dc38) },
    { 2, 0x0u, UINT64_C(0xfbf8032d9efa3a0b), UINT64_C(0x249e2f5fff72f237) },
    { 3, 0x0u, UINT64_C(0xd1c6e74fee4b75f0), UINT64_C(0x8800c7c9bb9a1d6d) },
    { 3, 0x1u, UINT64_C(0x923def3df195e225), UINT64_C(0x172daa3bbc98c217) },
    { 3, 0xffffffffu, UINT64_C(0xdbde235992a7eb23), UINT64_C(0xbaea674ff7b6dcd0) },
    { 4, 0x0u, UINT64_C(0x802bfb1821b4c4e6), UINT64_C(0xc2fe6ff54de358bd) },
    { 5, 0x0u, UINT64_C(0xae83a0eb037e594b), UINT64_C(0xa24a404dd1484b13) },
    { 7, 0x0u, UINT64_C(0x282e28d6eb578ec2), UINT64_C(0xf523407cf6ee9959) },
    { 7, 0x1u, UINT64_C(0x185494aff951d307), UINT64_C(0x522f72c2f22e98ce) },
    { 7, 0xffffffffu, UINT64_C(0x8284187351597bae), UINT64_C(0xe0af490a878a36c0) },
    { 8, 0x0u, UINT64_C(0xfb16c972e7e33ddb), UINT64_C(0xfc234ce0c18ef27c) },
    { 9, 0x0u, UINT64_C(0x4a71c0ec2176e40e), UINT64_C(0x50571d7fc71d8295) },
    { 12, 0x0u, UINT64_C(0xa2239ab2cf8a1a2a), UINT64_C(0x371dc42d43ac54c8) },
    { 15, 0x0u, UINT64_C(0x9db053f861d1cd1b), UINT64_C(0x95533816918cda20) },
    { 16, 0x0u, UINT64_C(0x62da7d240c71d272), UINT64_C(0xd912770bb149c43e) },
    { 16, 0x1u, UINT64_C(0xcf09d1d4a94bda43), UINT64_C(0xd48f253e60b51d76) },
    { 16, 0xffffffffu, UINT64_C(0x9495ad3860634823), UINT64_C(0x7a2139c2f3bd6b3b) },
    { 17, 0x0u, UINT64_C(0xd44a5fed0199e906), UINT64_C(0x8202e2741c3896f7) },
    { 24, 0x0u, UINT64_C(0x5491b3c6ffcd67f7), UINT64_C(0xe19305fc2eaf1fb4) },
    { 31, 0x0u, UINT64_C(0x41c067a6aa011d7a), UINT64_C(0xc54c26f3ca0694e6) },
    { 32, 0x0u, UINT64_C(0xe89377b2d6dd8505), UINT64_C(0xbce62f1435a38c83) },
    { 33, 0x0u, UINT64_C(0xb7f0f46caf4e14cb), UINT64_C(0x466397f0c0edca4d) },
    { 47, 0x0u, UINT64_C(0xd41cfaf7e8479449), UINT64_C(0xc115b88c95c04f4c) },
    { 48, 0x0u, UINT64_C(0x664df8a95469fb56), UINT64_C(0xf0cb1bd7cc6610f2) },
    { 48, 0x1u, UINT64_C(0xa315d8652ea0cce4), UINT64_C(0x0c32fadcb5516112) },
    { 48, 0xffffffffu, UINT64_C(0x6a907474a60d135f), UINT64_C(0xb88bfc8bd3f6760a) },
    { 49, 0x0u, UINT64_C(0xd382cf969732d9b0), UINT64_C(0x111a6dacc2e228e3) },
    { 64, 0x0u, UINT64_C(0xb0b8e91ec2e26f31), UINT64_C(0x890c11245d809ac3) },
    { 95, 0x0u, UINT64_C(0x2f71f83fce14f95f), UINT64_C(0xefb6ba65b7f2944f) },
    { 96, 0x0u, UINT64_C(0x95a836540a72da1f), UINT64_C(0x2e47ca4523345602) },
    { 97, 0x0u, UINT64_C(0x0a0bc6d2a95bd701), UINT64_C(0x7eb78629598b15bc) },
    { 128, 0x0u, UINT64_C(0x69d58c52ddf19c62), UINT64_C(0xa7845ff4ee61081b) },
    { 255, 0x0u, UINT64_C(0xb03109a07dd2e586), UINT64_C(0x6751297ed4f0eefe) },
    { 256, 0x0u, UINT64_C(0xc18ab841ebed2aa2), UINT64_C(0xff98e6874f23e30d) },
    { 300, 0x0u, UINT64_C(0x72e27d2f78f0c920), UINT64_C(0x549dfe9350d64470) },
    { 300, 0x1u, UINT64_C(0x3f9759e90d14ca9b), UINT64_C(0x5c69968296b0d623) },
    { 300, 0xffffffffu, UINT64_C(0x53d82dca5936f76a), UINT64_C(0x29b606ae1eaef25b) },
};

T_CASE(vectors_are_bit_exact)
{
    make_keys();
    unsigned char key[300];
    for (int i = 0; i < 300; i++) { key[i] = (unsigned char)(i * 131 + 17); }
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        T_EQ_U64(base_hash(&fold, vectors[i].salt, key, vectors[i].len), vectors[i].fold);
        T_EQ_U64(base_hash_long(&fold, vectors[i].salt, key, vectors[i].len), vectors[i].fold);
        T_EQ_U64(base_hash(&sip, vectors[i].salt, key, vectors[i].len), vectors[i].sip);
    }
}

T_CASE(every_secret_word_of_fold_is_odd)
{
    unsigned char secret[32];
    base_hash_key k;
    for (int byte = 0; byte < 256; byte++) {
        memset(secret, byte, sizeof secret);
        base_hash_key_init(&k, BASE_HASH_FOLD, secret);
        for (int i = 0; i < 4; i++) { T_CHECK((k.secret[i] & 1) == 1); }
    }
    memset(secret, 0, sizeof secret);
    base_hash_key_init(&k, BASE_HASH_SIP13, secret);
    T_EQ_U64(k.secret[0], 0);
}

/* Each input bit flips each output bit about half of the time: 40 keys of each of 3 lengths. */
T_CASE(each_bit_of_key_and_salt_changes_the_hash)
{
    base_rng r;
    base_rng_seed(&r, t_seed());
    static const size_t lengths[] = { 3, 16, 61 };
    const base_hash_key *keys[] = { &fold, &sip };
    make_keys();
    for (int a = 0; a < 2; a++) {
        for (int l = 0; l < 3; l++) {
            uint64_t flips = 0, total = 0;
            for (int round = 0; round < 40; round++) {
                unsigned char key[64];
                for (size_t i = 0; i < lengths[l]; i++) {
                    key[i] = (unsigned char)base_rng_next(&r);
                }
                uint64_t h = base_hash(keys[a], 5, key, lengths[l]);
                for (size_t bit = 0; bit < lengths[l] * 8; bit++) {
                    key[bit / 8] ^= (unsigned char)(1u << bit % 8);
                    uint64_t g = base_hash(keys[a], 5, key, lengths[l]);
                    key[bit / 8] ^= (unsigned char)(1u << bit % 8);
                    if (!T_CHECK(g != h)) { return; }
                    flips += (uint64_t)__builtin_popcountll(g ^ h);
                    total += 64;
                }
                T_CHECK(base_hash(keys[a], 6, key, lengths[l]) != h);
            }
            T_CHECK(flips * 100 > total * 48 && flips * 100 < total * 52);
        }
    }
}

/* A read beyond either end faults. */
T_CASE(hash_reads_nothing_outside_the_key)
{
    make_keys();
    unsigned char *p = mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(p != MAP_FAILED);
    T_REQUIRE(mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE) == 0);
    uint64_t sum = 0;
    for (size_t len = 0; len <= 300; len++) {
        sum += base_hash(&fold, 1, p + 4096, len) + base_hash(&fold, 1, p + 8192 - len, len);
        sum += base_hash(&sip, 1, p + 4096, len) + base_hash(&sip, 1, p + 8192 - len, len);
    }
    T_CHECK(sum != 0);
    munmap(p, 3 * 4096);
}

T_MAIN("base_hash")
