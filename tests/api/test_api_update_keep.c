/* SPDX-License-Identifier: MIT
 *
 * Aim:    An update keeps the tags and user flags of the value that it replaces, in memory and on
 *         disk, unless the call has its own. A tag deleted at any time ends the new value, too.
 * Method: A clock of this file; values of each form; update functions that change the entry
 *         themselves while they run. */
#include "tests/support/api_kit.h"
#include "tests/support/rules.h"
#include "tests/support/spaces.h"

#define LONG 100000

static char room[LONG];

static cellar_err put(cellar *c, size_t len, const char *tag, uint32_t user_flags)
{
    const cellar_bytes tags[1] = { { tag, tag != NULL ? strlen(tag) : 0 } };
    memset(room, 'v', len);
    return cellar_set(c, "k", 1, room, len,
                      SET_OPTS(.ttl_ms = CELLAR_TTL_NONE, .tags = tags, .tag_count = tag != NULL,
                               .user_flags = user_flags));
}

/* Return the user flags of the entry; UINT32_MAX: there is none. */
static uint32_t flags_of(cellar *c)
{
    cellar_entry_info i = cellar_entry_info_default();
    return cellar_entry_info_get(c, "k", 1, 0, &i) == CELLAR_OK ? i.user_flags : UINT32_MAX;
}

static bool tagged(cellar *c)
{
    cellar_entry_info i = cellar_entry_info_default();
    return cellar_entry_info_get(c, "k", 1, 0, &i) == CELLAR_OK &&
           (i.flags & CELLAR_INFO_TAGGED) != 0;
}

static cellar_err untag(cellar *c, const char *tag)
{
    return cellar_delete_by_tag(c, tag, strlen(tag), CELLAR_TAG_HARD);
}

static bool there(cellar *c) { return cellar_contains(c, "k", 1) == CELLAR_OK; }

/* Delete a tag and check whether the entry is there then. */
static void after(cellar *c, const char *tag, bool want)
{
    T_EQ_I64(untag(c, tag), CELLAR_OK);
    T_EQ_U64(there(c), want);
}

typedef struct work {
    cellar *c;
    int runs;
    bool found; /* the last run got an old value */
    void (*meanwhile)(cellar *c); /* in the first run */
    size_t more;
} work;

/* Append `more` bytes; 0: change the first one. */
static cellar_err change(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    work *w = ctx;
    void *to;
    w->found = old != NULL;
    if (old == NULL) { old_len = 0; }
    if (w->runs++ == 0 && w->meanwhile != NULL) { w->meanwhile(w->c); }
    T_EQ_I64(cellar_buf_resize(out, old_len + w->more, &to), CELLAR_OK);
    if (old_len > 0) { memcpy(to, old, old_len); }
    if (old_len + w->more > 0) { *(char *)to = 'c'; }
    return CELLAR_OK;
}

static cellar_err update(cellar *c, work *w, const cellar_set_opts *o)
{
    w->c = c;
    return cellar_update(c, "k", 1, o, change, w);
}

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(8 << 20), api_shut(c))

T_CASE_ON(update_keeps_tags_and_user_flags, STORE)
{
    static const size_t lens[] = { 1, 40, 1000, 1024, 1025, 5000, LONG - 1 };
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        for (size_t more = 0; more < 2; more++) {
            work w = { .more = more };
            T_EQ_I64(put(c, lens[i], "red", 6), CELLAR_OK);
            for (int n = 0; n < 3; n++) { T_EQ_I64(update(c, &w, NULL), CELLAR_OK); }
            T_EQ_I64(w.runs, 3);
            T_EQ_U64(flags_of(c), 6);
            T_CHECK(tagged(c));
            after(c, "blue", true);
            after(c, "red", false);
        }
    }
}

T_CASE_ON(entry_without_them_stays_plain, STORE)
{
    work w = { .more = 1 };
    T_EQ_I64(update(c, &w, NULL), CELLAR_OK); /* a new entry */
    T_EQ_I64(update(c, &w, NULL), CELLAR_OK);
    T_EQ_U64(flags_of(c), 0);
    T_CHECK(!tagged(c));
}

