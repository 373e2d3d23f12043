/* SPDX-License-Identifier: MIT
 *
 * fuzz/python_runs: seeded inputs for python.c: objects with mistakes. Usage: python_runs RUNS SEED. */
#include "tests/fuzz/python.c"

#define INPUT 1500u

static uint64_t draw_state;

/* Return a number below n. */
static uint64_t draw(uint64_t n)
{
    draw_state ^= draw_state << 13;
    draw_state ^= draw_state >> 7;
    draw_state ^= draw_state << 17;
    return (draw_state >> 11) % n;
}

static size_t write_length(uint8_t *to, size_t n)
{
    to[0] = (uint8_t)(n < 255 && draw(40) != 0 ? n : 255);
    const uint32_t wide = (uint32_t)n;
    memcpy(to + 1, &wide, sizeof wide);
    return to[0] < 255 ? 1 : 5;
}

/* Write an object, or the body of a whole value, at most INPUT bytes behind `to`. */
static size_t write_object(uint8_t *to, uint8_t *last, int depth, uint8_t *tag)
{
    static const uint8_t texts[] = "0x1fAz \xc3\xa9\xed\xa0\x80\0\xff=b";
    size_t at = depth > 0 ? 1 : 0;
    *tag = (uint8_t)(0xF0 + draw(draw(50) == 0 ? 16 : 12));
    if (to + 400 > last || depth > 130) { *tag = TAG_NONE; }
    if (at > 0) { to[0] = *tag; }
    if (*tag >= TAG_LIST) {
        const uint64_t most = depth > 3 ? 2 : 5;
        const uint64_t n = draw(most);
        at += write_length(to + at, n + (draw(60) == 0));
        for (uint64_t i = 0; i < n * (*tag == TAG_DICT ? 2 : 1); i++) {
            uint8_t inner;
            at += write_object(to + at, last, depth + 1, &inner);
        }
        return at;
    }
    size_t n = *tag <= TAG_FALSE ? 0 : *tag == TAG_FLOAT ? 8 : *tag == TAG_INT ? draw(2) * 7 + 1 :
        draw(draw(20) == 0 ? 300 : 12);
    if (draw(60) == 0) { n = draw(12); }
    if (depth > 0) { at += write_length(to + at, n); }
    for (size_t i = 0; i < n; i++) { to[at++] = texts[draw(sizeof texts)]; }
    return at;
}

/* Write an input of at most INPUT bytes. */
static size_t write_input(uint8_t *in)
{
    uint8_t *const last = in + INPUT;
    uint8_t tag = TAG_LIST;
    size_t n = 0;
    if (draw(200) == 0) { /* lists in each other */
        in[n++] = 1;
        for (uint64_t left = 90 + draw(40); left > 0; left--) {
            in[n++] = TAG_LIST;
            in[n++] = 1;
        }
        in[n++] = TAG_NONE;
        in[n++] = 0;
    } else if (draw(4) == 0) { /* a key */
        in[n++] = 0;
        n += write_object(in + n, last, 1, &tag);
        tag = in[--n];
    } else {
        n += write_object(in, last, 0, &tag);
    }
    in[n++] = tag;
    for (uint64_t wrong = draw(3); wrong > 0; wrong--) { in[draw(n)] = (uint8_t)draw(256); }
    return draw(10) == 0 ? draw(n + 1) : n;
}

int main(int argc, char **argv)
{
    const uint64_t runs = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
    draw_state = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 2654435769u + 1;
    for (uint64_t i = 0; i < runs; i++) {
        uint8_t in[INPUT + 600];
        (void)LLVMFuzzerTestOneInput(in, write_input(in));
    }
    printf("%llu inputs, %llu objects\n", (unsigned long long)runs,
           (unsigned long long)fuzz_objects);
    return fuzz_objects < runs / 4;
}
