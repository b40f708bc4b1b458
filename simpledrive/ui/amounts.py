"""Numbers as people read them: sizes in binary units, counts with their noun, durations."""

UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size(amount: int) -> str:
    """A size in binary units with about three digits: 512 B, 6.2 KiB, 482 KiB, 48.0 MiB, 2.31 GiB."""
    if amount < 1024:
        return f"{amount} B"
    value, unit = float(amount), "B"
    for unit in UNITS:
        value /= 1024
        digits = _digits(value, unit)
        # What would be shown as 1024 is one of the next unit.
        if round(value, digits) < 1024:
            break
    return f"{value:,.{digits}f} {unit}"


def _digits(value: float, unit: str) -> int:
    """Below gibibytes a second decimal says nothing that anybody asks for."""
    if value >= 99.95:
        return 0
    return 1 if unit in ("KiB", "MiB") or value >= 9.995 else 2


def count(amount: int, noun: str, nouns: str | None = None) -> str:
    """An amount with its noun: 1 file, 2,316 files."""
    return f"{amount:,} {noun if amount == 1 else nouns or noun + 's'}"


def duration(seconds: float) -> str:
    """How long something took, with about two digits: 0.2 ms, 41 ms, 2.3 s."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:,.1f} s"
