/* SPDX-License-Identifier: MIT
 *
 * main: `cellar replay` as a program of its own, for scripts that measure policies. */
#include "cli/cli.h"

int main(int argc, char **argv) { return cli_program(argc, argv, cli_replay.run); }
