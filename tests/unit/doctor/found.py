"""What tests ask of findings."""

from collections.abc import Iterable

from hubserve.doctor.findings import Finding


def the(findings: Iterable[Finding], about: str) -> Finding:
    """The one finding about something; fails if there is another number of them."""
    findings = list(findings)
    found = [each for each in findings if about in each.about]
    assert len(found) == 1, findings
    return found[0]


def worse_than_notes(findings: Iterable[Finding]) -> list[Finding]:
    return [each for each in findings if each.level != "note"]