T_CASE_ON(tags_and_user_flags_of_the_call_replace_them, STORE)
{
    const cellar_bytes blue = { "blue", 4 };
    work w = { .more = 1 };
    T_EQ_I64(put(c, 40, "red", 6), CELLAR_OK);
    T_EQ_I64(update(c, &w, SET_OPTS(.user_flags = 9)), CELLAR_OK);
    T_EQ_U64(flags_of(c), 9);
    T_EQ_I64(update(c, &w, SET_OPTS(.tags = &blue, .tag_count = 1)), CELLAR_OK);
    T_EQ_U64(flags_of(c), 9);
    after(c, "red", true);
    after(c, "blue", false);
}

T_CASE_ON(replace_ends_them, STORE)
{
    work w = { .more = 1 };
    T_EQ_I64(put(c, 40, "red", 6), CELLAR_OK);
    T_EQ_I64(update(c, &w, SET_OPTS(.flags = CELLAR_REPLACE)), CELLAR_OK);
    T_EQ_U64(flags_of(c), 0);
    T_CHECK(!tagged(c));
    after(c, "red", true);
}

static void end_red(cellar *c) { T_EQ_I64(untag(c, "red"), CELLAR_OK); }

T_CASE_ON(tag_deleted_during_an_update_ends_the_old_value, STORE)
{
    for (size_t len = 40; len <= 5000; len += 4960) {
        work w = { .more = 1, .meanwhile = end_red };
        T_EQ_I64(put(c, len, "red", 6), CELLAR_OK);
        T_EQ_I64(update(c, &w, NULL), CELLAR_OK);
        T_EQ_I64(w.runs, 2); /* the value of the first run came from a deleted one */
        T_CHECK(!w.found && there(c) && !tagged(c));
        T_EQ_U64(flags_of(c), 0);
    }
}

static size_t same_len;
static void same_bytes_blue(cellar *c) { T_EQ_I64(put(c, same_len, "blue", 6), CELLAR_OK); }
static void same_bytes_flags(cellar *c) { T_EQ_I64(put(c, same_len, "red", 7), CELLAR_OK); }
static void same_bytes_bare(cellar *c) { T_EQ_I64(put(c, same_len, NULL, 0), CELLAR_OK); }

/* A writer stores the same bytes with other tags or flags while the function runs: it comes first. */
T_CASE_ON(other_tags_on_the_same_bytes_are_kept, STORE)
{
    static const struct { bool plain; void (*meanwhile)(cellar *c); uint32_t flags; } row[] = {
        { false, same_bytes_blue, 6 }, { true, same_bytes_blue, 6 }, { false, same_bytes_flags, 7 },
        { false, same_bytes_bare, 0 },
    };
    for (unsigned i = 0; i < 8; i++) {
        work w = { .more = 1, .meanwhile = row[i / 2].meanwhile };
        same_len = i % 2 ? 5000 : 40;
        T_EQ_I64(put(c, same_len, row[i / 2].plain ? NULL : "red", row[i / 2].plain ? 0 : 6), CELLAR_OK);
        T_EQ_I64(update(c, &w, NULL), CELLAR_OK);
        T_CHECK(w.runs == 2 || row[i / 2].flags == 7);
        T_EQ_U64(flags_of(c), row[i / 2].flags);
        T_EQ_U64(tagged(c), row[i / 2].flags != 0);
        after(c, "red", row[i / 2].flags != 7);
        after(c, "blue", row[i / 2].flags == 0);
    }
}

T_CASE_ON(negative_and_expired_entries_pass_nothing_on, STORE)
{
    const cellar_bytes red = { "red", 3 };
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &red, .tag_count = 1, .user_flags = 6,
                          .ttl_ms = 1000 };
    for (int negative = 0; negative < 2; negative++) {
        work w = { .more = 1 };
        o.flags = negative ? CELLAR_NEGATIVE : 0;
        T_EQ_I64(cellar_set(c, "k", 1, "", 0, &o), CELLAR_OK);
        if (!negative) { atomic_fetch_add(&api_now_ms, 1000); }
        T_EQ_I64(update(c, &w, NULL), CELLAR_OK);
        T_CHECK(!w.found && !tagged(c));
        T_EQ_U64(flags_of(c), 0);
        T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    }
}

