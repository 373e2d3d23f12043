/* SPDX-License-Identifier: MIT
 *
 * Aim:    text values: what cellar_get_str and cellar_set_str copy, refuse and leave behind, and
 *         the zero byte behind every value in new memory.
 * Method: public calls only; buffers full of 0xAA, with a guard byte behind; a thread that sets. */
#include <pthread.h>

#include "tests/support/api_kit.h"

enum { CAP = 8, MARK = 0xAA };

static unsigned char room[CAP + 1];

/* cellar_get_str into CAP marked bytes. */
static cellar_err get_marked(cellar *c, const char *key)
{
    memset(room, MARK, sizeof room);
    const cellar_err err = cellar_get_str(c, key, (char *)room, CAP);
    T_EQ_U64(room[CAP], MARK);
    return err;
}

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(4u << 20), api_shut(c))

T_CASE_ON(get_str_needs_one_byte_more_than_the_value, STORE)
{
    T_EQ_I64(cellar_set_str(c, "fits", "1234567", 0), CELLAR_OK);
    T_EQ_I64(get_marked(c, "fits"), CELLAR_OK);
    T_EQ_MEM(room, "1234567", CAP);
    T_EQ_I64(cellar_set_str(c, "full", "12345678", 0), CELLAR_OK);
    T_EQ_I64(get_marked(c, "full"), CELLAR_E_BUFFER);
    T_EQ_U64(room[0], 0);
    T_EQ_I64(cellar_set_str(c, "long", "123456789", 0), CELLAR_OK);
    T_EQ_I64(get_marked(c, "long"), CELLAR_E_BUFFER);
    T_EQ_U64(room[0], 0);
    T_EQ_I64(cellar_set_str(c, "empty", "", 0), CELLAR_OK);
    T_EQ_I64(get_marked(c, "empty"), CELLAR_OK);
    T_EQ_U64(room[0], 0);
    T_EQ_I64(cellar_get_str(c, "empty", (char *)room, 1), CELLAR_OK);
}

