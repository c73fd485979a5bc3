"""The one error that is shown to a user: a line that says what, which rule, and the remedy."""


class UserError(Exception):
    """Bad input or set-up; the command line prints its text as one line and exits with status 2.

    The text names the site, file, row or key at fault, the rule that it breaks and what to do about it. It never
    holds a subject identifier or a source path unless the user asked for those.
    """