/* Tags of the policy come to those of the entry once, however many rounds an update has. */
T_CASE_ON(policy_adds_its_tags_to_the_kept_ones, STORE)
{
    static const char policy[] = "[*]\nkey k tags=green\n";
    T_EQ_I64(put(c, 40, "red", 6), CELLAR_OK); /* before the policy */
    T_REQUIRE(rules_set(c, policy, sizeof policy - 1, NULL, NULL) == CELLAR_OK);
    same_len = 40;
    for (int i = 0; i < 20; i++) {
        work w = { .more = 0, .meanwhile = i == 0 ? same_bytes_flags : NULL };
        T_EQ_I64(update(c, &w, NULL), CELLAR_OK);
        T_EQ_I64(w.runs, i == 0 ? 2 : 1);
    }
    T_EQ_U64(flags_of(c), 7);
    T_CHECK(there(c));
    after(c, "green", false);
    T_EQ_I64(put(c, 40, "red", 6), CELLAR_OK);
    work last = { .more = 1 };
    T_EQ_I64(update(c, &last, NULL), CELLAR_OK);
    after(c, "red", false);
}

/* The old value is from before the rule, and from before the last end of the tag of the rule. */
T_CASE_ON(tag_of_a_rule_that_ended_before_the_update_leaves_the_new_value, STORE)
{
    static const char policy[] = "[*]\nkey k tags=green\n";
    static const size_t lens[] = { 40, 5000 };
    for (size_t i = 0; i < 2; i++) {
        work w = { .more = 1 };
        T_EQ_I64(rules_set(c, "", 0, NULL, NULL), CELLAR_OK);
        T_EQ_I64(put(c, lens[i], "red", 6), CELLAR_OK);
        T_EQ_I64(untag(c, "green"), CELLAR_OK);
        T_EQ_I64(rules_set(c, policy, sizeof policy - 1, NULL, NULL), CELLAR_OK);
        T_EQ_I64(update(c, &w, NULL), CELLAR_OK);
        T_CHECK(w.found && there(c));
        T_EQ_U64(flags_of(c), 6);
        T_EQ_I64(untag(c, i == 0 ? "red" : "green"), CELLAR_OK);
        T_CHECK(!there(c));
    }
}

static void end_key(cellar *c) { T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK); }

/* A round that finds no value any more has the tags of the policy, too. */
T_CASE_ON(policy_adds_its_tags_in_each_round, STORE)
{
    static const char policy[] = "[*]\nkey k tags=green\n";
    work w = { .more = 1, .meanwhile = end_key };
    T_REQUIRE(rules_set(c, policy, sizeof policy - 1, NULL, NULL) == CELLAR_OK);
    T_EQ_I64(put(c, 40, NULL, 0), CELLAR_OK);
    T_EQ_I64(update(c, &w, NULL), CELLAR_OK);
    T_CHECK(w.runs == 2 && !w.found && there(c));
    after(c, "green", false);
}

static cellar *open_on_disk(const char *path)
{
    settings cfg = api_config(8 << 20);
    cfg.config.l2_path = path;
    cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
    return api_open_with(&cfg);
}

T_CASE(records_on_disk_carry_them)
{
    const char *path = folder_of_case();
    cellar *c = closed_later(open_on_disk(path));
    T_EQ_I64(put(c, 40, "red", 6), CELLAR_OK);
    for (int i = 0; i < 3; i++) { /* each time the old value is on disk only */
        work w = { .more = 1 };
        close_now(c);
        c = closed_later(open_on_disk(path));
        if (i == 2) { break; }
        T_EQ_I64(update(c, &w, NULL), CELLAR_OK);
        T_CHECK(w.found);
    }
    T_EQ_U64(flags_of(c), 6);
    T_CHECK(tagged(c));
    after(c, "red", false);
}

/* Set the key, and let memory evict it. */
static void set_and_evict(cellar *c)
{
    T_EQ_I64(put(c, 40, "red", 6), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MAX_ENTRIES, 1), CELLAR_OK);
    T_EQ_I64(cellar_set_str(c, "other", "value", 0), CELLAR_OK);
}

T_CASE(value_that_came_during_the_function_and_left_memory_is_updated)
{
    cellar *c = closed_later(open_on_disk(folder_of_case()));
    work w = { .meanwhile = set_and_evict, .more = 1 };
    T_EQ_I64(update(c, &w, NULL), CELLAR_OK);
    T_EQ_I64(w.runs, 2);
    T_CHECK(w.found);
    T_EQ_U64(flags_of(c), 6);
}

T_MAIN("api_update_keep")
