"""Is a bundle whole? Every member, read and checked, and the golden clip against the rest; nothing is run."""

from __future__ import annotations

from arseg_edge.bundle import GOLDEN, Bundle
from arseg_edge.errors import BundleError
from arseg_edge.golden import golden_of


def damage_of(bundle: Bundle) -> dict[str, str]:
    """Return for each member that is damaged, or that makes no sense, one line that says how; empty for a sound bundle.

    Takes as long as reading the file once.
    """
    found = {}
    for member in bundle.manifest.members:
        try:
            if member == GOLDEN:
                golden_of(bundle)
            else:
                bundle.read(member)
        except BundleError as error:
            found[member] = str(error)
    return found
