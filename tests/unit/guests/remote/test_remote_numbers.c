/* SPDX-License-Identifier: MIT
 *
 * Aim:    a number that a process keeps is never older than an end that it heard; each tag of a
 *         value finds room beside the others; no request has a digest that is not complete.
 * Method: control.c answers to a link of this file: a test acts while a request is on its way. */
#include "src/guests/remote/control.c"
#include "src/guests/remote/key.c"
#include "tests/support/t.h"

T_ONE_THREAD;

enum { GENERATION = 5, OLD = 10 };

static struct remote_data d;
static cellar_remote r;
static remote_space users;
static void (*on_the_way)(void); /* runs between a request and its reply; NULL: nothing */
static bool no_memory;
static unsigned posted;

void *remote_alloc(cellar_remote *of, size_t size)
{
    (void)of;
    return no_memory ? NULL : malloc(size);
}

void remote_free(cellar_remote *of, void *p, size_t size)
{
    (void)of, (void)size;
    free(p);
}

static void *block_alloc(void *of, size_t size) { return remote_alloc(of, size); }
static void block_free(void *of, void *p, size_t size) { remote_free(of, p, size); }

uint64_t remote_largest(const remote_link *l)
{
    (void)l;
    return 0;
}

/* Answer as the server did before `on_the_way`: each tag has the number OLD. */
cellar_err remote_ask(remote_link *l, const remote_request *q, remote_fate *fate)
{
    static const char *const number[] = { "20", "5" };
    const remote_know *w = q->ctx;
    remote_reply one[2 + 2 * REMOTE_CONTROL_MAX];
    const uint32_t count = 2 + 2 * (w->count - 1);
    (void)l, (void)fate;
    memset(one, 0, sizeof one);
    for (uint32_t i = 0; i < count; i++) {
        one[i].type = REMOTE_STRING;
        one[i].text = i < 2 ? number[i] : "10";
        one[i].len = strlen(one[i].text);
        one[i].next = i + 1 < count ? &one[i + 1] : NULL;
    }
    const remote_reply all = { .type = REMOTE_ARRAY, .count = count, .first = one };
    void (*const act)(void) = on_the_way;
    on_the_way = NULL;
    if (act != NULL) { act(); }
    q->fn(q->ctx, 0, &all);
    return CELLAR_OK;
}

void remote_post(remote_link *l, const remote_request *q)
{
    (void)l;
    posted++;
    if (q->memory != NULL) {
        q->memory->free(q->memory->ctx, (void *)(uintptr_t)q->bytes, q->bytes_cap);
    }
    q->done(q->ctx, CELLAR_E_IO, REMOTE_UNKNOWN); /* the link falls */
}

static void numbers_open(void)
{
    memset(&d, 0, sizeof d);
    memset(&users, 0, sizeof users);
    (void)pthread_mutex_init(&d.lock, NULL);
    (void)pthread_rwlock_init(&users.use, NULL);
    d.r = &r;
    r.data = &d;
    r.memory = (remote_memory){ &r, block_alloc, block_free, NULL };
    users.r = &r;
    (void)strcpy(users.name, "users");
    d.space[0] = &users;
    atomic_store(&d.space_count, 1);
    no_memory = false;
    posted = 0;
}

static void numbers_close(void)
{
    free(d.tags);
    (void)pthread_mutex_destroy(&d.lock);
    (void)pthread_rwlock_destroy(&users.use);
}

#define NUMBERS(fn) T_WITHIN(fn, numbers_open(), numbers_close())

static cellar_bytes tag(const char *text) { return (cellar_bytes){ text, strlen(text) }; }

static void read_tag(const char *text)
{
    const cellar_bytes t = tag(text);
    T_EQ_I64(remote_control_need(&users, &t, 1), CELLAR_OK);
}

/* Judge a value with a tag, born behind OLD. */
static remote_life life(const char *text)
{
    const cellar_bytes t = tag(text);
    return remote_control_judge(&users, GENERATION, OLD + 1, &t, 1);
}

static void hear_tag(const char *text)
{
    const remote_parts p = { .kind = REMOTE_KIND_TAG, .text = text, .text_len = strlen(text) };
    remote_control_heard(&d, &p);
}

