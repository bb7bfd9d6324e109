"""The one exception a person is meant to read."""


class UserError(Exception):
    """Something the user can mend. Its text says what is wrong, where, and what to do; no traceback is shown."""
