"""The way in: until the command line is loaded there is nothing to clean up, and Ctrl-C just ends the program."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)

from flows.cli import main  # noqa: E402 - it takes half a second, in which an interrupt would print a traceback

if __name__ == "__main__":
    main()
