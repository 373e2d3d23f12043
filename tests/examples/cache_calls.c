/* SPDX-License-Identifier: MIT
 *
 * cache_calls: the everyday calls, on the products of a shop. Read this program first.
 *
 * It opens a cache of 16 MiB and stores two products for an hour. cellar_get copies a value into a
 * buffer of the caller. If the buffer is too small, the code says so, and `len` is the size that it
 * needs. cellar_pin gives a value of any length in place, without a copy, until cellar_unpin. A
 * product that the database does not have is stored as absent, so the database is not asked again
 * for a minute. The tag "acme" is on all products of that brand: one call deletes them together.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/cache_calls.c -Iinclude build/libcellar.a -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/cache_calls.c dist/cellar.c -Idist -Idist/include -pthread && ./a.out
 *
 * The program prints what each read finds, before and after the deletes. Read the result of each
 * call as here: 0 is CELLAR_OK, positive codes are other outcomes, negative codes are errors. After
 * an error cellar_last_error has its text. A set that fails removes the old value, so that readers
 * ask the database and do not see an outdated value. */
#include <err.h>
#include <stdio.h>
#include <string.h>

#include "cellar_entry.h"
#include "cellar_invalidate.h"

static void report(cellar *shop, const char *what)
{
    cellar_error_info why = cellar_error_info_default();
    cellar_last_error(shop, &why);
    warnx("%s: %s", what, why.text); /* call, argument, rule and remedy */
}

static void product_set(cellar *shop, const char *name, const char *text, const char *brand)
{
    const cellar_bytes tag = { brand, strlen(brand) };
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = 60 * 60 * 1000;
    o.tags = &tag;
    o.tag_count = 1;
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
    cellar_config cfg = cellar_config_default(); /* a field that is 0 has its default value */
    cellar_set_opts absent = cellar_set_opts_default();
    cellar_pinned toaster;
    cellar *shop;
    cfg.memory_bytes = 16 << 20; /* for keys, values and index together */
    if (cellar_open(&cfg, &shop) != CELLAR_OK) {
        report(NULL, "no cache");
        return 1;
    }
    product_set(shop, "kettle", "Kettle, 1.7 litres", "acme");
    product_set(shop, "toaster", "Toaster, two slots, timer, crumb tray", "acme");
    absent.flags = CELLAR_NEGATIVE;
    if (cellar_set(shop, "sofa", 4, NULL, 0, &absent) < 0) { report(shop, "sofa"); }
    product_show(shop, "kettle");
    product_show(shop, "toaster");
    product_show(shop, "lamp");
    product_show(shop, "sofa");
    if (cellar_pin(shop, "toaster", 7, &toaster) == CELLAR_OK) {
        printf("%.*s\n", (int)toaster.value_len, (const char *)toaster.value);
        cellar_unpin(&toaster); /* until then its memory is not used again */
    }
    if (cellar_delete(shop, "sofa", 4) < 0) { report(shop, "sofa"); }
    if (cellar_delete_by_tag(shop, "acme", 4, CELLAR_TAG_HARD) < 0) { report(shop, "acme"); }
    product_show(shop, "toaster");
    product_show(shop, "sofa");
    return cellar_close(shop) == CELLAR_OK ? 0 : 1;
}
