"""The one exception a user is meant to see."""


class UserError(Exception):
    """Something the user gave is wrong.

    The message is one sentence: what is wrong, where (file, row, field), and how to fix it.
    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        # A sentence that ends with a suggestion ("did you mean 'lr'?") is over.
        super().__init__(message[:-1] if message.endswith("?.") else message)
