/* SPDX-License-Identifier: MIT
 *
 * patterns: the users of a log viewer write filters as regular expressions. Each is compiled once,
 * and all threads match with it. Hostile users meet bounds: length and code of a pattern, steps and
 * memory of a match. The regcomp of glibc has none, a pattern of 40 bytes takes all memory
 * (CVE-2010-4051): take it for patterns of administrators only.
 *
 *     cc -O2 patterns.c -lcellar -lpcre2-8 -pthread
 *     drop-in: cc -O2 patterns.c dist/cellar.c -Idist -Idist/include -lpcre2-8 -pthread */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "cellar_object.h"

static pcre2_match_context *bounds; /* of each match; set once, then read by all threads */

static void pattern_free(void *pattern, size_t charge, cellar_cause why, void *ctx)
{ (void)charge, (void)why, (void)ctx, pcre2_code_free(pattern); }

/* Compile a pattern. PCRE2 refuses one that becomes more than 64 KiB of code. */
static cellar_err pattern_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    PCRE2_SIZE at, bytes = 0;
    int error;
    (void)ctx;
    pcre2_code *p = pcre2_compile(key, key_len, PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);
    if (p == NULL) { return cellar_load_fail(load, error, 0, CELLAR_FAIL_FINAL); }
    pcre2_pattern_info(p, PCRE2_INFO_SIZE, &bytes); /* counts in memory_bytes */
    return cellar_load_object(load, p, bytes);
}

/* Print whether the line matches, or why not. Each thread has a room of its own. */
static void filter(cellar *patterns, const char *pattern, const char *line, pcre2_match_data *room)
{
    PCRE2_UCHAR text[120] = "match";
    cellar_held held = { 0 };
    cellar_result from = cellar_result_default();
    cellar_load_opts o = cellar_load_opts_default();
    o.error_ttl_ms = 60000, o.result = &from; /* a wrong one is compiled once a minute */
    const cellar_err err = strlen(pattern) > 200 ? CELLAR_E_TOOBIG : cellar_object_get_or_load(
        patterns, pattern, strlen(pattern), &o, NULL, NULL, &held);
    const int code = err != CELLAR_OK ? from.loader_err : pcre2_match(
        held.object, (PCRE2_SPTR)line, strlen(line), 0, 0, room, bounds);
    cellar_object_release(&held); /* no hold unless OK, which is fine */
    if (err == CELLAR_E_LOADER || code < 0) { pcre2_get_error_message(code, text, sizeof text); }
    const int known = from.source == CELLAR_SOURCE_L1 || from.source == CELLAR_SOURCE_ERROR_ENTRY;
    printf("%.22s: %s%s\n", pattern, known ? "known, " : "",
           err == CELLAR_OK || err == CELLAR_E_LOADER ? (char *)text : cellar_strerror(err));
}

int main(void)
{
    static const char *const asked[][2] = { { "^ERROR.*disk", "ERROR disk full" },
        { "^ERROR.*disk", "INFO start" }, { "ada (", "ada (7)" }, { "ada (", "eve (8)" },
        { "((((a{1,255}){1,255}){1,255}){1,255})", "a" }, { "^(a+)+$", "aaaaaaaaaaaaaaaaaaaaa!" } };
    cellar_object_config of = cellar_object_config_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cellar *patterns;
    of.free_fn = pattern_free, root.object = &of, root.loader = pattern_load, cfg.root = &root;
    bounds = pcre2_match_context_create(NULL);
    pcre2_match_data *room = pcre2_match_data_create(1, NULL);
    if (bounds == NULL || room == NULL || cellar_open(&cfg, &patterns) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        return fprintf(stderr, "no patterns: %s\n", why.text), 1;
    }
    pcre2_set_match_limit(bounds, 100000), pcre2_set_heap_limit(bounds, 1024); /* steps, KiB */
    for (int i = 0; i < 6; i++) { filter(patterns, asked[i][0], asked[i][1], room); }
    pcre2_match_data_free(room);
    return cellar_close(patterns) == CELLAR_OK ? 0 : 1;
}
