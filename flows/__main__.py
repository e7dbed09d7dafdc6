"""The way in: until the command line is loaded there is nothing to clean up, and Ctrl-C just ends the program."""

import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)

from flows.spare.borrow import borrowed  # noqa: E402 - an interrupt meanwhile would print a traceback


def main() -> None:
    """Run the command line: in a fork of the spare process where there is one for us, else here."""
    if (status := borrowed()) is not None:
        sys.exit(status)
    import flows.load  # noqa: F401 - first
    from flows.cli import main as run

    run()


if __name__ == "__main__":
    main()
