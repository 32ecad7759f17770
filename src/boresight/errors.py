"""The one exception a user is meant to see."""


class UserError(Exception):
    """Something the user gave is wrong.

    The message is one sentence: what is wrong, where (file, row, field), and how to fix it.
    The command line prints it without a traceback and exits with code 2.
    """