/* Write tags that begin their search at one place of the table. */
static void equal_places(char (*out)[16], size_t count)
{
    size_t n = 0;
    for (unsigned i = 0; n < count; i++) {
        (void)snprintf(out[n], sizeof out[n], "t%u", i);
        if (remote_check(0, out[n], strlen(out[n])) % REMOTE_TAGS_KEPT == 7) { n++; }
    }
}

static char crowd[REMOTE_TAG_PROBES + 2][16];

T_CASE_ON(read_number_judges, NUMBERS)
{
    T_CHECK(life("t") == REMOTE_LIFE_UNKNOWN);
    read_tag("t");
    T_CHECK(life("t") == REMOTE_LIFE_FRESH);
    hear_tag("t");
    T_EQ_U64(posted, 0); /* a tag is read at its next use, the epoch at once */
    remote_control_heard(&d, &(remote_parts){ .kind = REMOTE_KIND_EPOCH });
    T_EQ_U64(posted, 1);
    T_CHECK(life("t") == REMOTE_LIFE_UNKNOWN);
    read_tag("t");
    T_CHECK(life("t") == REMOTE_LIFE_FRESH);
}

static void hear_t(void) { hear_tag("t"); }

static void hear_t_without_memory(void)
{
    no_memory = true;
    hear_tag("t");
    no_memory = false;
}

static void forget_all(void) { remote_control_forget(&d); }

/* Its tag was ended elsewhere and forgotten, then displaced by others. */
static void hear_t_and_crowd_it_out(void)
{
    read_tag(crowd[0]);
    hear_tag(crowd[0]);
    for (size_t i = 1; i <= REMOTE_TAG_PROBES; i++) { read_tag(crowd[i]); }
}

T_CASE(end_heard_beside_a_reading_is_not_lost)
{
    static void (*const act[])(void) = { hear_t, hear_t_without_memory, forget_all };
    for (size_t i = 0; i < sizeof act / sizeof *act; i++) {
        numbers_open();
        on_the_way = act[i];
        read_tag("t");
        T_CHECK(life("t") == REMOTE_LIFE_UNKNOWN);
        read_tag("t");
        T_CHECK(life("t") == REMOTE_LIFE_FRESH);
        numbers_close();
    }
    numbers_open();
    equal_places(crowd, sizeof crowd / sizeof *crowd);
    on_the_way = hear_t_and_crowd_it_out;
    read_tag(crowd[0]);
    T_CHECK(life(crowd[0]) == REMOTE_LIFE_UNKNOWN);
    numbers_close();
}

T_CASE_ON(tags_of_one_place_stay_together, NUMBERS)
{
    equal_places(crowd, sizeof crowd / sizeof *crowd);
    for (size_t i = 0; i < REMOTE_TAG_PROBES; i++) { read_tag(crowd[i]); }
    const cellar_bytes two[] = { tag(crowd[REMOTE_TAG_PROBES]), tag(crowd[REMOTE_TAG_PROBES + 1]) };
    T_EQ_I64(remote_control_need(&users, two, 2), CELLAR_OK);
    T_CHECK(remote_control_judge(&users, GENERATION, OLD + 1, two, 2) == REMOTE_LIFE_FRESH);
    T_CHECK(life(crowd[0]) == REMOTE_LIFE_UNKNOWN && life(crowd[1]) == REMOTE_LIFE_UNKNOWN);
    T_CHECK(life(crowd[2]) == REMOTE_LIFE_FRESH);
}

/* ---- names of scripts ---- */

T_CASE(scripts_have_names_until_all_digests_are_known)
{
    static const char digest[] = "0123456789abcdef0123456789abcdef01234567";
    static const char later[] = "89abcdef0123456789abcdef0123456789abcdef";
    for (int links = 0; links < 2; links++) { /* the first one ends before the last digest */
        for (size_t i = 0; i < REMOTE_SCRIPTS - 1; i++) {
            remote_script_digest(&r, i, digest);
            T_CHECK(remote_is_named(&r));
            T_EQ_U64(remote_eval_name(&r, remote_is_named(&r), REMOTE_SCRIPT_END).len, 3);
        }
    }
    remote_script_digest(&r, REMOTE_SCRIPTS - 1, digest);
    T_CHECK(!remote_is_named(&r)); /* remote_largest: a Redis */
    for (size_t i = 0; i < REMOTE_SCRIPTS; i++) {
        remote_script_digest(&r, i, later); /* callers read by now */
        T_EQ_STR(remote_eval_name(&r, false, (remote_script)i).data, digest);
    }
}

T_MAIN("remote_numbers")
