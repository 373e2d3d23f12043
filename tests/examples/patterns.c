/* SPDX-License-Identifier: MIT
 *
 * patterns: rules of a program are regular expressions that its users write. Each is compiled once;
 * all threads match with the same compiled pattern. A pattern that does not compile is not tried
 * again for a minute. A match with regexec may take very long: a program with hostile users takes
 * RE2, or PCRE2 with a match limit as here.
 *
 *     cc -O2 patterns.c -lcellar -pthread
 *     with PCRE2: cc -O2 -DWITH_PCRE2 patterns.c -lcellar -lpcre2-8 -pthread */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef WITH_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#else
#include <regex.h>
#endif

#include "cellar.h"
#include "cellar_load.h"
#include "cellar_object.h"

/* ---- what an application writes ---- */

enum { PATTERN_MAX = 200 }; /* bytes: a short pattern compiles fast, and into little memory */
static atomic_int compiled, freed;

#ifdef WITH_PCRE2
static void free_pattern(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)charge, (void)why, (void)ctx;
    pcre2_code_free(object);
    freed++;
}

static cellar_err compile_pattern(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    int error;
    PCRE2_SIZE at, bytes = 0;
    (void)ctx;
    compiled++;
    pcre2_code *p = pcre2_compile(key, key_len, PCRE2_UTF, &error, &at, NULL);
    if (p == NULL) { return cellar_load_fail(load, error, 0, CELLAR_FAIL_FINAL); }
    (void)pcre2_jit_compile(p, PCRE2_JIT_COMPLETE);
    (void)pcre2_pattern_info(p, PCRE2_INFO_SIZE, &bytes);
    return cellar_load_object(load, p, bytes);
}

static int match_pattern(const void *object, const char *text)
{
    pcre2_match_data *room = pcre2_match_data_create(1, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    int n = -1;
    if (room != NULL && limits != NULL) {
        pcre2_set_match_limit(limits, 100000); /* steps; beyond them the text does not match */
        n = pcre2_match(object, (PCRE2_SPTR)text, strlen(text), 0, 0, room, limits);
    }
    pcre2_match_context_free(limits);
    pcre2_match_data_free(room);
    return n >= 0;
}
#else
static void free_pattern(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)charge, (void)why, (void)ctx;
    regfree(object);
    free(object);
    freed++;
}

static cellar_err compile_pattern(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    compiled++;
    regex_t *p = malloc(sizeof *p);
    char *text = strndup(key, key_len);
    const int error = p != NULL && text != NULL ? regcomp(p, text, REG_EXTENDED | REG_NOSUB)
                                                : REG_ESPACE;
    free(text);
    if (error != 0) {
        free(p);
        return cellar_load_fail(load, error, 0, CELLAR_FAIL_FINAL);
    }
    return cellar_load_object(load, p, sizeof *p + 100 * key_len); /* about what regcomp takes */
}

static int match_pattern(const void *object, const char *text)
{
    return regexec(object, text, 0, NULL, 0) == 0;
}
#endif

static cellar *open_patterns(cellar *store)
{
    cellar_object_config of = cellar_object_config_default();
    of.free_fn = free_pattern;
    cellar_load_opts load = cellar_load_opts_default();
    load.error_ttl_ms = 60000;
    cellar_namespace_config o = cellar_namespace_config_default();
    o.object = &of;
    o.loader = compile_pattern;
    o.load = &load;
    cellar *patterns;
    return cellar_namespace_open(store, "patterns", &o, &patterns) == CELLAR_OK ? patterns : NULL;
}

/* Return 1 if the text matches, 0 if not. Return -1 if the pattern is too long or does not compile, or
 * if it cannot be loaded now: no memory, or a limit of the store. */
static int matches(cellar *patterns, const char *pattern, const char *text)
{
    cellar_held held;
    if (strlen(pattern) > PATTERN_MAX) { return -1; }
    if (cellar_object_get_or_load(patterns, pattern, strlen(pattern), NULL, NULL, NULL, &held) !=
        CELLAR_OK) {
        return -1;
    }
    const int found = match_pattern(held.object, text);
    cellar_object_release(&held);
    return found;
}

/* ---- copy down to here; the example checks itself ---- */

static int passed, failed;

static void check(int ok, const char *what)
{
    if (ok) {
        passed++;
    } else {
        failed++;
        printf("not ok: %s\n", what);
    }
}

static void *many_matches(void *patterns)
{
    intptr_t right = 0;
    char pattern[32];
    for (int i = 0; i < 200; i++) {
        snprintf(pattern, sizeof pattern, "^user:%d[0-9]+$", i % 20);
        right += matches(patterns, pattern, "user:123") == (i % 20 == 1 || i % 20 == 12);
    }
    return (void *)right;
}

int main(void)
{
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 16u << 20;
    cellar *store;
    if (cellar_open(&cfg, &store) != CELLAR_OK) { return 1; }
    cellar *patterns = open_patterns(store);
    if (patterns == NULL) { return 1; }

    check(matches(patterns, "^/img/.*[.]png$", "/img/cat.png") == 1, "a path matches");
    check(matches(patterns, "^/img/.*[.]png$", "/img/cat.jpg") == 0, "another one does not");
    check(compiled == 1, "the pattern was compiled once");
    check(matches(patterns, "(", "x") == -1 && matches(patterns, "(", "x") == -1 && compiled == 2,
          "a wrong pattern is compiled once as well");
    char wide[PATTERN_MAX + 2];
    memset(wide, '.', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    check(matches(patterns, wide, "x") == -1 && compiled == 2, "a long pattern is not compiled");

    pthread_t thread[4];
    for (int i = 0; i < 4; i++) {
        if (pthread_create(&thread[i], NULL, many_matches, patterns) != 0) { return 1; }
    }
    for (int i = 0; i < 4; i++) {
        void *right;
        pthread_join(thread[i], &right);
        check((intptr_t)right == 200, "a thread matches with the patterns of all");
    }
    check(compiled == 22, "20 patterns of 4 threads: each compiled once");

    /* A pattern that is held stays, whatever becomes of its entry. */
    cellar_held held;
    check(cellar_object_acquire(patterns, "^/img/.*[.]png$", 15, &held) == CELLAR_OK, "a hold");
    cellar_namespace_close(patterns);
    cellar_close(store);
    check(match_pattern(held.object, "/img/dog.png") && freed == 20, "outlives the store");
    cellar_object_release(&held);
    check(freed == 21, "each pattern is freed once");
    printf("patterns: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
