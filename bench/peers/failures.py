"""What can go wrong with a peer."""


class CannotRun(Exception):
    """A peer cannot be made to run on this machine; the message says why. The other peers are measured all the same."""


class WrongAnswer(Exception):
    """A server answered wrongly or with an error: what was measured means nothing, so the whole run fails."""
