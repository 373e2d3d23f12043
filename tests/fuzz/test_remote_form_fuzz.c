/* SPDX-License-Identifier: MIT
 *
 * Aim:    no bytes of a server harm the reader of envelopes, and one wrong bit is a miss.
 * Method: tests/fuzz/remote_form.c on seeded envelopes, whole, with a wrong byte, cut:
 *         FUZZ_RUNS=n. With coverage: matrix_fuzz.sh. */
#include "tests/fuzz/remote_form.c"
#include "tests/fuzz/inputs.h"

/* Write an envelope of seeded fields, and spoil it now and then. */
static size_t form_input(char *in)
{
    uint8_t seed[120], *to = (uint8_t *)in;
    for (size_t i = 0; i < sizeof seed; i++) { seed[i] = (uint8_t)draw(256); }
    seed[2] = (uint8_t)draw(4); /* tags */
    remote_form f = fuzz_fields(seed, 16 + draw(sizeof seed - 16));
    if (draw(3) != 0) { f.kind = REMOTE_FORM_VALUE; }
    size_t n = remote_form_size(&f);
    T_REQUIRE(n <= FUZZ_INPUT);
    (void)remote_form_write(&f, "n", 1, to);
    if (draw(2) == 0) { to[draw(n)] = (uint8_t)draw(256); }
    if (draw(4) == 0) { memset(to + draw(n - 8), 0xFF, 8); } /* lengths, numbers */
    return draw(4) == 0 ? draw(n) : n;
}

T_CASE(form_fuzz)
{
    const uint64_t most = fuzz_inputs(20000, 32, form_input);
    T_CHECK(fuzz_read_ok > most / 8);
}

T_ONE_THREAD;
T_MAIN("remote_form_fuzz")
