/* SPDX-License-Identifier: MIT
 *
 * glob: Redis 7's patterns over bytes, without recursion and without a worst case.
 *
 * PICTURE    *        any run, also empty            ?   one byte            \c  the byte c
 *            [abc]    one byte of the set            [a-c] [c-a]  one byte of the range
 *            [^abc]   one byte not in the set        every other byte is itself
 *            A class ends at the first ']' that is neither escaped nor the end of a range, else
 *            with the pattern. So "[]" is empty and matches nothing, "[^]" matches any byte,
 *            "[a-]" is the open class of the range ']'..'a', "[a-" has the members 'a' and '-'. An
 *            escaped byte in a class starts no range. "[!x]" is no negation. A lone '\' at the end
 *            is itself.
 * WALK       one token of the pattern against one byte of the key; a mismatch goes back to the last
 *            star and gives it one byte more. Only the last star need be remembered: what stood
 *            before it has matched, and an earlier star could only leave less of the key.
 *            O(pattern x key).
 * LIMITS     Ranges compare bytes as unsigned; Redis on x86-64 compares them signed, which differs
 *            for ranges that cross 0x7f. The empty key matches the empty pattern and "*", nothing
 *            else, as in the server.
 * SOURCE     behaviour of redis-server 7.0.15. Own code. */
#include "base/glob.h"

#include "base/check.h"

typedef struct base_glob_class {
    size_t len;  /* bytes of the pattern it takes, '[' and ']' included */
    bool match;  /* the byte is in it */
} base_glob_class;

/* p[0] == '['. */
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

/* Does the token at p match the byte c? Returns the token's length, 0: no. p[0] is not a star. */
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

CELLAR_PRIVATE bool base_glob_match(const void *pattern, size_t pattern_len, const void *key,
                                    size_t key_len)
{
    const unsigned char *p = pattern, *k = key;
    if (key_len == 0) { return pattern_len == 0 || (pattern_len == 1 && p[0] == '*'); }
    size_t at = 0, done = 0;               /* cursors in pattern and key */
    size_t star = SIZE_MAX, star_done = 0; /* behind the last star; key bytes it has taken so far */
    while (done < key_len) {
        if (at < pattern_len && p[at] == '*') {
            star = ++at;
            star_done = done;
            continue;
        }
        size_t used = at < pattern_len ? base_glob_token(p + at, pattern_len - at, k[done]) : 0;
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

CELLAR_PRIVATE size_t base_glob_prefix(const void *pattern, size_t pattern_len, bool *is_literal)
{
    const unsigned char *p = pattern;
    size_t n = 0;
    while (n < pattern_len && p[n] != '*' && p[n] != '?' && p[n] != '[' && p[n] != '\\') { n++; }
    *is_literal = n == pattern_len;
    return n;
}
