"""The entry point. Until the command line is loaded there is nothing to clean up, and Ctrl-C just ends the program."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)

from flows.orchestration.log_masking import mask_logs  # noqa: E402 - an interrupt meanwhile would print a traceback


def main() -> None:
    """Run the command line."""
    mask_logs()
    from flows.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
