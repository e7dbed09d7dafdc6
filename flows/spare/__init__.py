"""A spare process beside the local Prefect server: it has loaded all that commands need, and each is a fork of it.

Loading Prefect takes a second of a processor, more than all else that a small build does alone. `borrow` is the
command's side and loads nothing itself, `lend` the spare process, `alike` says when one may stand for the other.
"""
