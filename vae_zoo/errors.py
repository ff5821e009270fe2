"""The one exception that means: what was asked for cannot be done, and here is what to do about it."""


class UserError(ValueError):
    """A mistake in an argument, a file or a folder, told in one sentence.

    The command line prints the sentence and exits with status 1; in a notebook it is an ordinary ``ValueError``.
    """
