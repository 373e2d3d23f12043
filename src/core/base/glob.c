/* SPDX-License-Identifier: MIT
 *
 * glob: match byte strings against Redis 7 patterns, iteratively, in O(pattern x key).
 *
 * FORMAT     *        any run, also empty            ?   one byte            \c  the byte c
 *            [abc]    one byte of the set            [a-c] [c-a]  one byte of the range
 *            [^abc]   one byte not in the set        every other byte is itself
 *            A class ends at the first ']' that is neither escaped nor the end of a range, else at
 *            the end of the pattern. So "[]" is empty and matches nothing, "[^]" matches any byte,
 *            "[a-]" is an open class with the range ']'..'a', "[a-" has the members 'a' and '-'.
 *            An escaped byte in a class starts no range. "[!x]" is no negation. A single '\' at
 *            the end is itself.
 * PICTURE    Match one token of the pattern against one byte of the key. On a mismatch return to
 *            the last star and let it take one byte more. Earlier stars are not needed: the text
 *            before the last star has matched already, and an earlier star that takes more leaves
 *            less of the key.
 * LIMITS     Ranges compare bytes as unsigned. Redis on x86-64 compares them as signed, which
 *            differs for ranges across 0x7f. The empty key matches only the empty pattern and "*",
 *            as in the server.
 * SOURCE     Behaviour of redis-server 7.0.15. Own code. */
#include "base/glob.h"

#include "base/check.h"

typedef struct base_glob_class {
    size_t len;  /* bytes of the class in the pattern, '[' and ']' included */
    bool match;  /* the byte is a member */
} base_glob_class;

/* Read the class at p, p[0] == '[', and test the byte c against it. */
static base_glob_class base_glob_in_class(const unsigned char *p, size_t len, unsigned char c)
{
    size_t i = 1;
    bool negated = i < len && p[i] == '^';
    if (negated) { i++; }
    bool found = false;
    while (i < len && p[i] != ']') {
        if (p[i] == '\\' && i + 1 < len) {
            found |= p[i + 1] == c;
            i += 2;
        } else if (i + 2 < len && p[i + 1] == '-') {
            unsigned char low = p[i], high = p[i + 2];
            if (low > high) {
                unsigned char t = low;
                low = high;
                high = t;
            }
            found |= c >= low && c <= high;
            i += 3;
        } else {
            found |= p[i] == c;
            i++;
        }
    }
    if (i < len) { i++; } /* the ']' */
    return (base_glob_class){ i, found != negated };
}

/* Return the length of the token at p if it matches the byte c, else 0. p[0] is not a star. */
static size_t base_glob_token(const unsigned char *p, size_t len, unsigned char c)
{
    if (p[0] == '?') { return 1; }
    if (p[0] == '[') {
        base_glob_class found = base_glob_in_class(p, len, c);
        return found.match ? found.len : 0;
    }
    if (p[0] == '\\' && len >= 2) { return p[1] == c ? 2 : 0; }
    return p[0] == c ? 1 : 0;
}

BASE_ALWAYS_INLINE unsigned char base_glob_byte(unsigned char c, bool lower)
{
    return lower && c >= 'A' && c <= 'Z' ? (unsigned char)(c - 'A' + 'a') : c;
}

BASE_ALWAYS_INLINE bool base_glob_run(const void *pattern, size_t pattern_len, const void *key,
                                      size_t key_len, bool lower)
{
    const unsigned char *p = pattern, *k = key;
    if (key_len == 0) { return pattern_len == 0 || (pattern_len == 1 && p[0] == '*'); }
    size_t at = 0, done = 0;               /* cursors in pattern and key */
    size_t star = SIZE_MAX, star_done = 0; /* after the last star; key bytes that it took */
    while (done < key_len) {
        if (at < pattern_len && p[at] == '*') {
            star = ++at;
            star_done = done;
            continue;
        }
        size_t used = 0;
        if (at < pattern_len) {
            used = base_glob_token(p + at, pattern_len - at, base_glob_byte(k[done], lower));
        }
        if (used > 0) {
            at += used;
            done++;
        } else if (star != SIZE_MAX) {
            at = star;
            done = ++star_done;
        } else {
            return false;
        }
    }
    while (at < pattern_len && p[at] == '*') { at++; }
    BASE_ASSERT(at <= pattern_len);
    return at == pattern_len;
}

CELLAR_PRIVATE bool base_glob_match(const void *pattern, size_t pattern_len, const void *key,
                                    size_t key_len)
{
    return base_glob_run(pattern, pattern_len, key, key_len, false);
}

CELLAR_PRIVATE bool base_glob_match_lower(const void *pattern, size_t pattern_len,
                                          const void *key, size_t key_len)
{
    return base_glob_run(pattern, pattern_len, key, key_len, true);
}

CELLAR_PRIVATE size_t base_glob_prefix(const void *pattern, size_t pattern_len, bool *is_literal)
{
    const unsigned char *p = pattern;
    size_t n = 0;
    while (n < pattern_len && p[n] != '*' && p[n] != '?' && p[n] != '[' && p[n] != '\\') { n++; }
    *is_literal = n == pattern_len;
    return n;
}
