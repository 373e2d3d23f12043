/* SPDX-License-Identifier: MIT
 *
 * Aim:    topic patterns match as AMQP says, in bounded time, and refuse what is over a limit.
 * Method: random patterns and keys beside a naive recursive matcher; tables; the worst case counted
 *         in comparisons of the model, run once. */
#include "cellar_bus.h"
#include "tests/support/draw.h"
#include "tests/support/t.h"
#include "tests/support/topic_match.h"

/* ---- model ---- */

typedef struct words {
    const char *word[32];
    int count;
    char text[300];
} words;

static void split(const char *text, words *w)
{
    w->count = 0;
    snprintf(w->text, sizeof w->text, "%s", text);
    for (char *at = w->text; at != NULL;) {
        char *dot = strchr(at, '.');
        if (dot != NULL) { *dot = '\0'; }
        w->word[w->count++] = at;
        at = dot != NULL ? dot + 1 : NULL;
    }
}

static bool naive(const words *p, int i, const words *k, int j)
{
    if (i == p->count) { return j == k->count; }
    if (strcmp(p->word[i], "#") == 0) {
        for (int to = j; to <= k->count; to++) {
            if (naive(p, i + 1, k, to)) { return true; }
        }
        return false;
    }
    if (j == k->count) { return false; }
    return (strcmp(p->word[i], "*") == 0 || strcmp(p->word[i], k->word[j]) == 0) &&
           naive(p, i + 1, k, j + 1);
}

static void draw_text(char *to, const char *const *from, uint64_t count, uint64_t most)
{
    *to = '\0';
    for (uint64_t n = 1 + draw(most); n > 0; n--) {
        strcat(to, from[draw(count)]); /* at most 8 words of 3 bytes */
        if (n > 1) { strcat(to, "."); }
    }
    if (*to == '\0') { strcat(to, "a"); }
}

static bool match(const char *pattern, const char *key, cellar_bus_syntax syntax)
{
    bool is;
    if (!T_EQ_I64(topic_match(pattern, key, syntax, &is), CELLAR_OK)) {
        printf("# %s %s\n", pattern, key);
    }
    return is;
}

T_CASE(bus_topic_match_model)
{
    static const char *const in_pattern[] = { "#", "#", "*", "*", "a", "b", "ab", "", "a*" };
    static const char *const in_key[] = { "a", "a", "b", "ab", "c", "", "a*" };
    draw_state = t_seed() + 3;
    uint64_t matched = 0;
    const uint64_t most = t_share(400000) / T_COST + 1;
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        char pattern[64], key[64];
        words p, k;
        draw_text(pattern, in_pattern, 9, 7);
        draw_text(key, in_key, 7, 7);
        split(pattern, &p);
        split(key, &k);
        const bool want = naive(&p, 0, &k, 0);
        matched += want;
        if (!T_EQ_U64(match(pattern, key, CELLAR_BUS_AMQP), want)) {
            printf("# pattern %s key %s\n", pattern, key);
        }
    }
    T_CHECK(matched > most / 20 && matched < most);
}

T_CASE(amqp_table)
{
    static const struct { const char *pattern, *key; bool is; } row[] = {
        { "user.*.mail", "user.7.mail", true },  { "user.*.mail", "user.mail", false },
        { "user.*.mail", "user.7.8.mail", false }, { "user.#", "user", true },
        { "user.#", "user.7.mail", true },       { "user.#", "users", false },
        { "#", "x", true },                      { "#", "a.b.c", true },
        { "#.mail", "mail", true },              { "#.mail", "a.b.mail", true },
        { "user.#.mail", "user.mail", true },    { "user.#.mail", "user.a.b.mail", true },
        { "*", "a", true },                      { "*", "a.b", false },
        { "a..b", "a..b", true },                { "a.*.b", "a..b", true },
        { "user*", "user7", false },             { "user*", "user*", true },
        { "a.b", "A.b", false },                 { "#.#.#", "a", true },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        if (!T_EQ_U64(match(row[i].pattern, row[i].key, CELLAR_BUS_AMQP), row[i].is)) {
            printf("# %s %s\n", row[i].pattern, row[i].key);
        }
    }
}

T_CASE(glob_runs_over_dots)
{
    T_CHECK(match("user*mail", "user.7.mail", CELLAR_BUS_GLOB));
    T_CHECK(match("news.[ab]?", "news.a1", CELLAR_BUS_GLOB));
    T_CHECK(!match("news.[ab]?", "news.c1", CELLAR_BUS_GLOB));
    T_CHECK(match("#", "#", CELLAR_BUS_GLOB) && !match("#", "a", CELLAR_BUS_GLOB));
}

/* The naive matcher needs 2^15 and more steps here; a match stays at 16 x 16 comparisons. */
T_CASE(hash_chain_is_bounded)
{
    char pattern[64] = "", key[64] = "";
    for (int i = 0; i < 8; i++) { strcat(pattern, i < 7 ? "#.a." : "#.b"); }
    for (int i = 0; i < 16; i++) { strcat(key, i < 15 ? "a." : "a"); }
    for (int i = 0; i < 20000 / T_COST; i++) {
        if (match(pattern, key, CELLAR_BUS_AMQP)) { break; }
    }
    T_CHECK(!match(pattern, key, CELLAR_BUS_AMQP));
    key[strlen(key) - 1] = 'b';
    T_CHECK(match(pattern, key, CELLAR_BUS_AMQP));
}

T_CASE(limits_of_patterns_and_keys)
{
    char wide[40] = "", wider[40] = "", longest[300], longer[300];
    bool is;
    for (int i = 0; i < 16; i++) { strcat(wide, i < 15 ? "a." : "a"); }
    for (int i = 0; i < 17; i++) { strcat(wider, i < 16 ? "a." : "a"); }
    memset(longest, 'x', sizeof longest);
    memset(longer, 'x', sizeof longer);
    longest[CELLAR_BUS_KEY_MAX] = '\0';
    longer[CELLAR_BUS_KEY_MAX + 1] = '\0';
    T_CHECK(match(wide, wide, CELLAR_BUS_AMQP) && match(longest, longest, CELLAR_BUS_AMQP));
    T_CHECK(match("*", longest, CELLAR_BUS_GLOB));
    T_EQ_I64(topic_match(wider, "a", CELLAR_BUS_AMQP, &is), CELLAR_E_LIMIT);
    T_EQ_I64(topic_match("#", wider, CELLAR_BUS_AMQP, &is), CELLAR_E_LIMIT);
    T_EQ_I64(topic_match(longer, "a", CELLAR_BUS_GLOB, &is), CELLAR_E_LIMIT);
    T_EQ_I64(topic_match("#", longer, CELLAR_BUS_AMQP, &is), CELLAR_E_LIMIT);
    T_EQ_I64(topic_match("", "a", CELLAR_BUS_AMQP, &is), CELLAR_E_INVAL);
    T_EQ_I64(topic_match("a", "", CELLAR_BUS_AMQP, &is), CELLAR_E_INVAL);
    T_EQ_I64(topic_match(NULL, "a", CELLAR_BUS_AMQP, &is), CELLAR_E_INVAL);
    T_EQ_I64(topic_match("a", NULL, CELLAR_BUS_AMQP, &is), CELLAR_E_INVAL);
    T_EQ_I64(topic_match("a", "a", (cellar_bus_syntax)2, &is), CELLAR_E_INVAL);
}

T_ONE_THREAD;
T_MAIN("work_bus_topic")
