/* SPDX-License-Identifier: MIT
 *
 * tenant_settings: share the parsed settings of each tenant, and replace them while threads read.
 *
 * A service has thousands of tenants, and each has a row of settings in a database. The program
 * parses a row once and keeps the struct. A request holds the settings that it began with. A change
 * of the row deletes the entry, so the next request parses the new row. The old struct lives until
 * the last request that holds it has ended; then the library calls settings_free.
 *
 * This pays if a parse takes longer than a lookup, and if few tenants are active at a time: the
 * memory budget bounds what is kept. Settings of the program itself belong into a variable. Changes
 * that another program makes are seen after a minute. What to do while the database fails is shown
 * by api_answers.c.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/tenant_settings.c -Iinclude build/libcellar.a -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/tenant_settings.c dist/cellar.c -Idist -Idist/include -pthread
 *     ./a.out
 *
 * Each line of the output is a request: the tenant, the code of the call and the uploads that the
 * tenant may make. The first two requests change the row while they run. A server answers by the
 * code. OK comes with settings. ABSENT is 404, as no such row exists. Each other code is 503. In
 * your program, let settings_load read and parse your rows. Refuse a row that does not parse:
 * E_LOADER is better than wrong settings. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_object.h"

typedef struct settings { int uploads; } settings; /* a program has dozens of fields */
static const char *_Atomic row = "uploads=10";     /* of ada; here without a database */

static cellar_err settings_load(cellar_load *load, const void *tenant, size_t len, void *ctx)
{
    (void)ctx;
    if (len != 3 || memcmp(tenant, "ada", 3) != 0) { return cellar_load_absent(load); }
    settings *const s = malloc(sizeof *s);
    char more; /* text behind the number: such a row is refused, as is a fifth digit */
    const int fields = s != NULL ? sscanf(row, "uploads=%4d%c", &s->uploads, &more) : 0;
    if (fields == 1 && s->uploads >= 0) { return cellar_load_object(load, s, sizeof *s); }
    free(s);
    return CELLAR_E_LOADER;
}

static void settings_free(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)charge;
    (void)why;
    (void)ctx;
    free(object);
}

static void request(cellar *tenants, const char *tenant, const char *new_row)
{
    const size_t len = strlen(tenant);
    cellar_held held;
    const cellar_err err = cellar_object_get_or_load(tenants, tenant, len, NULL, NULL, NULL, &held);
    if (new_row != NULL) {
        row = new_row; /* UPDATE first, then delete: a load that has read the old row is not kept */
        cellar_delete(tenants, tenant, len); /* OK or MISS */
    }
    const int uploads = held.object != NULL ? ((const settings *)held.object)->uploads : 0;
    printf("%s: %s, %d uploads\n", tenant, cellar_code_name(err), uploads);
    cellar_object_release(&held); /* from here on the settings may be freed */
}

int main(void)
{
    cellar_object_config objects = cellar_object_config_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cellar *tenants;
    objects.free_fn = settings_free;
    root.object = &objects;
    root.loader = settings_load;
    root.default_ttl_ms = 60 * 1000;
    cfg.root = &root;
    if (cellar_open(&cfg, &tenants) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        errx(1, "%s", why.text); /* call, argument, rule and remedy */
    }
    request(tenants, "ada", "uploads=50");
    request(tenants, "ada", "uploads=none"); /* such a row is refused */
    request(tenants, "ada", NULL);
    request(tenants, "eve", NULL);
    return cellar_close(tenants) == CELLAR_OK ? 0 : 1;
}
