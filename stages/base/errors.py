"""The error a person can act on."""


class UserError(Exception):
    """One line that names the file, row or key, what is wrong and how to mend it.

    The command line prints it without a traceback and exits with code 2.
    """
