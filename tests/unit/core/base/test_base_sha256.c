/* SPDX-License-Identifier: MIT
 *
 * Aim:    the digest of the program is SHA-256.
 * Method: the vectors of FIPS 180-4 / NIST; lengths around the edges of the padding, added in
 *         pieces of every size; sha256sum where it is installed. */
#include "tests/support/t.h"

#include "base/sha256.h"

static void hex_of(const unsigned char digest[32], char out[65])
{
    for (int i = 0; i < 32; i++) { snprintf(out + 2 * i, 3, "%02x", digest[i]); }
}

static void digest_of(const void *data, size_t len, char out[65])
{
    base_sha256 s;
    unsigned char digest[32];
    base_sha256_init(&s);
    base_sha256_add(&s, data, len);
    base_sha256_end(&s, digest);
    hex_of(digest, out);
}

T_CASE(published_vectors)
{
    static const struct { const char *text, *digest; } v[] = {
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
        { "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
          "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
          "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
    };
    char hex[65];
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        digest_of(v[i].text, strlen(v[i].text), hex);
        T_EQ_STR(hex, v[i].digest);
    }
}

T_CASE(a_million_times_a)
{
    char *text = malloc(1000000);
    char hex[65];
    T_REQUIRE(text != NULL);
    memset(text, 'a', 1000000);
    digest_of(text, 1000000, hex);
    T_EQ_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(text);
}

T_CASE(pieces_of_any_size_give_one_digest)
{
    unsigned char text[300];
    char whole[65], parts[65];
    for (size_t i = 0; i < sizeof text; i++) { text[i] = (unsigned char)(i * 7 + t_seed()); }
    for (size_t len = 0; len <= sizeof text; len++) {
        digest_of(text, len, whole);
        for (size_t step = 1; step < 130; step += 1 + step / 3) {
            base_sha256 s;
            unsigned char digest[32];
            base_sha256_init(&s);
            for (size_t at = 0; at < len; at += step) {
                base_sha256_add(&s, text + at, len - at < step ? len - at : step);
            }
            base_sha256_end(&s, digest);
            hex_of(digest, parts);
            if (!T_EQ_STR(parts, whole)) { return; }
        }
    }
}

T_CASE(sha256sum_agrees)
{
    if (system("command -v sha256sum >/dev/null 2>&1") != 0) {
        T_SKIP("sha256sum is not installed");
        return;
    }
    static const size_t len[] = { 1, 55, 56, 63, 64, 65, 119, 120, 4096, 100003 };
    char *text = malloc(100003), hex[65], said[80], command[200], path[64];
    T_REQUIRE(text != NULL);
    for (size_t i = 0; i < 100003; i++) { text[i] = (char)(i * 131 + (i >> 7)); }
    snprintf(path, sizeof path, "/tmp/cellar-sha256-%ld", (long)getpid());
    for (size_t i = 0; i < sizeof len / sizeof len[0]; i++) {
        FILE *f = fopen(path, "wb");
        T_REQUIRE(f != NULL);
        T_EQ_U64(fwrite(text, 1, len[i], f), len[i]);
        fclose(f);
        snprintf(command, sizeof command, "sha256sum <%s", path);
        FILE *p = popen(command, "r");
        T_REQUIRE(p != NULL);
        T_CHECK(fgets(said, sizeof said, p) != NULL);
        pclose(p);
        said[64] = '\0';
        digest_of(text, len[i], hex);
        T_EQ_STR(hex, said);
    }
    unlink(path);
    free(text);
}

T_MAIN("base_sha256")
