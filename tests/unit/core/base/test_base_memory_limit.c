/* SPDX-License-Identifier: MIT
 *
 * Aim:    The limit of memory is the least of the container and the machine, for both versions of
 *         cgroups.
 * Method: a folder with the files of a system; each row writes those of one system. */
#include <ftw.h>
#include <sys/stat.h>

#include "base/memory_limit.h"
#include "tests/support/folder.h"
#include "tests/support/t.h"

#define MIB (UINT64_C(1) << 20)
#define V2 "sys/fs/cgroup"
#define V1 "sys/fs/cgroup/memory"

static char root[T_FOLDER_MAX];

/* Write a file and the folders above it. */
static void file(const char *name, const char *text)
{
    char path[T_FOLDER_MAX + 256];
    const int from = snprintf(path, sizeof path, "%s/", root);
    (void)snprintf(path + from, sizeof path - (size_t)from, "%s", name);
    for (char *p = path + from; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = '\0';
        (void)mkdir(path, 0700);
    }
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* Begin a machine of 1 GiB with a process in these cgroups. */
static void machine(const char *cgroups)
{
    t_folder(root);
    file("proc/meminfo", "MemTotal:        1048576 kB\nMemFree:          9 kB\n");
    if (cgroups != NULL) { file("proc/self/cgroup", cgroups); }
}

static int gone(const char *path, const struct stat *s, int kind, struct FTW *at)
{
    (void)s, (void)kind, (void)at;
    return remove(path);
}

static bool limit_is(uint64_t want)
{
    const bool right = T_EQ_U64(base_memory_limit(root), want);
    return T_EQ_I64(nftw(root, gone, 16, FTW_DEPTH | FTW_PHYS), 0) && right;
}

T_CASE(least_limit_of_cgroups_and_machine_counts)
{
    static const struct { const char *cgroups; uint64_t mib; const char *files[3][2]; } row[] = {
        { NULL, 1024, { { NULL } } }, /* no cgroups */
        { "0::/user.slice\n", 1024, { { NULL } } }, /* no limit anywhere */
        { "0::/\n", 1024, { { V2 "/memory.max", "max\n" } } },
        { "5:cpu,cpuacct:/a\n4:mymemory:/a\nno line\n\n:\n1:name=systemd:/a\n", 1024,
          { { V2 "/a/memory.max", "1048576\n" }, { V1 "/a/memory.limit_in_bytes", "1048576\n" } } },
        /* the own cgroup and those above */
        { "0::/pods/one/app\n", 256, { { V2 "/pods/one/app/memory.max", "max\n" },
          { V2 "/pods/one/memory.max", "268435456\n" },
          { V2 "/pods/memory.max", "536870912\n" } } },
        { "0::/pods/one/app\n", 128, { { V2 "/pods/one/app/memory.max", "134217728\n" },
          { V2 "/pods/memory.max", "536870912\n" } } },
        { "0::/pods/one\n", 1024, { { V2 "/pods/two/memory.max", "134217728\n" }, /* of others */
          { V2 "/pods/one/two/memory.max", "134217728\n" } } },
        /* a container sees its limit in the topmost folder; the path may be that of the machine */
        { "0::/\n", 64, { { V2 "/memory.max", "67108864\n" } } },
        { "0::/docker/6a1b\n", 64, { { V2 "/memory.max", "67108864\n" } } },
        { "0::/../other\n", 64, { { V2 "/memory.max", "67108864\n" } } },
        /* version 1 */
        { "12:pids:/docker/1\n9:hugetlb,memory:/docker/1\n1:name=systemd:/docker/1\n0::/x\n", 32,
          { { V1 "/docker/1/memory.limit_in_bytes", "33554432\n" } } },
        { "9:memory:/docker/1\n", 1024,
          { { V1 "/memory.limit_in_bytes", "9223372036854771712\n" } } }, /* none */
        { "9:memory:/a:b/c", 16, /* a colon in a path; no line feed */
          { { V1 "/a:b/memory.limit_in_bytes", "16777216" } } },
        /* a limit above the memory of the machine */
        { "0::/\n", 1024, { { V2 "/memory.max", "99999999999999999999999\n" } } },
        { "0::/\n", 1024, { { V2 "/memory.max", "2147483648\n" } } },
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        machine(row[i].cgroups);
        for (int n = 0; n < 3 && row[i].files[n][0] != NULL; n++) {
            file(row[i].files[n][0], row[i].files[n][1]);
        }
        if (!limit_is(row[i].mib * MIB)) { printf("# row %zu\n", i); }
    }
}

T_CASE(system_without_files_has_no_known_limit)
{
    t_folder(root);
    limit_is(0);
    t_folder(root);
    file("proc/meminfo", "HugePages: 5\n");
    file("proc/self/cgroup", "0::/a\n");
    file(V2 "/a/memory.max", "8388608\n");
    limit_is(8 * MIB);
}

T_CASE(long_paths_and_files_are_read_in_part)
{
    static char long_line[20000];
    memset(long_line, 'x', sizeof long_line - 1);
    memcpy(long_line, "3:memory:/", 10);
    machine(long_line);
    file(V1 "/memory.limit_in_bytes", "16777216\n");
    limit_is(16 * MIB);
}

T_MAIN("base_memory_limit")
