/* SPDX-License-Identifier: MIT
 *
 * program: what surrounds a command in each of the programs: terminal, signals, the last flush. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static gate_terminal gate_look_at_terminal(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    const bool out = isatty(STDOUT_FILENO) == 1;
    const bool smart = term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0;
    return (gate_terminal){
        .color = out && smart && (no_color == NULL || no_color[0] == '\0'),
        .progress = out && smart && isatty(STDERR_FILENO) == 1,
    };
}

int gate_program(int argc, char **argv, gate_run_fn run)
{
    /* A reader that has gone is an error of the write, told below. This is the program's own
     * choice: the library installs no handler. */
    struct sigaction ignore;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &ignore, NULL);

    const gate_terminal term = gate_look_at_terminal();
    const int code = run(argc, argv, &term);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        gate_complain("cannot write the output: %s", gate_errno_text(errno));
        return GATE_INTERNAL;
    }
    return code;
}
