/* SPDX-License-Identifier: MIT
 *
 * tenant_settings: a service has thousands of tenants, each with a row of settings. A row is parsed
 * once and replaced while threads read it: a request holds the settings that it began with, and the
 * last release frees them. This pays if a parse takes longer than a lookup, and if most tenants are
 * idle: the budget bounds what is in memory. Settings of the whole program belong in a variable.
 * Rows that other programs change are read once a minute. If the database fails, old settings count
 * for an hour, and a row is asked for once a second. settings_hold holds settings until the request
 * ends, with OK or STALE; ABSENT: no such tenant, 404; else 503, no database and no old row.
 *
 *     cc -O2 tenant_settings.c -lcellar -pthread
 *     drop-in: cc -O2 tenant_settings.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_object.h"
#include "cellar_observe.h"

typedef struct settings { int uploads; char theme[16]; } settings;
static const char *_Atomic row = "uploads=10 theme=light"; /* of ada; here without a database */

static int settings_parse(const char *text, settings *s)
{
    int end = 0; /* 4 characters: no overflow. A longer theme, or more text, is refused */
    return text && sscanf(text, "uploads=%4d theme=%15s%n", &s->uploads, s->theme, &end) == 2 &&
           s->uploads >= 0 && text[end] == '\0';
}

static void settings_free(void *object, size_t charge, cellar_cause why, void *ctx)
{ (void)charge, (void)why, (void)ctx, free(object); }

static cellar_err settings_load(cellar_load *load, const void *tenant, size_t len, void *ctx)
{
    (void)ctx;
    if (len != 3 || memcmp(tenant, "ada", 3) != 0) { return cellar_load_absent(load); }
    settings *const s = malloc(sizeof *s);
    if (s != NULL && settings_parse(row, s)) { return cellar_load_object(load, s, sizeof *s); }
    return free(s), CELLAR_E_LOADER;
}

/* UPDATE first, then delete: a load that has read the old row meanwhile is not stored. */
static int settings_replace(cellar *tenants, const char *tenant, const char *text)
{
    if (!settings_parse(text, &(settings){ .uploads = 0 })) { return 0; }
    row = text;
    return cellar_delete(tenants, tenant, strlen(tenant)) >= 0; /* or MISS */
}

static cellar_err settings_hold(cellar *tenants, const char *tenant, cellar_held *held)
{ return cellar_object_get_or_load(tenants, tenant, strlen(tenant), NULL, NULL, NULL, held); }

int main(void)
{
    cellar_object_config of = cellar_object_config_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_load_opts o = cellar_load_opts_default();
    cellar_config cfg = cellar_config_default();
    cellar_held early, late, none;
    cellar *tenants;
    of.free_fn = settings_free, root.object = &of, root.loader = settings_load, cfg.root = &root;
    root.load = &o, o.error_ttl_ms = 1000, root.default_ttl_ms = 60000, root.stale_ms = 3600000;
    cellar_err err = cellar_open(&cfg, &tenants);
    if (err == CELLAR_OK) { err = settings_hold(tenants, "ada", &early); }
    if (err < 0) { return fprintf(stderr, "%s\n", cellar_strerror(err)), 1; }
    if (!settings_replace(tenants, "ada", "uploads=-5 theme=x")) { puts("refused: uploads=-5"); }
    settings_replace(tenants, "ada", "uploads=50 theme=dark");
    if (settings_hold(tenants, "ada", &late) < 0) { return 1; }
    const settings *const a = early.object, *const b = late.object;
    printf("a request of before has %d uploads, a new one %d\n", a->uploads, b->uploads);
    printf("eve: %s\n", cellar_code_name(settings_hold(tenants, "eve", &none)));
    cellar_delete(tenants, "ada", 3), row = NULL; /* the database fails */
    printf("ada: %s\n", cellar_code_name(settings_hold(tenants, "ada", &none)));
    cellar_object_release(&early), cellar_object_release(&late);
    return cellar_close(tenants) == CELLAR_OK ? 0 : 1;
}
