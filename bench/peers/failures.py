"""Errors of measuring a peer."""


class CannotRun(Exception):
    """A peer cannot run on this machine, for the given reason; the other peers are measured nevertheless."""


class WrongAnswer(Exception):
    """A server answered wrongly or with an error: the measurement is invalid, so the whole run fails."""