T_CASE(get_str_without_a_value_empties_the_buffer)
{
    cellar *c = api_open(4u << 20), *v = NULL;
    static char huge[CELLAR_KEY_MAX + 2];
    memset(huge, 'k', sizeof huge - 1);
    T_EQ_I64(get_marked(c, "none"), CELLAR_MISS);
    T_EQ_U64(room[0], 0);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_NEGATIVE };
    T_EQ_I64(cellar_set(c, "absent", 6, NULL, 0, &o), CELLAR_OK);
    T_EQ_I64(get_marked(c, "absent"), CELLAR_ABSENT);
    T_EQ_U64(room[0], 0);
    T_EQ_I64(get_marked(c, ""), CELLAR_E_INVAL);
    T_EQ_U64(room[0], 0);
    T_EQ_I64(get_marked(c, huge), CELLAR_E_INVAL);
    T_EQ_U64(room[0], 0);
    T_EQ_I64(get_marked(c, NULL), CELLAR_E_INVAL);
    T_EQ_U64(room[0], 0);
    T_EQ_I64(get_marked(NULL, "k"), CELLAR_E_INVAL);
    T_EQ_U64(room[0], 0);
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    T_EQ_I64(cellar_set_str(v, "k", "v", 0), CELLAR_OK);
    T_EQ_I64(cellar_option_set(v, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
    T_EQ_I64(get_marked(v, "k"), CELLAR_MISS);
    T_EQ_U64(room[0], 0);
    api_shut(c);
    T_EQ_I64(get_marked(v, "k"), CELLAR_E_CLOSED);
    T_EQ_U64(room[0], 0);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
}

T_CASE_ON(get_str_copies_binary_zeros, STORE)
{
    T_EQ_I64(cellar_set(c, "k", 1, "a\0b", 3, NULL), CELLAR_OK);
    T_EQ_I64(get_marked(c, "k"), CELLAR_OK);
    T_EQ_MEM(room, "a\0b\0", 4);
}

static _Atomic bool done;

static void *set_texts(void *arg)
{
    while (!atomic_load(&done)) {
        T_EQ_I64(cellar_set_str(arg, "k", "processing", 0), CELLAR_OK);
        T_EQ_I64(cellar_set_str(arg, "k", "failed", 0), CELLAR_OK);
    }
    return NULL;
}

/* The bytes behind the zero byte may be those of the longer value, in the contract of cellar_get. */
T_CASE_ON(get_str_beside_sets_ends_each_text, STORE)
{
    pthread_t writer;
    unsigned rests = 0;
    atomic_store(&done, false);
    T_EQ_I64(cellar_set_str(c, "k", "failed", 0), CELLAR_OK);
    T_REQUIRE(pthread_create(&writer, NULL, set_texts, c) == 0);
    for (int i = 0; i < 100000 / T_COST; i++) {
        char text[16] = { 0 };
        T_EQ_I64(cellar_get_str(c, "k", text, sizeof text), CELLAR_OK);
        if (strcmp(text, "failed") != 0) { T_EQ_STR(text, "processing"); }
        rests += strlen(text) == 6 && text[7] != '\0';
    }
    atomic_store(&done, true);
    T_EQ_I64(pthread_join(writer, NULL), 0);
    printf("# %u texts with a rest behind them\n", rests);
}

T_CASE_ON(get_str_without_room_is_refused, STORE)
{
    T_EQ_I64(cellar_set_str(c, "k", "", 0), CELLAR_OK);
    memset(room, MARK, sizeof room);
    T_EQ_I64(cellar_get_str(c, "k", (char *)room, 0), CELLAR_E_INVAL);
    T_EQ_U64(room[0], MARK);
    T_EQ_I64(cellar_get_str(c, "k", NULL, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_get_str(c, "k", NULL, CAP), CELLAR_E_INVAL);
}

T_CASE_ON(set_str_stores_the_text_without_its_zero_byte, STORE)
{
    char buf[16];
    size_t len = 0;
    T_EQ_I64(cellar_set_str(c, "k", "Ada", 0), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, &len), CELLAR_OK);
    T_EQ_U64(len, 3);
    T_EQ_MEM(buf, "Ada", 3);
    T_EQ_I64(cellar_set_str(c, "k", "", 0), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, &len), CELLAR_OK);
    T_EQ_U64(len, 0);
    T_EQ_I64(cellar_set_str(c, NULL, "v", 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_set_str(c, "k", NULL, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_set_str(c, "", "v", 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_set_str(NULL, "k", "v", 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_set_str(c, "k", "v", -1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_OK);
}

T_CASE(set_str_takes_its_ttl_or_the_default)
{
    settings cfg = api_config(4u << 20);
    cfg.config.default_ttl_ms = 500;
    cellar *c = api_open_with(&cfg);
    T_EQ_I64(cellar_set_str(c, "default", "v", 0), CELLAR_OK);
    T_EQ_I64(cellar_set_str(c, "own", "v", 1000), CELLAR_OK);
    T_EQ_I64(cellar_set_str(c, "none", "v", CELLAR_TTL_NONE), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 499);
    T_EQ_STR(api_look(c, "default"), "v");
    atomic_fetch_add(&api_now_ms, 1);
    T_EQ_STR(api_look(c, "default"), "MISS");
    atomic_fetch_add(&api_now_ms, 499);
    T_EQ_STR(api_look(c, "own"), "v");
    atomic_fetch_add(&api_now_ms, 1);
    T_EQ_STR(api_look(c, "own"), "MISS");
    T_EQ_STR(api_look(c, "none"), "v");
    api_shut(c);
}

T_CASE(a_zero_byte_follows_every_value_in_new_memory)
{
    static const size_t sizes[] = { 0, 1, 511, 512, 513, 100000 };
    static unsigned char want[100000];
    cellar *c = api_open(16u << 20);
    memset(want, 'x', sizeof want);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *value = NULL;
        size_t len = 0;
        T_EQ_I64(cellar_set(c, "k", 1, want, sizes[i], NULL), CELLAR_OK);
        T_EQ_I64(cellar_get_alloc(c, "k", 1, &value, &len), CELLAR_OK);
        T_REQUIRE(value != NULL);
        T_EQ_U64(len, sizes[i]);
        T_EQ_MEM(value, want, sizes[i]);
        T_EQ_U64(((unsigned char *)value)[len], 0);
        cellar_free(value);
        cellar_delete_opts o = { .struct_size = sizeof o, .old_value = &value,
                                 .old_value_len = &len };
        T_EQ_I64(cellar_delete_with(c, "k", 1, &o), CELLAR_OK);
        T_REQUIRE(value != NULL);
        T_EQ_U64(len, sizes[i]);
        T_EQ_MEM(value, want, sizes[i]);
        T_EQ_U64(((unsigned char *)value)[len], 0);
        cellar_free(value);
    }
    api_shut(c);
}

T_MAIN("api_text")
