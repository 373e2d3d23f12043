/* SPDX-License-Identifier: MIT
 *
 * patterns: compile the regular expressions of users once, and share them among threads.
 *
 * The users of a log viewer filter lines by patterns that they write. An entry of the cache is an
 * object: the compiled pattern. All threads match with it, and the library frees it when its entry
 * has ended and no thread holds it. A wrong pattern is remembered for a minute, so it is not
 * compiled for each line.
 *
 * A hostile user may write a pattern that takes all memory or never ends. Four bounds prevent it:
 * 200 bytes of pattern, 64 KiB of compiled code (PCRE2 refuses more), and the steps and the memory
 * of a match (user_pattern.h). regcomp of the C library has no such bounds: use it for patterns of
 * administrators only.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/patterns.c -Iinclude build/libcellar.a -lpcre2-8 -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/patterns.c dist/cellar.c -Idist -Idist/include -lpcre2-8 -pthread
 *     ./a.out
 *
 * Each line of the output is a pattern and what the match says, or why there is none. A line that
 * starts with "compile" says that the loader ran. In your program, replace user_pattern.h if you
 * have another library; keep bounds like its own. */
#include <err.h>
#include <stdio.h>
#include <string.h>

#include "cellar_object.h"
#include "user_pattern.h"

static void pattern_free(void *pattern, size_t charge, cellar_cause why, void *ctx)
{
    (void)charge;
    (void)why;
    (void)ctx;
    pcre2_code_free(pattern);
}

static cellar_err pattern_load(cellar_load *load, const void *text, size_t len, void *ctx)
{
    int error;
    size_t bytes;
    (void)ctx;
    printf("compile ");
    pcre2_code *const p = pattern_compile(text, len, &bytes, &error);
    if (p == NULL) { return cellar_load_fail(load, error, 0, CELLAR_FAIL_FINAL); }
    return cellar_load_object(load, p, bytes); /* counts in memory_bytes */
}

static void filter(cellar *patterns, const char *pattern, const char *line)
{
    const size_t len = strlen(pattern);
    char text[120] = "match";
    cellar_held held;
    cellar_result why = cellar_result_default();
    cellar_load_opts o = cellar_load_opts_default();
    o.result = &why;
    o.error_ttl_ms = 60 * 1000;
    const cellar_err err = cellar_object_get_or_load(patterns, pattern, len, &o, NULL, NULL, &held);
    const int code = err == CELLAR_OK ? pattern_match(held.object, line) : why.loader_err;
    cellar_object_release(&held);
    if (err == CELLAR_E_LOADER || code < 0) { pattern_error(code, text); }
    else if (err < 0) { snprintf(text, sizeof text, "%s", cellar_strerror(err)); }
    printf("%.22s: %s\n", pattern, text);
}

int main(void)
{
    cellar_object_config objects = cellar_object_config_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cellar *patterns;
    objects.free_fn = pattern_free;
    root.object = &objects;
    root.loader = pattern_load;
    cfg.root = &root;
    if (cellar_open(&cfg, &patterns) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        errx(1, "%s", why.text); /* call, argument, rule and remedy */
    }
    filter(patterns, "^ERROR.*disk", "ERROR disk full");
    filter(patterns, "^ERROR.*disk", "INFO start");
    filter(patterns, "ada (", "ada (7)");
    filter(patterns, "ada (", "eve (8)");
    filter(patterns, "((((a{1,255}){1,255}){1,255}){1,255})", "a");
    filter(patterns, "^(a+)+$", "aaaaaaaaaaaaaaaaaaaaa!");
    return cellar_close(patterns) == CELLAR_OK ? 0 : 1;
}
