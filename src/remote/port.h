/* SPDX-License-Identifier: MIT
 *
 * port: linkage of the names that the files of the remote tier share.
 *
 * LINKAGE    CELLAR_PRIVATE precedes each name that files share, as in src/base/port.h: hidden
 *            visibility in the split build, `static` in dist/cellar_remote.c. */
#ifndef REMOTE_PORT_H
#define REMOTE_PORT_H

#ifndef CELLAR_PRIVATE
#define CELLAR_PRIVATE __attribute__((visibility("hidden")))
#endif

#endif
