/* SPDX-License-Identifier: MIT
 *
 * text: build text in a caller's buffer. See text.h. */
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"

BASE_SIZE_BEGIN

BASE_SPARE CELLAR_PRIVATE void base_text_add(base_text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const size_t room = t->len < t->cap ? t->cap - t->len : 0;
    const int n = vsnprintf(room != 0 ? t->buf + t->len : NULL, room, format, args);
    va_end(args);
    BASE_ASSERT(n >= 0);
    if (n > 0) { t->len += (size_t)n; }
}

BASE_SPARE CELLAR_PRIVATE void base_text_put(base_text *t, const char *p, size_t n)
{
    if (t->len < t->cap) {
        const size_t part = BASE_MIN(n, t->cap - t->len - 1);
        memcpy(t->buf + t->len, p, part);
        t->buf[t->len + part] = '\0';
    }
    t->len += n;
}

BASE_SPARE CELLAR_PRIVATE void base_text_size(base_text *t, uint64_t bytes)
{
    static const char unit[] = "kMGT";
    int i = -1;
    for (; bytes != 0 && bytes % 1024 == 0 && i < 3; i++) { bytes /= 1024; }
    base_text_add(t, "%llu%.*s", (unsigned long long)bytes, i >= 0, i >= 0 ? unit + i : "");
}

BASE_SPARE CELLAR_PRIVATE size_t base_utf8_len(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80) { return p[0] != 0; }
    const size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < len) { return 0; }
    const unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) { return 0; }
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) { return 0; }
    }
    return len;
}

BASE_SPARE CELLAR_PRIVATE const char *base_errno_text(int e)
{
    switch (e) {
    case EACCES:
    case EPERM: return "permission denied";
    case EDQUOT: return "disk quota exceeded";
    case EFBIG: return "above the limit of file size";
    case EINVAL: return "invalid argument";
    case EIO: return "input or output error";
    case EISDIR: return "this is a folder";
    case EMFILE:
    case ENFILE: return "no file descriptor is left";
    case ENAMETOOLONG: return "the path is too long";
    case ENODATA: return "the file ends before these bytes";
    case ENOENT: return "no such file or folder";
    case ENOMEM: return "out of memory";
    case ENOSPC: return "no space left on the disk";
    case ENOTDIR: return "a part of the path is no folder";
    case EROFS: return "read-only file system";
    case ESTALE: return "stale file handle";
    case ETIMEDOUT: return "timed out";
    default: return "system error";
    }
}

BASE_SIZE_END
