"""What a confusion matrix says. A row for each digit, a column for each answer, as evaluation.json has it."""

from client.console import counted

Matrix = list[list[int]]


def accuracies(confusion: Matrix) -> list[float]:
    """Give the share of each digit that was answered rightly; of a digit that never came, 0."""
    return [row[digit] / max(1, sum(row)) for digit, row in enumerate(confusion)]


def pairs(confusion: Matrix) -> list[tuple[int, int, int]]:
    """Give (digit, answer, times) of every confusion that happened, the most frequent first."""
    found = [
        (digit, answer, times)
        for digit, row in enumerate(confusion)
        for answer, times in enumerate(row)
        if times and answer != digit
    ]
    return sorted(found, key=lambda pair: -pair[2])


def named(confusion: Matrix, count: int) -> str:
    """Name the most frequent confusions: `4 read as 9 (3 times), ...`."""
    names = [
        f"{digit} read as {answer} ({counted(times, 'time')})" for digit, answer, times in pairs(confusion)[:count]
    ]
    return ", ".join(names) or "none"
