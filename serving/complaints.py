"""What the operator is told of trouble that lasts: each once."""

from serving.errors import reason
from serving.logs import Tell


class Complaints:
    """Says each trouble once, until it is over or another one."""

    def __init__(self, log: Tell) -> None:
        self._log = log
        self._said: dict[str, str] = {}

    def say(self, subject: str, message: str) -> None:
        """Tell the operator about a subject's trouble."""
        if self._said.get(subject) != message:
            self._said[subject] = message
            self._log(message)

    def say_unreadable(self, subject: str, error: OSError | ValueError) -> None:
        """Tell the operator that a subject's folder cannot be read."""
        self.say(subject, f"error: {reason(error)}; what is loaded keeps serving. Check the folder.")

    def over(self, subject: str) -> None:
        """Forget a subject's trouble."""
        self._said.pop(subject, None)
