/* SPDX-License-Identifier: MIT
 *
 * memory_limit: the memory that the system lets this process have.
 *
 * WALK       /proc/self/cgroup -> the cgroup of the process, version 2 ("0::/path") or version 1
 *            ("5:memory:/path") -> its limit and that of each cgroup above it; MemTotal; the least
 * INVARIANTS A file that does not exist sets no limit. Inside a container the path may be that of
 *            the machine: then the limit of the container stands in the topmost folder.
 * LIMITS     8 KiB of /proc/self/cgroup; 13 KiB of stack. */
#include "base/memory_limit.h"

#include "base/fd.h"
#include "base/num.h"
#include "base/text.h"

#include <string.h>

BASE_SIZE_BEGIN

#define BASE_CGROUPS_MAX 8192u /* bytes of /proc/self/cgroup */
#define BASE_CGROUP_MAX  4096u /* bytes of a path in it */

/* Read a number at the start of a file, behind `before`; UINT64_MAX: none. */
static uint64_t base_number_file(const char *path, const char *before)
{
    char text[64] = { 0 };
    size_t len;
    const size_t skip = strlen(before);
    if (base_fd_read_file(AT_FDCWD, path, text, sizeof text - 1, &len) != 0 ||
        strncmp(text, before, skip) != 0) {
        return UINT64_MAX;
    }
    const char *p = text + skip;
    p += strspn(p, " ");
    uint64_t n = 0;
    if (*p < '0' || *p > '9') { return UINT64_MAX; } /* "max" */
    for (; *p >= '0' && *p <= '9'; p++) {
        const uint64_t digit = (uint64_t)(*p - '0');
        n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
    }
    return n;
}

/* Return the least limit of a cgroup and those above it. `file`: the limit in each folder. */
static uint64_t base_cgroup_limit(const char *root, const char *mount, const char *file,
                                  const char *path, size_t len)
{
    char name[BASE_CGROUP_MAX + 256];
    uint64_t least = UINT64_MAX;
    for (;;) {
        base_text t = { name, sizeof name, 0 };
        base_text_add(&t, "%s%s%.*s/%s", root, mount, (int)len, path, file);
        if (t.len < sizeof name) { least = BASE_MIN(least, base_number_file(name, "")); }
        if (len == 0) { return least; }
        while (len > 0 && path[--len] != '/') { }
    }
}

/* Return whether a list of words with commas has "memory". */
static bool base_has_memory(const char *list, size_t len)
{
    for (const char *end = list + len, *next; list < end; list = next + 1) {
        next = memchr(list, ',', (size_t)(end - list));
        if (next == NULL) { next = end; }
        if (next - list == 6 && memcmp(list, "memory", 6) == 0) { return true; }
    }
    return false;
}

CELLAR_PRIVATE uint64_t base_memory_limit(const char *root)
{
    char text[BASE_CGROUPS_MAX + 1], name[256];
    size_t len = 0;
    uint64_t least;
    base_text t = { name, sizeof name, 0 };
    base_text_add(&t, "%s/proc/meminfo", root);
    least = base_number_file(name, "MemTotal:");
    if (least <= UINT64_MAX / 1024) { least *= 1024; } /* it is in kB */
    t.len = 0;
    base_text_add(&t, "%s/proc/self/cgroup", root);
    if (base_fd_read_file(AT_FDCWD, name, text, sizeof text - 1, &len) != 0) { len = 0; }
    text[len] = '\0';
    for (const char *line = text; *line != '\0';) {
        const size_t all = strcspn(line, "\n");
        const char *list = memchr(line, ':', all);
        const char *path = list != NULL ? memchr(list + 1, ':', all - (size_t)(list + 1 - line))
                                        : NULL;
        if (path != NULL) {
            const size_t words = (size_t)(path - list) - 1;
            const size_t n = BASE_MIN(all - (size_t)(path + 1 - line), (size_t)BASE_CGROUP_MAX);
            uint64_t limit = UINT64_MAX;
            if (words == 0) {
                limit = base_cgroup_limit(root, "/sys/fs/cgroup", "memory.max", path + 1, n);
            } else if (base_has_memory(list + 1, words)) {
                limit = base_cgroup_limit(root, "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                          path + 1, n);
            }
            least = BASE_MIN(least, limit);
        }
        line += all + (line[all] == '\n');
    }
    return least != UINT64_MAX ? least : 0;
}

BASE_SIZE_END
