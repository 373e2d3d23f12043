/* SPDX-License-Identifier: MIT
 *
 * Aim:    the digest of the program is SHA-256.
 * Method: the vectors of FIPS 180-4 / NIST; lengths around the edges of the padding, against
 *         sha256sum, and added in pieces of every size. */
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

/* As sha256sum says. The million is a published vector, too. */
T_CASE(edges_of_the_padding)
{
    static const struct { size_t len; const char *digest; } v[] = {
        { 1, "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" },
        { 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318" },
        { 56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a" },
        { 63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34" },
        { 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb" },
        { 65, "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0" },
        { 119, "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb" },
        { 120, "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c" },
        { 4096, "c93eee2d0db02f10acc7460d9576e122dcf8cd53c4bf8dfcae1b3e74ebcfff5a" },
        { 1000000,
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
    };
    char *text = malloc(1000000);
    char hex[65];
    T_REQUIRE(text != NULL);
    memset(text, 'a', 1000000);
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        digest_of(text, v[i].len, hex);
        T_EQ_STR(hex, v[i].digest);
    }
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

T_MAIN("base_sha256")
