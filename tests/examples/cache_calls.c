/* SPDX-License-Identifier: MIT
 *
 * cache_calls: the everyday calls, on the products of a shop.
 *
 *     cc -O2 cache_calls.c -lcellar -pthread
 *     without an installation, after make dist:
 *     cc -O2 cache_calls.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdio.h>
#include <string.h>

#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_observe.h"

/* Print the last error of a handle: call, rule and remedy. NULL: of an open that failed. */
static int report(cellar *c, const char *what)
{
    cellar_error_info why = cellar_error_info_default();
    cellar_last_error(c, &why);
    return fprintf(stderr, "%s: %s\n", what, why.text);
}

/* Store a product for an hour. A failed set removes the old value: readers ask the database. */
static void product_set(cellar *shop, const char *name, const char *text, const char *brand)
{
    const cellar_bytes tag = { brand, strlen(brand) };
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = 60 * 60 * 1000, o.tags = &tag, o.tag_count = 1;
    if (cellar_set(shop, name, strlen(name), text, strlen(text), &o) < 0) { report(shop, name); }
}

static void product_show(cellar *shop, const char *name)
{
    char text[24];
    size_t len;
    switch (cellar_get(shop, name, strlen(name), text, sizeof text, &len)) {
    case CELLAR_OK: printf("%s: %.*s\n", name, (int)len, text); break;
    case CELLAR_MISS: printf("%s: not cached, ask the database\n", name); break;
    case CELLAR_ABSENT: printf("%s: the database has none\n", name); break;
    case CELLAR_E_BUFFER: printf("%s: %zu bytes, too long for text\n", name, len); break;
    default: report(shop, name); /* and ask the database */
    }
}

int main(void)
{
    static const char *const names[] = { "kettle", "toaster", "lamp", "sofa" };
    cellar_config cfg = cellar_config_default(); /* 0 in a field: its default */
    cellar_stats s = cellar_stats_default();
    cellar_set_opts none = cellar_set_opts_default();
    cellar_pinned text;
    cellar *shop;
    int64_t views = 0;
    cfg.memory_bytes = 16u << 20; /* for keys, values and index together */
    if (cellar_open(&cfg, &shop) != CELLAR_OK) { return report(NULL, "no cache"), 1; }
    product_set(shop, "kettle", "Kettle, 1.7 litres", "acme");
    product_set(shop, "toaster", "Toaster, two slots, timer, crumb tray", "acme");
    none.flags = CELLAR_NEGATIVE;
    cellar_set(shop, "sofa", 4, NULL, 0, &none); /* the database is not asked again for a minute */
    for (int i = 0; i < 4; i++) { product_show(shop, names[i]); }
    if (cellar_pin(shop, "toaster", 7, &text) == CELLAR_OK) { /* a value of any length, in place */
        printf("%.*s\n", (int)text.value_len, (const char *)text.value);
        cellar_unpin(&text);
    }
    cellar_delete(shop, "sofa", 4);                         /* it is in the database now */
    cellar_delete_by_tag(shop, "acme", 4, CELLAR_TAG_HARD); /* all prices of acme changed */
    for (int i = 0; i < 4; i++) { product_show(shop, names[i]); }
    cellar_increment(shop, "kettle:views", 12, 1, 0, NULL, &views); /* without a TTL */
    cellar_stats_get(shop, CELLAR_SCOPE_STORE, &s);
    printf("views of the kettle: %d; hits: %.0f %%\n", (int)views, s.hit_ratio * 100);
    return cellar_close(shop) == CELLAR_OK ? 0 : 1;
}
