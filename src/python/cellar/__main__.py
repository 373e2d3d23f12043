# SPDX-License-Identifier: MIT
"""`python -m cellar serve`: the server of shared=, until SIGTERM or SIGINT."""
import argparse
import signal

import cellar


def main():
    parser = argparse.ArgumentParser(prog="python -m cellar")
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "serve", help="serve Caches with shared=, and clients of Redis")
    command.add_argument("--unix", metavar="PATH", help="socket file")
    command.add_argument("--shared", default="256M", metavar="SIZE", help="bytes, 256M by default")
    command.add_argument("--group", metavar="NAME", help="group that may use the socket file")
    command.add_argument("--port", type=int, metavar="N", help="TCP port of 127.0.0.1 and ::1")
    command.add_argument("--writable", action="store_true", help="clients of Redis may write")
    options = vars(parser.parse_args())
    del options["command"]
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with cellar.serve(**options):
        print("ready", flush=True)
        while signal.sigtimedwait(signals, 1) is None:
            pass  # between two waits Python writes log lines


if __name__ == "__main__":
    main()
