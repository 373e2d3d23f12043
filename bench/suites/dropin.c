/* SPDX-License-Identifier: MIT
 *
 * dropin: the time to compile the pairs of the drop-in, and the sizes of their objects.
 *
 * WALK       BENCH_CC -O2 -std=c11 -c dist/cellar.c, three times -> median of wall seconds; then
 *            the object: the size of the file, and its loaded bytes (ELF sections with SHF_ALLOC,
 *            bss included). The same with every switch that omits a part ("core"): memory level,
 *            namespaces, loading, eviction. The same of dist/cellar_all.c ("all").
 * FIGURES    dropin_guests       loaded bytes of "all" less those of "dropin"
 *            dropin_guests_left  functions of the guests in the object of "dropin", by their names
 * PATIENCE   A hung compiler is ended, with the processes that it started (host_patience).
 * INPUT      environment: BENCH_CC (default cc), BENCH_DIST (default dist/cellar.c),
 *            BENCH_DIST_ALL (default dist/cellar_all.c). */
#include "bench/suites/suite.h"

#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/harness/driver.h"
#include "bench/harness/host.h"
#include "bench/harness/json.h"

#define DROPIN_REPEATS 3

typedef struct dropin_object {
    uint64_t loaded_bytes;    /* ELF sections with SHF_ALLOC */
    uint32_t guest_functions; /* functions of the guests, by their names */
} dropin_object;

static const char *dropin_env(const char *name, const char *fallback)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? text : fallback;
}

/* Return whether a name begins with one of the words, which end with NULL. */
static bool dropin_begins(const char *name, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strncmp(name, *words, strlen(*words)) == 0) { return true; }
    }
    return false;
}

/* Count functions of the guests in a symbol table; `names` is its string table. */
static void dropin_functions(FILE *f, const Elf64_Shdr *table, const Elf64_Shdr *names,
                             dropin_object *out)
{
    static const char *const guests[] = { "batch_", "behind_", "bus_", "cron_", "journal_", "kit_",
                                          "refresh_", "resp_", "sched_", "task_", "wheel_", NULL };
    for (uint64_t at = 0; at < table->sh_size; at += sizeof(Elf64_Sym)) {
        Elf64_Sym symbol;
        char name[12] = "";
        if (fseek(f, (long)(table->sh_offset + at), SEEK_SET) != 0 ||
            fread(&symbol, sizeof symbol, 1, f) != 1) {
            return;
        }
        if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC ||
            fseek(f, (long)(names->sh_offset + symbol.st_name), SEEK_SET) != 0 ||
            fread(name, 1, sizeof name - 1, f) == 0) {
            continue;
        }
        out->guest_functions += dropin_begins(name, guests);
    }
}

/* Read what the sections of an ELF64 object say; all zero if it is none. */
static void dropin_read(FILE *f, dropin_object *out)
{
    Elf64_Ehdr head;
    Elf64_Shdr section, names;
    *out = (dropin_object){ 0 };
    if (fread(&head, sizeof head, 1, f) != 1 || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
        head.e_ident[EI_CLASS] != ELFCLASS64) {
        return;
    }
    for (uint32_t i = 0; i < head.e_shnum; i++) {
        if (fseek(f, (long)(head.e_shoff + i * sizeof section), SEEK_SET) != 0 ||
            fread(&section, sizeof section, 1, f) != 1) {
            return;
        }
        out->loaded_bytes += section.sh_flags & SHF_ALLOC ? section.sh_size : 0;
        if (section.sh_type == SHT_SYMTAB &&
            fseek(f, (long)(head.e_shoff + section.sh_link * sizeof names), SEEK_SET) == 0 &&
            fread(&names, sizeof names, 1, f) == 1) {
            dropin_functions(f, &section, &names, out);
        }
    }
}

static bool dropin_compile(const char *source, const char *object, const char *switches,
                           double *seconds, char *why, size_t why_cap)
{
    char command[1400];
    snprintf(command, sizeof command, "%s -std=c11 -O2 %s -c '%s' -o '%s'",
             dropin_env("BENCH_CC", "cc"), switches, source, object);
    const uint64_t start = host_wall_ns();
    const pid_t pid = host_fork();
    if (pid == 0) {
        setpgid(0, 0); /* the compiler's own children are ended with it */
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    const bool ok = host_wait(pid, why, why_cap);
    *seconds = (double)(host_wall_ns() - start) / 1e9;
    return ok;
}

/* Compile a pair three times; print and store its figures. *there: false if there is no source. */
static int dropin_one(const cell_options *o, const char *name, const char *source,
                      const char *switches, dropin_object *found, bool *there)
{
    double seconds[DROPIN_REPEATS];
    char object[400], why[256], text[300];
    *there = access(source, R_OK) == 0;
    if (!*there) {
        snprintf(text, sizeof text, "%.200s is not there (make dist)", source);
        json_say("dropin", "cellar", name, "skip", text);
        return CELL_OK;
    }
    snprintf(object, sizeof object, "%s/dropin.o", o->scratch);
    for (uint32_t i = 0; i < DROPIN_REPEATS; i++) {
        if (!dropin_compile(source, object, switches, &seconds[i], why, sizeof why)) {
            snprintf(text, sizeof text, "does not compile: %s", why);
            json_say("dropin", "cellar", name, driver_kind(why), text);
            return CELL_WRONG;
        }
    }
    FILE *f = fopen(object, "rbe");
    if (f == NULL) { return CELL_WRONG; }
    dropin_read(f, found);
    double loaded = (double)found->loaded_bytes;
    double bytes = fseek(f, 0, SEEK_END) == 0 ? (double)ftell(f) : 0;
    fclose(f);
    printf("\n%s  (-std=c11 -O2%s, %s)\n", name, switches, dropin_env("BENCH_CC", "cc"));
    suite_say("dropin", "cellar", name, "dropin_bytes", &bytes, 1, NULL, NULL);
    suite_say("dropin", "cellar", name, "dropin_text", &loaded, 1, NULL, NULL);
    suite_say("dropin", "cellar", name, "dropin_seconds", seconds, DROPIN_REPEATS, "wall",
              NULL);
    return CELL_OK;
}

static int dropin_run(const cell_options *o)
{
    const char *source = dropin_env("BENCH_DIST", "dist/cellar.c");
    dropin_object cache, core, all;
    bool there, all_there;
    int status = dropin_one(o, "dropin", source, "", &cache, &there);
    status |= dropin_one(o, "core", source, " -DCELLAR_OMIT_L2 -DCELLAR_OMIT_LIMIT "
                                            "-DCELLAR_OMIT_TEXT", &core, &there);
    status |= dropin_one(o, "all", dropin_env("BENCH_DIST_ALL", "dist/cellar_all.c"), "", &all,
                         &all_there);
    if (status != CELL_OK || !there || !all_there) { return status; }
    double more = (double)all.loaded_bytes - (double)cache.loaded_bytes;
    double left = (double)cache.guest_functions;
    printf("\nguests\n");
    suite_say("dropin", "cellar", "guests", "dropin_guests", &more, 1, NULL, NULL);
    suite_say("dropin", "cellar", "guests", "dropin_guests_left", &left, 1, NULL, NULL);
    return all.guest_functions == 0 ? CELL_WRONG : CELL_OK; /* the names have changed */
}

const bench_suite suite_dropin = { "dropin", "object sizes and compile times of the two pairs",
                                   dropin_run, NULL, NULL, false, false, 0 };
